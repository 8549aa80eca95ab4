//! Handshakes: a SYN when the ramp allows, an acknowledgement when the server answers.

use super::super::record::{Flight, State};
use super::super::segment::{ACK, PAYLOAD_BYTES, SYN, Segment, SynOptions};
use super::super::timers::STRIKES_OF_SYN;
use super::sending::WINDOW_SHIFT;
use super::{Client, per_turn};
use crate::phase::Phase;
use crate::workload::{Due, Opening};

impl Client<'_> {
    /// Begins the handshakes that are due. Returns when the next is.
    pub(super) fn open_due(&mut self, phase: Phase, now: u64) -> u64 {
        for _ in 0..per_turn(phase) {
            match self.agenda.next_opening(now) {
                Due::Now(opening) => self.open(opening, now),
                Due::At(due) => return due,
            }
        }
        now
    }

    fn open(&mut self, Opening { index, due_ns }: Opening, now: u64) {
        let record = &mut self.records[index];
        record.set_state(State::AwaitsHandshake);
        let mut flight = Flight::of(record);
        flight.due_ns = due_ns;
        flight.began_ns = now;
        flight.strikes = STRIKES_OF_SYN;
        flight.timer_ns = self.timers.set(now, flight.strikes, index as u32);
        self.flights.insert(index as u32, flight);
        self.send_syn(index as u32);
    }

    fn send_syn(&mut self, index: u32) {
        let options = SynOptions {
            segment_bytes: PAYLOAD_BYTES as u16,
            window_shift: Some(WINDOW_SHIFT),
        };
        self.emit(index, SYN, 0, Some(options), None);
    }

    /// The SYN was not answered in time.
    pub(super) fn syn_struck(&mut self, index: u32, mut flight: Flight, now: u64) {
        let limit = self.plan.settings.workload.connect_timeout.as_nanos() as u64;
        if now.saturating_sub(flight.began_ns) >= limit {
            self.agenda.handshake_over();
            self.failed(index, "connect: no answer in time", now);
            return;
        }
        self.agenda.asks_again(index as usize, &mut self.tally);
        flight.strikes += 1;
        flight.timer_ns = self.timers.set(now, flight.strikes, index);
        self.flights.insert(index, flight);
        self.tally.counters.retransmitted += 1;
        self.send_syn(index);
    }

    /// A segment for a connection whose SYN is out, and which is no reset.
    pub(super) fn handshake_answered(&mut self, index: u32, segment: &Segment<'_>, now: u64) {
        let record = &mut self.records[index as usize];
        let initial = self.addresses.initial_sequence(index, record.generation);
        if !segment.has(SYN | ACK) || segment.header.acknowledged != initial.wrapping_add(1) {
            return;
        }
        let shift = segment.window_shift();
        record.establish(segment.header.sequence, shift.is_some());
        self.server_window_shift = shift.unwrap_or(self.server_window_shift);
        let reopened = record.generation > 0;
        let flight = self
            .flights
            .remove(&index)
            .expect("a handshake is a flight");
        self.agenda.handshake_over();
        let tally = &mut self.tally;
        self.agenda
            .is_open(index as usize, reopened, now, flight.due_ns, tally);
        // A message that is due acknowledges the SYN as well.
        record.set_owes_ack(true);
        let window = u32::from(segment.header.window);
        let flight = Flight {
            window,
            timer_ns: 0,
            strikes: 0,
            ..flight
        };
        self.transmit(index, flight, now);
        if self.records[index as usize].owes_ack() {
            self.send_ack(index);
        }
    }

    /// A reset for a connection whose SYN is out.
    pub(super) fn handshake_refused(&mut self, index: u32, segment: &Segment<'_>, now: u64) {
        let generation = self.records[index as usize].generation;
        let initial = self.addresses.initial_sequence(index, generation);
        if segment.has(ACK) && segment.header.acknowledged == initial.wrapping_add(1) {
            self.agenda.handshake_over();
            self.failed(index, "connect: refused by the server", now);
        }
    }
}
