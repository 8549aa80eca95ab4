//! What this host allows, and what a connection costs it.
//!
//! Everything is read through a [`HostRoot`], so that the same code reads `/` and the synthetic trees of
//! the tests. Three questions are answered here:
//!
//! * what the host allows: [`Limits`], [`Memory`];
//! * what a connection costs it: [`ledger`], [`SlabSnapshot`], [`SocketCounts`], [`ProcessUsage`];
//! * what follows for a server: [`capacity::plan`] decides the workers and names the limit that binds.
#![forbid(unsafe_code)]

pub mod capacity;
pub mod doctor;
mod kernel;
pub mod ledger;
mod limits;
mod memory;
mod process;
pub mod quantity;
mod root;
mod slab;
mod sockstat;
#[cfg(test)]
mod testing;

pub use kernel::{InvalidRelease, KernelRelease};
pub use limits::{Capabilities, IoUringAccess, Limit, LimitPair, Limits, RaiseError, raise_nofile};
pub use memory::{Memory, MemoryBound};
pub use process::{CpuSource, ProcessUsage, RssSource};
pub use root::{HostRoot, ReadError};
pub use slab::{CacheUse, SlabGrowth, SlabSnapshot, SlabSource, SourcesDiffer};
pub use sockstat::SocketCounts;
