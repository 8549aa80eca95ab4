//! The directory tree that stands for the host: `/`, or a synthetic one.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, geteuid};

/// The longest file taken in; `/proc/PID/smaps` of a server with a thousand workers has some 10 MiB.
const READ_LIMIT_BYTES: u64 = 32 << 20;

/// Where the host's files are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRoot {
    root: PathBuf,
    /// Files that read as if this user had no permission: tests run as root, whom the kernel denies nothing.
    #[cfg(test)]
    denied: Vec<String>,
}

impl HostRoot {
    /// The running host.
    #[must_use]
    pub fn live() -> Self {
        Self::at("/")
    }

    /// A directory tree laid out like `/`: an image being built, or a test's.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            #[cfg(test)]
            denied: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn denying(&self, path: &str) -> Self {
        Self {
            denied: vec![path.to_owned()],
            ..self.clone()
        }
    }

    /// Whether this is the running host, so that system calls tell about the same thing as the files.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where `path`, absolute on the host, is in this tree.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of `path`. Bytes that are not UTF-8 are replaced, never fatal.
    pub fn read(&self, path: &str) -> Result<String, ReadError> {
        #[cfg(test)]
        if self.denied.iter().any(|denied| denied == path) {
            return Err(ReadError::from_io(
                path,
                io::ErrorKind::PermissionDenied.into(),
            ));
        }
        let mut bytes = Vec::new();
        File::open(self.path(path))
            .and_then(|file| file.take(READ_LIMIT_BYTES).read_to_end(&mut bytes))
            .map_err(|error| ReadError::from_io(path, error))?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    /// The names in the directory `path`, in no order.
    pub fn entries(&self, path: &str) -> Result<Vec<String>, ReadError> {
        let failed = |error| ReadError::from_io(path, error);
        let entries = fs::read_dir(self.path(path)).map_err(failed)?;
        entries
            .map(|entry| {
                Ok(entry
                    .map_err(failed)?
                    .file_name()
                    .to_string_lossy()
                    .into_owned())
            })
            .collect()
    }

    /// Where the symbolic link `path` points to, as it is written there.
    pub fn link(&self, path: &str) -> Result<String, ReadError> {
        fs::read_link(self.path(path))
            .map(|target| target.to_string_lossy().into_owned())
            .map_err(|error| ReadError::from_io(path, error))
    }

    /// How many names the directory `path` has. Linux tells it of a folder of descriptors as its length, from 6.2
    /// on; before, they are counted.
    pub fn entry_count(&self, path: &str) -> Result<u64, ReadError> {
        let length = fs::metadata(self.path(path))
            .map_err(|error| ReadError::from_io(path, error))?
            .len();
        if self.is_live() && length > 0 {
            return Ok(length);
        }
        Ok(self.entries(path)?.len() as u64)
    }

    /// Why not even root can write `path` here; `None` where root can.
    #[must_use]
    pub fn write_refusal(&self, path: &str) -> Option<String> {
        let metadata = fs::metadata(self.path(path)).ok()?;
        if metadata.permissions().mode() & 0o222 == 0 {
            return Some("the kernel does not let it be changed while it runs".to_owned());
        }
        // Whether an ordinary user may write says nothing about root.
        if !geteuid().is_root() {
            return None;
        }
        match access(&self.path(path), AccessFlags::W_OK) {
            Err(Errno::EROFS) => {
                Some("/proc/sys is mounted read-only, as in a container".to_owned())
            }
            Err(errno) => Some(format!("root may not write it here ({errno})")),
            Ok(()) => None,
        }
    }

    /// The single value that `path` holds.
    pub fn value<T: FromStr>(&self, path: &str) -> Result<T, ReadError> {
        let text = self.read(path)?;
        text.trim()
            .parse()
            .map_err(|_| ReadError::garbled(path, &text))
    }

    /// The value of the sysctl `name`, in its dotted form.
    pub fn sysctl<T: FromStr>(&self, name: &str) -> Result<T, ReadError> {
        self.value(&sysctl_path(name))
    }
}

/// The file behind the sysctl `name`.
pub(crate) fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// Why a value of the host is not known.
#[derive(Debug)]
pub enum ReadError {
    /// There is no such file: this kernel does not have the setting, or its module is not loaded.
    Missing {
        /// The file, absolute on the host.
        path: String,
    },
    /// The file is there, and not for this user.
    Denied {
        /// The file, absolute on the host.
        path: String,
    },
    /// The file does not hold what it should.
    Garbled {
        /// The file, absolute on the host.
        path: String,
        /// The start of what it holds.
        found: String,
    },
    /// Reading failed in another way.
    Failed {
        /// The file, absolute on the host.
        path: String,
        /// What the kernel said.
        error: io::Error,
    },
}

impl ReadError {
    pub(crate) fn garbled(path: &str, text: &str) -> Self {
        let found = text.trim().chars().take(40).collect();
        Self::Garbled {
            path: path.to_owned(),
            found,
        }
    }

    fn from_io(path: &str, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing { path },
            io::ErrorKind::PermissionDenied => Self::Denied { path },
            _ => Self::Failed { path, error },
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path } => write!(f, "{path} does not exist here"),
            Self::Denied { path } => write!(f, "{path} is not readable for this user"),
            Self::Garbled { path, found } => {
                write!(f, "{path} holds {found:?}, which is not understood")
            }
            Self::Failed { path, error } => write!(f, "{path}: {error}"),
        }
    }
}

impl std::error::Error for ReadError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn a_value_is_read_from_its_sysctl_path() {
        let tree = Tree::with(&[("/proc/sys/net/core/somaxconn", "4096\n")]);
        assert_eq!(
            tree.root().sysctl::<u64>("net.core.somaxconn").unwrap(),
            4096
        );
    }

    #[test]
    fn a_missing_a_garbled_and_an_unreadable_file_are_told_apart() {
        let tree = Tree::with(&[("/proc/sys/fs/file-max", "many")]);
        let root = tree.root();
        assert!(matches!(
            root.sysctl::<u64>("fs.nr_open"),
            Err(ReadError::Missing { .. })
        ));
        assert!(matches!(
            root.sysctl::<u64>("fs.file-max.deeper"),
            Err(ReadError::Missing { .. })
        ));
        assert!(matches!(
            root.sysctl::<u64>("fs.file-max"),
            Err(ReadError::Garbled { .. })
        ));
        let denied = ReadError::from_io("/proc/slabinfo", io::ErrorKind::PermissionDenied.into());
        assert!(matches!(denied, ReadError::Denied { .. }));
        assert!(matches!(
            root.read("/proc/sys"),
            Err(ReadError::Failed { .. })
        ));
    }

    #[test]
    fn bytes_that_are_not_text_do_no_harm() {
        let tree = Tree::with(&[]);
        tree.put_bytes("/proc/sys/fs/nr_open", &[0xff, 0xfe, b'1']);
        assert!(matches!(
            tree.root().sysctl::<u64>("fs.nr_open"),
            Err(ReadError::Garbled { .. })
        ));
    }
}
