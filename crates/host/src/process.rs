//! What a process uses: CPU time, resident memory, threads.

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;

use crate::memory::field_bytes;
use crate::{HostRoot, ReadError};

/// `/proc/PID/stat` counts time in ticks of USER_HZ, which is 100 in the kernel's interface on every
/// architecture that Linux still ships.
const TICK_NS: u64 = 10_000_000;

/// Where the CPU time comes from, which decides its precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CpuSource {
    /// The process's CPU clock: nanoseconds, threads that have ended included.
    Clock,
    /// `/proc/PID/stat`: ticks of 10 ms.
    Stat,
}

/// Where the resident memory comes from, which decides its precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RssSource {
    /// `/proc/PID/smaps_rollup`: counted page by page.
    Pages,
    /// `/proc/PID/status`: the kernel's batched counters, off by up to some hundred KiB.
    Counters,
}

/// What a process uses at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessUsage {
    /// User and system time together, since the process started.
    pub cpu_ns: u64,
    /// The precision of `cpu_ns`.
    pub cpu_source: CpuSource,
    /// User time, in ticks of 10 ms.
    pub user_ns: u64,
    /// System time, in ticks of 10 ms.
    pub system_ns: u64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// The precision of `rss_bytes`.
    pub rss_source: RssSource,
    /// Threads.
    pub threads: u32,
}

impl ProcessUsage {
    /// Reads the process `pid` of this host.
    pub fn read(root: &HostRoot, pid: u32) -> Result<Self, ReadError> {
        let stat_path = format!("/proc/{pid}/stat");
        let stat = root.read(&stat_path)?;
        let (user_ns, system_ns) =
            stat_times_ns(&stat).ok_or_else(|| ReadError::garbled(&stat_path, &stat))?;
        let (cpu_ns, cpu_source) = match root.is_live().then(|| clock_ns(pid)).flatten() {
            Some(ns) => (ns, CpuSource::Clock),
            None => (user_ns.saturating_add(system_ns), CpuSource::Stat),
        };
        let status_path = format!("/proc/{pid}/status");
        let status = root.read(&status_path)?;
        let rollup = root.read(&format!("/proc/{pid}/smaps_rollup"));
        let (rss_bytes, rss_source) = match rollup.ok().and_then(|text| field_bytes(&text, "Rss:"))
        {
            Some(bytes) => (bytes, RssSource::Pages),
            None => {
                let bytes = field_bytes(&status, "VmRSS:").or(no_memory(&status).then_some(0));
                (
                    bytes.ok_or_else(|| ReadError::garbled(&status_path, &status))?,
                    RssSource::Counters,
                )
            }
        };
        let threads = threads(&status).ok_or_else(|| ReadError::garbled(&status_path, &status))?;
        Ok(Self {
            cpu_ns,
            cpu_source,
            user_ns,
            system_ns,
            rss_bytes,
            rss_source,
            threads,
        })
    }
}

fn clock_ns(pid: u32) -> Option<u64> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?);
    let time = clock_getcpuclockid(pid).and_then(clock_gettime).ok()?;
    let (seconds, ns) = (
        u64::try_from(time.tv_sec()).ok()?,
        u64::try_from(time.tv_nsec()).ok()?,
    );
    seconds.checked_mul(1_000_000_000)?.checked_add(ns)
}

/// Fields 14 and 15. The name before them is in parentheses and may itself hold any of them and spaces.
fn stat_times_ns(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok()?.checked_mul(TICK_NS);
    Some((ticks()?, ticks()?))
}

/// Whether this is a process that has ended and whose parent has not yet looked: it has no memory any more, and
/// all of its CPU time.
fn no_memory(status: &str) -> bool {
    status.contains("\nState:\tZ") && !status.contains("\nVm")
}

fn threads(status: &str) -> Option<u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use proptest::prelude::*;

    const STAT: &str = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 150 250 0 0 20 0 3 0 5 6 7";

    #[test]
    fn a_process_of_a_tree_is_read_from_its_files() {
        let tree = Tree::with(&[
            ("/proc/42/stat", STAT),
            (
                "/proc/42/status",
                "Name:\troadstead\nVmRSS:\t    2000 kB\nThreads:\t3\n",
            ),
        ]);
        let usage = ProcessUsage::read(&tree.root(), 42).unwrap();
        assert_eq!(
            (usage.user_ns, usage.system_ns),
            (1_500_000_000, 2_500_000_000)
        );
        assert_eq!(
            (usage.cpu_ns, usage.cpu_source),
            (4_000_000_000, CpuSource::Stat)
        );
        assert_eq!(
            (usage.rss_bytes, usage.rss_source),
            (2_048_000, RssSource::Counters)
        );
        assert_eq!(usage.threads, 3);
        tree.put(
            "/proc/42/smaps_rollup",
            "55d-7ff ---p 00:00 0 [rollup]\nRss:   1000 kB\n",
        );
        let usage = ProcessUsage::read(&tree.root(), 42).unwrap();
        assert_eq!(
            (usage.rss_bytes, usage.rss_source),
            (1_024_000, RssSource::Pages)
        );
    }

    #[test]
    fn a_process_that_is_gone_is_missing() {
        assert!(matches!(
            ProcessUsage::read(&HostRoot::live(), u32::MAX),
            Err(ReadError::Missing { .. })
        ));
    }

    #[test]
    fn a_process_that_has_ended_tells_its_time_until_its_parent_looks() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = nix::sys::wait::waitid(
            nix::sys::wait::Id::Pid(Pid::from_raw(child.id() as i32)),
            nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
        );
        ended.unwrap();
        let usage = ProcessUsage::read(&HostRoot::live(), child.id()).unwrap();
        assert_eq!(usage.rss_bytes, 0);
        assert!(
            usage.cpu_ns > 0 && usage.cpu_source == CpuSource::Clock,
            "{usage:?}"
        );
        child.wait().unwrap();
    }

    #[test]
    fn the_clock_sees_what_this_process_burns() {
        let read = || ProcessUsage::read(&HostRoot::live(), std::process::id()).unwrap();
        let before = read();
        assert_eq!(before.cpu_source, CpuSource::Clock);
        assert!(before.rss_bytes > 0 && before.threads >= 1);
        let mut sum = 0u64;
        while read().cpu_ns < before.cpu_ns + 2_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(read().cpu_ns >= before.cpu_ns + 2_000_000);
    }

    proptest! {
        #[test]
        fn no_content_panics(stat in "\\PC*", status in "(Threads:|VmRSS:|[0-9 \t\n]|\\PC)*") {
            let tree = Tree::with(&[("/proc/7/stat", &stat), ("/proc/7/status", &status)]);
            let _ = ProcessUsage::read(&tree.root(), 7);
        }
    }
}
