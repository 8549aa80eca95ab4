//! What each event means for the connection that it is about.

use super::WorkerLoop;
use crate::buffers::Outgoing;
use crate::connection::Connection;
use crate::driver::{Data, Driver};
use crate::lifecycle::{CloseReason, Phase};
use crate::service::Service;
use crate::sys::socket;
use crate::table::{Flags, NONE};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

impl<S: Service, D: Driver> WorkerLoop<S, D> {
    pub(super) fn accepted(&mut self, listener: u8, socket: OwnedFd) {
        if let Some(listener) = self.driver.listeners().get_mut(usize::from(listener)) {
            listener.accepted();
        }
        let slot = match self.held.insert(socket) {
            Ok(slot) => slot,
            Err(socket) => {
                self.held.stats.refused_at_capacity.add(1);
                // A reset says at once what a silent close would leave the peer to find out.
                let _ = socket::reset(socket.as_fd());
                self.driver.close(socket);
                return;
            }
        };
        if let Err(error) = self.driver.open(&mut self.held.table, slot) {
            self.fail(slot, CloseReason::of_error(&error));
            return;
        }
        self.call(slot, S::open);
        if self.drain_was_forced() {
            self.cut_off(slot);
        } else if self.drain.is_some() {
            self.held.begin_close(slot, CloseReason::Drained);
        }
        self.driver.read(&mut self.held.table, slot);
    }

