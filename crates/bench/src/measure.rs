//! One run of one subject: connect, hold in silence, drive, and sample between the phases.

use crate::subject::Running;
use anyhow::{Context, ensure};
use roadstead_host::{HostRoot, ProcessUsage, SlabGrowth, SlabSnapshot, SlabSource};
use roadstead_load::sockets::{self, Settings};
use roadstead_load::{Observer, Phase, Progress, Report, Workload};
use std::ops::ControlFlow;

/// What a run has shown.
pub(crate) struct Measured {
    /// The client's side.
    pub(crate) report: Report,
    /// Server CPU per measured message, in nanoseconds; `None` without messages.
    pub(crate) cpu_ns_per_message: Option<f64>,
    /// The server's resident memory per idle connection.
    pub(crate) user_bytes: f64,
    /// Slab memory per idle connection, both ends.
    pub(crate) kernel: SlabGrowth,
    /// Connections that were held.
    pub(crate) connections: u64,
}

impl Measured {
    /// Slab bytes per connection, client and server together.
    pub(crate) fn kernel_bytes_both_ends(&self) -> f64 {
        let total = self.kernel.total_bytes;
        let related = self
            .kernel
            .caches
            .iter()
            .filter(|(name, _)| !is_unrelated(name));
        let per_connection = |bytes: i64| bytes as f64 / self.connections as f64;
        match self.kernel.source {
            SlabSource::Meminfo => per_connection(total),
            SlabSource::Slabinfo => related
                .map(|(_, bytes)| per_connection(*bytes))
                .filter(|bytes| bytes.abs() >= GROWTH_BYTES_MIN)
                .sum(),
        }
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

/// Drives `server` with `workload`; `tick` is told the phase and how far it is.
pub(crate) fn measure(
    server: &Running,
    workload: Workload,
    tick: &mut dyn FnMut(Phase, &Progress),
) -> anyhow::Result<Measured> {
    let mut settings = Settings::new(server.address()?);
    settings.workload = workload;
    let mut sampler = Sampler {
        pid: server.pid(),
        before: Sample::take(server.pid())?,
        connected: None,
        traffic_from: None,
        traffic_until: None,
        failed: None,
        tick,
    };
    let report = sockets::run(&settings, &mut sampler)?;
    if let Some(error) = sampler.failed {
        return Err(error).context("the server cannot be sampled; has it ended?");
    }
    ensure!(
        report.counters.errors() == 0,
        "the run had errors: {:?} {:?}",
        report.counters,
        report.reasons
    );
    let connections = report.counters.established;
    let connected = sampler.connected.context("no connection phase")?;
    let traffic = sampler.traffic_from.zip(sampler.traffic_until);
    let cpu_ns_per_message = traffic.and_then(|(from, until)| {
        let messages = until.messages - from.messages;
        (messages > 0).then(|| (until.usage.cpu_ns - from.usage.cpu_ns) as f64 / messages as f64)
    });
    let rss_growth = connected.usage.rss_bytes as f64 - sampler.before.usage.rss_bytes as f64;
    Ok(Measured {
        cpu_ns_per_message,
        user_bytes: rss_growth / connections as f64,
        kernel: connected.slab.growth_since(&sampler.before.slab)?,
        connections,
        report,
    })
}

struct Sample {
    usage: ProcessUsage,
    slab: SlabSnapshot,
    messages: u64,
}

impl Sample {
    fn take(pid: u32) -> anyhow::Result<Self> {
        let host = HostRoot::live();
        Ok(Self {
            usage: ProcessUsage::read(&host, pid)?,
            slab: SlabSnapshot::read(&host)?,
            messages: 0,
        })
    }
}

struct Sampler<'a> {
    pid: u32,
    before: Sample,
    connected: Option<Sample>,
    traffic_from: Option<Sample>,
    traffic_until: Option<Sample>,
    failed: Option<anyhow::Error>,
    tick: &'a mut dyn FnMut(Phase, &Progress),
}

impl Observer for Sampler<'_> {
    fn phase_over(&mut self, phase: Phase, progress: &Progress) {
        let sample = match Sample::take(self.pid) {
            Ok(sample) => Some(Sample {
                messages: progress.counters.messages,
                ..sample
            }),
            Err(error) => {
                self.failed.get_or_insert(error);
                return;
            }
        };
        match phase {
            Phase::Connect | Phase::Idle => self.connected = sample,
            Phase::Warmup => self.traffic_from = sample,
            Phase::Hold => self.traffic_until = sample,
            Phase::Drain | Phase::Close => {}
        }
    }

    fn tick(&mut self, phase: Phase, progress: &Progress) -> ControlFlow<()> {
        (self.tick)(phase, progress);
        ControlFlow::Continue(())
    }
}
