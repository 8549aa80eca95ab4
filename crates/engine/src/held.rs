//! What one worker holds, apart from its driver and its service: connections and what belongs to them.

use crate::buffers::Pool;
use crate::config::Config;
use crate::connection::ConnectionId;
use crate::deadlines::Deadlines;
use crate::lifecycle::{CloseReason, Phase};
use crate::limits;
use crate::mailbox::{Full, Mailbox};
use crate::outbox::Outbox;
use crate::service::Service;
use crate::slab::Slab;
use crate::stats::WorkerStats;
use crate::table::{Flags, NONE, Table};
use crate::token::Handle;
use std::os::fd::OwnedFd;
use std::sync::Arc;

pub(crate) struct Held<S: Service> {
    pub(crate) worker: u16,
    pub(crate) config: Arc<Config>,
    pub(crate) table: Table,
    /// The service's own, by slot.
    pub(crate) states: Vec<S::State>,
    pub(crate) outboxes: Slab<Outbox>,
    /// Bytes that services have not consumed.
    pub(crate) carries: Slab<Vec<u8>>,
    pub(crate) pool: Pool,
    /// Slots to settle before the next wait.
    pub(crate) dirty: Vec<u32>,
    pub(crate) deadlines: Deadlines,
    pub(crate) mailboxes: Arc<[Mailbox<S::Message>]>,
    pub(crate) stats: Arc<WorkerStats>,
}

impl<S: Service> Held<S> {
    pub(crate) fn new(
        worker: u16,
        config: Arc<Config>,
        mailboxes: Arc<[Mailbox<S::Message>]>,
        stats: Arc<WorkerStats>,
    ) -> Self {
        Self {
            worker,
            table: Table::new(config.connections_per_worker),
            states: Vec::with_capacity(if size_of::<S::State>() == 0 {
                0
            } else {
                config.connections_per_worker as usize
            }),
            outboxes: Slab::new(),
            carries: Slab::new(),
            pool: Pool::new(limits::POOL_BYTES),
            dirty: Vec::new(),
            deadlines: Deadlines::new(std::time::Instant::now(), config.idle_timeout),
            mailboxes,
            stats,
            config,
        }
    }

    pub(crate) fn id(&self, handle: Handle) -> ConnectionId {
        ConnectionId {
            worker: self.worker,
            handle,
        }
    }

    /// Sends a message to a worker, if there is such a one and its mailbox has room.
    pub(crate) fn post(&self, worker: usize, message: S::Message) -> Result<(), Full<S::Message>> {
        match self.mailboxes.get(worker) {
            Some(mailbox) => mailbox.post(message),
            None => Err(Full(message)),
        }
    }

    /// Takes a connection in; a full table hands it back.
    pub(crate) fn insert(&mut self, socket: OwnedFd) -> Result<u32, OwnedFd> {
        let slot = self.table.insert(socket)?.slot;
        match self.states.get_mut(slot as usize) {
            Some(state) => *state = S::State::default(),
            None => self.states.push(S::State::default()),
        }
        self.stats.opened.add(1);
        self.stats.live.set(u64::from(self.table.len()));
        self.touch(slot);
        Ok(slot)
    }

