//! One measurement of one subject: connect, hold in silence, drive, and look at the server between the phases.

use crate::subject::Running;
use anyhow::{Context, ensure};
use roadstead_host::{HostRoot, ProcessUsage, SlabGrowth, SlabSnapshot, SlabSource, SocketCounts};
use roadstead_load::sockets::{self, Settings};
use roadstead_load::{Counters, Observer, Phase, Progress, Report};
use std::ops::ControlFlow;

/// What a measurement has shown.
pub(crate) struct Measured {
    /// The client's side.
    pub(crate) report: Report,
    /// Slab memory since before the first connection, with all of them open and silent; both ends.
    pub(crate) kernel: SlabGrowth,
    before: Moment,
    /// All open, and silent if there was an idle phase.
    idle: Moment,
    /// Where measured traffic begins and ends.
    traffic: Option<(Moment, Moment)>,
}

/// The server at one moment.
#[derive(Clone, Copy)]
struct Moment {
    usage: ProcessUsage,
    counters: Counters,
    /// Memory of all TCP sockets' queues.
    buffer_bytes: u64,
}

impl Measured {
    /// Connections that were held.
    pub(crate) fn connections(&self) -> u64 {
        self.report.counters.established
    }

    /// The server's resident memory per idle connection.
    pub(crate) fn user_bytes(&self) -> f64 {
        self.user_bytes_in_all() / self.connections() as f64
    }

    /// Growth of the server's resident memory until all connections were open and silent.
    pub(crate) fn user_bytes_in_all(&self) -> f64 {
        self.idle.usage.rss_bytes as f64 - self.before.usage.rss_bytes as f64
    }

    /// What the sockets' queues hold more than before, client and server together.
    pub(crate) fn buffer_bytes(&self) -> f64 {
        self.idle.buffer_bytes as f64 - self.before.buffer_bytes as f64
    }

    /// Server CPU per connection that was closed and opened again; `None` without any.
    pub(crate) fn cpu_ns_per_cycle(&self) -> Option<f64> {
        let (from, until) = self.traffic.as_ref()?;
        let cycles = until.counters.reopened - from.counters.reopened;
        (cycles > 0).then(|| until.cpu_ns_since(from) / cycles as f64)
    }

    /// Server CPU per message of the measured traffic, in nanoseconds; `None` without any.
    pub(crate) fn cpu_ns_per_message(&self) -> Option<f64> {
        let (from, until) = self.traffic.as_ref()?;
        let messages = until.counters.messages - from.counters.messages;
        (messages > 0).then(|| until.cpu_ns_since(from) / messages as f64)
    }

    /// Server CPU per connection until all were open and silent, in nanoseconds. A handshake is over before the server
    /// has accepted, so the silence belongs to it.
    pub(crate) fn cpu_ns_per_accept(&self) -> f64 {
        self.idle.cpu_ns_since(&self.before) / self.connections() as f64
    }

    /// Whether kernel memory was counted object by object, so that one subject can be told from another.
    pub(crate) fn counts_objects(&self) -> bool {
        self.kernel.source == SlabSource::Slabinfo
    }

    /// Slab bytes per connection, client and server together.
    pub(crate) fn kernel_bytes_both_ends(&self) -> f64 {
        match self.kernel.source {
            SlabSource::Meminfo => self.kernel.total_bytes as f64 / self.connections() as f64,
            SlabSource::Slabinfo => self
                .caches()
                .filter(|(name, bytes)| !is_unrelated(name) && bytes.abs() >= GROWTH_BYTES_MIN)
                .map(|(_, bytes)| bytes)
                .sum(),
        }
    }

    /// Slab bytes per connection by cache, both ends.
    pub(crate) fn caches(&self) -> impl Iterator<Item = (&str, f64)> {
        let connections = self.connections() as f64;
        let caches = self.kernel.caches.iter();
        caches.map(move |(name, bytes)| (name.as_str(), *bytes as f64 / connections))
    }
}

impl Moment {
    fn cpu_ns_since(&self, earlier: &Self) -> f64 {
        (self.usage.cpu_ns - earlier.usage.cpu_ns) as f64
    }
}

