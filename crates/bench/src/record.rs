//! What a run is kept as: `raw.json`, from which the summary, the plots and a comparison with another run are made.
//!
//! ```text
//!  Run ── subjects, missing ones with their reason
//!   └─ Cell ── one workload: its metrics, its place on an axis
//!       └─ Round ── one subject, once: values by metric, the load tool's whole report
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Raised when a field changes its meaning.
pub(crate) const FORMAT: u32 = 1;

/// A run of the harness.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) format: u32,
    /// What was run: a scenario, several with `+` between them.
    pub(crate) scenario: String,
    pub(crate) command: String,
    /// UTC.
    pub(crate) began: String,
    /// Whether it was run to its end.
    pub(crate) complete: bool,
    pub(crate) commit: Commit,
    pub(crate) host: Host,
    pub(crate) subjects: Vec<Subject>,
    /// What a reader must know: what could not be measured, and why.
    pub(crate) notes: Vec<String>,
    pub(crate) cells: Vec<Cell>,
}

/// The source that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Commit {
    pub(crate) id: String,
    /// Whether files differed from it.
    pub(crate) dirty: bool,
}

/// The machine that was measured on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Host {
    /// `2core-24g`.
    pub(crate) name: String,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    /// Of those, the server's and the client's.
    pub(crate) server_cores: Vec<usize>,
    pub(crate) client_cores: Vec<usize>,
    pub(crate) memory_bytes: u64,
    pub(crate) nofile_hard: u64,
}

/// Something that was to be measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    /// Why it was not.
    pub(crate) missing: Option<String>,
    /// Which subjects are variants of one: a row is compared with those of another family.
    pub(crate) family: String,
}

/// One workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// `echo/1000-busy`.
    pub(crate) name: String,
    pub(crate) title: String,
    /// Where it stands on a curve.
    pub(crate) axis: Option<Axis>,
    /// The first is what ratios are made of.
    pub(crate) metrics: Vec<Metric>,
    /// Why nobody was measured.
    pub(crate) not_run: Option<String>,
    pub(crate) rounds: Vec<Round>,
}

/// A place on a curve over several cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Axis {
    pub(crate) name: String,
    pub(crate) value: f64,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// A number that a round yields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Metric {
    pub(crate) key: String,
    pub(crate) title: String,
    pub(crate) better: Better,
    pub(crate) decimals: usize,
}

/// One subject, measured once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) subject: String,
    pub(crate) round: usize,
    /// Whether it was repeated because too much time was stolen, and does not count.
    pub(crate) discarded: bool,
    /// The share of all cores' time that the hypervisor gave to others.
    pub(crate) steal: f64,
    /// What went wrong.
    pub(crate) failed: Option<String>,
    /// By the metrics' keys.
    pub(crate) values: BTreeMap<String, f64>,
    /// Kernel objects per connection by slab cache, both ends, in bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) caches: BTreeMap<String, f64>,
    /// Quantiles of the latency and their microseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) latency_us: Vec<(f64, f64)>,
    /// The load tool's.
    pub(crate) report: Value,
}

impl Round {
    /// Nothing measured yet.
    pub(crate) fn of(subject: &str, round: usize) -> Self {
        Self {
            subject: subject.to_owned(),
            round,
            discarded: false,
            steal: 0.0,
            failed: None,
            values: BTreeMap::new(),
            caches: BTreeMap::new(),
            latency_us: Vec::new(),
            report: Value::Null,
        }
    }
}

impl Cell {
    /// The rounds of a subject that count.
    pub(crate) fn counted<'a>(&'a self, subject: &'a str) -> impl Iterator<Item = &'a Round> {
        let counts =
            move |it: &&Round| it.subject == subject && !it.discarded && it.failed.is_none();
        self.rounds.iter().filter(counts)
    }

    /// A subject's values of a metric, round by round.
    pub(crate) fn values(&self, subject: &str, metric: &str) -> Vec<f64> {
        let values = self.counted(subject).filter_map(|it| it.values.get(metric));
        values.copied().collect()
    }

    /// What a subject failed with, for each round in which it did.
    pub(crate) fn failures(&self, subject: &str) -> Vec<&str> {
        let rounds = self.rounds.iter().filter(|it| it.subject == subject);
        rounds.filter_map(|it| it.failed.as_deref()).collect()
    }

    /// In how many rounds a subject took part.
    pub(crate) fn rounds_of(&self, subject: &str) -> usize {
        let counts = |it: &&Round| it.subject == subject && !it.discarded;
        self.rounds.iter().filter(counts).count()
    }
}

/// Whether a subject is this project's.
pub(crate) fn is_ours(family: &str) -> bool {
    matches!(family, EPOLL | URING)
}

/// The families that are not one contender each.
pub(crate) const EPOLL: &str = "epoll";
pub(crate) const URING: &str = "uring";
pub(crate) const BARE: &str = "bare";
