//! Closing: one at a time to open it again, all at once in a stampede, and all of them in the end.

use super::super::connection::State;
use super::ClientThread;
use crate::phase::Phase;
use crate::workload::{Due, Opening};

/// Connections reset between two looks at what has come.
const RESETS_PER_TURN: usize = 64;

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
        self.leave(index);
        self.tally.counters.closed += 1;
        self.agenda.reopen(index, due_ns);
    }

    /// Forgets an open connection that will be opened again: what was not answered on it is sent again then.
    pub(super) fn leave(&mut self, index: usize) {
        let message = self.tape.message_bytes() as u64;
        let connection = &mut self.connections[index];
        let counters = &mut self.tally.counters;
        counters.resent += connection.sent.div_ceil(message) - connection.received / message;
        counters.open -= 1;
        self.restart(index);
    }

    /// Puts a connection where it waits to be opened again.
    pub(super) fn restart(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.restart_stream(self.tape.message_bytes() as u64);
        connection.reopened = true;
        connection.drop_socket(State::AwaitsOpening);
    }

    /// Resets the connections of a stampede when its time has come. Returns when that is.
    pub(super) fn stampede_due(&mut self, now: u64) -> u64 {
        for _ in 0..RESETS_PER_TURN {
            let index = match self.agenda.next_reset(now) {
                Due::Now(index) => index,
                Due::At(due) => return due,
            };
            if self.connections[index].is_open() {
                self.connections[index].reset();
                self.leave(index);
                self.tally.counters.closed += 1;
                self.agenda.stampedes(index, &mut self.tally);
            }
        }
        now
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
