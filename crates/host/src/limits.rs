//! What the kernel and this process's limits allow.

use std::fmt;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;

use crate::{HostRoot, KernelRelease, Memory, ReadError};

const PROCESS_LIMITS_PATH: &str = "/proc/self/limits";
const PROCESS_STATUS_PATH: &str = "/proc/self/status";

/// One side of a resource limit. `Unlimited` compares above every value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// At most this many.
    Value(u64),
    /// No limit.
    Unlimited,
}

impl Limit {
    /// The limit as a number, `u64::MAX` for none.
    #[must_use]
    pub fn or_max(self) -> u64 {
        match self {
            Self::Value(value) => value,
            Self::Unlimited => u64::MAX,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "unlimited" => Some(Self::Unlimited),
            _ => text.parse().ok().map(Self::Value),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => f.write_str(&crate::quantity::grouped(*value)),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// A resource limit of a process: what is in force, and how far the process may raise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LimitPair {
    /// In force now.
    pub soft: Limit,
    /// The soft limit may be raised to this without privilege.
    pub hard: Limit,
}

/// Whether this process may create an io_uring, by the sysctl. Seccomp can refuse it nonetheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IoUringAccess {
    /// `kernel.io_uring_disabled` is 0, or the kernel is older than the sysctl (6.6).
    Allowed,
    /// 1: only for CAP_SYS_ADMIN and members of `kernel.io_uring_group`.
    Privileged,
    /// 2: for nobody.
    Disabled,
}

/// The capabilities in force that decide about limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    bits: u64,
}

impl Capabilities {
    const NET_ADMIN: u32 = 12;
    const SYS_ADMIN: u32 = 21;
    const SYS_RESOURCE: u32 = 24;

    fn has(self, capability: u32) -> bool {
        self.bits & (1 << capability) != 0
    }

    /// May change network settings and nftables rules.
    #[must_use]
    pub fn net_admin(self) -> bool {
        self.has(Self::NET_ADMIN)
    }

    /// May open files beyond `fs.file-max`, and io_uring where it is privileged.
    #[must_use]
    pub fn sys_admin(self) -> bool {
        self.has(Self::SYS_ADMIN)
    }

    /// May raise its own hard limits.
    #[must_use]
    pub fn sys_resource(self) -> bool {
        self.has(Self::SYS_RESOURCE)
    }
}

/// The limits that decide how many connections a process can hold. `None`: not known here.
#[derive(Clone, Debug, Serialize)]
pub struct Limits {
    /// The running kernel.
    pub kernel: Option<KernelRelease>,
    /// Cores this process may run on.
    pub cores: u32,
    /// Descriptors per descriptor table of this process (RLIMIT_NOFILE).
    pub nofile: Option<LimitPair>,
    /// Bytes this process may lock (RLIMIT_MEMLOCK).
    pub memlock_bytes: Option<LimitPair>,
    /// Open files on the whole host (`fs.file-max`).
    pub file_max: Option<u64>,
    /// Open files on the whole host now (`/proc/sys/fs/file-nr`).
    pub files_open: Option<u64>,
    /// Entries left in the connection tracking table (`nf_conntrack_max`); they matter where a port is tracked.
    pub conntrack_left: Option<u64>,
    /// Epoll interests that one user may have (`fs.epoll.max_user_watches`); the kernel does not say how many
    /// are in use.
    pub epoll_watches: Option<u64>,
    /// The ceiling of any hard nofile limit (`fs.nr_open`).
    pub nr_open: Option<u64>,
    /// The longest accept queue a listener gets (`net.core.somaxconn`).
    pub somaxconn: Option<u64>,
    /// Half-open connections per listener (`net.ipv4.tcp_max_syn_backlog`).
    pub tcp_max_syn_backlog: Option<u64>,
    /// Whether io_uring is switched off by sysctl.
    pub io_uring: IoUringAccess,
    /// Memory, of the host and of the control group.
    pub memory: Option<Memory>,
    /// Capabilities in force.
    pub capabilities: Capabilities,
}

