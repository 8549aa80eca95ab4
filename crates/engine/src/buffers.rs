//! Memory for bytes that wait: to be sent, or for the rest of their frame.
//!
//! A connection that waits for nothing has none of it. What it needed goes back to its worker's pool,
//! which keeps it up to a budget, so that steady state neither allocates nor hoards.

/// Bytes on their way to a peer: `start` of them have been taken already.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) bytes: Vec<u8>,
    start: usize,
}

impl Outgoing {
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Notes that the peer took `len` more bytes.
    pub(crate) fn advance(&mut self, len: usize) {
        self.start += len;
        debug_assert!(self.start <= self.bytes.len());
        if self.is_empty() {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }
}

/// Emptied vectors for reuse, last in first out: what was just used is still in the cache.
pub(crate) struct Pool {
    free: Vec<Vec<u8>>,
    retained_bytes: usize,
    budget_bytes: usize,
}

impl Pool {
    pub(crate) const fn new(budget_bytes: usize) -> Self {
        Self {
            free: Vec::new(),
            retained_bytes: 0,
            budget_bytes,
        }
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        let Some(bytes) = self.free.pop() else {
            return Vec::new();
        };
        self.retained_bytes -= bytes.capacity();
        bytes
    }

    /// Takes a vector back, or frees it when the pool holds its budget already.
    pub(crate) fn give_back(&mut self, mut bytes: Vec<u8>) {
        let capacity = bytes.capacity();
        if capacity == 0 || self.retained_bytes + capacity > self.budget_bytes {
            return;
        }
        bytes.clear();
        self.retained_bytes += capacity;
        self.free.push(bytes);
    }

    #[cfg(test)]
    pub(crate) fn retained_bytes(&self) -> usize {
        self.retained_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn outgoing_is_empty_once_everything_was_taken() {
        let mut outgoing = Outgoing {
            bytes: b"roadstead".to_vec(),
            start: 0,
        };
        outgoing.advance(4);
        assert_eq!(outgoing.unsent(), b"stead");
        outgoing.advance(5);
        assert!(outgoing.is_empty() && outgoing.bytes.is_empty());
    }

    proptest! {
        /// Against the plainest model: a list of the capacities that are held.
        #[test]
        fn pool_holds_at_most_its_budget(ops in prop::collection::vec(0usize..3000, 1..200)) {
            let mut pool = Pool::new(8192);
            let mut model: Vec<usize> = Vec::new();
            for op in ops {
                if op % 3 == 0 {
                    let taken = pool.take();
                    prop_assert!(taken.is_empty());
                    prop_assert_eq!(taken.capacity(), model.pop().unwrap_or(0));
                } else {
                    let bytes = Vec::with_capacity(op);
                    let capacity = bytes.capacity();
                    pool.give_back(bytes);
                    if model.iter().sum::<usize>() + capacity <= 8192 {
                        model.push(capacity);
                    }
                }
                prop_assert_eq!(pool.retained_bytes(), model.iter().sum::<usize>());
                prop_assert!(pool.retained_bytes() <= 8192);
            }
        }
    }
}
