//! The connection table: one 32-byte record per connection, found by slot, confirmed by generation.
//!
//! Slots are reused last in first out, so the table is as long as the most connections held at once;
//! memory behind it is touched only as it grows.

use crate::lifecycle::{CloseReason, Phase};
use crate::token::{GENERATION_MASK, Handle};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Stands for "no key", "no slot" in a record.
pub(crate) const NONE: u32 = u32::MAX;

/// What the engine knows about one connection.
#[derive(Debug)]
pub(crate) struct Record {
    /// Open exactly while the slot is taken.
    fd: Option<OwnedFd>,
    generation: u32,
    /// Key of the bytes that the peer has not taken; `NONE` while there are none.
    pub(crate) outbox: u32,
    /// Key of the bytes that the service has not consumed; `NONE` while there are none.
    pub(crate) carry: u32,
    /// The tick at which something must have happened; `NONE` where nothing must.
    pub(crate) deadline: u32,
    /// While vacant: the next vacant slot.
    next_vacant: u32,
    pub(crate) phase: Phase,
    /// Why it ends, once that is decided.
    pub(crate) reason: CloseReason,
    pub(crate) flags: Flags,
    /// The driver's own: what it has asked the kernel for.
    pub(crate) watch: Watch,
    /// The driver's own: recent reads, for `adaptive`, and the second they were counted in.
    pub(crate) heat: u8,
    pub(crate) heat_second: u8,
}

impl Record {
    /// Whether bytes from the peer are welcome now.
    pub(crate) fn wants_data(&self) -> bool {
        if self.flags.has_any(Flags::PEER_ENDED) {
            return false;
        }
        match self.phase {
            Phase::Open => self.takes_data(),
            Phase::Flushing | Phase::Lingering => true,
            Phase::Releasing => false,
        }
    }

    /// Whether the service may be shown bytes now.
    pub(crate) fn takes_data(&self) -> bool {
        self.phase == Phase::Open && !self.flags.has_any(Flags::CONGESTED.union(Flags::PAUSED))
    }

    /// Whether something is being sent, or will be.
    pub(crate) fn owes_bytes(&self) -> bool {
        self.outbox != NONE
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd
            .as_ref()
            .expect("a live record has a descriptor")
            .as_fd()
    }
}