impl Limits {
    /// Reads what can be read. A value that cannot is `None`: the callers treat it as not binding.
    #[must_use]
    pub fn read(root: &HostRoot) -> Self {
        let limits = root.read(PROCESS_LIMITS_PATH).unwrap_or_default();
        let status = root.read(PROCESS_STATUS_PATH).unwrap_or_default();
        Self {
            kernel: KernelRelease::read(root).ok(),
            cores: allowed_cores(&status).unwrap_or(1),
            nofile: limit_pair(&limits, "Max open files"),
            memlock_bytes: limit_pair(&limits, "Max locked memory"),
            file_max: root.sysctl("fs.file-max").ok(),
            files_open: files_open(root).ok(),
            conntrack_left: conntrack_left(root),
            epoll_watches: root.sysctl("fs.epoll.max_user_watches").ok(),
            nr_open: root.sysctl("fs.nr_open").ok(),
            somaxconn: root.sysctl("net.core.somaxconn").ok(),
            tcp_max_syn_backlog: root.sysctl("net.ipv4.tcp_max_syn_backlog").ok(),
            io_uring: io_uring_access(root),
            memory: Memory::read(root).ok(),
            capabilities: capabilities(&status).unwrap_or_default(),
        }
    }

    /// Open files that this process may still add on the host; `None` where nothing stops it.
    #[must_use]
    pub fn files_left(&self) -> Option<u64> {
        if self.capabilities.sys_admin() {
            return None;
        }
        Some(self.file_max?.saturating_sub(self.files_open.unwrap_or(0)))
    }
}

fn io_uring_access(root: &HostRoot) -> IoUringAccess {
    match root.sysctl("kernel.io_uring_disabled") {
        Ok(2u32..) => IoUringAccess::Disabled,
        Ok(1) => IoUringAccess::Privileged,
        _ => IoUringAccess::Allowed,
    }
}

fn files_open(root: &HostRoot) -> Result<u64, ReadError> {
    const PATH: &str = "/proc/sys/fs/file-nr";
    let text = root.read(PATH)?;
    text.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| ReadError::garbled(PATH, &text))
}

fn conntrack_left(root: &HostRoot) -> Option<u64> {
    let max: u64 = root.sysctl("net.netfilter.nf_conntrack_max").ok()?;
    let count: u64 = root.sysctl("net.netfilter.nf_conntrack_count").ok()?;
    Some(max.saturating_sub(count))
}

/// A line of `/proc/self/limits`: a name of one or more words, soft, hard, unit.
fn limit_pair(limits: &str, name: &str) -> Option<LimitPair> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let mut words = rest.split_whitespace().map(Limit::parse);
    Some(LimitPair {
        soft: words.next()??,
        hard: words.next()??,
    })
}

fn capabilities(status: &str) -> Option<Capabilities> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(effective.trim(), 16)
        .ok()
        .map(|bits| Capabilities { bits })
}

/// Counts a CPU list such as `0-1,4`.
fn allowed_cores(status: &str) -> Option<u32> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = 0u32;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        cores = cores.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    (cores > 0).then_some(cores)
}

/// Raises this process's soft nofile limit to the hard one, and tells what is in force then.
pub fn raise_nofile() -> Result<LimitPair, RaiseError> {
    let read = || getrlimit(Resource::RLIMIT_NOFILE).map_err(|errno| RaiseError { errno });
    let (soft, hard) = read()?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|errno| RaiseError { errno })?;
    }
    let (soft, hard) = read()?;
    let limit = |value| {
        if value == nix::libc::RLIM_INFINITY {
            Limit::Unlimited
        } else {
            Limit::Value(value)
        }
    };
    Ok(LimitPair {
        soft: limit(soft),
        hard: limit(hard),
    })
}

/// The kernel refused to raise the soft limit to the hard one.
#[derive(Debug)]
pub struct RaiseError {
    errno: nix::errno::Errno,
}

