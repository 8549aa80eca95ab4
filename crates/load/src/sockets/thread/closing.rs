//! Closing: one at a time to open it again, all at once in a stampede, and all of them in the end.

use super::super::connection::State;
use super::ClientThread;
use crate::phase::Phase;

impl ClientThread<'_> {
    /// Closes and reopens the connections whose time has come. Returns when the next one's has.
    pub(super) fn churn_due(&mut self, now: u64) -> u64 {
        let Some(churn) = self.churn else {
            return u64::MAX;
        };
        loop {
            let due = self
                .times
                .from_ns
                .saturating_add(churn.due_ns(self.churned));
            if due > now {
                return due;
            }
            let index = (self.churned % self.connections.len() as u64) as usize;
            self.churned += 1;
            let connection = &mut self.connections[index];
            // Half a message under way could neither be finished nor forgotten: its turn comes again.
            let whole = connection
                .sent
                .is_multiple_of(self.tape.message_bytes() as u64);
            if connection.state == State::Established && whole {
                connection.due_ns = due;
                connection.state = State::AwaitsLastReply;
                self.reopen_if_quiet(index);
            }
        }
    }

    /// Reopens a connection that waited for its last reply, once there is none missing.
    pub(super) fn reopen_if_quiet(&mut self, index: usize) {
        let connection = &self.connections[index];
        if connection.received == connection.sent {
            self.reopen_later(index);
        }
    }

    fn reopen_later(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.restart_stream(self.tape.message_bytes() as u64);
        connection.reopened = true;
        connection.drop_socket(State::AwaitsOpening);
        self.tally.counters.open -= 1;
        self.tally.counters.closed += 1;
        self.reopen.push_back(index as u32);
    }

    /// Half-way through the hold, drops every connection at once. Returns when that is.
    pub(super) fn stampede_due(&mut self, now: u64) -> u64 {
        let middle = self.times.record_from_ns.midpoint(self.times.until_ns);
        if self.stampeded || now < middle {
            return if self.stampeded { u64::MAX } else { middle };
        }
        self.stampeded = true;
        let message = self.tape.message_bytes() as u64;
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            if connection.is_open() {
                self.tally.counters.resent +=
                    connection.sent.div_ceil(message) - connection.received / message;
                connection.due_ns = middle;
                self.reopen_later(index);
            }
        }
        u64::MAX
    }

    /// Sends our FIN on all connections; gives up what is not open.
    pub(super) fn close_all(&mut self) {
        if !self.done.pending(Phase::Close) || self.awaiting_peer_close > 0 {
            return;
        }
        self.opened = self.connections.len();
        self.reopen.clear();
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            if connection.is_open() {
                connection.finish_sending();
                self.awaiting_peer_close += 1;
            } else if connection.state == State::AwaitsHandshake {
                connection.drop_socket(State::Over);
                self.handshakes_in_flight -= 1;
            }
        }
    }
}
