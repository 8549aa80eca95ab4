//! Where a run was made, and of what: the facts at the head of its folder.

use crate::cores::Cores;
use crate::record::{Commit, Host};
use roadstead_host::{HostRoot, Limits};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

const GIB: f64 = (1u64 << 30) as f64;
/// Runs are no part of what they measure.
const NOT_RESULTS: &str = ":(exclude)bench-results";

pub(crate) fn host(cores: &Cores) -> Host {
    let root = HostRoot::live();
    let limits = Limits::read(&root);
    let memory_bytes = limits.memory.map_or(0, |memory| memory.total_bytes);
    let gib = (memory_bytes as f64 / GIB).round();
    let processor = root.read("/proc/cpuinfo").unwrap_or_default();
    Host {
        name: format!("{}core-{gib}g", cores.count()),
        kernel: limits
            .kernel
            .map_or_else(unknown, |it| it.name().to_owned()),
        processor: processor_name(&processor).unwrap_or_else(unknown),
        cores: cores.count(),
        server_cores: cores.server().to_vec(),
        client_cores: cores.client().to_vec(),
        memory_bytes,
        nofile_hard: limits.nofile.map_or(0, |nofile| nofile.hard.or_max()),
    }
}

/// The commit that `repository` is at.
pub(crate) fn commit(repository: &Path) -> Commit {
    let id = git(repository, &["rev-parse", "HEAD"]);
    let changes = git(
        repository,
        &["status", "--porcelain", "--", ".", NOT_RESULTS],
    );
    Commit {
        id: id.unwrap_or_else(unknown),
        dirty: changes.is_none_or(|changes| !changes.is_empty()),
    }
}

/// `2026-11-28T23:34:23Z`.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

fn git(repository: &Path, arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    // Measurements run as root, the repository is somebody's.
    git.args(["-c", "safe.directory=*", "-C"]).arg(repository);
    let output = git.args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn processor_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_commit_is_unknown_and_counts_as_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let commit = commit(directory.path());
        assert_eq!(commit.id, "unknown");
        assert!(commit.dirty);
    }

    #[test]
    fn the_processor_is_named_once() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\n\nmodel name\t: other\n";
        assert_eq!(processor_name(text).as_deref(), Some("AMD EPYC"));
        assert_eq!(processor_name(""), None);
    }
}
