//! How many workers a server needs, how many connections it can hold, and which limit binds.
//!
//! Each worker has a descriptor table of its own, so the hard nofile limit bounds a worker and not the
//! process: a connection count beyond it needs more workers than cores. The kernel spreads connections over
//! the workers' listeners by a hash, unevenly; a worker that is to hold `mean` of them is given room for
//! `mean + 6 √mean`, which one worker in a billion outgrows.
//!
//! Where neither connections nor workers are given, memory decides: there are as many workers as it takes for
//! something other than descriptors to bind, and never fewer than cores. On hosts with a generous nofile limit
//! that is a worker per core; where the limit is low and hard it can be hundreds, and the plan says so and what a
//! worker per core would hold. An idle worker costs a thread and some hundred KiB. While many connections are busy
//! it costs batches too: 1,000 of them echoing over 294 workers on 2 cores took 2.8 times the CPU per message of 2
//! workers. A server that stops at a hundredth of what its memory holds is the worse surprise.

mod cost;
mod shortfall;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use crate::quantity::{Choice, binary_bytes, grouped};
use crate::{Limit, Limits, MemoryBound};

pub use crate::ledger::Watch;
pub use cost::ConnectionCost;
pub(crate) use cost::{DESCRIPTOR_BYTES, RECORD_BYTES};
pub use shortfall::Shortfall;

/// Workers that a plan may ask for: past this, the threads themselves are the burden.
pub const WORKERS_MAX: u64 = 1024;

/// Descriptors of a worker that are no connections: standard streams, logs, the admin sockets, the ring, and
/// a few to accept and refuse with.
const DESCRIPTORS_BASE: u64 = 64;

/// Standard deviations of the spread over workers that every worker has room for.
const SKEW_SIGMAS: f64 = 6.0;

/// One part in so many of the memory stays free: for traffic, the page cache, and the rest of the host.
const MEMORY_HEADROOM_PART: u64 = 16;

/// What the kernel gives a process when nobody says otherwise, for hosts that do not tell.
const NOFILE_WHEN_UNKNOWN: u64 = 1024;

/// What the operator asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Connections to hold.
    pub connections: Choice,
    /// Worker threads.
    pub workers: Choice,
    /// Listening addresses; each worker has a socket for each.
    pub listeners: u32,
    /// What a connection costs in memory.
    pub cost: ConnectionCost,
    /// What a worker costs in memory before its first connection: ring, buffers, tables.
    pub worker_bytes: u64,
}

/// What holds the number of connections down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// Nothing does: the host can hold more than was asked for.
    Asked,
    /// Descriptors per worker (RLIMIT_NOFILE, hard).
    Descriptors,
    /// Memory of the host.
    Memory,
    /// Memory of the process's control group.
    ControlGroupMemory,
    /// Open files on the whole host (`fs.file-max`).
    FileMax,
    /// Epoll interests of the server's user (`fs.epoll.max_user_watches`), where each connection is one.
    EpollWatches,
    /// Entries of the connection tracking table (`nf_conntrack_max`), where the port is tracked.
    Conntrack,
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "the number asked for",
            Self::Descriptors => "descriptors per worker (nofile, hard)",
            Self::Memory => "memory",
            Self::ControlGroupMemory => "the control group's memory",
            Self::FileMax => "open files on the host (fs.file-max)",
            Self::EpollWatches => "epoll interests of a user (fs.epoll.max_user_watches)",
            Self::Conntrack => "the connection tracking table (nf_conntrack_max)",
        })
    }
}

/// One limit, as a number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// Which limit.
    pub binding: Binding,
    /// The connections it allows.
    pub connections: u64,
}

/// Workers and connections that fit this host.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Worker threads.
    pub workers: u32,
    /// Cores they share.
    pub cores: u32,
    /// Connections to accept, all workers together.
    pub connections: u64,
    /// Connections that one worker must have room for: its share, and the spread of the hash.
    pub worker_connections: u64,
    /// Connections that these workers can hold on this host.
    pub can_hold: u64,
    /// What binds first: at `connections` when it is what was asked for, else at `can_hold`.
    pub binding: Binding,
    /// Each limit as a number of connections, the tightest first.
    pub bounds: Vec<Bound>,
    /// Memory that one of them takes.
    pub connection_bytes: u64,
    /// Memory that `connections` take.
    pub connections_bytes: u64,
    /// Why there are more workers than cores, where nobody asked for them.
    pub beyond_cores: Option<BeyondCores>,
}

/// Descriptors made more workers necessary than there are cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BeyondCores {
    /// What one worker's descriptor table takes.
    pub descriptors_per_worker: u64,
    /// Connections that a worker per core would hold.
    pub held_by_cores: u64,
}

