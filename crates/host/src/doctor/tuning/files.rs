//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::TuningError;
use crate::HostRoot;

/// The text of `path`; `None` if there is no such file.
pub(super) fn read(root: &HostRoot, path: &str) -> Result<Option<String>, TuningError> {
    match fs::read_to_string(root.path(path)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TuningError::File {
            path: path.to_owned(),
            error,
        }),
    }
}

/// Replaces `path` in one step: a reader, or a crash, sees the old text or the new. Tells which directories
/// had to be made, the outermost first.
pub(super) fn replace(root: &HostRoot, path: &str, text: &str) -> Result<Vec<String>, TuningError> {
    let failed = |error| TuningError::File {
        path: path.to_owned(),
        error,
    };
    let made = make_parents(root, path)?;
    let target = root.path(path);
    let staged = staging_path(&target);
    let written = write_through(&staged, text).and_then(|()| fs::rename(&staged, &target));
    if let Err(error) = written {
        let _ = fs::remove_file(&staged);
        return Err(failed(error));
    }
    sync_parent(&target).map_err(failed)?;
    Ok(made)
}

/// Removes `path`, which may be gone already.
pub(super) fn remove(root: &HostRoot, path: &str) -> Result<(), TuningError> {
    match fs::remove_file(root.path(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(TuningError::File {
            path: path.to_owned(),
            error,
        }),
        _ => Ok(()),
    }
}

/// Removes directories that are empty, in the order given.
pub(super) fn remove_empty_directories<'a>(
    root: &HostRoot,
    paths: impl Iterator<Item = &'a String>,
) {
    for path in paths {
        // One that has other files in it by now stays, and so does what it is in.
        let _ = fs::remove_dir(root.path(path));
    }
}

fn make_parents(root: &HostRoot, path: &str) -> Result<Vec<String>, TuningError> {
    let mut made = Vec::new();
    let mut at = 1;
    while let Some(length) = path[at..].find('/') {
        let dir = &path[..at + length];
        match fs::create_dir(root.path(dir)) {
            Ok(()) => made.push(dir.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(TuningError::File {
                    path: dir.to_owned(),
                    error,
                });
            }
        }
        at += length + 1;
    }
    Ok(made)
}

/// Beside the target, so that renaming stays within one file system. Neither sysctl.d, limits.d, systemd nor
/// nftables reads a name with this ending.
fn staging_path(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".roadstead-new");
    target.with_file_name(name)
}

fn write_through(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
