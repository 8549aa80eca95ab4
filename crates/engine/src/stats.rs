//! Counters: one set per worker, written by that worker alone, read by anyone at any time.

use crate::lifecycle::CloseReason;
use std::sync::atomic::{AtomicU64, Ordering};

const REASONS: usize = CloseReason::ALL.len();

macro_rules! counters {
    ($($(#[$doc:meta])* $counter:ident,)*) => {
        /// One worker's counters, on cache lines of their own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct WorkerStats {
            $(pub(crate) $counter: Count,)*
            pub(crate) closed: [Count; REASONS],
        }

        /// Counters at one moment, of one worker or summed over all.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $counter: u64,)*
            /// Connections that ended, indexed as [`CloseReason::ALL`].
            pub closed: [u64; REASONS],
        }

        impl WorkerStats {
            pub(crate) fn snapshot(&self) -> Stats {
                Stats {
                    $($counter: self.$counter.get(),)*
                    closed: std::array::from_fn(|reason| self.closed[reason].get()),
                }
            }
        }

        impl std::ops::AddAssign<&Self> for Stats {
            fn add_assign(&mut self, other: &Self) {
                $(self.$counter += other.$counter;)*
                for (sum, count) in self.closed.iter_mut().zip(&other.closed) {
                    *sum += count;
                }
            }
        }

        impl Stats {
            /// Every counter with its name: first the events, then `closed_<reason>`.
            pub fn named(&self) -> impl Iterator<Item = (String, u64)> {
                let events = [$((stringify!($counter).to_owned(), self.$counter),)*];
                let closed = CloseReason::ALL.iter().zip(self.closed);
                let closed = closed.map(|(reason, n)| (format!("closed_{}", reason.name()), n));
                events.into_iter().chain(closed.collect::<Vec<_>>())
            }
        }
    };
}

counters! {
    /// Connections taken into the table.
    opened,
    /// Connections open now.
    live,
    /// Connections accepted and reset at once because the worker's table was full.
    refused_at_capacity,
    /// `accept` failed for want of descriptors or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM).
    accept_exhausted,
    /// `accept` failed otherwise: the connection was gone before it was accepted, mostly.
    accept_failed,
    /// Reads that brought bytes.
    reads,
    /// Bytes read.
    bytes_in,
    /// Sends that the kernel took, whole or in part.
    sends,
    /// Bytes the kernel took.
    bytes_out,
    /// Sends that found the socket's buffer full.
    sends_blocked,
    /// Times that reading stopped because the outbox was above its high-water mark.
    congested,
    /// Reads that found the buffer ring empty and were put back in the queue.
    buffers_exhausted,
    /// Times that the completion queue overflowed; nothing was lost.
    completions_overflowed,
    /// Completions for a connection that had ended.
    completions_stale,
    /// Connections whose watch was changed to a multishot read because they were busy.
    promoted,
    /// Connections whose watch was changed back because they went quiet.
    demoted,
    /// Kernel waits: `io_uring_enter` or `epoll_wait`.
    waits,
    /// Messages taken from the mailbox.
    messages,
}

impl Stats {
    /// Connections that ended, for whatever reason.
    #[must_use]
    pub fn closed_total(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// Connections that ended for this reason.
    #[must_use]
    pub fn closed_by(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }

    /// Whether the books close: opened = live + Σ closed by reason. True between events; a snapshot
    /// taken while workers run may catch one in the middle.
    #[must_use]
    pub fn accounts_close(&self) -> bool {
        self.opened == self.live + self.closed_total()
    }
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds without a locked instruction: nobody else writes.
    pub(crate) fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_names_cover_every_counter() {
        let worker = WorkerStats::default();
        worker.opened.add(3);
        worker.live.set(1);
        worker.closed[CloseReason::PeerReset as usize].add(2);
        let mut sum = worker.snapshot();
        sum += &worker.snapshot();
        assert!(sum.accounts_close());
        assert_eq!((sum.opened, sum.closed_total()), (6, 4));
        let named: Vec<_> = sum.named().collect();
        assert!(named.contains(&("closed_peer_reset".to_owned(), 4)));
        assert!(named.contains(&("opened".to_owned(), 6)));
    }
}
