//! Requests and responses: a big-endian `u32` length, then that many bytes, answered in kind.

use crate::connection::Connection;
use crate::lifecycle::CloseReason;
use crate::service::Service;

/// Bytes of a frame's length field.
const HEADER_BYTES: usize = 4;

/// Answers each frame with the same frame, in order, however many arrive at once or in pieces.
///
/// The engine's `carry_limit_bytes` must hold one frame with its header, and its `outbox_limit_bytes`
/// too; [`Frames::FRAME_BYTES_DEFAULT`] does with the default configuration.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    frame_bytes_max: usize,
}

impl Frames {
    /// The longest payload by default.
    pub const FRAME_BYTES_DEFAULT: usize = 64 << 10;

    /// Closes connections that announce a payload longer than this, with
    /// [`CloseReason::ProtocolError`].
    #[must_use]
    pub const fn with_limit(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max }
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::with_limit(Self::FRAME_BYTES_DEFAULT)
    }
}

impl Service for Frames {
    type State = ();
    type Message = ();

    fn data(&mut self, connection: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
        let mut consumed = 0;
        while let Some(header) = bytes[consumed..].first_chunk::<HEADER_BYTES>() {
            let payload_bytes = u32::from_be_bytes(*header) as usize;
            if payload_bytes > self.frame_bytes_max {
                connection.close_for(CloseReason::ProtocolError);
                break;
            }
            let end = consumed + HEADER_BYTES + payload_bytes;
            let Some(frame) = bytes.get(consumed..end) else {
                break; // The rest is still on its way.
            };
            if connection.send(frame).is_err() {
                break; // No room: this frame comes again when there is.
            }
            consumed = end;
        }
        consumed
    }
}
