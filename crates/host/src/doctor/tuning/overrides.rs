//! Files of sysctl.d that are read after ours at boot, and would set a value back.

use super::SYSCTL_PATH;
use crate::HostRoot;
use crate::doctor::wanted::Wanted;

/// Where systemd-sysctl looks; a name in an earlier directory hides the same name in a later one.
const DIRS: [&str; 4] = [
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
];

/// What later files set, in the order in which they are read.
pub(super) struct Overrides {
    entries: Vec<Entry>,
}

struct Entry {
    file: String,
    name: String,
    value: String,
}

impl Overrides {
    pub(super) fn read(root: &HostRoot) -> Self {
        let ours = SYSCTL_PATH.rsplit('/').next().unwrap_or_default();
        let mut files: Vec<(String, String)> = Vec::new();
        for dir in DIRS {
            for name in root.entries(dir).unwrap_or_default() {
                if name.as_str() > ours
                    && name.ends_with(".conf")
                    && files.iter().all(|(seen, _)| *seen != name)
                {
                    files.push((name.clone(), format!("{dir}/{name}")));
                }
            }
        }
        files.sort();
        let mut paths: Vec<String> = files.into_iter().map(|(_, path)| path).collect();
        paths.push("/etc/sysctl.conf".to_owned()); // procps reads it last
        let entries = paths
            .iter()
            .flat_map(|path| parse(path, &root.read(path).unwrap_or_default()))
            .collect();
        Self { entries }
    }

    /// The file that gives `name` a value at boot that is not good enough, with the value.
    pub(super) fn spoils(&self, name: &str, wanted: Wanted) -> Option<(&str, &str)> {
        let last = self.entries.iter().rfind(|entry| entry.name == name)?;
        matches!(wanted.improvement_on(&last.value), Ok(Some(_)))
            .then_some((&last.file, &last.value))
    }
}

/// `name = value`, where the name may have slashes for dots and a minus for "never mind if it fails".
fn parse(file: &str, text: &str) -> Vec<Entry> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| Entry {
            file: file.to_owned(),
            name: name.trim().trim_start_matches('-').replace('/', "."),
            value: value.trim().to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    const WANTED: Wanted = Wanted::AtLeast(4096);
    const NAME: &str = "net.core.somaxconn";

    fn spoiled(files: &[(&str, &str)]) -> Option<String> {
        let overrides = Overrides::read(&Tree::with(files).root());
        overrides
            .spoils(NAME, WANTED)
            .map(|(file, value)| format!("{file}={value}"))
    }

    #[test]
    fn a_later_file_with_a_worse_value_spoils() {
        let later = (
            "/etc/sysctl.d/99-tuned.conf",
            "# x\n-net/core/somaxconn=1024\n",
        );
        assert_eq!(
            spoiled(&[later]).unwrap(),
            "/etc/sysctl.d/99-tuned.conf=1024"
        );
        assert_eq!(
            spoiled(&[("/etc/sysctl.conf", "net.core.somaxconn = 128\n")]).unwrap(),
            "/etc/sysctl.conf=128"
        );
        assert_eq!(
            spoiled(&[later, ("/etc/sysctl.conf", "net.core.somaxconn = 8192\n")]),
            None,
            "the last counts"
        );
    }

    #[test]
    fn earlier_hidden_and_better_files_do_not() {
        assert_eq!(
            spoiled(&[("/etc/sysctl.d/10-x.conf", "net.core.somaxconn = 128\n")]),
            None
        );
        assert_eq!(
            spoiled(&[("/etc/sysctl.d/99-x.conf", "net.core.somaxconn = 65535\n")]),
            None
        );
        assert_eq!(
            spoiled(&[(
                "/etc/sysctl.d/99-x.conf",
                ";net.core.somaxconn = 1\nnonsense\n"
            )]),
            None
        );
        let hidden = ("/usr/lib/sysctl.d/99-x.conf", "net.core.somaxconn = 128\n");
        assert!(spoiled(&[hidden]).is_some());
        assert_eq!(spoiled(&[hidden, ("/etc/sysctl.d/99-x.conf", "")]), None);
    }
}
