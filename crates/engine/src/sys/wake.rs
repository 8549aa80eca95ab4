//! An eventfd that wakes a worker out of its kernel wait.

use super::{checked, checked_len};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Written by any thread, watched by one worker. Made before the workers unshare their descriptor
/// tables, so its number means the same in all of them.
#[derive(Debug)]
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY:
        // - no pointer is passed → eventfd(2) takes two integers.
        let fd = checked(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        // SAFETY:
        // - the descriptor is open and owned by nobody else → it was just returned by eventfd(2).
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes the descriptor readable. Cannot block: a saturated counter is readable already.
    pub(crate) fn signal(&self) {
        let one = 1u64;
        // SAFETY:
        // - eight readable bytes → `one` lives on this stack frame.
        let written =
            unsafe { libc::write(self.0.as_raw_fd(), std::ptr::from_ref(&one).cast(), 8) };
        debug_assert!(
            written == 8 || io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
        );
    }

    /// Takes the signal away, so that the next one is seen as an edge.
    pub(crate) fn clear(&self) {
        let mut count = 0u64;
        // SAFETY:
        // - eight writable bytes → `count` lives on this stack frame.
        let read = checked_len(unsafe {
            libc::read(self.0.as_raw_fd(), std::ptr::from_mut(&mut count).cast(), 8)
        });
        debug_assert!(read.is_ok() || read.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock));
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
