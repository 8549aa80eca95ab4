//! What goes out: messages when they are due, again when they were lost, and acknowledgements.

use super::super::record::{Flight, State};
use super::super::segment::{self, ACK, FIN, Header, PAYLOAD_BYTES, PSH, RST, SYN, SynOptions};
use super::Client;

use crate::workload::Due;

/// Messages sent between two looks at what has come.
const SENDS_PER_TURN: usize = 256;
/// Bytes under way at most on one connection.
const IN_FLIGHT_BYTES_MAX: u32 = 64 << 10;
/// What we take at any time: everything is checked and forgotten as it comes.
const WINDOW: u16 = 4096;
pub(super) const WINDOW_SHIFT: u8 = 8;
const WINDOW_UNSCALED: u16 = 65_535;
/// After so many strikes in a row the server is taken for dead.
const STRIKES_MAX: u8 = 9;
/// As many duplicate acknowledgements say that a segment was lost.
const DUPLICATES_OF_LOSS: u8 = 3;
/// Connections renewed before their offsets, which have 32 bits, could wrap.
pub(super) const RENEW_AT_BYTES: u32 = 1 << 30;

impl Client<'_> {
    /// Closed loop: the first `pipeline` messages on every active connection.
    pub(super) fn fill_pipelines(&mut self, now: u64) {
        if !self.agenda.fill_pipelines() {
            return;
        }
        let pipeline = self.agenda.pipeline();
        self.sent_ns.fill(now);
        for slot in 0..self.agenda.turns.active() {
            self.queue(slot, pipeline as u32);
            let index = self.agenda.turns.connection(slot) as u32;
            self.send(index, now);
        }
    }

    /// Open loop: sends what has fallen due. Returns when the next message is due.
    pub(super) fn send_due(&mut self, now: u64) -> u64 {
        for _ in 0..SENDS_PER_TURN {
            match self.agenda.next_message(now) {
                Due::Now(slot) => {
                    let index = self.agenda.turns.connection(slot) as u32;
                    if self.records[index as usize].state() != State::Gone {
                        self.agenda.outstanding += 1;
                    }
                    self.send(index, now);
                }
                Due::At(due) => return due,
            }
        }
        now
    }

    /// Closed loop: makes messages due on a slot.
    pub(super) fn queue(&mut self, slot: u64, messages: u32) {
        self.due_on_slot[slot as usize] += messages;
        let index = self.agenda.turns.connection(slot);
        if self.records[index].state() != State::Gone {
            self.agenda.outstanding += u64::from(messages);
        }
    }

    /// Sends what is due on a connection, as far as it is open and the server's window allows.
    pub(super) fn send(&mut self, index: u32, now: u64) {
        let record = &self.records[index as usize];
        if record.state().is_open() {
            let flight = self
                .flights
                .get(&index)
                .copied()
                .unwrap_or_else(|| Flight::of(record));
            self.transmit(index, flight, now);
        }
    }

    /// How far the stream may be sent now.
    fn limit(&self, index: u32, flight: &Flight) -> u32 {
        let record = &self.records[index as usize];
        let message = self.message_bytes();
        match (flight.fin_at, record.state()) {
            (Some(fin_at), _) => fin_at,
            (None, State::Established) => {
                let queued = u64::from(record.received / message) + self.outstanding(index);
                let most = u64::from(record.acked + IN_FLIGHT_BYTES_MAX);
                (queued * u64::from(message)).min(most) as u32
            }
            // What was begun is finished, so that its reply comes whole.
            (None, State::AwaitsLastReply) => flight.high.div_ceil(message) * message,
            _ => flight.high,
        }
    }

    /// Sends on from `flight`, and keeps it if something is then under way.
    pub(super) fn transmit(&mut self, index: u32, mut flight: Flight, now: u64) {
        let limit = self.limit(index, &flight);
        let record = self.records[index as usize];
        // Against a closed window a single byte asks whether it has opened.
        let window = flight.window.clamp(1, IN_FLIGHT_BYTES_MAX);
        let end = limit.min(record.acked + window);
        let high_before = flight.high;
        while flight.sent < end {
            let wanted = (end - flight.sent).min(PAYLOAD_BYTES as u32);
            let push = if flight.sent + wanted == limit {
                PSH
            } else {
                0
            };
            flight.sent += self.emit(index, ACK | push, flight.sent, None, Some(wanted));
            flight.high = flight.high.max(flight.sent);
        }
        self.tally.counters.bytes_sent += u64::from(flight.high - high_before);
        if flight.fin_at == Some(flight.sent) {
            self.emit(index, FIN | ACK, flight.sent, None, None);
            flight.sent += 1;
            flight.high = flight.high.max(flight.sent);
        }
        if flight.high != record.acked && flight.timer_ns == 0 {
            flight.timer_ns = self.timers.set(now, flight.strikes, index);
        }
        if flight.is_under_way(&record) {
            self.flights.insert(index, flight);
        } else {
            self.flights.remove(&index);
        }
    }

    /// The server has acknowledged up to `acked`, or the same as before; it takes `window` bytes more.
    /// `pure`: the segment carried nothing else.
    pub(super) fn acknowledged(
        &mut self,
        index: u32,
        acked: u32,
        window: u32,
        pure: bool,
        now: u64,
    ) {
        let record = &mut self.records[index as usize];
        let mut flight = self
            .flights
            .get(&index)
            .copied()
            .unwrap_or_else(|| Flight::of(record));
        if acked.wrapping_sub(record.acked) > flight.high - record.acked {
            return; // of an older time, or of bytes never sent
        }
        let repeated = pure && acked == record.acked && window == flight.window;
        flight.window = window;
        if acked > record.acked {
            record.acked = acked;
            flight.sent = flight.sent.max(acked);
            flight.strikes = 0;
            flight.duplicates = 0;
            flight.timer_ns = 0;
        } else if repeated && flight.high != record.acked {
            flight.duplicates = flight.duplicates.saturating_add(1);
            if flight.duplicates == DUPLICATES_OF_LOSS {
                self.send_again(index, &mut flight);
            }
        }
        self.transmit(index, flight, now);
    }

    /// Does what timers say: sends again what was not acknowledged, acknowledges what waited for company.
    pub(super) fn strike_timers(&mut self, now: u64) {
        while let Some((deadline, index)) = self.timers.next_struck(now) {
            let Some(&flight) = self.flights.get(&index) else {
                continue;
            };
            if flight.timer_ns != deadline {
                continue;
            }
            if self.records[index as usize].state() == State::AwaitsHandshake {
                self.syn_struck(index, flight, now);
            } else {
                self.data_struck(index, flight, now);
            }
        }
        while let Some(index) = self.timers.next_ack(now) {
            if self.records[index as usize].owes_ack() {
                self.send_ack(index);
            }
        }
    }

    fn data_struck(&mut self, index: u32, mut flight: Flight, now: u64) {
        flight.strikes += 1;
        if flight.strikes >= STRIKES_MAX && flight.window > 0 {
            self.lost(index, "no acknowledgement in time");
            return;
        }
        flight.strikes = flight.strikes.min(STRIKES_MAX);
        self.send_again(index, &mut flight);
        flight.timer_ns = self.timers.set(now, flight.strikes, index);
        self.flights.insert(index, flight);
    }

    /// Sends the first segment that was not acknowledged again; what follows goes out with its answer.
    fn send_again(&mut self, index: u32, flight: &mut Flight) {
        self.tally.counters.retransmitted += 1;
        let acked = self.records[index as usize].acked;
        if flight.fin_at == Some(acked) {
            self.emit(index, FIN | ACK, acked, None, None);
            return;
        }
        let data_end = flight
            .fin_at
            .map_or(flight.high, |fin_at| fin_at.min(flight.high));
        let wanted = (data_end - acked)
            .min(PAYLOAD_BYTES as u32)
            .min(flight.window.max(1));
        let bytes = self.emit(index, ACK | PSH, acked, None, Some(wanted));
        flight.sent = acked + bytes;
    }

    /// Acknowledges what has been received.
    pub(super) fn send_ack(&mut self, index: u32) {
        let record = &self.records[index as usize];
        let sent = self
            .flights
            .get(&index)
            .map_or(record.acked, |flight| flight.sent);
        self.emit(index, ACK, sent, None, None);
    }

    /// Drops the connection at the server: nothing of it is to be answered any more.
    pub(super) fn send_reset(&mut self, index: u32) {
        let record = &self.records[index as usize];
        let sent = self
            .flights
            .get(&index)
            .map_or(record.acked, |flight| flight.sent);
        self.emit(index, RST | ACK, sent, None, None);
    }

    /// Writes one segment and sends it: with `payload` as many bytes of the stream from `offset` on, or
    /// fewer. Returns how many it carried.
    pub(super) fn emit(
        &mut self,
        index: u32,
        flags: u8,
        offset: u32,
        options: Option<SynOptions>,
        payload: Option<u32>,
    ) -> u32 {
        let record = &mut self.records[index as usize];
        record.set_owes_ack(false);
        let initial = self.addresses.initial_sequence(index, record.generation);
        let is_syn = flags & SYN != 0;
        let header = Header {
            from: self.addresses.endpoint(index, record.generation),
            to: self.server,
            sequence: initial
                .wrapping_add(offset)
                .wrapping_add(u32::from(!is_syn)),
            acknowledged: if is_syn {
                0
            } else {
                record
                    .peer_initial
                    .wrapping_add(1)
                    .wrapping_add(record.received)
            },
            flags,
            window: if record.is_scaled() {
                WINDOW
            } else {
                WINDOW_UNSCALED
            },
        };
        let start = self.tape.start(self.share.global(index as usize) as u64);
        let bytes = self
            .tape
            .slice(start, u64::from(offset), payload.unwrap_or(0) as usize);
        let length = segment::write(&mut self.packet, &header, options, bytes);
        self.wire.send(&self.packet[..length]);
        bytes.len() as u32
    }
}
