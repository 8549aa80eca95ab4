//! What a run came to: every setting, every counter, every percentile; as a table and as JSON.

use crate::counters::Counters;
use crate::crew::Outcome;
use crate::phase::{Phase, Timeline};
use crate::sockets;
use crate::tally::StampedeTally;
use crate::tun;
use crate::usage::{Sample, Usage};
use crate::workload::{Herd, Workload};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// A run's results.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// How the connections were carried.
    pub mode: Mode,
    /// Connections that the run was made with.
    pub connections: usize,
    /// Connections that were asked for: more, if they did not fit into the host's memory.
    pub asked_connections: usize,
    /// What was counted.
    #[serde(flatten)]
    pub counters: Counters,
    /// Why connections failed or were lost, with how many did.
    pub reasons: BTreeMap<String, u64>,
    /// Measured messages per second of the hold.
    pub messages_per_second: f64,
    /// Latency of the measured messages; open loop: from when each was due.
    pub latency_us: Percentiles,
    /// Latency of the messages before them, during the warm-up.
    pub latency_warmup_us: Percentiles,
    /// From when a connection should have been opened until its handshake was over.
    pub connect_us: Percentiles,
    /// What came of the connections that were reset at once.
    pub stampede: Option<StampedeReport>,
    /// What server, kernel and tool used.
    #[serde(flatten)]
    pub usage: Usage,
    /// Where it ran.
    pub host: Host,
    /// How a server that the run had started ended, if not because it was told to in the end.
    pub server_ended: Option<String>,
    /// The last counters that the server printed as JSON: an object with `counters` and `accounts_close`.
    pub server_counters: Option<serde_json::Value>,
    /// How long it all took.
    pub timeline: Timeline,
    /// The whole latency histogram, in nanoseconds.
    #[serde(skip)]
    pub latency_ns: Histogram<u64>,
}

/// The machine a run was made on.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Host {
    /// The kernel's release, if it says.
    pub kernel: Option<String>,
    /// Cores this process may run on.
    pub cores: u32,
    /// Memory this process may use.
    pub memory_bytes: Option<u64>,
    /// Descriptors per table at most.
    pub nofile_hard: Option<u64>,
}

impl Host {
    fn read() -> Self {
        let limits = roadstead_host::Limits::read(&roadstead_host::HostRoot::live());
        Self {
            kernel: limits.kernel.map(|release| release.name().to_owned()),
            cores: limits.cores,
            memory_bytes: limits.memory.map(|memory| memory.total_bytes),
            nofile_hard: limits.nofile.map(|nofile| nofile.hard.or_max()),
        }
    }
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
    /// By a TCP of our own behind TUN devices.
    Tun {
        /// All settings of the run.
        settings: tun::Settings,
        /// Threads, and devices, that were started.
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

/// Connections that were reset at once and came back as fast as they could.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StampedeReport {
    /// Connections that were reset.
    pub reset: u64,
    /// Connections of these that were open again in the end.
    pub back: u64,
    /// Seconds from the moment of the reset until the last one was back; `None`: not all of them came back.
    pub seconds: Option<f64>,
    /// Attempts in vain, and why; each was followed by another, while there was traffic.
    pub shed: BTreeMap<String, u64>,
    /// From the moment of the reset, or of a later attempt, until a connection was open again.
    pub connect_us: Percentiles,
    /// Latency of the messages that were due during the stampede on connections that were not reset.
    pub others_us: Percentiles,
    /// The same on those that were: the way back is in it.
    pub crowd_us: Percentiles,
    /// Latency of the messages that were due before or after.
    pub rest_us: Percentiles,
}

impl StampedeReport {
    fn new(tally: &StampedeTally, herd: &Herd) -> Self {
        let seconds = |(at, over): (u64, u64)| over.saturating_sub(at) as f64 / 1e9;
        Self {
            reset: tally.reset,
            back: tally.back,
            seconds: herd.at_ns().zip(herd.over_ns()).map(seconds),
            shed: tally.shed.clone(),
            connect_us: Percentiles::of_ns(&tally.connect_ns),
            others_us: Percentiles::of_ns(&tally.others_ns),
            crowd_us: Percentiles::of_ns(&tally.crowd_ns),
            rest_us: Percentiles::of_ns(&tally.rest_ns),
        }
    }
}

impl Report {
    /// Connections that were closed by both sides in the last phase, and not before to be opened again.
    pub fn closed_in_the_end(&self) -> u64 {
        let before = |sample: &&Sample| sample.after < Some(Phase::Close);
        let open = self.usage.samples.iter().rfind(before);
        let counters = &self.counters;
        open.map_or(0, |sample| sample.open)
            .saturating_sub(counters.cut_off + counters.unclosed)
    }

    pub(crate) fn new(mode: Mode, workload: &Workload, outcome: Outcome) -> Self {
        let Outcome {
            timeline,
            mut tally,
            usage,
            herd,
        } = outcome;
        let stampede = tally.take_stampede();
        let hold = timeline.hold_seconds.max(f64::MIN_POSITIVE);
        let asked = match &mode {
            Mode::Tun { settings, .. } => settings.fit.map(|fit| fit.asked_connections),
            Mode::Sockets { .. } => None,
        };
        Self {
            mode,
            connections: workload.connections,
            asked_connections: asked.unwrap_or(workload.connections),
            counters: tally.counters,
            reasons: tally.reasons,
            messages_per_second: tally.counters.measured_messages as f64 / hold,
            latency_us: Percentiles::of_ns(&tally.latency_ns),
            latency_warmup_us: Percentiles::of_ns(&tally.warmup_ns),
            connect_us: Percentiles::of_ns(&tally.connect_ns),
            stampede: stampede.map(|tally| StampedeReport::new(&tally, &herd)),
            usage,
            host: Host::read(),
            server_ended: None,
            server_counters: None,
            timeline,
            latency_ns: tally.latency_ns,
        }
    }
}
