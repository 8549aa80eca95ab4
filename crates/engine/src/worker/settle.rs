//! Drawing the consequences: what a connection's record says is made so.

use super::WorkerLoop;
use crate::driver::{Driver, Sending};
use crate::lifecycle::{CloseReason, Phase};
use crate::service::Service;
use crate::sys::socket;
use crate::table::{Flags, NONE};
use socket2::SockRef;
use std::net::Shutdown;

impl<S: Service, D: Driver> WorkerLoop<S, D> {
    /// Settles every connection that an event, a message or a deadline has changed.
    pub(super) fn settle_dirty(&mut self) {
        // Settling one may mark it, or others, again: they are appended and met in the same pass.
        let mut next = 0;
        while let Some(&slot) = self.held.dirty.get(next) {
            next += 1;
            self.settle(slot);
        }
        self.held.dirty.clear();
    }

    fn settle(&mut self, slot: u32) {
        let Some(record) = self.held.table.get_mut(slot) else {
            return;
        };
        if !record.flags.has_any(Flags::DIRTY) {
            return;
        }
        record.flags.remove(Flags::DIRTY);
        if record.phase == Phase::Releasing {
            return;
        }
        if record.flags.has_any(Flags::ABORT) {
            self.cut(slot);
            return;
        }
        self.offer_held_back(slot);
        self.tell_end_if_due(slot);
        self.send(slot);
        // A send that failed has ended the connection.
        if self
            .held
            .table
            .get_mut(slot)
            .is_none_or(|record| record.phase == Phase::Releasing)
        {
            return;
        }
        if self.held.table[slot].outbox == NONE && self.advance(slot) {
            return;
        }
        self.driver.read(&mut self.held.table, slot);
    }

    /// Shows the service what it could not take before.
    fn offer_held_back(&mut self, slot: u32) {
        let record = &self.held.table[slot];
        if record.flags.has_any(Flags::HELD_BACK) && record.takes_data() {
            self.offer_carry(slot);
        }
    }

    fn send(&mut self, slot: u32) {
        let record = &self.held.table[slot];
        if record.flags.has_any(Flags::BLOCKED) {
            return;
        }
        let Some(outbox) = self.held.outboxes.get_mut(record.outbox) else {
            return;
        };
        let Some(outgoing) = outbox.lend(&mut self.held.pool) else {
            return;
        };
        match self.driver.send(&mut self.held.table, slot, outgoing) {
            Sending::Pending => {}
            Sending::Done(outgoing, result) => self.sent(slot, outgoing, result),
        }
    }

    /// Goes on to the next phase of closing, now that nothing is left to send; true when it is over.
    fn advance(&mut self, slot: u32) -> bool {
        let record = &mut self.held.table[slot];
        let closing = record.phase != Phase::Open;
        if closing && record.flags.has_any(Flags::PEER_ENDED) {
            self.let_go(slot);
            return true;
        }
        let wants_end = closing || record.flags.has_any(Flags::FINISH);
        if wants_end && !record.flags.has_any(Flags::ENDED) {
            record.flags.insert(Flags::ENDED);
            // Fails only if the peer has reset the connection, which the next read reports.
            let _ = SockRef::from(&record.fd()).shutdown(Shutdown::Write);
        }
        if record.phase == Phase::Flushing {
            record.phase = Phase::Lingering;
            self.held.urgent(slot, self.held.config.linger_timeout);
        }
        false
    }

    /// Ends a connection whose socket has failed.
    pub(super) fn fail(&mut self, slot: u32, reason: CloseReason) {
        let record = &mut self.held.table[slot];
        if record.phase == Phase::Open {
            record.reason = reason;
        }
        self.let_go(slot);
    }

    /// Ends a connection with a reset.
    fn cut(&mut self, slot: u32) {
        // Fails only on a socket that is no longer connected.
        let _ = socket::reset(self.held.table[slot].fd());
        self.let_go(slot);
    }

    /// Ends a connection for good: as soon as the kernel holds nothing of it, its slot is free.
    pub(super) fn let_go(&mut self, slot: u32) {
        let record = &mut self.held.table[slot];
        if record.phase == Phase::Releasing {
            return;
        }
        record.phase = Phase::Releasing;
        record.deadline = NONE;
        self.held.not_urgent(slot);
        if self.driver.release(&mut self.held.table, slot) {
            self.finish(slot);
        } else {
            // Completes what is pending: closing the descriptor would not, requests pin the file.
            let _ = SockRef::from(&self.held.table[slot].fd()).shutdown(Shutdown::Both);
        }
    }

    /// Frees the slot, closes the descriptor and tells the service.
    pub(super) fn finish(&mut self, slot: u32) {
        if let Some(removed) = self.held.remove(slot) {
            self.driver.close(removed.socket);
            self.service
                .closed(removed.id, removed.state, removed.reason);
        }
    }
}