/// A cache that grew by less than this per connection holds no object for each of them.
const GROWTH_BYTES_MIN: f64 = 8.0;

/// Caches that other work on the host moves while a run goes on: file systems' and address spaces'.
/// A socket's own dentry (192 bytes, the same for every subject) goes with them.
fn is_unrelated(cache: &str) -> bool {
    const OTHERS: [&str; 7] = [
        "dentry",
        "buffer_head",
        "radix_tree_node",
        "vm_area_struct",
        "maple_node",
        "kernfs_node_cache",
        "lsm_inode_cache",
    ];
    OTHERS.contains(&cache) || (cache.ends_with("inode_cache") && cache != "sock_inode_cache")
}

/// Drives `server` as `settings` say; `tick` is told the phase and how far it is, and may end it.
pub(crate) fn measure(
    server: &Running,
    settings: &Settings,
    tick: &mut dyn FnMut(Phase, &Progress) -> ControlFlow<()>,
) -> anyhow::Result<Measured> {
    let before = Sample::take(server.pid(), Counters::default())?;
    let mut sampler = Sampler {
        pid: server.pid(),
        connected: None,
        idle: None,
        traffic_from: None,
        traffic_until: None,
        failed: None,
        tick,
    };
    let report = sockets::run(settings, &mut sampler)?;
    ensure!(!report.timeline.interrupted, "interrupted");
    ensure!(
        report.counters.errors() == 0,
        "the run had errors: {:?} {:?}",
        report.reasons,
        report.counters
    );
    if let Some(error) = sampler.failed {
        return Err(error).context("the server cannot be looked at; has it ended?");
    }
    let connected = sampler.connected.context("no connection phase")?;
    let kernel = match &sampler.idle {
        Some(idle) => idle.slab.growth_since(&before.slab)?,
        None => connected.slab.growth_since(&before.slab)?,
    };
    Ok(Measured {
        report,
        kernel,
        before: before.moment,
        idle: sampler.idle.map_or(connected.moment, |idle| idle.moment),
        traffic: sampler.traffic_from.zip(sampler.traffic_until),
    })
}

/// What `/proc/net/sockstat` counts in.
const PAGE_BYTES: u64 = 4096;

struct Sample {
    moment: Moment,
    slab: SlabSnapshot,
}

impl Sample {
    fn take(pid: u32, counters: Counters) -> anyhow::Result<Self> {
        let host = HostRoot::live();
        Ok(Self {
            moment: Moment {
                usage: ProcessUsage::read(&host, pid)?,
                counters,
                buffer_bytes: SocketCounts::read(&host)?.tcp_buffer_pages * PAGE_BYTES,
            },
            slab: SlabSnapshot::read(&host)?,
        })
    }
}

struct Sampler<'a> {
    pid: u32,
    connected: Option<Sample>,
    idle: Option<Sample>,
    traffic_from: Option<Moment>,
    traffic_until: Option<Moment>,
    failed: Option<anyhow::Error>,
    tick: &'a mut dyn FnMut(Phase, &Progress) -> ControlFlow<()>,
}

impl Observer for Sampler<'_> {
    fn phase_over(&mut self, phase: Phase, progress: &Progress) {
        if phase > Phase::Hold {
            return;
        }
        let sample = match Sample::take(self.pid, progress.counters) {
            Ok(sample) => sample,
            Err(error) => {
                self.failed.get_or_insert(error);
                return;
            }
        };
        match phase {
            Phase::Connect => {
                self.traffic_from = Some(sample.moment);
                self.connected = Some(sample);
            }
            Phase::Idle => {
                self.traffic_from = Some(sample.moment);
                self.idle = Some(sample);
            }
            Phase::Warmup => self.traffic_from = Some(sample.moment),
            Phase::Hold => self.traffic_until = Some(sample.moment),
            Phase::Drain | Phase::Close => {}
        }
    }

    fn tick(&mut self, phase: Phase, progress: &Progress) -> ControlFlow<()> {
        (self.tick)(phase, progress)
    }
}
