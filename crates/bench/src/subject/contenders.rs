//! Servers of other projects, built by `scripts/contenders.sh` for the comparison.
//!
//! ```text
//!  crates/contenders/target/release/
//!    tokio            a binary:  tokio --listen 127.0.0.1:0 --service echo --workers 1
//!    glommio.missing  one line: why there is no `glommio`
//!    versions.json    {"tokio": "1.48.0", …}
//! ```
//!
//! A contender prints `{"listen":["127.0.0.1:PORT"]}` when it listens and ends on SIGTERM.

use super::running::Running;
use anyhow::Context;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where contenders are built, from the repository's root.
const BUILT_IN: &str = "crates/contenders/target/release";
/// What a contender's reason for not being there is called.
const MISSING: &str = ".missing";

/// The directory of contenders.
#[derive(Clone, Debug)]
pub(crate) struct Contenders {
    directory: PathBuf,
    versions: BTreeMap<String, String>,
}

impl Contenders {
    /// Those in `directory`, or those of the repository that this binary was built in.
    pub(crate) fn find(directory: Option<&Path>) -> anyhow::Result<Self> {
        let directory = match directory {
            Some(directory) => directory.to_owned(),
            None => repository().join(BUILT_IN),
        };
        let versions = directory.join("versions.json");
        let versions = match fs::read_to_string(&versions) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} is not {{name: version}}", versions.display()))?,
            Err(_) => BTreeMap::new(),
        };
        Ok(Self {
            directory,
            versions,
        })
    }

    /// All that are there, or are said to be missing.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten();
        let mut names: BTreeSet<String> = self.versions.keys().cloned().collect();
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if let Some(name) = name.strip_suffix(MISSING) {
                names.insert(name.to_owned());
            } else if !name.contains('.') && is_program(&entry.path()) {
                names.insert(name);
            }
        }
        names.into_iter().collect()
    }

    /// What it was built from.
    pub(crate) fn version(&self, name: &str) -> Option<&str> {
        self.versions.get(name).map(String::as_str)
    }

    /// Why it cannot be run; `None` if it can.
    pub(crate) fn missing(&self, name: &str) -> Option<String> {
        let program = self.directory.join(name);
        if is_program(&program) {
            return None;
        }
        let reason = fs::read_to_string(self.directory.join(format!("{name}{MISSING}")));
        let first = reason.as_ref().ok().and_then(|text| text.lines().next());
        Some(match first {
            Some(reason) => reason.trim().to_owned(),
            None => "not built; scripts/contenders.sh builds it".to_owned(),
        })
    }

    pub(crate) fn start(&self, name: &str, service: &str) -> anyhow::Result<Running> {
        let mut command = Command::new(self.directory.join(name));
        command.args(["--listen", "127.0.0.1:0", "--service", service]);
        command.args(["--workers", "1"]);
        Running::start(name, command)
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

/// The directory above this binary that holds the contenders' crate, else the one we are in.
pub(crate) fn repository() -> PathBuf {
    let here = PathBuf::from(".");
    let Ok(binary) = std::env::current_exe() else {
        return here;
    };
    let root = binary
        .ancestors()
        .find(|directory| directory.join("crates/bench").is_dir());
    root.map_or(here, Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_told_from_what_is_missing_and_why() {
        let directory = tempfile::tempdir().expect("a directory");
        let put = |name: &str, text: &str, mode| {
            let path = directory.path().join(name);
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        };
        put("mio", "", 0o755);
        put("mio.d", "", 0o644);
        put("notes", "", 0o644);
        put("uws.missing", "no C++ compiler\nand more\n", 0o644);
        put("versions.json", r#"{"mio": "1.1.0", "go": "1.25"}"#, 0o644);
        let contenders = Contenders::find(Some(directory.path())).expect("a directory");
        assert_eq!(contenders.names(), ["go", "mio", "uws"]);
        assert_eq!(contenders.version("mio"), Some("1.1.0"));
        assert_eq!(contenders.missing("mio"), None);
        assert_eq!(
            contenders.missing("uws").as_deref(),
            Some("no C++ compiler")
        );
        let reason = contenders.missing("go").expect("no binary");
        assert!(reason.contains("scripts/contenders.sh"), "{reason}");
    }
}
