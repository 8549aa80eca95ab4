//! One thread's results: counters, reasons and histograms; merged when the run is over.

use crate::counters::{Counters, Published};
use crate::workload::Part;
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
    stampede: Option<Box<StampedeTally>>,
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
            stampede: None,
            published,
            p99_due_ns: 0,
        }
    }

    /// Counts why a connection failed or was lost.
    pub(crate) fn because(&mut self, reason: &str) {
        count(&mut self.reasons, reason);
    }

    /// What was found out in a stampede; made at the first call.
    pub(crate) fn stampede(&mut self) -> &mut StampedeTally {
        self.stampede.get_or_insert_default()
    }

    pub(crate) fn take_stampede(&mut self) -> Option<Box<StampedeTally>> {
        self.stampede.take()
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
        merge_counts(&mut self.reasons, &other.reasons);
        if let Some(other) = &other.stampede {
            self.stampede().merge(other);
        }
    }
}

/// What one thread found out in a stampede.
pub(crate) struct StampedeTally {
    pub(crate) reset: u64,
    pub(crate) back: u64,
    pub(crate) shed: BTreeMap<String, u64>,
    pub(crate) connect_ns: Histogram<u64>,
    pub(crate) crowd_ns: Histogram<u64>,
    pub(crate) others_ns: Histogram<u64>,
    pub(crate) rest_ns: Histogram<u64>,
}

impl Default for StampedeTally {
    fn default() -> Self {
        Self {
            reset: 0,
            back: 0,
            shed: BTreeMap::new(),
            connect_ns: histogram(),
            crowd_ns: histogram(),
            others_ns: histogram(),
            rest_ns: histogram(),
        }
    }
}

impl StampedeTally {
    /// Counts why an attempt to come back was in vain.
    pub(crate) fn because(&mut self, reason: &str) {
        count(&mut self.shed, reason);
    }

    pub(crate) fn latency(&mut self, part: Part) -> &mut Histogram<u64> {
        match part {
            Part::Crowd => &mut self.crowd_ns,
            Part::Others => &mut self.others_ns,
            Part::Rest => &mut self.rest_ns,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.reset += other.reset;
        self.back += other.back;
        merge_counts(&mut self.shed, &other.shed);
        for (mine, theirs) in [
            (&mut self.connect_ns, &other.connect_ns),
            (&mut self.crowd_ns, &other.crowd_ns),
            (&mut self.others_ns, &other.others_ns),
            (&mut self.rest_ns, &other.rest_ns),
        ] {
            mine.add(theirs).expect("histograms of one shape");
        }
    }
}

fn count(reasons: &mut BTreeMap<String, u64>, reason: &str) {
    match reasons.get_mut(reason) {
        Some(count) => *count += 1,
        None => _ = reasons.insert(reason.to_owned(), 1),
    }
}

fn merge_counts(mine: &mut BTreeMap<String, u64>, theirs: &BTreeMap<String, u64>) {
    for (reason, count) in theirs {
        *mine.entry(reason.clone()).or_default() += count;
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS).expect("valid bounds")
}
