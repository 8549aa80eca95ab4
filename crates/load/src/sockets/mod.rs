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
mod laggards;
mod source;
mod thread;

pub use laggards::{Lag, Laggards};
pub use source::Sources;

use crate::phase::{Observer, Phase, Progress};
use crate::report::{Mode, Report};
use crate::workload::Workload;
use crate::{Error, crew, listening};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::time::Duration;
use thread::ClientThread;

/// Descriptors of a thread's table that are not connections: what the process has open anyway.
const OTHER_DESCRIPTORS: u64 = 64;

/// A run with kernel sockets.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Where the server listens.
    pub server: SocketAddr,
    /// How long the server is waited for if it does not listen yet.
    #[serde(
        rename = "server_wait_seconds",
        serialize_with = "crate::workload::seconds"
    )]
    pub server_wait: Duration,
    /// The server's process, to be looked at between the phases.
    pub server_pid: Option<u32>,
    /// Where connections come from.
    pub sources: Sources,
    /// Threads; `None`: one per core, or more if descriptors ask for it.
    pub threads: Option<usize>,
    /// Connections that lag behind on purpose.
    pub laggards: Option<Laggards>,
    /// What is done with the connections.
    pub workload: Workload,
}

impl Settings {
    /// The default workload against `server`.
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            server_wait: Duration::ZERO,
            server_pid: None,
            sources: Sources::Auto,
            threads: None,
            laggards: None,
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
    listening::wait_for(settings.server, settings.server_wait, || {
        match observer.tick(Phase::Connect, &Progress::default()) {
            ControlFlow::Break(()) => Err(Error::interrupted()),
            ControlFlow::Continue(()) => Ok(()),
        }
    })?;
    let server = settings.server_pid.and_then(process);
    let orders = crew::Orders {
        workload: &settings.workload,
        threads: plan.threads,
        server_pid: settings.server_pid,
        end_server: &|| {
            if let Some(server) = &server {
                // Fails only if it has ended.
                let _ = rustix::process::pidfd_send_signal(server, Signal::TERM);
            }
        },
        not_accepted: &|| listening::not_accepted(settings.server.port()),
    };
    let outcome = crew::run(&orders, observer, |post| {
        roadstead::thread::own_descriptor_table()?;
        ClientThread::new(&plan, post)?.run()
    })?;
    let mode = Mode::Sockets {
        settings: settings.clone(),
        threads: plan.threads,
    };
    Ok(Report::new(mode, &settings.workload, outcome))
}

/// A hold on a process that cannot become another's; `None` if it has ended.
fn process(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(pid.try_into().ok()?)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
}

impl Plan {
    fn new(settings: Settings) -> Result<Self, Error> {
        if settings.workload.server_closes() && settings.server_pid.is_none() {
            return Err(Error::new(
                "the server is to close the connections, and nobody knows how to tell it",
                "pass --server-pid with --end server",
            ));
        }
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
        let threads = threads.min(connections);
        if let Some(laggards) = settings.laggards {
            laggards.check(&settings.workload, threads)?;
        }
        Ok(Self {
            threads,
            settings,
            sources,
        })
    }

    /// Where a connection comes from.
    fn source(&self, connection: usize) -> Option<IpAddr> {
        self.sources
            .get(connection % self.sources.len().max(1))
            .copied()
    }
}
