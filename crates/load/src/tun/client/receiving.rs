//! What comes in: checked to be ours and in order, then acknowledgements, replies and closes.

use super::super::record::State;
use super::super::segment::{self, ACK, FIN, Header, RST, SYN, Segment};
use super::Client;
use super::sending::RENEW_AT_BYTES;
use crate::phase::Phase;

/// A reset must be at most this far ahead of what was received.
const RESET_WINDOW_BYTES: u32 = 1 << 20;

impl Client<'_> {
    /// One packet from the device.
    pub(super) fn receive(&mut self, phase: Phase, packet: &[u8]) {
        // What is no sound TCP segment is of no concern here: multicast chatter, or damage.
        let Some(segment) = Segment::read(packet) else {
            return;
        };
        let Some((index, generation)) = self.addresses.locate(segment.header.to) else {
            return;
        };
        if segment.header.from != self.server {
            return;
        }
        let now = self.stage.clock.now_ns();
        let record = self.records[index as usize];
        if generation != record.generation {
            self.answer_stray(&segment);
            return;
        }
        let reset = segment.has(RST);
        match record.state() {
            State::AwaitsOpening | State::Closed | State::Gone => self.answer_stray(&segment),
            State::AwaitsHandshake if reset => self.handshake_refused(index, &segment, now),
            State::AwaitsHandshake => self.handshake_answered(index, &segment, now),
            _ if reset => {
                let first = record
                    .peer_initial
                    .wrapping_add(1)
                    .wrapping_add(record.received);
                if segment.header.sequence.wrapping_sub(first) < RESET_WINDOW_BYTES {
                    const RESET: &str = "reset by the server";
                    if self.is_shed(index, RESET, now) {
                        self.leave(index);
                    } else {
                        self.lost(index, RESET);
                    }
                }
            }
            // The server has not seen our answer to its SYN.
            _ if segment.has(SYN) => self.send_ack(index),
            _ if segment.has(ACK) => self.synchronised(phase, index, &segment, now),
            _ => {}
        }
    }

    /// A segment on a connection both sides know of.
    fn synchronised(&mut self, phase: Phase, index: u32, segment: &Segment<'_>, now: u64) {
        let record = self.records[index as usize];
        let initial = self.addresses.initial_sequence(index, record.generation);
        let acked = segment
            .header
            .acknowledged
            .wrapping_sub(initial)
            .wrapping_sub(1);
        let shift = if record.is_scaled() {
            self.server_window_shift
        } else {
            0
        };
        let window = u32::from(segment.header.window) << shift;
        let fin = segment.has(FIN);
        let pure = segment.payload.is_empty() && !fin;
        self.acknowledged(index, acked, window, pure, now);
        let record = &mut self.records[index as usize];
        let flight = self.flights.get(&index);
        if record.state() == State::AwaitsCloseAck
            && flight.is_none_or(|flight| flight.high == record.acked)
        {
            record.set_state(State::Closed);
            self.flights.remove(&index);
        }
        let record = *record;
        let first = record.peer_initial.wrapping_add(1);
        let offset = segment.header.sequence.wrapping_sub(first);
        let ahead = offset.wrapping_sub(record.received).cast_signed();
        let behind = usize::try_from(-i64::from(ahead)).unwrap_or(0);
        if pure {
            // A probe whether we are still there repeats the last byte.
            if ahead < 0 {
                self.send_ack(index);
            }
            return;
        }
        if ahead > 0 || behind >= segment.payload.len() + usize::from(fin) {
            // Something before it was lost, or our acknowledgement of it was.
            self.send_ack(index);
            return;
        }
        let fresh = segment.payload.get(behind..).unwrap_or(&[]);
        if fresh.is_empty() || self.take(phase, index, fresh, now) {
            if fin {
                self.peer_closed(index, now);
            } else {
                self.close_if_quiet(index, now);
            }
        }
    }

    /// Checks bytes that have come in order. False if the connection is given up for what they are.
    fn take(&mut self, phase: Phase, index: u32, fresh: &[u8], now: u64) -> bool {
        let record = self.records[index as usize];
        let high = self
            .flights
            .get(&index)
            .map_or(record.acked, |flight| flight.high);
        let start = self.tape.start(self.share.global(index as usize) as u64);
        let asked_for = fresh
            .len()
            .min(high.saturating_sub(record.received) as usize);
        let wrong = self
            .tape
            .differing(start, u64::from(record.received), &fresh[..asked_for]);
        self.tally.counters.wrong_bytes += (wrong + fresh.len() - asked_for) as u64;
        self.tally.counters.bytes_received += asked_for as u64;
        if asked_for < fresh.len() {
            // There is no saying what the stream would mean from here on.
            self.send_reset(index);
            self.lost(index, "sent bytes that nobody asked for");
            return false;
        }
        let message = self.message_bytes();
        let record = &mut self.records[index as usize];
        let before = record.received / message;
        record.received += fresh.len() as u32;
        let replies = record.received / message - before;
        // The second segment in a row is acknowledged at once, a first one with what is sent next.
        let at_once = record.owes_ack();
        record.set_owes_ack(true);
        if replies > 0 {
            self.replied(phase, index, replies, now);
        }
        if self.records[index as usize].owes_ack() {
            if at_once {
                self.send_ack(index);
            } else {
                self.timers.set_ack(now, index);
            }
        }
        true
    }

    /// The last `replies` messages of a connection were answered just now.
    fn replied(&mut self, phase: Phase, index: u32, replies: u32, now: u64) {
        let slot = self
            .agenda
            .turns
            .slot_of(index as usize)
            .expect("only active connections are sent messages");
        let record = self.records[index as usize];
        let due = self.due_on(slot);
        let answered = record.answered(due, self.message_bytes());
        let numbers = answered - u64::from(replies)..answered;
        self.agenda
            .answered(slot, numbers, now, &mut self.sent_ns, &mut self.tally);
        let goes_on = matches!(phase, Phase::Warmup | Phase::Hold);
        if goes_on && self.agenda.pipeline() > 0 {
            self.queue(slot, replies);
            self.send(index, now);
        }
        if goes_on && record.received >= RENEW_AT_BYTES && record.state() == State::Established {
            self.records[index as usize].set_state(State::AwaitsLastReply);
        }
    }

    /// A segment of no connection of ours: a late FIN is acknowledged once more, anything else but a reset
    /// is answered with one.
    fn answer_stray(&mut self, segment: &Segment<'_>) {
        let Header {
            from,
            to,
            sequence,
            acknowledged,
            ..
        } = segment.header;
        if segment.has(RST) {
            return;
        }
        let closed = self
            .addresses
            .locate(to)
            .is_some_and(|(index, generation)| {
                let record = &self.records[index as usize];
                record.generation != generation || record.state() == State::Closed
            });
        let pure = segment.payload.is_empty() && !segment.has(FIN) && !segment.has(SYN);
        if closed && pure {
            return;
        }
        let bytes = segment.payload.len() as u32
            + u32::from(segment.has(FIN))
            + u32::from(segment.has(SYN));
        let header = Header {
            from: to,
            to: from,
            sequence: acknowledged,
            acknowledged: sequence.wrapping_add(bytes),
            flags: if closed && segment.has(FIN) {
                ACK
            } else {
                RST | ACK
            },
            window: 0,
        };
        let length = segment::write(&mut self.packet, &header, None, &[]);
        self.wire.send(&self.packet[..length]);
    }

    /// The server has closed its side, all bytes before that being taken.
    fn peer_closed(&mut self, index: u32, now: u64) {
        let record = &mut self.records[index as usize];
        match record.state() {
            State::Established | State::AwaitsLastReply => return self.follow(index, now),
            State::AwaitsPeerClose => {
                self.awaiting_peer_close -= 1;
                record.received += 1;
            }
            State::AwaitsReopening => {
                record.received += 1;
                self.send_ack(index);
                // It was no byte of a message.
                self.records[index as usize].received -= 1;
                self.tally.counters.open -= 1;
                self.tally.counters.closed += 1;
                return self.reopen(index, now);
            }
            _ => return,
        }
        let our_fin_is_taken = !self.flights.contains_key(&index);
        self.send_ack(index);
        self.closed_in_order(index);
        let then = if our_fin_is_taken {
            State::Closed
        } else {
            State::AwaitsCloseAck
        };
        self.records[index as usize].set_state(then);
    }
}
