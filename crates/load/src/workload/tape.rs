//! The bytes of every message: an endless tape that repeats, from which each connection reads at its
//! own place.
//!
//! ```text
//!  | message 0 | message 1 | … | message V-1 | message 0 | …      V different messages, then a tail
//!  |<------------- period ----------------->|<-- reach -->|     so that any slice is contiguous
//!          ^ start(connection), then one message after the other
//! ```
//!
//! A byte on the wire is known from the connection and its offset in the stream, so nothing that was
//! sent has to be kept, neither for sending it again nor for checking its reply. Another connection's
//! bytes, or the neighbouring message's, do not pass for the expected ones.

use super::Workload;

/// Bytes that a slice may ask for at least.
const REACH_BYTES_MIN: usize = 64 << 10;
/// What the different messages take together, about: small enough to stay in the nearest cache.
const PERIOD_BYTES: usize = 4 << 10;
/// Different messages at most and at least; both prime, so that no power of two of messages repeats.
const VARIANTS_MAX: usize = 4093;
const VARIANTS_MIN: usize = 3;

/// The bytes which all connections send and expect.
#[derive(Debug)]
pub(crate) struct Tape {
    bytes: Box<[u8]>,
    period: usize,
    message: usize,
}

impl Tape {
    pub(crate) fn new(workload: &Workload) -> Self {
        let message = workload.wire_bytes();
        let variants = (PERIOD_BYTES / message).clamp(VARIANTS_MIN, VARIANTS_MAX) | 1;
        let period = variants * message;
        let reach = REACH_BYTES_MIN.max(message);
        let mut bytes = noise(period + reach);
        let header = (workload.message_bytes as u32).to_be_bytes();
        let header = &header[..workload.protocol.header_bytes()];
        for one in bytes[..period].chunks_exact_mut(message) {
            one[..header.len()].copy_from_slice(header);
        }
        for at in period..bytes.len() {
            bytes[at] = bytes[at - period];
        }
        Self {
            bytes: bytes.into(),
            period,
            message,
        }
    }

    /// Bytes of one message on the wire.
    pub(crate) fn message_bytes(&self) -> usize {
        self.message
    }

    /// The place of a connection's byte 0.
    pub(crate) fn start(&self, connection: u64) -> usize {
        let variants = (self.period / self.message) as u64;
        (connection.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as usize % variants as usize
            * self.message
    }

    /// At most `wanted` bytes from byte `offset` of the stream which begins at `start`; never empty
    /// unless nothing is wanted.
    pub(crate) fn slice(&self, start: usize, offset: u64, wanted: usize) -> &[u8] {
        let at = (start as u64 + offset) % self.period as u64;
        let rest = &self.bytes[at as usize..];
        &rest[..wanted.min(rest.len())]
    }

    /// Whether `got` is what stands from `offset` on; otherwise how many of its bytes differ.
    pub(crate) fn differing(&self, start: usize, offset: u64, got: &[u8]) -> usize {
        let mut wrong = 0;
        let mut seen = 0;
        while seen < got.len() {
            let expected = self.slice(start, offset + seen as u64, got.len() - seen);
            let part = &got[seen..seen + expected.len()];
            if part != expected {
                wrong += part.iter().zip(expected).filter(|(a, b)| a != b).count();
            }
            seen += expected.len();
        }
        wrong
    }
}

/// Bytes without structure, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Protocol;

    fn tape(message_bytes: usize, protocol: Protocol) -> Tape {
        Tape::new(&Workload {
            message_bytes,
            protocol,
            ..Workload::default()
        })
    }

    #[test]
    fn any_slice_continues_the_one_before() {
        for size in [1, 7, 64, 4096, 100_000, 1 << 20] {
            let tape = tape(size, Protocol::Echo);
            let start = tape.start(12345);
            let whole: Vec<u8> = (0..3 * tape.period as u64 + 11)
                .step_by(1009)
                .flat_map(|offset| tape.slice(start, offset, 1009).to_vec())
                .collect();
            assert_eq!(tape.differing(start, 0, &whole), 0, "size {size}");
        }
    }

    #[test]
    fn one_wrong_byte_is_one_differing_byte() {
        let tape = tape(64, Protocol::Echo);
        let mut got = tape.slice(0, 1_000_000, 60_000).to_vec();
        got[59_999] ^= 1;
        assert_eq!(tape.differing(0, 1_000_000, &got), 1);
    }

    #[test]
    fn a_neighbouring_message_does_not_pass() {
        for size in [8, 64, 1500] {
            let tape = tape(size, Protocol::Echo);
            let next = tape.slice(0, size as u64, size).to_vec();
            assert!(tape.differing(0, 0, &next) > 0, "size {size}");
        }
    }

    #[test]
    fn frames_begin_with_their_length() {
        let tape = tape(300, Protocol::Frames);
        for number in 0..50 {
            let frame = tape.slice(tape.start(9), number * 304, 304);
            assert_eq!(&frame[..4], &300_u32.to_be_bytes());
        }
    }
}
