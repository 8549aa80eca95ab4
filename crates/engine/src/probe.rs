//! Whether this process can use io_uring, asked of the running kernel and not of its version.

use crate::error::UringUnavailable;
use crate::sys::ring::{Ring, RingSizes};
use std::io;

/// What the running kernel's io_uring has beyond the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UringFeatures {
    /// One buffer serves many reads (Linux 6.12).
    pub incremental_buffers: bool,
    /// A wait can ask for a batch and settle for less after a while (Linux 6.12).
    pub batched_wait: bool,
}

/// Sets up a small ring with everything the engine needs, and takes it down again.
///
/// # Errors
/// The reason why it cannot be had, with the fix.
pub fn uring() -> Result<UringFeatures, UringUnavailable> {
    // In a thread that ends with it: some time after a ring is closed, the kernel interrupts the thread
    // that had used it, and a caller's next blocking call would fail with EINTR.
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .spawn_scoped(scope, try_ring)
            .map_err(|error| UringUnavailable::Other(format!("no thread to try it in: {error}")))?
            .join()
            .unwrap_or_else(|_| Err(UringUnavailable::Other("trying it panicked".to_owned())))
    })
}

fn try_ring() -> Result<UringFeatures, UringUnavailable> {
    let sizes = RingSizes {
        sq_entries: 8,
        cq_entries: 16,
        buffers: 1,
        buffer_bytes: 4096,
        incremental: true,
    };
    let ring = Ring::new(sizes).map_err(|error| explain(&error))?;
    Ok(UringFeatures {
        incremental_buffers: ring.buffers().incremental(),
        batched_wait: ring.batches(),
    })
}

pub(crate) fn explain(error: &io::Error) -> UringUnavailable {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::ENOSYS | libc::EACCES) => match disabled() {
            Some(value) if value > 0 => UringUnavailable::Sysctl(value),
            _ => UringUnavailable::Refused,
        },
        Some(libc::EINVAL) => UringUnavailable::Missing("deferred task runs or buffer rings"),
        _ => UringUnavailable::Other(error.to_string()),
    }
}

/// Whether completions of multishot and of single reads are posted in the order in which they took
/// their bytes. Before Linux 6.16 a read that ended with its submission could be overtaken (fixed on the
/// io_uring list in May 2025); whether a stable kernel has the fix cannot be asked.
pub(crate) fn completions_in_order() -> bool {
    kernel_release().is_some_and(|release| release >= (6, 16))
}

/// The running kernel's release, as far as it is a number.
fn kernel_release() -> Option<(u32, u32)> {
    parse_release(&std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?)
}

fn parse_release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn disabled() -> Option<u8> {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        assert_eq!(parse_release("6.1.0-41-amd64\n"), Some((6, 1)));
        assert_eq!(parse_release("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(parse_release("7.0-rc1"), Some((7, 0)));
        assert_eq!(parse_release("unknown"), None);
    }

    #[test]
    fn refusals_are_told_apart() {
        let explained = |errno| explain(&io::Error::from_raw_os_error(errno));
        assert!(matches!(
            explained(libc::EINVAL),
            UringUnavailable::Missing(_)
        ));
        assert!(matches!(
            explained(libc::ENOMEM),
            UringUnavailable::Other(_)
        ));
        assert!(matches!(
            explained(libc::EPERM),
            UringUnavailable::Refused | UringUnavailable::Sysctl(_)
        ));
    }
}
