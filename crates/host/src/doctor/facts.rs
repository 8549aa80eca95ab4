//! What is found out once, with more than reading one file, before the rules are applied.

use super::ethtool::Drivers;
use super::target::Target;
use super::tracking::Tracking;
use super::uring::UringSupport;
use crate::ledger::ObjectSizes;
use crate::{HostRoot, Limits};

/// Facts about a host that several rules share, or that take a system call to learn.
#[derive(Clone, Debug)]
pub struct Facts {
    /// How large the kernel's objects are.
    pub sizes: ObjectSizes,
    /// Limits of the kernel and of this process.
    pub limits: Limits,
    /// Whether connections to the target's port are tracked.
    pub tracking: Tracking,
    /// What io_uring can do here.
    pub uring: UringSupport,
    /// What the drivers of network cards tell.
    pub drivers: Drivers,
}

impl Facts {
    /// Reads and probes. A tree that is not the running host is only read.
    #[must_use]
    pub fn gather(root: &HostRoot, target: &Target) -> Self {
        Self {
            sizes: ObjectSizes::read(root),
            limits: Limits::read(root),
            tracking: Tracking::probe(root, target.port),
            uring: UringSupport::probe(root),
            drivers: Drivers::ask(root),
        }
    }
}
