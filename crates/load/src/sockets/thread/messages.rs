//! Messages and their replies: sent when they are due, checked and timed when they come back.

use super::super::connection::State;
use super::{ClientThread, reason};
use crate::phase::Phase;
use crate::workload::Traffic;
use std::io;

/// Messages sent between two looks at what has come.
const SENDS_PER_TURN: usize = 256;

impl ClientThread<'_> {
    /// Closed loop: the first `pipeline` messages on every active connection.
    pub(super) fn fill_pipelines(&mut self) {
        let Traffic::ClosedLoop { pipeline } = self.plan.settings.workload.traffic else {
            return;
        };
        if std::mem::replace(&mut self.pipeline_filled, true) {
            return;
        }
        for slot in 0..self.turns.active() {
            let index = self.turns.connection(slot);
            let first = slot as usize * pipeline;
            self.sent_ns[first..first + pipeline].fill(self.stage.clock.now_ns());
            self.queue(index, pipeline as u64);
            self.send(index);
        }
    }

    /// Open loop: sends what has fallen due. Returns when the next message is due.
    pub(super) fn send_due(&mut self, now: u64) -> u64 {
        let Some(arrivals) = self.arrivals else {
            return u64::MAX;
        };
        for _ in 0..SENDS_PER_TURN {
            let due = self
                .times
                .from_ns
                .saturating_add(arrivals.due_ns(self.arrived));
            if due >= self.times.until_ns {
                return u64::MAX;
            }
            if due > now {
                return due;
            }
            let index = self.turns.connection(self.turns.slot(self.arrived));
            self.arrived += 1;
            self.queue(index, 1);
            self.send(index);
        }
        now
    }

    /// Makes messages due on a connection, whether it can send them or not.
    pub(super) fn queue(&mut self, index: usize, messages: u64) {
        let connection = &mut self.connections[index];
        connection.queued += messages * self.tape.message_bytes() as u64;
        if connection.state != State::Over {
            self.outstanding += messages;
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
                self.tally.counters.open -= 1;
                self.tally.counters.closed += 1;
                self.give_up(index);
            }
            (Some(end), State::AwaitsPeerClose) => {
                self.awaiting_peer_close -= 1;
                self.lost(index, &ended(&end));
            }
            (Some(end), _) => self.lost(index, &ended(&end)),
        }
    }

    /// Messages `first..first + replies` of a connection were answered.
    fn replied(&mut self, phase: Phase, index: usize, first: u64, replies: u64) {
        let now = self.stage.clock.now_ns();
        let slot = self
            .turns
            .slot_of(index)
            .expect("only active connections have been sent messages");
        self.outstanding -= replies;
        self.tally.counters.messages += replies;
        for number in first..first + replies {
            let began = match (self.plan.settings.workload.traffic, &self.arrivals) {
                (Traffic::ClosedLoop { pipeline }, _) => {
                    let at = slot as usize * pipeline + (number % pipeline as u64) as usize;
                    // The message that takes this one's place is sent now.
                    std::mem::replace(&mut self.sent_ns[at], now)
                }
                (_, Some(arrivals)) => {
                    self.times.from_ns + arrivals.due_ns(self.turns.number(slot, number))
                }
                (_, None) => continue,
            };
            if began >= self.times.record_from_ns {
                self.tally.counters.measured_messages += 1;
                self.tally
                    .latency_ns
                    .saturating_record(now.saturating_sub(began));
            }
        }
        let goes_on = matches!(phase, Phase::Warmup | Phase::Hold);
        if goes_on
            && matches!(
                self.plan.settings.workload.traffic,
                Traffic::ClosedLoop { .. }
            )
        {
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
