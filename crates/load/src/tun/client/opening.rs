//! Handshakes: a SYN when the ramp allows, an acknowledgement when the server answers.

use super::super::record::{Flight, State};
use super::super::segment::{ACK, PAYLOAD_BYTES, SYN, Segment, SynOptions};
use super::super::timers::STRIKES_OF_SYN;
use super::Client;
use super::sending::WINDOW_SHIFT;
use crate::workload::{Due, Opening};

/// Handshakes begun between two looks at what has come.
const OPENS_PER_TURN: usize = 256;

impl Client<'_> {
    /// Begins the handshakes that are due. Returns when the next is.
    pub(super) fn open_due(&mut self, now: u64) -> u64 {
        for _ in 0..OPENS_PER_TURN {
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
            self.failed(index, "connect: no answer in time");
            return;
        }
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
        self.tally
            .connect_ns
            .saturating_record(now.saturating_sub(flight.due_ns));
        let counters = &mut self.tally.counters;
        counters.open += 1;
        *(if reopened {
            &mut counters.reopened
        } else {
            &mut counters.established
        }) += 1;
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
    pub(super) fn handshake_refused(&mut self, index: u32, segment: &Segment<'_>) {
        let generation = self.records[index as usize].generation;
        let initial = self.addresses.initial_sequence(index, generation);
        if segment.has(ACK) && segment.header.acknowledged == initial.wrapping_add(1) {
            self.agenda.handshake_over();
            self.failed(index, "connect: refused by the server");
        }
    }
}
