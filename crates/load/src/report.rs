//! What a run came to: every setting, every counter, every percentile; as a table and as JSON.

use crate::counters::Counters;
use crate::phase::Timeline;
use crate::sockets;
use crate::tally::Tally;
use crate::workload::Workload;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// A run's results.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// How the connections were carried.
    pub mode: Mode,
    /// Connections that were asked for.
    pub connections: usize,
    /// What was counted.
    #[serde(flatten)]
    pub counters: Counters,
    /// Why connections failed or were lost, with how many did.
    pub reasons: BTreeMap<String, u64>,
    /// Measured messages per second of the hold.
    pub messages_per_second: f64,
    /// Latency of the measured messages; open loop: from when each was due.
    pub latency_us: Percentiles,
    /// From when a connection should have been opened until its handshake was over.
    pub connect_us: Percentiles,
    /// How long it all took.
    pub timeline: Timeline,
    /// The whole latency histogram, in nanoseconds.
    #[serde(skip)]
    pub latency_ns: Histogram<u64>,
}

/// How the connections were carried.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mode {
    /// By kernel sockets.
    Sockets {
        /// All settings of the run.
        settings: sockets::Settings,
        /// Threads that were started.
        threads: usize,
    },
}

/// A distribution in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names are the whole documentation")]
pub struct Percentiles {
    /// How many values it has.
    pub count: u64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    #[serde(rename = "p99.99")]
    pub p99_99: f64,
    pub max: f64,
}

impl Percentiles {
    pub(crate) fn of_ns(histogram: &Histogram<u64>) -> Self {
        let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            count: histogram.len(),
            mean: histogram.mean() / 1e3,
            p50: us(0.5),
            p90: us(0.9),
            p99: us(0.99),
            p99_9: us(0.999),
            p99_99: us(0.9999),
            max: histogram.max() as f64 / 1e3,
        }
    }
}

impl Report {
    pub(crate) fn new(mode: Mode, workload: &Workload, timeline: Timeline, tally: &Tally) -> Self {
        let hold = timeline.hold_seconds.max(f64::MIN_POSITIVE);
        Self {
            mode,
            connections: workload.connections,
            counters: tally.counters,
            reasons: tally.reasons.clone(),
            messages_per_second: tally.counters.measured_messages as f64 / hold,
            latency_us: Percentiles::of_ns(&tally.latency_ns),
            connect_us: Percentiles::of_ns(&tally.connect_ns),
            timeline,
            latency_ns: tally.latency_ns.clone(),
        }
    }
}
