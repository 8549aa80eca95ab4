//! Kernel releases, compared by their numbers.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::{HostRoot, ReadError};

const RELEASE_PATH: &str = "/proc/sys/kernel/osrelease";

/// A kernel release such as `6.12.9-amd64`: ordered by its numbers, shown as the kernel names itself.
#[derive(Clone, Debug, Serialize)]
pub struct KernelRelease {
    /// 6 in 6.12.9.
    pub major: u32,
    /// 12 in 6.12.9.
    pub minor: u32,
    /// 9 in 6.12.9; 0 where the release names none.
    pub patch: u32,
    name: String,
}

impl KernelRelease {
    /// The running kernel's release.
    pub fn read(root: &HostRoot) -> Result<Self, ReadError> {
        root.value(RELEASE_PATH)
    }

    /// Whether the release is `major.minor` or later.
    #[must_use]
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    /// As the kernel names itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for KernelRelease {
    type Err = InvalidRelease;

    fn from_str(name: &str) -> Result<Self, InvalidRelease> {
        // The numbers end at the first character that belongs to a local version: 6.18.44-fc, 6.1.0+, 5.4rc1.
        let numbers = name
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .next()
            .unwrap_or_default();
        let mut parts = numbers.split('.').map(str::parse::<u32>);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), patch) => {
                let patch = patch.and_then(Result::ok).unwrap_or(0);
                Ok(Self {
                    major,
                    minor,
                    patch,
                    name: name.to_owned(),
                })
            }
            _ => Err(InvalidRelease),
        }
    }
}

impl fmt::Display for KernelRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The text does not start with a release's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidRelease;

impl fmt::Display for InvalidRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a kernel release such as 6.12.9-amd64")
    }
}

impl std::error::Error for InvalidRelease {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[track_caller]
    fn numbers(name: &str) -> (u32, u32, u32) {
        let release: KernelRelease = name.parse().unwrap();
        (release.major, release.minor, release.patch)
    }

    #[test]
    fn releases_of_distributions_parse() {
        assert_eq!(numbers("6.18.44-fc-v669"), (6, 18, 44));
        assert_eq!(numbers("6.1.0-50-amd64"), (6, 1, 0));
        assert_eq!(numbers("6.12+"), (6, 12, 0));
        assert_eq!(numbers("5.15.167.4-microsoft-standard-WSL2"), (5, 15, 167));
        assert_eq!(numbers("7.0rc1"), (7, 0, 0));
    }

    #[test]
    fn what_is_no_release_is_refused() {
        for text in ["", "six", "6", "-1.2", "99999999999.1", ".."] {
            assert_eq!(
                text.parse::<KernelRelease>().unwrap_err(),
                InvalidRelease,
                "{text:?}"
            );
        }
    }

    #[test]
    fn minor_numbers_compare_as_numbers() {
        let release: KernelRelease = "6.9.1".parse().unwrap();
        assert!(release.at_least(6, 1) && release.at_least(5, 19) && !release.at_least(6, 12));
    }

    #[test]
    fn the_host_names_its_release() {
        let tree = Tree::with(&[(RELEASE_PATH, "6.1.0-50-amd64\n")]);
        assert_eq!(
            KernelRelease::read(&tree.root()).unwrap().name(),
            "6.1.0-50-amd64"
        );
    }
}
