//! Handshakes: begun when the ramp allows, counted when they are over, given up when they take too long.

use super::super::connection::State;
use super::{ClientThread, reason};
use crate::workload::{Due, Opening};

/// Handshakes begun between two looks at what has come.
const OPENS_PER_TURN: usize = 256;

impl ClientThread<'_> {
    /// Begins the handshakes that are due. Returns when the next is.
    pub(super) fn open_due(&mut self, now: u64) -> u64 {
        for _ in 0..OPENS_PER_TURN {
            match self.agenda.next_opening(now) {
                Due::Now(opening) => self.open(opening),
                Due::At(due) => return due,
            }
        }
        now
    }

    fn open(&mut self, Opening { index, due_ns }: Opening) {
        let source = self.plan.source(self.share.global(index));
        let connection = &mut self.connections[index];
        connection.due_ns = due_ns;
        match connection.connect(self.plan.settings.server, source, &self.epoll, index as u64) {
            Ok(()) => {
                let limit = self.plan.settings.workload.connect_timeout.as_nanos() as u64;
                connection.handshake_deadline_ns = self.stage.clock.now_ns() + limit;
                self.handshakes
                    .push_back((connection.handshake_deadline_ns, index as u32));
            }
            Err(error) => {
                self.agenda.handshake_over();
                self.failed(index, &reason("connect", &error));
            }
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
                self.agenda.handshake_over();
                self.failed(index as usize, "connect: no answer in time");
            }
        }
        u64::MAX
    }

    pub(super) fn handshake_over(&mut self, index: usize) {
        self.agenda.handshake_over();
        let connection = &mut self.connections[index];
        match connection.handshake_result() {
            Ok(()) => {
                connection.state = State::Established;
                let now = self.stage.clock.now_ns();
                let (reopened, due_ns) = (connection.reopened, connection.due_ns);
                self.agenda
                    .is_open(index, reopened, now, due_ns, &mut self.tally);
                self.send(index);
            }
            Err(error) => self.failed(index, &reason("connect", &error)),
        }
    }

    fn failed(&mut self, index: usize, why: &str) {
        let now = self.stage.clock.now_ns();
        if self.agenda.is_retried(index, why, now, &mut self.tally) {
            return self.restart(index);
        }
        self.tally.counters.failed += 1;
        self.tally.because(why);
        self.give_up(index);
    }

    pub(super) fn lost(&mut self, index: usize, why: &str) {
        let now = self.stage.clock.now_ns();
        let connection = &self.connections[index];
        if connection.is_open()
            && connection.received == 0
            && self.agenda.is_shed(index, why, now, &mut self.tally)
        {
            return self.leave(index);
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

    /// Both sides have closed, as one of them was asked to.
    pub(super) fn closed_in_order(&mut self, index: usize) {
        self.tally.counters.open -= 1;
        self.tally.counters.closed += 1;
        self.give_up(index);
    }

    /// Whether the server has been told to stop and to close all connections.
    pub(super) fn server_drains(&self) -> bool {
        self.stage.drains(&self.plan.settings.workload)
    }

    /// Nothing will be answered on this connection any more.
    pub(super) fn give_up(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        self.agenda.outstanding -= connection.outstanding(self.tape.message_bytes() as u64);
        connection.drop_socket(State::Over);
    }
}