    /// Frees a slot and everything that belongs to it.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Removed<S::State>> {
        let handle = self.table.handle(slot)?;
        self.drop_outbox(slot);
        self.drop_carry(slot);
        self.not_urgent(slot);
        let reason = self.table[slot].reason;
        let state = std::mem::take(&mut self.states[slot as usize]);
        let socket = self.table.remove(slot)?;
        self.stats.closed[reason as usize].add(1);
        self.stats.live.set(u64::from(self.table.len()));
        Some(Removed {
            id: self.id(handle),
            socket,
            state,
            reason,
        })
    }

    /// Unsent bytes of a connection.
    pub(crate) fn queued_bytes(&self, slot: u32) -> usize {
        self.outboxes
            .get(self.table[slot].outbox)
            .map_or(0, Outbox::queued_bytes)
    }

    /// Appends to the outbox; the caller has checked the limit.
    pub(crate) fn push(&mut self, slot: u32, bytes: &[u8]) {
        let record = &mut self.table[slot];
        if record.outbox == NONE {
            record.outbox = self.outboxes.insert(Outbox::new());
        }
        let outbox = self
            .outboxes
            .get_mut(record.outbox)
            .expect("the record has its key");
        outbox.push(bytes, &mut self.pool);
        if outbox.queued_bytes() > self.config.outbox_high_bytes {
            self.congest(slot);
        }
        self.mark_dirty(slot);
    }

    /// Notes that a send found no room, whatever the water marks say: whoever was told so is told when
    /// there is. A send that fits no empty outbox never will, and nothing would end its congestion.
    pub(crate) fn congest_if_queued(&mut self, slot: u32) {
        if self.queued_bytes(slot) > 0 {
            self.congest(slot);
        }
    }

    fn congest(&mut self, slot: u32) {
        let record = &mut self.table[slot];
        if !record.flags.has_any(Flags::CONGESTED) {
            record.flags.insert(Flags::CONGESTED);
            self.stats.congested.add(1);
        }
    }

    /// Has the connection settled before the next wait: bytes sent, phase advanced, reading resumed.
    pub(crate) fn mark_dirty(&mut self, slot: u32) {
        let record = &mut self.table[slot];
        if !record.flags.has_any(Flags::DIRTY) {
            record.flags.insert(Flags::DIRTY);
            self.dirty.push(slot);
        }
    }

    pub(crate) fn drop_outbox(&mut self, slot: u32) {
        let key = std::mem::replace(&mut self.table[slot].outbox, NONE);
        if let Some(outbox) = self.outboxes.remove(key) {
            outbox.recycle(&mut self.pool);
        }
    }

    pub(crate) fn drop_carry(&mut self, slot: u32) {
        let carry = self.take_carry(slot);
        self.pool.give_back(carry);
    }

    /// Keeps bytes for later, behind those that are kept already.
    pub(crate) fn carry(&mut self, slot: u32, bytes: &[u8]) {
        let record = &mut self.table[slot];
        if record.carry == NONE {
            record.carry = self.carries.insert(self.pool.take());
        }
        let carry = self
            .carries
            .get_mut(record.carry)
            .expect("the record has its key");
        carry.extend_from_slice(bytes);
    }

    /// Takes what is kept, to look at it; empty if there is nothing.
    pub(crate) fn take_carry(&mut self, slot: u32) -> Vec<u8> {
        let key = std::mem::replace(&mut self.table[slot].carry, NONE);
        self.carries.remove(key).unwrap_or_default()
    }

    /// Keeps what is left of it.
    pub(crate) fn restore_carry(&mut self, slot: u32, carry: Vec<u8>) {
        if carry.is_empty() || self.table[slot].phase != Phase::Open {
            self.pool.give_back(carry);
        } else {
            self.table[slot].carry = self.carries.insert(carry);
        }
    }

    /// Keeps what a service has left of fresh bytes.
    pub(crate) fn keep(&mut self, slot: u32, rest: &[u8]) {
        if !rest.is_empty() && self.table[slot].phase == Phase::Open {
            self.carry(slot, rest);
            self.check_carry(slot);
        }
    }

    /// A rest is shown again after a pause; without one, it must not exceed its limit.
    pub(crate) fn check_carry(&mut self, slot: u32) {
        let record = &mut self.table[slot];
        if record.carry == NONE {
            return;
        }
        if !record.takes_data() {
            record.flags.insert(Flags::HELD_BACK);
        } else if self.carries.get(record.carry).map_or(0, Vec::len) > self.config.carry_limit_bytes
        {
            self.begin_close(slot, CloseReason::CarryLimit);
        }
    }

    /// Notes activity: an idle deadline moves on; a stalled write's does not.
    pub(crate) fn touch(&mut self, slot: u32) {
        let record = &mut self.table[slot];
        if record.phase == Phase::Open && !record.flags.has_any(Flags::BLOCKED) {
            let idle = self.config.idle_timeout;
            record.deadline = idle.map_or(NONE, |idle| self.deadlines.after(idle));
        }
    }

    /// Sets a near deadline.
    pub(crate) fn urgent(&mut self, slot: u32, after: std::time::Duration) {
        let deadline = self.deadlines.after(after);
        let record = &mut self.table[slot];
        record.deadline = deadline;
        if !record.flags.has_any(Flags::URGENT) {
            record.flags.insert(Flags::URGENT);
            self.deadlines.add_urgent();
        }
    }

    pub(crate) fn not_urgent(&mut self, slot: u32) {
        let record = &mut self.table[slot];
        if record.flags.has_any(Flags::URGENT) {
            record.flags.remove(Flags::URGENT);
            self.deadlines.remove_urgent();
        }
    }

    /// Decides that a connection ends, gracefully. The first reason stands.
    pub(crate) fn begin_close(&mut self, slot: u32, reason: CloseReason) {
        let record = &mut self.table[slot];
        if record.phase == Phase::Open {
            record.phase = Phase::Flushing;
            record.reason = reason;
            self.drop_carry(slot);
            self.mark_dirty(slot);
        }
    }

    /// Decides that a connection is cut off. The first reason stands.
    pub(crate) fn begin_abort(&mut self, slot: u32, reason: CloseReason) {
        let record = &mut self.table[slot];
        if record.phase == Phase::Open {
            record.reason = reason;
        }
        if record.phase != Phase::Releasing {
            record.phase = Phase::Flushing;
            record.flags.insert(Flags::ABORT);
            record.flags.remove(Flags::BLOCKED);
            self.drop_carry(slot);
            self.mark_dirty(slot);
        }
    }
}

/// What is left of a connection.
pub(crate) struct Removed<T> {
    pub(crate) id: ConnectionId,
    pub(crate) socket: OwnedFd,
    pub(crate) state: T,
    pub(crate) reason: CloseReason,
}
