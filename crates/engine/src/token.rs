//! What the kernel is given to hand back: which request of which connection an answer belongs to.
//!
//! ```text
//!  63      56 55              32 31                0
//!  ┌─────────┬──────────────────┬──────────────────┐
//!  │  kind   │    generation    │       slot       │
//!  └─────────┴──────────────────┴──────────────────┘
//! ```
//!
//! A completion is a claim. It holds only if the slot is still in the generation that made it.

/// The bits of a generation that fit into a token; it wraps around after 16.7 million reuses.
pub(crate) const GENERATION_MASK: u32 = 0x00ff_ffff;

/// What was asked of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Readiness to read: one shot.
    Poll = 1,
    /// Readiness to read, again and again.
    PollMultishot,
    /// Readiness to write: one shot.
    PollWrite,
    /// One read.
    Receive,
    /// Reads until something ends them.
    ReceiveMultishot,
    /// A send; the token travels beside its bytes.
    Send,
    /// The end of another request.
    Cancel,
    /// A descriptor to close.
    Close,
    /// The mailbox's eventfd.
    Wake,
    /// A listener; the slot is its index.
    Listener,
    /// An epoll interest to register.
    Interest,
    /// The epoll descriptor of the interests.
    Readiness,
}

const KINDS: [Kind; 12] = [
    Kind::Poll,
    Kind::PollMultishot,
    Kind::PollWrite,
    Kind::Receive,
    Kind::ReceiveMultishot,
    Kind::Send,
    Kind::Cancel,
    Kind::Close,
    Kind::Wake,
    Kind::Listener,
    Kind::Interest,
    Kind::Readiness,
];

/// A connection of this worker, as long as it lives: its slot in one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Handle {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl Handle {
    pub(crate) fn token(self, kind: Kind) -> u64 {
        debug_assert!(self.generation <= GENERATION_MASK);
        (kind as u64) << 56 | u64::from(self.generation) << 32 | u64::from(self.slot)
    }
}

/// A token that belongs to no connection.
pub(crate) fn worker_token(kind: Kind, index: u32) -> u64 {
    Handle {
        slot: index,
        generation: 0,
    }
    .token(kind)
}

/// Takes a token apart; `None` for a kind that was never given out.
pub(crate) fn parse(token: u64) -> Option<(Kind, Handle)> {
    let kind = *KINDS.get(((token >> 56) as usize).checked_sub(1)?)?;
    let generation = (token >> 32) as u32 & GENERATION_MASK;
    Some((
        kind,
        Handle {
            slot: token as u32,
            generation,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_says_what_it_was_made_of(
            kind in prop::sample::select(&KINDS[..]), slot: u32, generation in 0..=GENERATION_MASK,
        ) {
            let handle = Handle { slot, generation };
            prop_assert_eq!(parse(handle.token(kind)), Some((kind, handle)));
        }

        #[test]
        fn any_integer_is_parsed_or_refused(token: u64) {
            if let Some((kind, handle)) = parse(token) {
                prop_assert_eq!(handle.token(kind), token);
            }
        }
    }
}
