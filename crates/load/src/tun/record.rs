//! What is remembered of a connection.
//!
//! ```text
//!  Record, 16 bytes, every connection                    Flight, only while something is under way
//!  0        4          8              12     14   15
//!  | acked  | received | peer_initial | base | gen | flags |   | sent | high | window | timer | … |
//! ```
//!
//! The stream to the server, in byte offsets that begin at 0 with each generation:
//!
//! ```text
//!  0 ─── received ─── acked ─── sent ─── high ─── limit
//!        (answered)   (taken)   (out,    (ever    (due: computed
//!                               now)      out)     from the clock)
//! ```
//!
//! The replies are the same bytes, so `received` is a place in the same stream. An idle connection has
//! acked = sent = high and nothing but its record.

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// Its turn to be opened.
    AwaitsOpening,
    /// The server's SYN-ACK.
    AwaitsHandshake,
    /// Messages and replies.
    Established,
    /// The replies to what was sent, to be closed and opened anew then.
    AwaitsLastReply,
    /// The server's FIN, to be opened anew then.
    AwaitsReopening,
    /// The server's FIN.
    AwaitsPeerClose,
    /// The acknowledgement of our FIN; the server's has come.
    AwaitsCloseAck,
    /// Nothing; a late FIN is acknowledged once more.
    Closed,
    /// Nothing; whatever comes is answered with a reset.
    Gone,
}

impl State {
    const ALL: [Self; 9] = [
        Self::AwaitsOpening,
        Self::AwaitsHandshake,
        Self::Established,
        Self::AwaitsLastReply,
        Self::AwaitsReopening,
        Self::AwaitsPeerClose,
        Self::AwaitsCloseAck,
        Self::Closed,
        Self::Gone,
    ];

    /// Whether it may carry messages.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Established | Self::AwaitsLastReply)
    }
}

const STATE_BITS: u8 = 0x0F;
/// Received bytes are not acknowledged yet.
const ACK_OWED: u8 = 0x10;
/// Both sides scale their windows.
const SCALED: u8 = 0x20;

/// What is remembered of every connection.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Record {
    /// Bytes which the server has acknowledged, its FIN's answer included.
    pub(super) acked: u32,
    /// Bytes received in order, the server's FIN included.
    pub(super) received: u32,
    /// The sequence number of the server's SYN.
    pub(super) peer_initial: u32,
    /// Messages answered before this generation, modulo 2^16.
    pub(super) base: u16,
    pub(super) generation: u8,
    flags: u8,
}

/// The whole point: five million of them are 80 MB.
const _: () = assert!(size_of::<Record>() == 16);

impl Record {
    pub(super) fn state(&self) -> State {
        State::ALL[usize::from(self.flags & STATE_BITS)]
    }

    pub(super) fn set_state(&mut self, state: State) {
        self.flags = self.flags & !STATE_BITS | state as u8;
    }

    pub(super) fn owes_ack(&self) -> bool {
        self.flags & ACK_OWED != 0
    }

    pub(super) fn set_owes_ack(&mut self, owes: bool) {
        self.flags = self.flags & !ACK_OWED | if owes { ACK_OWED } else { 0 };
    }

    pub(super) fn is_scaled(&self) -> bool {
        self.flags & SCALED != 0
    }

    /// Begins the next generation, with the messages that were not answered in this one.
    pub(super) fn restart(&mut self, message_bytes: u32) {
        *self = Self {
            base: self
                .base
                .wrapping_add((self.received / message_bytes) as u16),
            generation: self.generation.wrapping_add(1),
            ..Self::default()
        };
    }

    /// The server's SYN-ACK has come.
    pub(super) fn establish(&mut self, peer_initial: u32, scaled: bool) {
        self.peer_initial = peer_initial;
        self.flags = State::Established as u8 | if scaled { SCALED } else { 0 };
    }

    /// Messages answered in all generations, given how many were ever due: less than 2^16 are missing.
    pub(super) fn answered(&self, due: u64, message_bytes: u32) -> u64 {
        let answered = self
            .base
            .wrapping_add((self.received / message_bytes) as u16);
        due - u64::from((due as u16).wrapping_sub(answered))
    }
}

/// What is remembered besides while something is under way: bytes that are not acknowledged, a handshake,
/// or a window so small that it must not be forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// Where to send on, and how far was ever sent.
    pub(super) sent: u32,
    pub(super) high: u32,
    /// Bytes which the server takes past what it has acknowledged.
    pub(super) window: u32,
    /// The offset of our FIN, if it is to be sent.
    pub(super) fin_at: Option<u32>,
    /// When something is sent again; 0: not by the clock.
    pub(super) timer_ns: u64,
    /// Handshake: when it was due, and when it was begun.
    pub(super) due_ns: u64,
    pub(super) began_ns: u64,
    /// How often in a row the timer has struck.
    pub(super) strikes: u8,
    /// Acknowledgements in a row that acknowledge nothing new.
    pub(super) duplicates: u8,
}

/// What is taken for granted of a window nobody remembers. Smaller ones are remembered.
pub(super) const WINDOW_FORGOTTEN: u32 = 32 << 10;

impl Flight {
    /// The flight of a connection that has none.
    pub(super) fn of(record: &Record) -> Self {
        Self {
            sent: record.acked,
            high: record.acked,
            window: WINDOW_FORGOTTEN,
            fin_at: None,
            timer_ns: 0,
            due_ns: 0,
            began_ns: 0,
            strikes: 0,
            duplicates: 0,
        }
    }

    /// Whether it must be kept.
    pub(super) fn is_under_way(&self, record: &Record) -> bool {
        self.high != record.acked || self.window < WINDOW_FORGOTTEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_do_not_disturb_each_other() {
        let mut record = Record::default();
        assert_eq!(record.state(), State::AwaitsOpening);
        record.establish(9, true);
        record.set_owes_ack(true);
        for state in State::ALL {
            record.set_state(state);
            assert_eq!(
                (record.state(), record.owes_ack(), record.is_scaled()),
                (state, true, true)
            );
        }
        record.set_owes_ack(false);
        assert!(!record.owes_ack() && record.is_scaled());
    }

    #[test]
    fn answers_are_counted_across_generations_and_past_16_bits() {
        let mut record = Record::default();
        let mut answered = 0_u64;
        for generation in 0..300_u64 {
            record.received = 64 * 700 + 13;
            answered += 700;
            for missing in [0, 1, 65_535] {
                assert_eq!(
                    record.answered(answered + missing, 64),
                    answered,
                    "{generation}"
                );
            }
            record.restart(64);
            assert_eq!(record.answered(answered, 64), answered);
        }
    }
}