/// A small set of bits.
macro_rules! bit_set {
    ($(#[$doc:meta])* $name:ident: $int:ty {
        $($(#[$bit_doc:meta])* $bit:ident = $value:expr;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) struct $name($int);

        impl $name {
            $($(#[$bit_doc])* pub(crate) const $bit: Self = Self($value);)*

            pub(crate) const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
            pub(crate) const fn has_any(self, bits: Self) -> bool {
                self.0 & bits.0 != 0
            }
            pub(crate) fn insert(&mut self, bits: Self) {
                self.0 |= bits.0;
            }
            pub(crate) fn remove(&mut self, bits: Self) {
                self.0 &= !bits.0;
            }
        }
    };
}

bit_set! {
    /// What the worker knows about a connection.
    Flags: u16 {
        /// The outbox is above its high-water mark: nothing is read until it is below the low one.
        CONGESTED = 1;
        /// The service asked for a pause.
        PAUSED = 2;
        /// The peer has finished sending.
        PEER_ENDED = 4;
        /// The service has been told so.
        END_TOLD = 8;
        /// Stands in the list of connections to settle.
        DIRTY = 16;
        /// The socket took less than was offered; the outbox waits for room.
        BLOCKED = 32;
        /// Counted among those whose deadline is near.
        URGENT = 64;
        /// The service wants this side's end of stream sent once the outbox is empty.
        FINISH = 128;
        /// This side's end of stream has been sent.
        ENDED = 256;
        /// To be cut off: the outbox is dropped and the peer gets a reset.
        ABORT = 512;
        /// The carry holds bytes that the service has not been shown since it could take more.
        HELD_BACK = 1024;
    }
}

bit_set! {
    /// What a driver has asked the kernel for on behalf of a connection, and what it knows.
    Watch: u16 {
        /// A one-shot poll for reading is pending.
        POLL = 1;
        /// A multishot poll for reading is pending.
        POLL_MULTISHOT = 2;
        /// A poll for writing is pending (io_uring), or an edge is awaited (epoll).
        WRITE = 4;
        /// A single read has been submitted.
        RECEIVE = 8;
        /// A multishot read is pending.
        RECEIVE_MULTISHOT = 16;
        /// A send has been submitted.
        SEND = 32;
        /// Stands in the queue of connections to read from.
        QUEUED = 64;
        /// The socket may hold more than was read.
        MORE = 128;
        /// The last readiness told of an end of stream or an error, behind the data.
        FINAL_EDGE = 256;
        /// io_uring: stands in the list of promoted connections.
        PROMOTED = 512;
        /// io_uring: the multishot read is being cancelled.
        ENDING = 1024;
    }
}

pub(crate) struct Table {
    records: Vec<Record>,
    first_vacant: u32,
    len: u32,
    capacity: u32,
}

impl Table {
    /// A table for at most `capacity` connections. Address space is set aside for all of them, so
    /// that it never moves; memory is not.
    pub(crate) fn new(capacity: u32) -> Self {
        let records = Vec::with_capacity(capacity as usize);
        Self {
            records,
            first_vacant: NONE,
            len: 0,
            capacity,
        }
    }

    /// Connections that are open now.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// Slots in use or used before: all that a walk has to visit.
    pub(crate) fn slots(&self) -> u32 {
        self.records.len() as u32
    }

    /// Takes a connection in; a full table hands it back.
    pub(crate) fn insert(&mut self, fd: OwnedFd) -> Result<Handle, OwnedFd> {
        if self.is_full() {
            return Err(fd);
        }
        self.len += 1;
        let slot = self.first_vacant;
        if slot == NONE {
            self.records.push(Record::vacant(0));
        } else {
            self.first_vacant = self.records[slot as usize].next_vacant;
        }
        let slot = if slot == NONE { self.slots() - 1 } else { slot };
        let record = &mut self.records[slot as usize];
        record.fd = Some(fd);
        Ok(Handle {
            slot,
            generation: record.generation,
        })
    }

    /// Ends a connection. Its handles and tokens are void from now on; the descriptor is the caller's.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<OwnedFd> {
        let record = self.records.get_mut(slot as usize)?;
        let fd = record.fd.take()?;
        *record = Record::vacant(record.generation.wrapping_add(1) & GENERATION_MASK);
        record.next_vacant = self.first_vacant;
        self.first_vacant = slot;
        self.len -= 1;
        Some(fd)
    }

    /// The connection that a handle names, if it is still that one.
    pub(crate) fn claim(&mut self, handle: Handle) -> Option<&mut Record> {
        let record = self.records.get_mut(handle.slot as usize)?;
        (record.generation == handle.generation && record.fd.is_some()).then_some(record)
    }

    /// The connection in a slot that is known to be taken.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Record> {
        self.records
            .get_mut(slot as usize)
            .filter(|record| record.fd.is_some())
    }

    pub(crate) fn handle(&self, slot: u32) -> Option<Handle> {
        let record = self
            .records
            .get(slot as usize)
            .filter(|record| record.fd.is_some())?;
        Some(Handle {
            slot,
            generation: record.generation,
        })
    }
}

impl std::ops::Index<u32> for Table {
    type Output = Record;
    fn index(&self, slot: u32) -> &Record {
        &self.records[slot as usize]
    }
}

impl std::ops::IndexMut<u32> for Table {
    fn index_mut(&mut self, slot: u32) -> &mut Record {
        &mut self.records[slot as usize]
    }
}

impl Record {
    fn vacant(generation: u32) -> Self {
        Self {
            fd: None,
            generation,
            outbox: NONE,
            carry: NONE,
            deadline: NONE,
            next_vacant: NONE,
            phase: Phase::Open,
            reason: CloseReason::Service,
            flags: Flags::default(),
            watch: Watch::default(),
            heat: 0,
            heat_second: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::os::fd::AsRawFd;

    fn descriptor() -> OwnedFd {
        std::fs::File::open("/dev/null")
            .expect("/dev/null opens")
            .into()
    }

    proptest! {
        /// Random inserts and removes against a map from handle to descriptor number.
        #[test]
        fn behaves_like_a_map(ops in prop::collection::vec((any::<bool>(), 0usize..16), 1..300)) {
            let mut table = Table::new(8);
            let mut model: HashMap<Handle, i32> = HashMap::new();
            let mut ended: Vec<Handle> = Vec::new();
            for (insert, pick) in ops {
                if insert {
                    let fd = descriptor();
                    let number = fd.as_raw_fd();
                    match table.insert(fd) {
                        Ok(handle) => prop_assert!(model.insert(handle, number).is_none()),
                        Err(_) => prop_assert_eq!(model.len(), 8),
                    }
                } else if let Some(&handle) = model.keys().nth(pick % model.len().max(1)) {
                    let number = model.remove(&handle);
                    prop_assert_eq!(table.remove(handle.slot).map(|fd| fd.as_raw_fd()), number);
                    ended.push(handle);
                }
                prop_assert_eq!(table.len() as usize, model.len());
                prop_assert!(table.slots() <= 8);
                for (handle, number) in &model {
                    let record = table.claim(*handle).expect("live");
                    prop_assert_eq!(record.fd().as_raw_fd(), *number);
                }
                for handle in &ended {
                    prop_assert!(table.claim(*handle).is_none(), "a stale handle was honoured");
                }
            }
        }
    }

    #[test]
    fn removing_a_vacant_slot_changes_nothing() {
        let mut table = Table::new(2);
        assert!(table.remove(0).is_none());
        let handle = table.insert(descriptor()).expect("room");
        assert!(table.remove(handle.slot).is_some());
        assert!(table.remove(handle.slot).is_none());
        assert_eq!(table.len(), 0);
    }
}
