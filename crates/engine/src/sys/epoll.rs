//! An epoll instance: add, change, wait.

use super::checked;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// An epoll descriptor and the array that `epoll_wait(2)` fills.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// `events_max` bounds what one wait returns.
    pub(crate) fn new(events_max: usize) -> io::Result<Self> {
        // SAFETY:
        // - no pointer is passed → epoll_create1(2) takes a flag.
        let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY:
        // - open and owned by nobody else → just returned by epoll_create1(2).
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            fd,
            events: Vec::with_capacity(events_max),
        })
    }

    /// The same instance through another descriptor, to change interests by.
    pub(crate) fn adopt(fd: OwnedFd) -> Self {
        Self {
            fd,
            events: Vec::new(),
        }
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, interest: i32, data: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, interest, data)
    }

    pub(crate) fn modify(&self, fd: BorrowedFd<'_>, interest: i32, data: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest, data)
    }

    fn control(&self, op: i32, fd: BorrowedFd<'_>, interest: i32, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest.cast_unsigned(),
            u64: data,
        };
        // SAFETY:
        // - `event` is readable during the call → it lives on this stack frame, the kernel copies it.
        checked(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), op, fd.as_raw_fd(), &raw mut event) })
            .map(drop)
    }

    /// Waits for events and returns how many there are; an interrupted wait has none.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        // Rounded up: a deadline must have passed when the wait for it returns.
        let timeout_ms = timeout.map_or(-1, |t| {
            i32::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        self.events.clear();
        // SAFETY:
        // - room for `capacity` events at the pointer → the vector owns it and is borrowed mutably.
        let filled = checked(unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.capacity() as i32,
                timeout_ms,
            )
        });
        let filled = match filled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        // SAFETY:
        // - the first `filled` events are initialised → the kernel wrote and counted them.
        // - `filled` is at most the capacity → it was the bound passed above.
        unsafe { self.events.set_len(filled as usize) };
        Ok(self.events.len())
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The `index`-th event of the last wait: (ready bits, data).
    pub(crate) fn event(&self, index: usize) -> Option<(i32, u64)> {
        let event = self.events.get(index)?;
        Some((event.events.cast_signed(), event.u64))
    }
}
