//! What the server, the kernel and this tool itself use while a run goes on, looked at between the phases.

use crate::phase::{Observer, Phase, Progress};
use roadstead_host::{HostRoot, ProcessUsage, SlabSnapshot, SlabSource};
use serde::Serialize;
use std::ops::ControlFlow;

/// What was in use at one moment of a run.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Sample {
    /// The phase that was just over; `None`: before anything was opened.
    pub after: Option<Phase>,
    /// Seconds since the run began.
    pub elapsed_seconds: f64,
    /// Connections open.
    pub open: u64,
    /// Replies until then.
    pub messages: u64,
    /// The server process, if it is known and still there.
    pub server: Option<ProcessSample>,
    /// This process.
    pub tool: Option<ProcessSample>,
    /// The kernel's slab memory, of everybody on this host.
    pub slab_bytes: Option<u64>,
}

/// What a process used until one moment.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs, reason = "the names are the whole documentation")]
pub struct ProcessSample {
    pub cpu_seconds: f64,
    pub rss_bytes: u64,
}

/// What the run cost the server's process.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct ServerUsage {
    /// The process that was looked at.
    pub pid: u32,
    /// CPU time from the first connection until the last one was closed.
    pub cpu_seconds: f64,
    /// CPU time of warm-up, hold and drain.
    pub traffic_cpu_seconds: f64,
    /// The same per reply, in microseconds; `None` without any.
    pub cpu_us_per_message: Option<f64>,
    /// Resident memory at the end of the traffic, with all connections open.
    pub rss_bytes: u64,
    /// Its growth since before the first connection, per connection.
    pub rss_bytes_per_connection: f64,
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// The server's process, if its id is known.
    pub server: Option<ServerUsage>,
    /// Slab growth from before the first connection until all were open; both ends of a connection
    /// count where both are on this host.
    pub slab_bytes: Option<i64>,
    /// The same per open connection.
    pub slab_bytes_per_connection: Option<f64>,
    /// What the slab figures count: object sizes, or whole pages.
    pub slab_source: Option<SlabSource>,
    /// This tool's own growth in memory per open connection, from before the first until all were open.
    pub tool_rss_bytes_per_connection: Option<f64>,
    /// All moments looked at, in order.
    pub samples: Vec<Sample>,
}

/// Looks between the phases, then passes the word on to the caller's own observer.
pub(crate) struct UsageObserver<'a> {
    server_pid: Option<u32>,
    root: HostRoot,
    slab_source: Option<SlabSource>,
    samples: Vec<Sample>,
    then: &'a mut dyn Observer,
}

impl<'a> UsageObserver<'a> {
    /// Takes the first sample: call it before anything is allocated for the connections.
    pub(crate) fn new(server_pid: Option<u32>, then: &'a mut dyn Observer) -> Self {
        let root = HostRoot::live();
        let mut observer = Self {
            server_pid,
            root,
            slab_source: None,
            samples: Vec::new(),
            then,
        };
        observer.sample(None, 0.0, 0, 0);
        observer
    }

    fn sample(&mut self, after: Option<Phase>, elapsed_seconds: f64, open: u64, messages: u64) {
        let process = |pid| {
            let usage = ProcessUsage::read(&self.root, pid).ok()?;
            let cpu_seconds = usage.cpu_ns as f64 / 1e9;
            Some(ProcessSample {
                cpu_seconds,
                rss_bytes: usage.rss_bytes,
            })
        };
        let slab = SlabSnapshot::read(&self.root).ok();
        self.samples.push(Sample {
            after,
            elapsed_seconds,
            open,
            messages,
            server: self.server_pid.and_then(process),
            tool: process(std::process::id()),
            slab_bytes: slab.as_ref().map(|slab| slab.total_bytes),
        });
        self.slab_source = slab.map(|slab| slab.source);
    }

    pub(crate) fn finish(self) -> Usage {
        let samples = self.samples;
        let after = |phase| samples.iter().find(|sample| sample.after == Some(phase));
        let first = &samples[0];
        let mut usage = Usage {
            slab_source: self.slab_source,
            ..Usage::default()
        };
        if let Some(up) = after(Phase::Connect)
            && up.open > 0
        {
            let per_connection = |bytes: i64| bytes as f64 / up.open as f64;
            usage.slab_bytes = growth(first.slab_bytes, up.slab_bytes);
            usage.slab_bytes_per_connection = usage.slab_bytes.map(per_connection);
            let rss = |sample: &Sample| sample.tool.map(|tool| tool.rss_bytes);
            usage.tool_rss_bytes_per_connection = growth(rss(first), rss(up)).map(per_connection);
        }
        usage.server = self.server_pid.and_then(|pid| server_usage(pid, &samples));
        usage.samples = samples;
        usage
    }
}

fn growth(from: Option<u64>, to: Option<u64>) -> Option<i64> {
    Some(to? as i64 - from? as i64)
}

/// What the samples say about the server; `None` if it could never be looked at.
fn server_usage(pid: u32, samples: &[Sample]) -> Option<ServerUsage> {
    let seen = |sample: &&Sample| sample.server.is_some();
    let first = samples.iter().find(seen)?;
    let last = samples.iter().rfind(seen)?;
    let quiet = |sample: &&Sample| sample.after <= Some(Phase::Idle);
    let before_traffic = samples.iter().filter(seen).rfind(quiet).unwrap_or(first);
    let with_all_open = samples
        .iter()
        .filter(seen)
        .rfind(|sample| sample.after < Some(Phase::Close))?;
    let cpu_between =
        |from: &Sample, to: &Sample| Some(to.server?.cpu_seconds - from.server?.cpu_seconds);
    let traffic_cpu_seconds = cpu_between(before_traffic, with_all_open)?;
    let messages = with_all_open.messages - before_traffic.messages;
    let rss_bytes = with_all_open.server?.rss_bytes;
    let rss_growth = rss_bytes as f64 - first.server?.rss_bytes as f64;
    Some(ServerUsage {
        pid,
        cpu_seconds: cpu_between(first, last)?,
        traffic_cpu_seconds,
        cpu_us_per_message: (messages > 0).then(|| traffic_cpu_seconds * 1e6 / messages as f64),
        rss_bytes,
        rss_bytes_per_connection: rss_growth / with_all_open.open.max(1) as f64,
    })
}

impl Observer for UsageObserver<'_> {
    fn phase_over(&mut self, phase: Phase, progress: &Progress) {
        let counters = &progress.counters;
        let (open, messages) = (counters.open, counters.messages);
        self.sample(Some(phase), progress.elapsed.as_secs_f64(), open, messages);
        self.then.phase_over(phase, progress);
    }

    fn tick(&mut self, phase: Phase, progress: &Progress) -> ControlFlow<()> {
        self.then.tick(phase, progress)
    }
}
