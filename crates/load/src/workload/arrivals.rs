//! When the n-th thing falls due, whether or not the ones before were done in time.
//!
//! Latency is counted from here, not from when a message could at last be sent: a server that stalls for
//! a second is charged for every message that should have been answered in that second.

use super::Pattern;

const SECOND_NS: f64 = 1e9;
/// The part of each second into which a burst presses all that is due in it.
const BURST_SHARE: f64 = 0.1;

/// One thread's share of an even stream of arrivals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrivals {
    spacing_ns: f64,
    first_ns: f64,
    bursty: bool,
}

impl Arrivals {
    /// Thread `thread` of `threads` has every `threads`-th arrival of a stream of `per_second`; `None`
    /// if the stream is empty.
    pub(crate) fn new(
        per_second: f64,
        pattern: Pattern,
        thread: usize,
        threads: usize,
    ) -> Option<Self> {
        (per_second > 0.0).then(|| Self {
            spacing_ns: SECOND_NS / per_second * threads as f64,
            first_ns: SECOND_NS / per_second * thread as f64,
            bursty: pattern == Pattern::Bursty,
        })
    }

    /// When arrival `number` is due, in nanoseconds from the start of the stream.
    pub(crate) fn due_ns(&self, number: u64) -> u64 {
        let even = self.first_ns + number as f64 * self.spacing_ns;
        if !self.bursty {
            return even as u64;
        }
        let second = (even / SECOND_NS).floor() * SECOND_NS;
        (second + (even - second) * BURST_SHARE) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_within_a_second(per_second: f64, pattern: Pattern, threads: usize) -> Vec<u64> {
        let mut due: Vec<u64> = (0..threads)
            .filter_map(|thread| Arrivals::new(per_second, pattern, thread, threads))
            .flat_map(|arrivals| {
                (0..)
                    .map(move |n| arrivals.due_ns(n))
                    .take_while(|&ns| ns < 1_000_000_000)
            })
            .collect();
        due.sort_unstable();
        due
    }

    #[test]
    fn threads_share_one_even_stream() {
        let due = due_within_a_second(1000.0, Pattern::Uniform, 3);
        assert_eq!(due.len(), 1000);
        assert!(
            due.windows(2)
                .all(|pair| (999_999..=1_000_001).contains(&(pair[1] - pair[0])))
        );
    }

    #[test]
    fn a_burst_has_as_many_in_a_tenth_of_the_time() {
        let due = due_within_a_second(1000.0, Pattern::Bursty, 2);
        assert_eq!(due.len(), 1000);
        assert!(due.iter().all(|&ns| ns < 100_000_000));
    }

    #[test]
    fn nothing_per_second_is_no_stream() {
        assert!(Arrivals::new(0.0, Pattern::Uniform, 0, 1).is_none());
    }
}
