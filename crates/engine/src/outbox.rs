//! Bytes that a peer has not taken yet.
//!
//! ```text
//!   send(b), send(c) ──► waiting [b c]     appended to at any time
//!                            │ swap, once the front is empty
//!                            ▼
//!                        front  [a a a]    offered to the kernel, never appended to
//! ```
//!
//! The driver may own the front while the kernel reads it, so nothing that a service does can move the
//! bytes under it. A connection that owes its peer nothing has no outbox.

use crate::buffers::{Outgoing, Pool};

#[derive(Default)]
pub(crate) struct Outbox {
    /// `None` while the driver has it.
    front: Option<Outgoing>,
    /// Length of the front while the driver has it.
    lent_bytes: usize,
    waiting: Vec<u8>,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            front: Some(Outgoing::default()),
            lent_bytes: 0,
            waiting: Vec::new(),
        }
    }

    /// Bytes that the peer has not taken, in the kernel's hands or not.
    pub(crate) fn queued_bytes(&self) -> usize {
        let front = self
            .front
            .as_ref()
            .map_or(self.lent_bytes, |front| front.unsent().len());
        front + self.waiting.len()
    }

    pub(crate) fn push(&mut self, bytes: &[u8], pool: &mut Pool) {
        if self.waiting.capacity() == 0 {
            self.waiting = pool.take();
        }
        self.waiting.extend_from_slice(bytes);
    }

    /// What to offer to the kernel next; `None` while it has some, or when there is nothing.
    pub(crate) fn lend(&mut self, pool: &mut Pool) -> Option<Outgoing> {
        let front = self.front.as_mut()?;
        if front.is_empty() {
            if self.waiting.is_empty() {
                return None;
            }
            pool.give_back(std::mem::take(&mut front.bytes));
            std::mem::swap(&mut front.bytes, &mut self.waiting);
        }
        self.lent_bytes = front.unsent().len();
        self.front.take()
    }

    /// Takes back what was lent, with or without progress.
    pub(crate) fn restore(&mut self, front: Outgoing) {
        debug_assert!(self.front.is_none());
        self.front = Some(front);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queued_bytes() == 0
    }

    /// Drops what is queued and gives the memory back.
    pub(crate) fn recycle(self, pool: &mut Pool) {
        if let Some(front) = self.front {
            pool.give_back(front.bytes);
        }
        pool.give_back(self.waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Random sends, lends and partial takes against one plain byte queue.
        #[test]
        fn peers_get_what_was_sent_in_order(
            ops in prop::collection::vec((0u8..3, 0usize..200), 1..200),
        ) {
            let mut pool = Pool::new(4096);
            let mut outbox = Outbox::new();
            let mut lent: Option<Outgoing> = None;
            let (mut sent, mut taken) = (Vec::new(), Vec::new());
            for (op, n) in ops {
                match (op, lent.take()) {
                    (0, still_lent) => {
                        let bytes: Vec<u8> = (0..n).map(|i| (i + sent.len()) as u8).collect();
                        outbox.push(&bytes, &mut pool);
                        sent.extend_from_slice(&bytes);
                        lent = still_lent;
                    }
                    (_, Some(mut front)) => {
                        let n = n.min(front.unsent().len());
                        taken.extend_from_slice(&front.unsent()[..n]);
                        front.advance(n);
                        outbox.restore(front);
                    }
                    (_, None) => lent = outbox.lend(&mut pool),
                }
                prop_assert_eq!(outbox.queued_bytes(), sent.len() - taken.len());
                prop_assert!(sent.starts_with(&taken));
            }
        }
    }
}
