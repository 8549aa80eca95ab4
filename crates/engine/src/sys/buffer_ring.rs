//! A provided buffer ring: reads take their memory from here at the moment they have data.
//!
//! ```text
//!  entries (shared with the kernel)        storage: one mapping
//!  ┌──────────────┬──────────────┬───┐     ┌──────────┬──────────┬───┐
//!  │addr len id 1 │addr len id 0 │ … │ ──► │ buffer 0 │ buffer 1 │ … │  buffer_bytes each
//!  └──────────────┴──────────────┴───┘     └──────────┴──────────┴───┘
//!   head: the kernel's     tail: ours, published with a release store (last u16 of entry 0)
//! ```
//!
//! With *incremental* consumption (Linux 6.12) one buffer serves many reads, one after another:
//!
//! ```text
//!  buffer 7   [ read A | read B | read C | still the kernel's … ]
//!                                         ▲ consumed[7]
//! ```
//!
//! The kernel says with the last read of a buffer that it is done with it; the buffer goes back when
//! that has been said and every lease on it has returned.

use super::mapping::Mapping;
use io_uring::types::BufRingEntry;
use io_uring::{Submitter, cqueue};
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

/// `IOU_PBUF_RING_INC` of `linux/io_uring.h`.
const PBUF_RING_INC: u16 = 2;

/// Bytes that a read has put into a provided buffer, until they are given back.
#[derive(Debug)]
#[must_use = "a lease that is not given back is a buffer lost"]
pub(crate) struct Lease {
    id: u16,
    offset: u32,
    len: u32,
}

#[derive(Clone, Copy, Default)]
struct Buffer {
    consumed: u32,
    leases: u32,
    kernel_done: bool,
}

pub(crate) struct BufferRing {
    entries: Mapping,
    storage: Mapping,
    buffers: Vec<Buffer>,
    buffer_bytes: u32,
    /// The next free entry; the kernel sees it after [`BufferRing::publish`].
    tail: u16,
    incremental: bool,
    available: usize,
}

impl BufferRing {
    /// The group under which reads name this ring; a worker's ring has one.
    pub(crate) const GROUP: u16 = 0;

    /// Registers `count` buffers (a power of two, at most 32,768) of `buffer_bytes` each.
    pub(crate) fn register(
        submitter: &Submitter<'_>,
        count: u16,
        buffer_bytes: u32,
        incremental: bool,
    ) -> io::Result<Self> {
        assert!(
            count.is_power_of_two() && count <= 1 << 15,
            "config validates the count"
        );
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let storage = Mapping::new(usize::from(count) * buffer_bytes as usize)?;
        let address = entries.start() as u64;
        let flags = if incremental { PBUF_RING_INC } else { 0 };
        // SAFETY:
        // - the entries stay mapped while the kernel knows them → `Ring` drops this value after the
        //   ring has been emptied, and leaks it otherwise.
        // - page-aligned, `count` entries long → made by `Mapping::new` just above.
        unsafe { submitter.register_buf_ring_with_flags(address, count, Self::GROUP, flags)? };
        let buffers = vec![Buffer::default(); usize::from(count)];
        let mut ring = Self {
            entries,
            storage,
            buffers,
            buffer_bytes,
            tail: 0,
            incremental,
            available: 0,
        };
        (0..count).for_each(|id| ring.provide(id));
        ring.publish();
        Ok(ring)
    }

    /// Buffers that the kernel may still fill.
    pub(crate) fn available(&self) -> usize {
        self.available
    }

    pub(crate) fn incremental(&self) -> bool {
        self.incremental
    }

    /// What a completion with these flags has put into a buffer. Called once per completion, in the
    /// order in which they were posted: that order is what tells where in a buffer the bytes are.
    pub(super) fn lease(&mut self, flags: u32, len: u32) -> Option<Lease> {
        let id = cqueue::buffer_select(flags)?;
        let buffer = &mut self.buffers[usize::from(id)];
        let offset = buffer.consumed;
        assert!(
            offset + len <= self.buffer_bytes,
            "the kernel wrote past buffer {id}"
        );
        buffer.consumed += len;
        buffer.leases += 1;
        if !(self.incremental && cqueue::buffer_more(flags)) {
            buffer.kernel_done = true;
            self.available -= 1;
        }
        Some(Lease { id, offset, len })
    }

    pub(crate) fn bytes(&self, lease: &Lease) -> &[u8] {
        let start = usize::from(lease.id) * self.buffer_bytes as usize + lease.offset as usize;
        debug_assert!(start + lease.len as usize <= self.storage.len());
        // SAFETY:
        // - inside the mapping → `lease()` checked offset and length against the buffer's size.
        // - initialised → the kernel wrote these bytes before it posted the completion.
        // - nobody writes them now → the kernel moves on past `consumed`, and the buffer is provided
        //   again only after this lease, which is borrowed here, has been given back by value.
        unsafe { std::slice::from_raw_parts(self.storage.start().add(start), lease.len as usize) }
    }

    /// Ends a lease. The kernel sees a buffer that became free at the next [`Self::publish`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a lease is used up by giving it back"
    )]
    pub(crate) fn give_back(&mut self, lease: Lease) {
        let buffer = &mut self.buffers[usize::from(lease.id)];
        buffer.leases -= 1;
        if buffer.kernel_done && buffer.leases == 0 {
            *buffer = Buffer::default();
            self.provide(lease.id);
        }
    }

    /// Makes every buffer that was given back visible to the kernel.
    pub(crate) fn publish(&mut self) {
        let first: *mut BufRingEntry = self.entries.start().cast();
        // SAFETY:
        // - entry 0 is mapped and initialised → zeroed by mmap, at least one entry long.
        // - the tail is the kernel's to read only → an atomic store is the agreed protocol.
        unsafe {
            let tail = BufRingEntry::tail(first).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    fn provide(&mut self, id: u16) {
        let mask = self.buffers.len() as u16 - 1;
        let index = usize::from(self.tail & mask);
        let address = self.storage.start() as u64 + u64::from(id) * u64::from(self.buffer_bytes);
        // SAFETY:
        // - inside the entries → the index is masked by their number.
        // - the kernel does not read it yet → it lies at the unpublished tail; there are as many
        //   entries as buffers, and this buffer's former entry was used up.
        // - the tail field, which shares entry 0, is left alone → only addr, len and bid are set.
        let entry = unsafe { &mut *self.entries.start().cast::<BufRingEntry>().add(index) };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        self.available += 1;
    }
}
