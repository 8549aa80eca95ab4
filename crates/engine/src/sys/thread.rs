//! Per-thread kernel state.

use super::checked;
use std::io;

/// `unshare(CLONE_FILES)` for the calling thread.
pub(crate) fn unshare_descriptor_table() -> io::Result<()> {
    // SAFETY:
    // - `unshare` takes no pointer: nothing to keep alive → the argument is a flag constant.
    // - CLONE_FILES only copies the caller's descriptor table: descriptors that are open now stay
    //   valid under the same numbers in both tables → no `OwnedFd` of this process dangles.
    checked(unsafe { libc::unshare(libc::CLONE_FILES) }).map(drop)
}