impl fmt::Display for RaiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the nofile limit cannot be raised ({}); start with `ulimit -n` at its hard value",
            self.errno
        )
    }
}

impl std::error::Error for RaiseError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units
Max open files            1024                 20000                files
Max locked memory         8388608              unlimited            bytes
";
    const STATUS: &str = "CapEff:\t000001fffeffffff\nCpus_allowed_list:\t0-1,4\n";

    #[test]
    fn limits_of_a_whole_host_are_read() {
        let tree = Tree::with(&[
            (PROCESS_LIMITS_PATH, LIMITS),
            (PROCESS_STATUS_PATH, STATUS),
            ("/proc/sys/kernel/osrelease", "6.12.9-amd64\n"),
            ("/proc/sys/fs/file-max", "9223372036854775807\n"),
            ("/proc/sys/fs/file-nr", "1024\t0\t9223372036854775807\n"),
            ("/proc/sys/fs/nr_open", "1048576\n"),
            ("/proc/sys/net/core/somaxconn", "4096\n"),
            ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "8192\n"),
            ("/proc/sys/kernel/io_uring_disabled", "1\n"),
            ("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 500 kB\n"),
        ]);
        let limits = Limits::read(&tree.root());
        assert_eq!(limits.cores, 3);
        let nofile = LimitPair {
            soft: Limit::Value(1024),
            hard: Limit::Value(20_000),
        };
        assert_eq!(limits.nofile, Some(nofile));
        let memlock = LimitPair {
            soft: Limit::Value(8_388_608),
            hard: Limit::Unlimited,
        };
        assert_eq!(limits.memlock_bytes, Some(memlock));
        assert!(limits.kernel.unwrap().at_least(6, 12));
        assert_eq!(limits.files_open, Some(1024));
        assert_eq!(limits.somaxconn, Some(4096));
        assert_eq!(limits.tcp_max_syn_backlog, Some(8192));
        assert_eq!(limits.nr_open, Some(1_048_576));
        assert_eq!(limits.io_uring, IoUringAccess::Privileged);
        assert_eq!(limits.memory.unwrap().total_bytes, 1_024_000);
        assert!(limits.capabilities.sys_admin() && limits.capabilities.net_admin());
        assert!(
            !limits.capabilities.sys_resource(),
            "bit 24 is off in this mask"
        );
    }

    #[test]
    fn an_empty_tree_and_a_garbled_one_leave_values_unknown() {
        let garbled = Tree::with(&[
            (PROCESS_LIMITS_PATH, "Max open files many most files\n"),
            (PROCESS_STATUS_PATH, "CapEff: zz\nCpus_allowed_list: 4-0\n"),
            ("/proc/sys/fs/file-nr", "\n"),
            ("/proc/sys/fs/file-max", "-1\n"),
        ]);
        for tree in [Tree::with(&[]), garbled] {
            let limits = Limits::read(&tree.root());
            assert_eq!(
                (limits.nofile, limits.file_max, limits.files_open),
                (None, None, None)
            );
            assert_eq!(limits.cores, 1);
            assert_eq!(limits.io_uring, IoUringAccess::Allowed);
            assert!(limits.memory.is_none() && !limits.capabilities.sys_admin());
        }
    }

    #[test]
    fn file_max_counts_only_without_the_capability() {
        let mut limits = Limits::read(&Tree::with(&[("/proc/sys/fs/file-max", "1000")]).root());
        limits.files_open = Some(400);
        assert_eq!(limits.files_left(), Some(600));
        limits.capabilities = Capabilities {
            bits: 1 << Capabilities::SYS_ADMIN,
        };
        assert_eq!(limits.files_left(), None);
    }

    #[test]
    fn raising_reaches_the_hard_limit_of_this_process() {
        let raised = raise_nofile().unwrap();
        assert_eq!(raised.soft, raised.hard);
        assert_eq!(
            Limits::read(&HostRoot::live()).nofile,
            Some(raised),
            "/proc tells the same"
        );
    }
}