/// Decides workers and connections, or says what is short and what to do about it.
pub fn plan(request: &Request, limits: &Limits) -> Result<Plan, Shortfall> {
    let cores = limits.cores.max(1);
    let workers = match (request.workers, request.connections) {
        (Choice::Exactly(workers), _) if workers > WORKERS_MAX => {
            return Err(Shortfall::too_many_workers(workers));
        }
        (Choice::Exactly(workers), _) => workers,
        (Choice::Auto, Choice::Auto) => workers_at_ceiling(request, limits),
        (Choice::Auto, Choice::Exactly(wanted)) => workers_for(wanted, request, limits),
    };
    let bounds = bounds(request, limits, workers);
    let tightest = bounds[0];
    let (connections, binding) = match request.connections {
        Choice::Exactly(wanted) if wanted > tightest.connections => {
            return Err(Shortfall::new(wanted, workers, tightest, request, limits));
        }
        Choice::Exactly(wanted) => (wanted, Binding::Asked),
        Choice::Auto if tightest.connections == 0 => {
            return Err(Shortfall::new(1, workers, tightest, request, limits));
        }
        Choice::Auto => (tightest.connections, tightest.binding),
    };
    Ok(Plan {
        workers: u32::try_from(workers).expect("at most WORKERS_MAX"),
        cores,
        connections,
        worker_connections: with_skew(connections.div_ceil(workers), workers).min(connections),
        can_hold: tightest.connections,
        binding,
        bounds,
        connection_bytes: request.cost.total_bytes(),
        connections_bytes: connections.saturating_mul(request.cost.total_bytes()),
        beyond_cores: beyond_cores(request, limits, workers),
    })
}

fn beyond_cores(request: &Request, limits: &Limits, workers: u64) -> Option<BeyondCores> {
    let cores = u64::from(limits.cores.max(1));
    let unasked = request.workers == Choice::Auto && workers > cores;
    unasked.then(|| BeyondCores {
        descriptors_per_worker: descriptors_per_worker(limits),
        held_by_cores: bounds(request, limits, cores)[0].connections,
    })
}

/// What this host can hold with as many workers as that takes, and what binds then.
#[must_use]
pub fn ceiling(request: &Request, limits: &Limits) -> Bound {
    bounds(request, limits, best_workers(request, limits))[0]
}

/// The fewest workers, in whole multiples of the cores, that hold the most connections.
fn best_workers(request: &Request, limits: &Limits) -> u64 {
    let cores = u64::from(limits.cores.max(1));
    let held = |workers| bounds(request, limits, workers)[0].connections;
    let mut best = (cores.min(WORKERS_MAX), 0);
    for workers in worker_counts(cores) {
        let held = held(workers);
        if held > best.1 {
            best = (workers, held);
        }
    }
    best.0
}

/// The workers of a server that is told no number at all. Where the memory is not known, nothing says how many
/// would be worth it: then there is one per core.
fn workers_at_ceiling(request: &Request, limits: &Limits) -> u64 {
    match limits.memory {
        Some(_) => best_workers(request, limits),
        None => u64::from(limits.cores.max(1)).min(WORKERS_MAX),
    }
}

/// Available memory that the connections asked for take, with the workers and the headroom; `None` for
/// `auto`, or where the host does not tell its memory.
#[must_use]
pub fn memory_needed(request: &Request, limits: &Limits) -> Option<u64> {
    let Choice::Exactly(wanted) = request.connections else {
        return None;
    };
    let workers = match request.workers {
        Choice::Exactly(workers) => workers,
        Choice::Auto => workers_for(wanted, request, limits),
    };
    let headroom = limits.memory?.total_bytes / MEMORY_HEADROOM_PART;
    let connections = wanted.saturating_mul(request.cost.total_bytes());
    Some(
        connections
            .saturating_add(workers.saturating_mul(request.worker_bytes))
            .saturating_add(headroom),
    )
}

/// The multiples of the cores that a plan may use.
fn worker_counts(cores: u64) -> impl Iterator<Item = u64> {
    (1..)
        .map(move |k| k * cores)
        .take_while(|&workers| workers <= WORKERS_MAX.max(1))
}

/// The fewest workers, in whole multiples of the cores, whose descriptors suffice for `wanted`; where none
/// do, those that come nearest.
pub(crate) fn workers_for(wanted: u64, request: &Request, limits: &Limits) -> u64 {
    let cores = u64::from(limits.cores.max(1));
    let mut best = (cores.min(WORKERS_MAX), 0);
    for workers in worker_counts(cores) {
        let held = descriptor_bound(request, limits, workers);
        if held >= wanted {
            return workers;
        }
        if held > best.1 {
            best = (workers, held);
        }
    }
    best.0
}

