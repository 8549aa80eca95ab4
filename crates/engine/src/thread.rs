//! What a worker thread sets up for itself before it opens anything.

use crate::sys;
use std::io;

/// Gives the calling thread a descriptor table of its own.
///
/// Descriptors that are open now stay open under the same numbers in both tables; what is opened or
/// closed afterwards is seen by this thread alone. Two things follow: `accept` and `close` no longer
/// take a lock that other threads take, and `RLIMIT_NOFILE` bounds this thread and not the process.
///
/// # Errors
/// `ENOMEM`, or `EPERM` where a seccomp filter refuses `unshare(2)`. No capability is needed.
pub fn own_descriptor_table() -> io::Result<()> {
    sys::thread::unshare_descriptor_table()
}

/// The cores that this process may run on, in the order in which workers are pinned to them; empty where
/// they cannot be read.
pub(crate) fn cores() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    cores.iter().map(|core| core.id).collect()
}

/// Pins the calling thread to the `index`-th core it may run on, counted round-robin, and returns
/// the number of that core; `None` where the set of cores cannot be read or set.
pub fn pin_to_core(index: usize) -> Option<usize> {
    let cores = core_affinity::get_core_ids()?;
    let core = *cores.get(index % cores.len().max(1))?;
    core_affinity::set_for_current(core).then_some(core.id)
}
