//! Real kernel sockets: for any TCP echo or frames server, without any privilege.
//!
//! ```text
//!  run ── Plan ──┬─ ClientThread 0   own descriptor table, epoll, connections 0, K, 2K, …
//!                ├─ ClientThread 1   own descriptor table, epoll, connections 1, K+1, …
//!                └─ Controller       leads them through the phases, tells the observer
//! ```
//!
//! A hard limit on descriptors bounds a thread and not the tool: as many threads are started as the wanted
//! connections need.

mod connection;
mod source;
mod thread;

pub use source::Sources;

use crate::counters::Published;
use crate::phase::{Controller, DoneOnce, Observer, Stage};
use crate::report::{Mode, Report};
use crate::tally::Tally;
use crate::workload::Workload;
use crate::{Error, listening};
use serde::Serialize;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use thread::ClientThread;

/// Descriptors of a thread's table that are not connections: what the process has open anyway.
const OTHER_DESCRIPTORS: u64 = 64;
/// As late as a timer may be without the kernel being asked for more wake-ups than needed.
const TIMER_SLACK_NS: u64 = 1_000;

/// A run with kernel sockets.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Where the server listens.
    pub server: SocketAddr,
    /// How long the server is waited for if it does not listen yet.
    pub server_wait: Duration,
    /// Where connections come from.
    pub sources: Sources,
    /// Threads; `None`: one per core, or more if descriptors ask for it.
    pub threads: Option<usize>,
    /// What is done with the connections.
    pub workload: Workload,
}

impl Settings {
    /// The default workload against `server`.
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            server_wait: Duration::ZERO,
            sources: Sources::Auto,
            threads: None,
            workload: Workload::default(),
        }
    }
}

/// Settings, and what follows from them and from the host.
struct Plan {
    settings: Settings,
    threads: usize,
    sources: Vec<IpAddr>,
}

/// Opens, holds and drives the connections; returns what came of it.
///
/// A server in the same process must have opened its sockets on threads with descriptor tables of their own:
/// the client's threads start with a copy of the process's, and a socket is closed with its last copy.
///
/// # Errors
/// If the settings cannot be carried out on this host, or the server does not listen. What happens to
/// single connections is in the report.
pub fn run(settings: &Settings, observer: &mut dyn Observer) -> Result<Report, Error> {
    settings.workload.check()?;
    let plan = Plan::new(settings.clone())?;
    listening::wait_for(settings.server, settings.server_wait)?;
    let stage = Stage::new(plan.threads)?;
    let published: Vec<Arc<Published>> = (0..plan.threads).map(|_| Arc::default()).collect();
    let (sender, done) = mpsc::channel();
    std::thread::scope(|scope| {
        let threads: Vec<_> = published
            .iter()
            .enumerate()
            .map(|(index, published)| {
                let (plan, stage) = (&plan, &stage);
                let done = DoneOnce::new(sender.clone());
                let tally = Tally::new(Arc::clone(published));
                let name = format!("load-{index}");
                std::thread::Builder::new()
                    .name(name)
                    .spawn_scoped(scope, move || {
                        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(
                            TIMER_SLACK_NS,
                        ));
                        roadstead::thread::own_descriptor_table()?;
                        ClientThread::new(plan, stage, index, done, tally)?.run()
                    })
            })
            .collect::<io::Result<_>>()
            .map_err(|error| {
                Error::new(
                    format!("cannot start a thread ({error})"),
                    "raise the limit on tasks",
                )
            })?;
        drop(sender);
        let controller = Controller {
            workload: &settings.workload,
            stage: &stage,
            published: &published,
            done,
            observer,
        };
        let timeline = controller.conduct();
        let mut tally = Tally::new(Arc::default());
        for thread in threads {
            let result = thread
                .join()
                .map_err(|_| Error::new("a client thread panicked", "report it as a bug"))?;
            tally.merge(&result.map_err(|error| {
                Error::new(
                    format!("a client thread cannot go on ({error})"),
                    "see what the error names",
                )
            })?);
        }
        let mode = Mode::Sockets {
            settings: settings.clone(),
            threads: plan.threads,
        };
        Ok(Report::new(mode, &settings.workload, timeline, &tally))
    })
}

impl Plan {
    fn new(settings: Settings) -> Result<Self, Error> {
        let limit = roadstead_host::raise_nofile()
            .map_err(|error| Error::new(error.to_string(), "check ulimit -n"))?;
        let per_thread = limit.hard.or_max().saturating_sub(OTHER_DESCRIPTORS).max(1) as usize;
        let connections = settings.workload.connections;
        let needed = connections.div_ceil(per_thread);
        let threads = match settings.threads {
            Some(threads) if threads < needed => {
                return Err(Error::new(
                    format!(
                        "{connections} connections on {threads} threads of {per_thread} descriptors each"
                    ),
                    format!("pass --threads {needed} or more, or none"),
                ));
            }
            Some(threads) => threads,
            None => needed.max(std::thread::available_parallelism().map_or(1, usize::from)),
        };
        let sources = settings
            .sources
            .addresses(settings.server.ip(), connections);
        if sources
            .iter()
            .any(|source| source.is_ipv4() != settings.server.is_ipv4())
        {
            return Err(Error::new(
                format!("a source address that cannot reach {}", settings.server),
                "give sources and server of one address family",
            ));
        }
        Ok(Self {
            threads: threads.min(connections),
            settings,
            sources,
        })
    }

    /// Thread `index`'s share of `total`.
    fn share(&self, total: usize, index: usize) -> usize {
        total / self.threads + usize::from(index < total % self.threads)
    }

    /// Where a thread's `local`-th connection comes from.
    fn source(&self, local: usize, index: usize) -> Option<IpAddr> {
        let global = local * self.threads + index;
        self.sources
            .get(global % self.sources.len().max(1))
            .copied()
    }
}