/// Each limit as a number of connections, the tightest first.
fn bounds(request: &Request, limits: &Limits, workers: u64) -> Vec<Bound> {
    let mut bounds = vec![Bound {
        binding: Binding::Descriptors,
        connections: descriptor_bound(request, limits, workers),
    }];
    if let Some(memory) = limits.memory {
        let headroom = memory.total_bytes / MEMORY_HEADROOM_PART;
        let taken = headroom.saturating_add(workers.saturating_mul(request.worker_bytes));
        let binding = match memory.bound {
            MemoryBound::Host => Binding::Memory,
            MemoryBound::ControlGroup => Binding::ControlGroupMemory,
        };
        let connections = memory.available_bytes.saturating_sub(taken) / request.cost.total_bytes();
        bounds.push(Bound {
            binding,
            connections,
        });
    }
    if let Some(files_left) = limits.files_left() {
        let reserve = workers.saturating_mul(descriptor_reserve(request, workers));
        let connections = files_left.saturating_sub(reserve) / request.cost.files();
        bounds.push(Bound {
            binding: Binding::FileMax,
            connections,
        });
    }
    if let Some(watches) = limits
        .epoll_watches
        .filter(|_| request.cost.takes_epoll_watch())
    {
        // Workers on epoll register their listeners and mailboxes too.
        let reserve = workers.saturating_mul(1 + u64::from(request.listeners));
        bounds.push(Bound {
            binding: Binding::EpollWatches,
            connections: watches.saturating_sub(reserve) / request.cost.files(),
        });
    }
    if let Some(connections) = limits.conntrack_left.filter(|_| request.cost.is_tracked()) {
        bounds.push(Bound {
            binding: Binding::Conntrack,
            connections,
        });
    }
    bounds.sort_by_key(|bound| bound.connections);
    bounds
}

/// Connections that `workers` descriptor tables take, with room for the spread in each.
fn descriptor_bound(request: &Request, limits: &Limits, workers: u64) -> u64 {
    let usable =
        descriptors_per_worker(limits).saturating_sub(descriptor_reserve(request, workers));
    mean_that_fits(usable, workers).saturating_mul(workers)
}

/// The hard nofile limit, which the server raises its soft one to, under the ceiling of `fs.nr_open`.
fn descriptors_per_worker(limits: &Limits) -> u64 {
    let hard = limits
        .nofile
        .map_or(Limit::Value(NOFILE_WHEN_UNKNOWN), |pair| pair.hard);
    hard.or_max().min(limits.nr_open.unwrap_or(u64::MAX))
}

/// A worker's table starts as a copy of the process's: it may hold the wake descriptor and the listeners of
/// every worker made before it.
fn descriptor_reserve(request: &Request, workers: u64) -> u64 {
    DESCRIPTORS_BASE + workers * (1 + u64::from(request.listeners))
}

/// The connections that one of `workers` must have room for when each holds `mean` on average.
fn with_skew(mean: u64, workers: u64) -> u64 {
    if workers == 1 {
        return mean; // nothing to spread over
    }
    mean.saturating_add((SKEW_SIGMAS * (mean as f64).sqrt()).ceil() as u64)
}

/// The largest mean whose spread still fits into `usable`: the inverse of [`with_skew`].
fn mean_that_fits(usable: u64, workers: u64) -> u64 {
    if workers == 1 {
        return usable;
    }
    // mean + 6 √mean = usable, solved for √mean; the rounding may be off by a few either way.
    let half = SKEW_SIGMAS / 2.0;
    let root = (half * half + usable as f64).sqrt() - half;
    let mut mean = (root * root) as u64;
    while mean > 0 && with_skew(mean, workers) > usable {
        mean -= 1;
    }
    mean
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = if self.cores == 1 { "core" } else { "cores" };
        let workers = if self.workers == 1 {
            "worker"
        } else {
            "workers"
        };
        write!(
            f,
            "{} connections on {} {workers} over {} {cores}, room for {} on each; {} for the connections, {} B each. ",
            grouped(self.connections),
            self.workers,
            self.cores,
            grouped(self.worker_connections),
            binary_bytes(self.connections_bytes),
            grouped(self.connection_bytes),
        )?;
        if let Some(beyond) = self.beyond_cores {
            write!(
                f,
                "More workers than cores, because the nofile limit gives each {} descriptors; that costs CPU while \
                 many connections are busy: raise the limit (LimitNOFILE=), or --workers {} holds {}. ",
                grouped(beyond.descriptors_per_worker),
                self.cores,
                grouped(beyond.held_by_cores),
            )?;
        }
        let tightest = self.bounds[0];
        match self.binding {
            Binding::Asked => {
                write!(
                    f,
                    "It can hold {}; {} binds then.",
                    grouped(self.can_hold),
                    tightest.binding
                )
            }
            binding => write!(f, "{binding} binds."),
        }
    }
}
