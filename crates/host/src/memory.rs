//! Memory that is there, and which boundary sets it: the host's, or that of a control group.

use serde::Serialize;

use crate::{HostRoot, ReadError};

const MEMINFO_PATH: &str = "/proc/meminfo";
const CGROUP_PATH: &str = "/proc/self/cgroup";

/// What bounds the memory that is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryBound {
    /// The host's own memory.
    Host,
    /// The limit of the process's control group, or of one above it.
    ControlGroup,
}

/// Memory for this process. Kernel memory of its sockets counts against the same boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The host's memory, or the control group's limit where that is lower.
    pub total_bytes: u64,
    /// What can still be taken without swapping.
    pub available_bytes: u64,
    /// Which of the two is the lower.
    pub bound: MemoryBound,
}

impl Memory {
    /// Reads `/proc/meminfo` and the control groups that this process is in.
    pub fn read(root: &HostRoot) -> Result<Self, ReadError> {
        let meminfo = root.read(MEMINFO_PATH)?;
        let field = |name| {
            field_bytes(&meminfo, name).ok_or_else(|| ReadError::garbled(MEMINFO_PATH, &meminfo))
        };
        let total_bytes = field("MemTotal:")?;
        let available_bytes = field("MemAvailable:")?;
        let mut memory = Self {
            total_bytes,
            available_bytes,
            bound: MemoryBound::Host,
        };
        for group in control_groups(root) {
            memory.total_bytes = memory.total_bytes.min(group.limit_bytes);
            if group.available_bytes < memory.available_bytes {
                memory.available_bytes = group.available_bytes;
                memory.bound = MemoryBound::ControlGroup;
            }
        }
        Ok(memory)
    }
}

/// A field of `/proc/meminfo` or of a `/proc/PID/` file in the same layout, where values are in KiB.
pub(crate) fn field_bytes(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

struct ControlGroup {
    limit_bytes: u64,
    available_bytes: u64,
}

/// Each control group with a memory limit, from the process's own up to the root.
fn control_groups(root: &HostRoot) -> Vec<ControlGroup> {
    let mut groups = Vec::new();
    let membership = root.read(CGROUP_PATH).unwrap_or_default();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        if controllers.is_empty() {
            walk_up(
                root,
                "/sys/fs/cgroup",
                path,
                ["memory.max", "memory.current"],
                &mut groups,
            );
        } else if controllers
            .split(',')
            .any(|controller| controller == "memory")
        {
            let files = ["memory.limit_in_bytes", "memory.usage_in_bytes"];
            walk_up(root, "/sys/fs/cgroup/memory", path, files, &mut groups);
        }
    }
    groups
}

fn walk_up(
    root: &HostRoot,
    mount: &str,
    path: &str,
    files: [&str; 2],
    groups: &mut Vec<ControlGroup>,
) {
    let mut path = path.trim_end_matches('/');
    loop {
        // "max", and version 1's near-2^63 figure, are no limit; a file that is not there is none either.
        let limit = root.value::<u64>(&format!("{mount}{path}/{}", files[0]));
        let used = root.value::<u64>(&format!("{mount}{path}/{}", files[1]));
        if let (Ok(limit_bytes), Ok(used_bytes)) = (limit, used) {
            groups.push(ControlGroup {
                limit_bytes,
                available_bytes: limit_bytes.saturating_sub(used_bytes),
            });
        }
        let Some((parent, _)) = path.rsplit_once('/') else {
            return;
        };
        path = parent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    const MEMINFO: &str =
        "MemTotal:       24000000 kB\nMemFree: 1 kB\nMemAvailable:   20000000 kB\n";

    #[test]
    fn without_control_groups_the_host_bounds() {
        let memory = Memory::read(&Tree::with(&[(MEMINFO_PATH, MEMINFO)]).root()).unwrap();
        assert_eq!(memory.total_bytes, 24_000_000 * 1024);
        assert_eq!(memory.available_bytes, 20_000_000 * 1024);
        assert_eq!(memory.bound, MemoryBound::Host);
    }

    #[test]
    fn the_tightest_group_above_the_process_bounds() {
        let tree = Tree::with(&[
            (MEMINFO_PATH, MEMINFO),
            (CGROUP_PATH, "0::/system.slice/roadstead.service\n"),
            (
                "/sys/fs/cgroup/system.slice/roadstead.service/memory.max",
                "max\n",
            ),
            (
                "/sys/fs/cgroup/system.slice/roadstead.service/memory.current",
                "7\n",
            ),
            ("/sys/fs/cgroup/system.slice/memory.max", "1000000\n"),
            ("/sys/fs/cgroup/system.slice/memory.current", "400000\n"),
        ]);
        let memory = Memory::read(&tree.root()).unwrap();
        assert_eq!(
            (memory.total_bytes, memory.available_bytes),
            (1_000_000, 600_000)
        );
        assert_eq!(memory.bound, MemoryBound::ControlGroup);
    }

    #[test]
    fn version_one_groups_count_too_and_no_limit_there_is_none() {
        let tree = Tree::with(&[
            (MEMINFO_PATH, MEMINFO),
            (CGROUP_PATH, "5:devices:/\n4:memory:/box\n"),
            (
                "/sys/fs/cgroup/memory/box/memory.limit_in_bytes",
                "2000000\n",
            ),
            (
                "/sys/fs/cgroup/memory/box/memory.usage_in_bytes",
                "500000\n",
            ),
            (
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n"),
        ]);
        let memory = Memory::read(&tree.root()).unwrap();
        assert_eq!(
            (memory.total_bytes, memory.available_bytes),
            (2_000_000, 1_500_000)
        );
    }

    #[test]
    fn a_garbled_meminfo_is_an_error() {
        for text in [
            "",
            "MemTotal: lots\n",
            "MemTotal: 18446744073709551615 kB\nMemAvailable: 1 kB\n",
        ] {
            let tree = Tree::with(&[(MEMINFO_PATH, text)]);
            assert!(
                matches!(Memory::read(&tree.root()), Err(ReadError::Garbled { .. })),
                "{text:?}"
            );
        }
    }
}
