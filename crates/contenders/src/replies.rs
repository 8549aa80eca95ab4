//! What is answered to what was read, the same for every foundation.

use std::io;

use clap::ValueEnum;

/// Bytes of a frame's length field.
const HEADER_BYTES: usize = 4;

/// Bytes of the longest payload that is answered.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// What a connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// Every byte comes back.
    #[default]
    Echo,
    /// Every frame comes back when it is whole: its length as a big-endian `u32`, then that many bytes.
    Frames,
}

/// One connection's answers. It holds the frame that has not arrived in full; an echo holds nothing.
#[derive(Debug)]
pub struct Replies {
    service: Service,
    held: Vec<u8>,
    /// Bytes at the front of `held` that the last call returned.
    answered: usize,
}

impl Replies {
    /// Answers for a new connection.
    #[must_use]
    pub fn new(service: Service) -> Self {
        Self {
            service,
            held: Vec::new(),
            answered: 0,
        }
    }

    /// What to send now that `read` has been received.
    ///
    /// # Errors
    ///
    /// A frame that is longer than any answered: the connection is to be closed.
    pub fn to<'a>(&'a mut self, read: &'a [u8]) -> io::Result<&'a [u8]> {
        if self.service == Service::Echo {
            return Ok(read);
        }
        self.held.drain(..self.answered);
        self.answered = 0;
        if self.held.is_empty() {
            let (whole, rest) = read.split_at(whole_frames_bytes(read)?);
            self.held.extend_from_slice(rest);
            return Ok(whole);
        }
        self.held.extend_from_slice(read);
        self.answered = whole_frames_bytes(&self.held)?;
        Ok(&self.held[..self.answered])
    }

    /// Turns what was received into what to send, for foundations that take a buffer and give it back.
    ///
    /// # Errors
    ///
    /// As [`Replies::to`].
    pub fn in_place(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let reply_bytes = self.to(buffer)?.len();
        if self.answered == 0 {
            buffer.truncate(reply_bytes);
        } else {
            buffer.clear();
            buffer.extend_from_slice(&self.held[..reply_bytes]);
        }
        Ok(())
    }
}

/// Bytes of the whole frames at the front of `bytes`.
fn whole_frames_bytes(bytes: &[u8]) -> io::Result<usize> {
    let mut whole = 0;
    while let Some(header) = bytes[whole..].first_chunk::<HEADER_BYTES>() {
        let payload_bytes = u32::from_be_bytes(*header) as usize;
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a frame is too long",
            ));
        }
        let end = whole + HEADER_BYTES + payload_bytes;
        if end > bytes.len() {
            break;
        }
        whole = end;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(payloads: &[&[u8]]) -> Vec<u8> {
        payloads
            .iter()
            .flat_map(|payload| [&(payload.len() as u32).to_be_bytes(), *payload].concat())
            .collect()
    }

    #[test]
    fn frames_come_back_whole_however_they_are_cut() {
        let sent = frames(&[b"one", b"", &[7; 5000], b"two"]);
        for piece_bytes in 1..64 {
            let (mut borrowed, mut owned) =
                (Replies::new(Service::Frames), Replies::new(Service::Frames));
            let (mut by_slice, mut by_buffer) = (Vec::new(), Vec::new());
            for (index, piece) in sent.chunks(piece_bytes).enumerate() {
                by_slice.extend_from_slice(borrowed.to(piece).unwrap());
                let mut buffer = piece.to_vec();
                owned.in_place(&mut buffer).unwrap();
                by_buffer.extend_from_slice(&buffer);

                let received = sent.len().min((index + 1) * piece_bytes);
                assert_eq!(
                    by_slice.len(),
                    whole_frames_bytes(&sent[..received]).unwrap(),
                    "pieces of {piece_bytes}"
                );
            }
            assert_eq!(by_slice, sent, "pieces of {piece_bytes}");
            assert_eq!(by_buffer, sent, "pieces of {piece_bytes}");
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused() {
        let header = (PAYLOAD_BYTES_MAX as u32 + 1).to_be_bytes();
        assert!(Replies::new(Service::Frames).to(&header).is_err());
        assert_eq!(Replies::new(Service::Echo).to(&header).unwrap(), header);
    }
}
