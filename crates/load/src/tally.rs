//! One thread's results: counters, reasons and histograms; merged when the run is over.

use crate::counters::{Counters, Published};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An hour: what takes longer is recorded as an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
/// How often a thread works out its p99 for the live display.
const P99_EVERY_NS: u64 = 500_000_000;

/// What one thread found out.
pub(crate) struct Tally {
    pub(crate) counters: Counters,
    pub(crate) latency_ns: Histogram<u64>,
    /// Of messages before the measured part of the traffic.
    pub(crate) warmup_ns: Histogram<u64>,
    pub(crate) connect_ns: Histogram<u64>,
    pub(crate) reasons: BTreeMap<String, u64>,
    published: Arc<Published>,
    p99_due_ns: u64,
}

impl Tally {
    pub(crate) fn new(published: Arc<Published>) -> Self {
        Self {
            counters: Counters::default(),
            latency_ns: histogram(),
            warmup_ns: histogram(),
            connect_ns: histogram(),
            reasons: BTreeMap::new(),
            published,
            p99_due_ns: 0,
        }
    }

    /// Counts why a connection failed or was lost.
    pub(crate) fn because(&mut self, reason: &str) {
        match self.reasons.get_mut(reason) {
            Some(count) => *count += 1,
            None => _ = self.reasons.insert(reason.to_owned(), 1),
        }
    }

    /// Shows the controller how far this thread is.
    pub(crate) fn publish(&mut self, now_ns: u64) {
        self.published.publish(&self.counters);
        if now_ns >= self.p99_due_ns {
            self.p99_due_ns = now_ns + P99_EVERY_NS;
            self.published
                .publish_p99(self.latency_ns.value_at_quantile(0.99));
        }
    }

    /// Takes another thread's results in.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        for (mine, theirs) in [
            (&mut self.latency_ns, &other.latency_ns),
            (&mut self.warmup_ns, &other.warmup_ns),
            (&mut self.connect_ns, &other.connect_ns),
        ] {
            mine.add(theirs).expect("histograms of one shape");
        }
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS).expect("valid bounds")
}