    pub(super) fn accept_stopped(
        &mut self,
        listener: u8,
        error: Option<io::Error>,
        now: Instant,
    ) -> io::Result<()> {
        let index = usize::from(listener);
        let stopped = self.driver.listeners().len() <= index;
        let stats = &self.held.stats;
        match error.and_then(|error| error.raw_os_error()) {
            _ if stopped => return Ok(()),
            None | Some(libc::ECONNABORTED | libc::EPROTO | libc::EINTR) => {
                stats.accept_failed.add(1);
                return self.driver.accept(listener);
            }
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                stats.accept_exhausted.add(1);
            }
            Some(_) => stats.accept_failed.add(1),
        }
        self.driver.listeners()[index].pause(now);
        Ok(())
    }

    pub(super) fn data(&mut self, slot: u32, data: Data) {
        let bytes = self.driver.bytes(&data);
        self.held.stats.reads.add(1);
        self.held.stats.bytes_in.add(bytes.len() as u64);
        self.held.touch(slot);
        let record = &mut self.held.table[slot];
        let took_data = record.takes_data();
        if took_data && record.carry == NONE {
            if let Some(handle) = self.held.table.handle(slot) {
                let mut connection = Connection::new(&mut self.held, handle);
                let consumed = self.service.data(&mut connection, bytes);
                self.held.keep(slot, &bytes[consumed.min(bytes.len())..]);
            }
        } else if record.phase == Phase::Open {
            self.held.carry(slot, bytes);
            if took_data {
                self.offer_carry(slot);
            } else {
                self.held.table[slot].flags.insert(Flags::HELD_BACK);
            }
        }
        self.driver.give_back(data);
        if self.held.table[slot].wants_data() {
            self.driver.read(&mut self.held.table, slot);
        } else {
            self.driver.pause(&mut self.held.table, slot);
        }
    }

    /// Shows the service all that it has not consumed.
    pub(super) fn offer_carry(&mut self, slot: u32) {
        let Some(handle) = self.held.table.handle(slot) else {
            return;
        };
        self.held.table[slot].flags.remove(Flags::HELD_BACK);
        let mut carry = self.held.take_carry(slot);
        let mut connection = Connection::new(&mut self.held, handle);
        let consumed = self.service.data(&mut connection, &carry);
        carry.drain(..consumed.min(carry.len()));
        self.held.restore_carry(slot, carry);
        self.held.check_carry(slot);
    }

    pub(super) fn ended(&mut self, slot: u32) {
        self.held.table[slot].flags.insert(Flags::PEER_ENDED);
        self.held.mark_dirty(slot);
    }

    /// Tells the service that the peer has finished, once it was shown all that came before.
    pub(super) fn tell_end_if_due(&mut self, slot: u32) {
        const NOT_YET: Flags = Flags::HELD_BACK.union(Flags::PAUSED);
        let record = &mut self.held.table[slot];
        let is_due = record.phase == Phase::Open && record.flags.has_any(Flags::PEER_ENDED);
        if is_due && !record.flags.has_any(NOT_YET.union(Flags::END_TOLD)) {
            record.flags.insert(Flags::END_TOLD);
            self.call(slot, S::end);
        }
    }

    pub(super) fn sent(&mut self, slot: u32, mut outgoing: Outgoing, result: io::Result<usize>) {
        let held = &mut self.held;
        let record = &mut held.table[slot];
        if record.phase == Phase::Releasing {
            held.pool.give_back(outgoing.bytes);
            if self.driver.release(&mut held.table, slot) {
                self.finish(slot);
            }
            return;
        }
        let mut refused = None;
        match result {
            Ok(len) => {
                outgoing.advance(len);
                held.stats.sends.add(1);
                held.stats.bytes_out.add(len as u64);
            }
            Err(error) => refused = (error.kind() != io::ErrorKind::WouldBlock).then_some(error),
        }
        let blocked = !outgoing.is_empty();
        let key = record.outbox;
        let outbox = held
            .outboxes
            .get_mut(key)
            .expect("what was sent came from an outbox");
        outbox.restore(outgoing);
        if let Some(error) = refused {
            self.fail(slot, CloseReason::of_error(&error));
            return;
        }
        if blocked {
            self.block(slot);
        } else if outbox.is_empty() {
            held.drop_outbox(slot);
            held.touch(slot);
        } else {
            held.mark_dirty(slot);
        }
        self.relieve(slot);
    }

    /// The socket has no room: waits for it, but not for ever.
    fn block(&mut self, slot: u32) {
        self.held.stats.sends_blocked.add(1);
        self.held.table[slot].flags.insert(Flags::BLOCKED);
        self.held.urgent(slot, self.held.config.write_stall_timeout);
        self.driver.await_writable(&mut self.held.table, slot);
    }

    pub(super) fn writable(&mut self, slot: u32) {
        self.held.table[slot].flags.remove(Flags::BLOCKED);
        self.held.not_urgent(slot);
        self.held.touch(slot);
        self.held.mark_dirty(slot);
    }

    /// Ends congestion when the outbox is low enough, and draws what follows from less being queued.
    fn relieve(&mut self, slot: u32) {
        let record = &mut self.held.table[slot];
        if record.phase != Phase::Open || record.flags.has_any(Flags::FINISH) {
            self.held.mark_dirty(slot);
        }
        let congested = self.held.table[slot].flags.has_any(Flags::CONGESTED);
        if congested && self.held.queued_bytes(slot) <= self.held.config.outbox_low_bytes {
            self.held.table[slot].flags.remove(Flags::CONGESTED);
            self.held.mark_dirty(slot);
            if self.held.table[slot].phase == Phase::Open {
                self.call(slot, S::writable);
            }
        }
    }

    /// The time of this connection's deadline has come.
    pub(super) fn expired(&mut self, slot: u32) {
        let record = &self.held.table[slot];
        match record.phase {
            _ if record.flags.has_any(Flags::BLOCKED) => {
                self.held.begin_abort(slot, CloseReason::WriteStalled);
            }
            Phase::Open => self.held.begin_close(slot, CloseReason::IdleTimeout),
            Phase::Flushing | Phase::Lingering => self.let_go(slot),
            Phase::Releasing => {}
        }
    }

    fn call(&mut self, slot: u32, method: fn(&mut S, &mut Connection<'_, S>)) {
        if let Some(handle) = self.held.table.handle(slot) {
            method(
                &mut self.service,
                &mut Connection::new(&mut self.held, handle),
            );
        }
    }
}
