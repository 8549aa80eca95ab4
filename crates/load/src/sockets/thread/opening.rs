//! Handshakes: begun when the ramp allows, counted when they are over, given up when they take too long.

use super::super::connection::State;
use super::{ClientThread, reason};

/// Handshakes begun between two looks at what has come.
const OPENS_PER_TURN: usize = 256;

impl ClientThread<'_> {
    /// Begins the handshakes that are due. Returns when the next is.
    pub(super) fn open_due(&mut self, now: u64) -> u64 {
        // The ramp is for the way up; what is opened again is bounded by the handshakes in flight alone.
        let mut fresh = self
            .ramp
            .allowance(now, self.opened, self.handshakes_in_flight);
        fresh = fresh.min(self.connections.len() - self.opened);
        let again = self
            .ramp
            .room(self.handshakes_in_flight + fresh)
            .min(self.reopen.len());
        let this_turn = (fresh + again).min(OPENS_PER_TURN);
        for turn in 0..this_turn {
            let index = if turn < fresh {
                self.opened += 1;
                self.connections[self.opened - 1].due_ns = self.stage.clock.now_ns();
                self.opened - 1
            } else {
                self.reopen.pop_front().expect("counted above") as usize
            };
            self.open(index);
        }
        if this_turn < fresh + again {
            return now;
        }
        match self
            .ramp
            .next_due_ns(self.opened, self.handshakes_in_flight)
        {
            Some(due) if self.opened < self.connections.len() => due,
            _ => u64::MAX,
        }
    }

    fn open(&mut self, index: usize) {
        let source = self.plan.source(index, self.index);
        let connection = &mut self.connections[index];
        match connection.connect(self.plan.settings.server, source, &self.epoll, index as u64) {
            Ok(()) => {
                let limit = self.plan.settings.workload.connect_timeout.as_nanos() as u64;
                connection.handshake_deadline_ns = self.stage.clock.now_ns() + limit;
                self.handshakes_in_flight += 1;
                self.handshakes
                    .push_back((connection.handshake_deadline_ns, index as u32));
            }
            Err(error) => self.failed(index, &reason("connect", &error)),
        }
    }

    /// Counts handshakes that took too long as failed. Returns when the next one would be.
    pub(super) fn give_up_handshakes(&mut self, now: u64) -> u64 {
        while let Some(&(deadline, index)) = self.handshakes.front() {
            let connection = &self.connections[index as usize];
            let waiting = connection.state == State::AwaitsHandshake
                && connection.handshake_deadline_ns == deadline;
            if waiting && deadline > now {
                return deadline;
            }
            self.handshakes.pop_front();
            if waiting {
                self.handshakes_in_flight -= 1;
                self.failed(index as usize, "connect: no answer in time");
            }
        }
        u64::MAX
    }

    pub(super) fn handshake_over(&mut self, index: usize) {
        self.handshakes_in_flight -= 1;
        let connection = &mut self.connections[index];
        match connection.handshake_result() {
            Ok(()) => {
                connection.state = State::Established;
                let took = self.stage.clock.now_ns().saturating_sub(connection.due_ns);
                self.tally.connect_ns.saturating_record(took);
                let counters = &mut self.tally.counters;
                counters.open += 1;
                *(if connection.reopened {
                    &mut counters.reopened
                } else {
                    &mut counters.established
                }) += 1;
                self.send(index);
            }
            Err(error) => self.failed(index, &reason("connect", &error)),
        }
    }

    fn failed(&mut self, index: usize, why: &str) {
        self.tally.counters.failed += 1;
        self.tally.because(why);
        self.give_up(index);
    }

    pub(super) fn lost(&mut self, index: usize, why: &str) {
        self.tally.counters.lost += 1;
        self.tally.counters.open -= 1;
        self.tally.because(why);
        self.give_up(index);
    }

    /// Nothing will be answered on this connection any more.
    pub(super) fn give_up(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        self.outstanding -= connection.outstanding(self.tape.message_bytes() as u64);
        connection.drop_socket(State::Over);
    }
}
