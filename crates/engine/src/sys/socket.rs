//! Socket calls that `socket2` does not have, or has only with work that the epoll driver would pay
//! for on each message.

use super::{checked, checked_len};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `accept4(2)`, non-blocking and close-on-exec, without asking for the peer's address.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY:
    // - null address and length are allowed → accept4(2): "if addr is NULL, nothing is filled in".
    let fd = checked(unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            flags,
        )
    })?;
    Ok(adopt(fd))
}

/// Takes ownership of a descriptor that the kernel has just handed to this thread.
pub(super) fn adopt(fd: libc::c_int) -> OwnedFd {
    // SAFETY:
    // - open, in this thread's table, owned by nobody else → callers pass the result of an accept
    //   that has just completed, once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// `recv(2)` that never blocks; 0 is the peer's end of stream.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY:
    // - `buffer.len()` writable bytes at the pointer → it is a live `&mut [u8]`.
    checked_len(unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
        )
    })
}

/// `send(2)` that neither blocks nor raises SIGPIPE.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY:
    // - `bytes.len()` readable bytes at the pointer → it is a live `&[u8]`.
    checked_len(unsafe {
        libc::send(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    })
}

/// Resets a TCP connection: `connect(2)` to `AF_UNSPEC` drops what is queued, sends RST and wakes
/// whoever polls the socket, which `close(2)` alone would not do while a request pins the file.
pub(crate) fn reset(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY:
    // - all-zero is a valid `sockaddr` → plain integers, and AF_UNSPEC is 0.
    let unspecified: libc::sockaddr = unsafe { std::mem::zeroed() };
    let len = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY:
    // - `len` readable bytes at the pointer → `unspecified` lives on this stack frame.
    checked(unsafe { libc::connect(socket.as_raw_fd(), &raw const unspecified, len) }).map(drop)
}

/// Has the kernel choose among the listeners of a `SO_REUSEPORT` group by `program` (socket(7),
/// `SO_ATTACH_REUSEPORT_CBPF`, Linux 4.5): this one's group, and all that join it.
pub(crate) fn steer(listener: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY:
    // - `size_of` readable bytes at the pointer → `filter` lives on this stack frame.
    // - `filter.len` readable instructions at `filter.filter` → it is a live slice of that length, and
    //   the kernel copies them and does not write.
    checked(unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    })
    .map(drop)
}
