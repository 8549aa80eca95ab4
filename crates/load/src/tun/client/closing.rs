//! Closing: one at a time to open it again, all at once in a stampede, and all of them in the end.

use super::super::record::{Flight, State};
use super::{Client, PER_TURN_WITH_TRAFFIC};
use crate::workload::{Due, Opening};

/// Connections being closed at once: more, and the server's kernel would have more orphans than it allows.
const CLOSING_MAX: usize = 2048;
/// Closes begun between two looks at what has come.
const CLOSES_PER_TURN: usize = 256;

impl Client<'_> {
    /// Closes and reopens the connections whose time has come. Returns when the next one's has.
    pub(super) fn churn_due(&mut self, now: u64) -> u64 {
        loop {
            let index = match self.agenda.next_churn(now) {
                Due::Now(Opening { index, .. }) => index as u32,
                Due::At(due) => return due,
            };
            let record = &mut self.records[index as usize];
            if record.state() == State::Established {
                record.set_state(State::AwaitsLastReply);
                self.send(index, now);
                self.close_if_quiet(index, now);
            }
        }
    }

    /// Begins to close a connection that waited for its last reply, once there is none missing.
    pub(super) fn close_if_quiet(&mut self, index: u32, now: u64) {
        let record = &self.records[index as usize];
        let quiet = record.received == record.acked
            && self
                .flights
                .get(&index)
                .is_none_or(|flight| flight.high == record.acked);
        if record.state() == State::AwaitsLastReply && quiet {
            self.finish_sending(index, State::AwaitsReopening, now);
        }
    }

    fn finish_sending(&mut self, index: u32, state: State, now: u64) {
        let record = &mut self.records[index as usize];
        record.set_state(state);
        let mut flight = self
            .flights
            .get(&index)
            .copied()
            .unwrap_or_else(|| Flight::of(record));
        flight.fin_at = Some(flight.high);
        self.transmit(index, flight, now);
    }

    /// Puts a connection that the run itself has closed where it will be opened again.
    pub(super) fn reopen(&mut self, index: u32, due_ns: u64) {
        self.restart(index);
        self.agenda.reopen(index as usize, due_ns);
    }

    /// Begins the next generation of a connection.
    pub(super) fn restart(&mut self, index: u32) {
        self.flights.remove(&index);
        let message = self.message_bytes();
        self.records[index as usize].restart(message);
    }

    /// Resets the connections of a stampede when its time has come. Returns when that is.
    pub(super) fn stampede_due(&mut self, now: u64) -> u64 {
        for _ in 0..PER_TURN_WITH_TRAFFIC {
            let index = match self.agenda.next_reset(now) {
                Due::Now(index) => index as u32,
                Due::At(due) => return due,
            };
            if self.records[index as usize].state().is_open() {
                self.send_reset(index);
                self.leave(index);
                self.tally.counters.closed += 1;
                self.agenda.stampedes(index as usize, &mut self.tally);
            }
        }
        now
    }

    /// Forgets an open connection that will be opened again: what was not answered on it is sent again then.
    pub(super) fn leave(&mut self, index: u32) {
        let message = self.message_bytes();
        let record = &self.records[index as usize];
        let flight = self.flights.get(&index);
        let high = flight.map_or(record.acked, |flight| flight.high);
        let counters = &mut self.tally.counters;
        counters.resent += u64::from(high.div_ceil(message) - record.received / message);
        counters.open -= 1;
        self.restart(index);
    }

    /// The server has ended a connection, though nobody asked it to. True if it sheds one that came back in a
    /// stampede: that one will come back again.
    pub(super) fn is_shed(&mut self, index: u32, why: &str, now: u64) -> bool {
        let tally = &mut self.tally;
        let record = &self.records[index as usize];
        let unanswered = record.state().is_open() && record.received == 0;
        unanswered && self.agenda.is_shed(index as usize, why, now, tally)
    }

    /// Closes the connections in turn, or lets the server do it; gives up what is not open.
    pub(super) fn close_due(&mut self, now: u64) {
        if self.closing == 0 {
            self.agenda.stop_opening();
            if self.plan.settings.workload.server_closes() {
                self.closing = self.records.len() as u32;
                self.give_up_handshakes();
            }
        }
        for _ in 0..CLOSES_PER_TURN {
            if self.closing as usize == self.records.len()
                || self.awaiting_peer_close >= CLOSING_MAX
            {
                return;
            }
            let index = self.closing;
            self.closing += 1;
            match self.records[index as usize].state() {
                State::Established | State::AwaitsLastReply => {
                    self.awaiting_peer_close += 1;
                    self.finish_sending(index, State::AwaitsPeerClose, now);
                }
                // Its FIN is out already; only what follows is different.
                State::AwaitsReopening => {
                    self.awaiting_peer_close += 1;
                    self.records[index as usize].set_state(State::AwaitsPeerClose);
                }
                State::AwaitsHandshake => self.give_up_handshake(index),
                _ => {}
            }
        }
    }

    fn give_up_handshakes(&mut self) {
        let begun = |index: &u32| self.records[*index as usize].state() == State::AwaitsHandshake;
        let begun: Vec<u32> = self.flights.keys().copied().filter(begun).collect();
        for index in begun {
            self.give_up_handshake(index);
        }
    }

    fn give_up_handshake(&mut self, index: u32) {
        self.agenda.handshake_over();
        self.send_reset(index);
        self.give_up(index);
    }

    /// The server has closed its side of an open connection: we close ours, in the segment that acknowledges it.
    pub(super) fn follow(&mut self, index: u32, now: u64) {
        const CLOSED: &str = "closed by the server";
        if self.is_shed(index, CLOSED, now) {
            self.send_reset(index);
            return self.leave(index);
        }
        self.records[index as usize].received += 1;
        let record = &self.records[index as usize];
        let mut flight = self
            .flights
            .get(&index)
            .copied()
            .unwrap_or_else(|| Flight::of(record));
        flight.fin_at = Some(flight.high);
        if self.server_drains() {
            self.closed_in_order(index);
        } else {
            self.lost(index, CLOSED);
        }
        let record = &mut self.records[index as usize];
        record.set_state(State::AwaitsCloseAck);
        record.set_owes_ack(true);
        self.transmit(index, flight, now);
        if self.records[index as usize].owes_ack() {
            self.send_ack(index);
        }
    }

    /// Both sides have closed, as one of them was asked to.
    pub(super) fn closed_in_order(&mut self, index: u32) {
        self.tally.counters.open -= 1;
        self.tally.counters.closed += 1;
        self.agenda.outstanding -= self.outstanding(index);
    }

    /// The server has closed, dropped or forgotten a connection.
    pub(super) fn lost(&mut self, index: u32, why: &str) {
        match self.records[index as usize].state() {
            // Its end was already counted: only its last acknowledgement is missing.
            State::AwaitsCloseAck => {
                self.flights.remove(&index);
                self.records[index as usize].set_state(State::Gone);
                return;
            }
            State::AwaitsPeerClose => self.awaiting_peer_close -= 1,
            _ => {}
        }
        let cut_off = self.server_drains();
        let counters = &mut self.tally.counters;
        *(if cut_off {
            &mut counters.cut_off
        } else {
            &mut counters.lost
        }) += 1;
        counters.open -= 1;
        self.tally.because(why);
        self.give_up(index);
    }
}
