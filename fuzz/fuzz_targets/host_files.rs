//! Any content of any file that the host crate reads: nothing panics, and what the doctor would change is
//! found good enough afterwards.
//!
//! The input is cut at zero bytes; each piece becomes the text of one file of a synthetic host.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use roadstead_host::doctor::{Facts, Target, examine, rules};
use roadstead_host::{HostRoot, ProcessUsage, SlabSnapshot, SocketCounts};
use tempfile::TempDir;

const FILES: &[&str] = &[
    "proc/7/smaps_rollup",
    "proc/7/stat",
    "proc/7/status",
    "proc/interrupts",
    "proc/meminfo",
    "proc/net/netstat",
    "proc/net/sockstat",
    "proc/net/sockstat6",
    "proc/net/softnet_stat",
    "proc/pressure/memory",
    "proc/self/cgroup",
    "proc/self/limits",
    "proc/self/status",
    "proc/slabinfo",
    "proc/sys/fs/file-nr",
    "proc/sys/kernel/io_uring_disabled",
    "proc/sys/kernel/osrelease",
    "proc/sys/net/ipv4/tcp_ehash_entries",
    "proc/sys/net/netfilter/nf_conntrack_count",
    "proc/sys/net/netfilter/nf_conntrack_max",
    "proc/sys/vm/overcommit_memory",
    "etc/security/limits.conf",
    "etc/systemd/system/roadstead.service",
    "sys/class/net/eth0/queues/rx-0/rps_cpus",
    "sys/fs/cgroup/memory.current",
    "sys/fs/cgroup/memory.max",
];

/// One tree for all runs: each run overwrites every file.
static TREE: LazyLock<TempDir> = LazyLock::new(|| {
    let tree = TempDir::new().expect("a temporary directory");
    for path in FILES
        .iter()
        .copied()
        .map(str::to_owned)
        .chain(sysctl_files())
    {
        fs::create_dir_all(tree.path().join(path).parent().expect("a folder")).expect("a folder");
    }
    fs::create_dir_all(tree.path().join("sys/class/net/eth0/device")).expect("a folder");
    tree
});

fn sysctl_files() -> impl Iterator<Item = String> {
    let target = Target::default();
    rules()
        .filter(move |rule| rule.sysctl(&target).is_some())
        .map(|rule| format!("proc/sys/{}", rule.name.replace('.', "/")))
}

fuzz_target!(|input: &[u8]| {
    let mut pieces = input.split(|&byte| byte == 0);
    for path in FILES
        .iter()
        .copied()
        .map(str::to_owned)
        .chain(sysctl_files())
    {
        fs::write(TREE.path().join(path), pieces.next().unwrap_or_default())
            .expect("a file of the tree");
    }
    let root = HostRoot::at(TREE.path());
    let target = Target::default();
    let report = examine(&root, &Facts::gather(&root, &target), &target);
    assert!(!report.text().is_empty() && !report.conclusion().is_empty());
    let _ = SocketCounts::read(&root);
    let _ = ProcessUsage::read(&root, 7);
    if let Ok(slab) = SlabSnapshot::read(&root) {
        assert_eq!(
            slab.growth_since(&slab)
                .expect("the same source")
                .total_bytes,
            0
        );
    }
    for rule in rules() {
        let Some(wanted) = rule.sysctl(&target) else {
            continue;
        };
        if let Ok(text) = root.read(&format!("/proc/sys/{}", rule.name.replace('.', "/")))
            && let Ok(Some(better)) = wanted.improvement_on(&text)
        {
            assert_eq!(wanted.improvement_on(&better), Ok(None), "{}", rule.name);
        }
    }
});
