//! How fast answers arrive, and so whether it pays to wait for several of them.

use crate::limits;
use std::time::{Duration, Instant};

/// The rate is taken anew this often.
const WINDOW: Duration = Duration::from_millis(1);

/// Counts arrivals in windows of about a millisecond.
pub(super) struct Pace {
    since: Instant,
    arrivals: u32,
    /// What is expected within [`limits::BATCH_WAIT`], by the last window.
    expected: usize,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            arrivals: 0,
            expected: 0,
        }
    }

    /// Notes answers to requests that had been pending.
    pub(super) fn arrived(&mut self, answers: u32) {
        self.arrivals += answers;
    }

    /// Notes what time it is, before each wait.
    pub(super) fn advance(&mut self) {
        self.advance_to(Instant::now());
    }

    fn advance_to(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            let batches = elapsed.as_secs_f64() / limits::BATCH_WAIT.as_secs_f64();
            self.expected = (f64::from(self.arrivals) / batches) as usize;
            self.arrivals = 0;
            self.since = now;
        }
    }

    /// How many answers to wait for, if enough are expected that it pays.
    pub(super) fn batch(&self) -> Option<usize> {
        (self.expected >= limits::BATCH_MIN).then(|| self.expected.min(limits::BATCH_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The batch after a second of arrivals at a steady rate.
    fn batch_at(per_second: u32) -> Option<usize> {
        let mut pace = Pace::new();
        let start = pace.since;
        for step in 1..=1_000u32 {
            pace.arrived(per_second / 1_000);
            pace.advance_to(start + Duration::from_millis(1) * step);
        }
        pace.batch()
    }

    #[test]
    fn batches_are_gathered_only_where_they_come() {
        assert_eq!(batch_at(0), None);
        assert_eq!(batch_at(10_000), None);
        let at_100k = batch_at(100_000).expect("a fast stream is gathered");
        assert!(
            (8..=12).contains(&at_100k),
            "{at_100k} in 100 µs at 100,000 per second"
        );
        assert_eq!(batch_at(50_000_000), Some(limits::BATCH_MAX));
    }

    #[test]
    fn a_stream_that_stops_is_no_longer_waited_for() {
        let mut pace = Pace::new();
        let start = pace.since;
        pace.arrived(1_000);
        pace.advance_to(start + WINDOW);
        assert!(pace.batch().is_some());
        pace.advance_to(start + 2 * WINDOW);
        assert_eq!(pace.batch(), None);
    }
}
