//! The only place with `unsafe`: every system call and every raw pointer of the engine.
//!
//! What leaves this module is safe by construction: memory that the kernel may write to is reachable
//! only through a [`ring::Completion`], and a completion exists only because the kernel posted it.
#![allow(unsafe_code)]

pub(crate) mod buffer_ring;
pub(crate) mod epoll;
pub(crate) mod mapping;
pub(crate) mod ring;
pub(crate) mod socket;
pub(crate) mod thread;
pub(crate) mod wake;

use std::io;

/// Turns the `-1` of a system call into the error that `errno` names.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The same for calls that return a byte count.
fn checked_len(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
