//! Closing: one at a time to open it again, all at once in a stampede, and all of them in the end.

use super::super::connection::State;
use super::ClientThread;
use crate::phase::Phase;
use crate::workload::{Due, Opening};

impl ClientThread<'_> {
    /// Closes and reopens the connections whose time has come. Returns when the next one's has.
    pub(super) fn churn_due(&mut self, now: u64) -> u64 {
        loop {
            let index = match self.agenda.next_churn(now) {
                Due::Now(Opening { index, .. }) => index,
                Due::At(due) => return due,
            };
            let message = self.tape.message_bytes() as u64;
            let connection = &mut self.connections[index];
            // Half a message under way could neither be finished nor forgotten: its turn comes again.
            if connection.state == State::Established && connection.sent.is_multiple_of(message) {
                connection.state = State::AwaitsLastReply;
                self.reopen_if_quiet(index);
            }
        }
    }

    /// Reopens a connection that waited for its last reply, once there is none missing.
    pub(super) fn reopen_if_quiet(&mut self, index: usize) {
        let connection = &self.connections[index];
        if connection.received == connection.sent {
            let now = self.stage.clock.now_ns();
            self.reopen(index, now);
        }
    }

    /// Closes a connection that is to be opened again.
    fn reopen(&mut self, index: usize, due_ns: u64) {
        let connection = &mut self.connections[index];
        connection.restart_stream(self.tape.message_bytes() as u64);
        connection.reopened = true;
        connection.drop_socket(State::AwaitsOpening);
        self.tally.counters.open -= 1;
        self.tally.counters.closed += 1;
        self.agenda.reopen(index, due_ns);
    }

    /// Half-way through the hold, drops every connection at once. Returns when that is.
    pub(super) fn stampede_due(&mut self, now: u64) -> u64 {
        let middle = match self.agenda.next_stampede(now) {
            Due::Now(middle) => middle,
            Due::At(due) => return due,
        };
        let message = self.tape.message_bytes() as u64;
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            if connection.is_open() {
                self.tally.counters.resent +=
                    connection.sent.div_ceil(message) - connection.received / message;
                self.reopen(index, middle);
            }
        }
        u64::MAX
    }

    /// Sends our FIN on all connections, unless the server is to send its own first; gives up what is not open.
    pub(super) fn close_all(&mut self) {
        if !self.done.pending(Phase::Close) || self.awaiting_peer_close > 0 {
            return;
        }
        self.agenda.stop_opening();
        let server_closes = self.plan.settings.workload.server_closes();
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            if connection.is_open() {
                if !server_closes {
                    connection.finish_sending();
                    self.awaiting_peer_close += 1;
                }
            } else if connection.state == State::AwaitsHandshake {
                connection.drop_socket(State::Over);
                self.agenda.handshake_over();
            }
        }
    }
}
