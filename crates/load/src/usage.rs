//! What the server, the kernel and this tool itself use while a run goes on, looked at between the phases.

use crate::Error;
use crate::phase::{Observer, Phase, Progress};
use roadstead_host::{HostRoot, ProcessUsage, SlabSnapshot, SlabSource, SocketCounts};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Slab caches that are told by name.
const SLAB_CACHES_SHOWN: usize = 10;

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
    /// Buffers of all TCP sockets of this host, in whole pages.
    pub socket_buffer_bytes: Option<u64>,
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

/// Memory that an open connection takes, by where it lies; growth from before the first connection until all
/// were open. `None`: could not be looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BytesPerConnection {
    /// The server's own memory, as its resident set grew.
    pub server_user: Option<f64>,
    /// The kernel's slab caches that grew most; empty if only their sum is told. With sockets, those of both ends.
    pub slab_caches: BTreeMap<String, f64>,
    /// All other caches of the kernel.
    pub slab_rest: Option<f64>,
    /// Socket buffers, which are no slab memory; of the whole host.
    pub socket_buffers: Option<f64>,
    /// This tool's own memory.
    pub tool_user: Option<f64>,
    /// What is known of all of these.
    pub total: f64,
}

/// CPU time that opening or closing a connection takes, in microseconds. `None`: could not be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CpuPerConnection {
    /// The server's process.
    pub server: Option<f64>,
    /// This tool; in `tun` mode the kernel's receive path for the server's packets as well.
    pub tool: Option<f64>,
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
    /// Where the memory of a connection lies; `None` if none was open.
    pub bytes_per_connection: Option<BytesPerConnection>,
    /// CPU time per connection, from the first to the last that was opened.
    pub cpu_us_per_connection_opened: CpuPerConnection,
    /// CPU time per connection that was open when the closing began.
    pub cpu_us_per_connection_closed: CpuPerConnection,
    /// All moments looked at, in order.
    pub samples: Vec<Sample>,
}

/// Looks between the phases, then passes the word on to the caller's own observer.
pub(crate) struct UsageObserver<'a> {
    server_pid: Option<u32>,
    root: HostRoot,
    slab_source: Option<SlabSource>,
    samples: Vec<Sample>,
    /// Slab memory by cache, at the first sample and when all connections were open.
    slab_before: Option<SlabSnapshot>,
    slab_up: Option<SlabSnapshot>,
    then: &'a mut dyn Observer,
}

impl<'a> UsageObserver<'a> {
    /// Takes the first sample: call it before anything is allocated for the connections.
    ///
    /// # Errors
    /// If there is no such process.
    pub(crate) fn new(server_pid: Option<u32>, then: &'a mut dyn Observer) -> Result<Self, Error> {
        let root = HostRoot::live();
        if let Some(pid) = server_pid
            && let Err(error) = ProcessUsage::read(&root, pid)
        {
            let what = format!("cannot look at the server's process {pid} ({error})");
            return Err(Error::new(
                what,
                "pass --server-pid of a process of yours, or leave it out",
            ));
        }
        let mut observer = Self {
            server_pid,
            root,
            slab_source: None,
            samples: Vec::new(),
            slab_before: None,
            slab_up: None,
            then,
        };
        observer.sample(None, 0.0, 0, 0);
        Ok(observer)
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
            socket_buffer_bytes: SocketCounts::read(&self.root)
                .ok()
                .map(|counts| counts.tcp_buffer_pages * rustix::param::page_size() as u64),
        });
        self.slab_source = slab.as_ref().map(|slab| slab.source);
        match after {
            None => self.slab_before = slab,
            Some(Phase::Connect) => self.slab_up = slab,
            Some(_) => {}
        }
    }

    pub(crate) fn finish(self) -> Usage {
        let slab_growth = self
            .slab_up
            .as_ref()
            .zip(self.slab_before.as_ref())
            .and_then(|(up, before)| up.growth_since(before).ok());
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
            let server_rss = |sample: &Sample| sample.server.map(|server| server.rss_bytes);
            usage.tool_rss_bytes_per_connection = growth(rss(first), rss(up)).map(per_connection);
            let mut bytes = BytesPerConnection {
                server_user: growth(server_rss(first), server_rss(up)).map(per_connection),
                socket_buffers: growth(first.socket_buffer_bytes, up.socket_buffer_bytes)
                    .map(per_connection),
                tool_user: usage.tool_rss_bytes_per_connection,
                ..BytesPerConnection::default()
            };
            if let Some(slab) = slab_growth {
                let mut caches: Vec<(String, i64)> = slab.caches.into_iter().collect();
                caches.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
                caches.truncate(SLAB_CACHES_SHOWN);
                caches.retain(|(_, bytes)| *bytes > 0);
                let shown: i64 = caches.iter().map(|(_, bytes)| bytes).sum();
                bytes.slab_rest = Some(per_connection(slab.total_bytes - shown));
                let cache = |(name, bytes)| (name, per_connection(bytes));
                bytes.slab_caches = caches.into_iter().map(cache).collect();
            }
            let parts = [
                bytes.server_user,
                bytes.slab_rest,
                bytes.socket_buffers,
                bytes.tool_user,
            ];
            bytes.total =
                parts.iter().flatten().sum::<f64>() + bytes.slab_caches.values().sum::<f64>();
            usage.bytes_per_connection = Some(bytes);
            usage.cpu_us_per_connection_opened = cpu_between(first, up, up.open);
        }
        if let Some(over) = after(Phase::Close)
            && let Some(up) = samples
                .iter()
                .rfind(|sample| sample.after < Some(Phase::Close))
            && up.open > 0
        {
            usage.cpu_us_per_connection_closed = cpu_between(up, over, up.open);
        }
        usage.server = self.server_pid.and_then(|pid| server_usage(pid, &samples));
        usage.samples = samples;
        usage
    }
}

/// CPU time of both processes from one sample to another, per connection.
fn cpu_between(from: &Sample, to: &Sample, connections: u64) -> CpuPerConnection {
    let us = |from: Option<ProcessSample>, to: Option<ProcessSample>| {
        Some((to?.cpu_seconds - from?.cpu_seconds) * 1e6 / connections as f64)
    };
    CpuPerConnection {
        server: us(from.server, to.server),
        tool: us(from.tool, to.tool),
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
