//! What is found out once, with more than reading one file, before the rules are applied.

use super::ethtool::Drivers;
use super::target::Target;
use super::tracking::Tracking;
use super::uring::UringSupport;
use crate::{HostRoot, Limits};

/// Facts about a host that several rules share, or that take a system call to learn.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Limits of the kernel and of this process.
    pub limits: Limits,
    /// Whether connections to the target's port are tracked.
    pub tracking: Tracking,
    /// Entries left in the connection tracking table, where connections to the port take them.
    pub conntrack_left: Option<u64>,
    /// What io_uring can do here.
    pub uring: UringSupport,
    /// What the drivers of network cards tell.
    pub drivers: Drivers,
}

impl Facts {
    /// Reads and probes. A tree that is not the running host is only read.
    #[must_use]
    pub fn gather(root: &HostRoot, target: &Target) -> Self {
        let tracking = Tracking::probe(root, target.port);
        let conntrack_left = (tracking == Tracking::Tracked)
            .then(|| entries_left(root))
            .flatten();
        Self {
            limits: Limits::read(root),
            tracking,
            conntrack_left,
            uring: UringSupport::probe(root),
            drivers: Drivers::ask(root),
        }
    }
}

fn entries_left(root: &HostRoot) -> Option<u64> {
    let max: u64 = root.sysctl("net.netfilter.nf_conntrack_max").ok()?;
    let count: u64 = root.sysctl("net.netfilter.nf_conntrack_count").ok()?;
    Some(max.saturating_sub(count))
}
