//! Messages and their replies: sent when they are due, checked and timed when they come back.

use super::super::connection::State;
use super::{ClientThread, reason};
use crate::phase::Phase;
use crate::workload::Due;
use std::io;

/// Messages sent between two looks at what has come.
const SENDS_PER_TURN: usize = 256;

impl ClientThread<'_> {
    /// Closed loop: the first `pipeline` messages on every active connection.
    pub(super) fn fill_pipelines(&mut self) {
        if !self.agenda.fill_pipelines() {
            return;
        }
        let pipeline = self.agenda.pipeline();
        for slot in 0..self.agenda.turns.active() {
            let index = self.agenda.turns.connection(slot);
            let first = slot as usize * pipeline;
            self.sent_ns[first..first + pipeline].fill(self.stage.clock.now_ns());
            self.queue(index, pipeline as u64);
            self.send(index);
        }
    }

    /// Open loop: sends what has fallen due. Returns when the next message is due.
    pub(super) fn send_due(&mut self, now: u64) -> u64 {
        for _ in 0..SENDS_PER_TURN {
            match self.agenda.next_message(now) {
                Due::Now(slot) => {
                    let index = self.agenda.turns.connection(slot);
                    self.queue(index, 1);
                    self.send(index);
                }
                Due::At(due) => return due,
            }
        }
        now
    }

    /// Makes messages due on a connection, whether it can send them or not.
    pub(super) fn queue(&mut self, index: usize, messages: u64) {
        let connection = &mut self.connections[index];
        connection.queued += messages * self.tape.message_bytes() as u64;
        if connection.state != State::Over {
            self.agenda.outstanding += messages;
        }
    }

    /// Gives the kernel what is queued, unless the connection is about to be opened anew.
    pub(super) fn send(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if connection.state != State::Established {
            return;
        }
        match connection.send(&self.tape) {
            Ok(bytes) => self.tally.counters.bytes_sent += bytes,
            Err(error) => self.lost(index, &reason("send", &error)),
        }
    }

    pub(super) fn receive(&mut self, phase: Phase, index: usize, to_the_end: bool) {
        let message = self.tape.message_bytes() as u64;
        let connection = &mut self.connections[index];
        if !connection.reads {
            return;
        }
        let first = connection.received / message;
        let arrived = connection.receive(&self.tape, &mut self.scratch, to_the_end);
        let replies = connection.received / message - first;
        let first = connection.answered_before + first;
        self.tally.counters.bytes_received += arrived.bytes;
        self.tally.counters.wrong_bytes += arrived.wrong_bytes;
        if replies > 0 {
            self.replied(phase, index, first, replies);
        }
        let state = self.connections[index].state;
        match (arrived.end, state) {
            (None, State::AwaitsLastReply) => self.reopen_if_quiet(index),
            // Over: sending the next message has already found out.
            (None, _) | (Some(_), State::Over) => {}
            (Some(Ok(())), State::AwaitsPeerClose) => {
                self.awaiting_peer_close -= 1;
                self.closed_in_order(index);
            }
            (Some(Ok(())), _) if self.server_drains() => self.closed_in_order(index),
            (Some(end), State::AwaitsPeerClose) => {
                self.awaiting_peer_close -= 1;
                self.lost(index, &ended(&end));
            }
            (Some(end), _) => self.lost(index, &ended(&end)),
        }
    }

    /// Messages `first..first + replies` of a connection were answered.
    fn replied(&mut self, phase: Phase, index: usize, first: u64, replies: u64) {
        let Some(slot) = self.agenda.turns.slot_of(index) else {
            // A laggard's, which nobody timed.
            self.agenda.outstanding -= replies;
            self.tally.counters.messages += replies;
            return;
        };
        let now = self.stage.clock.now_ns();
        let numbers = first..first + replies;
        self.agenda
            .answered(slot, numbers, now, &mut self.sent_ns, &mut self.tally);
        if matches!(phase, Phase::Warmup | Phase::Hold) && self.agenda.pipeline() > 0 {
            self.queue(index, replies);
            self.send(index);
        }
    }
}

fn ended(end: &io::Result<()>) -> String {
    match end {
        Ok(()) => "closed by the server".to_owned(),
        Err(error) => reason("receive", error),
    }
}
