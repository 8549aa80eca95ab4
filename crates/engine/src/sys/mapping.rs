//! Anonymous page-aligned memory that the kernel may write to behind Rust's back.

use std::io;
use std::ptr::NonNull;

/// `len` bytes of private zeroed memory; pages cost nothing until they are touched.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        // SAFETY:
        // - a fresh anonymous mapping aliases nothing → null hint, no MAP_FIXED, no descriptor.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, len })
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY:
        // - start and len are those of one whole mapping → set in `new`, never changed.
        // - nobody uses it any more → the owner drops it last; a ring that could not let go of it
        //   leaks it instead (see `Ring::drop`).
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
