//! A user-space TCP client behind TUN devices: millions of connections from the server's own host, for 16
//! bytes of memory each.
//!
//! ```text
//!  ┌─ network namespace of its own ─────────────────────────────────────────────┐
//!  │  server command ── kernel TCP ──┬── rstd0 10.0.0.0/12  ══ Client, thread 0 │
//!  │  on 10.0.0.1:port               └── rstd1 10.16.0.0/12 ══ Client, thread 1 │
//!  └────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Kernel sockets would cost the client as much memory as they cost the server. Here the 4-tuple is computed
//! from the connection's number, sequence numbers from a keyed hash of it, and all bytes from their
//! place in the stream. Each thread has a device and a network of its own, so that the routing table brings
//! every reply to the thread that asked: queues of one device would be chosen by the kernel's hash. On two
//! cores, two devices carry 1.45 times the messages of one and open connections 1.3 times as fast. Segments are
//! not joined to larger ones (GSO): what this client sends is smaller than one.

mod address;
mod client;
mod fit;
mod namespace;
mod record;
mod said;
mod segment;
mod server;
mod sys;
mod timers;
mod wire;

pub use fit::Fit;
pub use wire::Faults;

use crate::phase::{Observer, Phase, Progress};
use crate::report::{Mode, Report};
use crate::workload::Workload;
use crate::{Error, crew, listening};
use address::{CONNECTIONS_PER_THREAD_MAX, SERVER, THREADS_MAX};
use client::Client;
use serde::Serialize;
use server::Server;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Duration;
use wire::Wire;

/// How long the server may take to end after an interruption.
const INTERRUPTED_STOP: Duration = Duration::from_secs(3);

/// A run with a user-space client, and the server it starts for it.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// The server: a program and its arguments; [`CONNECTIONS_PLACEHOLDER`] in them becomes the number of
    /// connections.
    #[serde(serialize_with = "words")]
    pub command: Vec<OsString>,
    /// The port it listens on, at 10.0.0.1 or at all addresses.
    pub port: u16,
    /// How long it may take until it listens.
    #[serde(
        rename = "server_wait_seconds",
        serialize_with = "crate::workload::seconds"
    )]
    pub server_wait: Duration,
    /// How long it may take to end when it is told to, before it is killed.
    #[serde(
        rename = "server_stop_seconds",
        serialize_with = "crate::workload::seconds"
    )]
    pub server_stop: Duration,
    /// Threads, each with a device of its own; `None`: one per core.
    pub threads: Option<usize>,
    /// What happens to packets on the way.
    pub faults: Faults,
    /// What [`Settings::fit_to`] has found out, if it was asked.
    pub fit: Option<Fit>,
    /// What is done with the connections.
    pub workload: Workload,
}

impl Settings {
    /// The default workload against `command`, which listens on `port`.
    pub fn new(command: Vec<OsString>, port: u16) -> Self {
        Self {
            command,
            port,
            server_wait: Duration::from_secs(10),
            server_stop: Duration::from_secs(30),
            threads: None,
            faults: Faults::default(),
            fit: None,
            workload: Workload::default(),
        }
    }
}

/// Stands for the number of connections in the server command.
pub const CONNECTIONS_PLACEHOLDER: &str = "{connections}";

fn words<S: serde::Serializer>(command: &[OsString], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(command.iter().map(|word| word.to_string_lossy()))
}

/// The command with the placeholder replaced.
fn with_connections(command: &[OsString], connections: usize) -> Vec<OsString> {
    let replace = |word: &OsString| match word.to_str() {
        Some(text) => text
            .replace(CONNECTIONS_PLACEHOLDER, &connections.to_string())
            .into(),
        None => word.clone(), // no text, and so not in it
    };
    command.iter().map(replace).collect()
}

/// Settings, and what follows from them and from the host.
struct Plan {
    settings: Settings,
    threads: usize,
}

impl Plan {
    fn new(mut settings: Settings) -> Result<Self, Error> {
        settings.workload.check()?;
        settings.faults.check()?;
        let connections = settings.workload.connections;
        settings.command = with_connections(&settings.command, connections);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = settings
            .threads
            .unwrap_or(cores)
            .clamp(1, THREADS_MAX)
            .min(connections);
        if settings
            .threads
            .is_some_and(|wanted| wanted == 0 || wanted > THREADS_MAX)
        {
            let fix = format!("pass --threads between 1 and {THREADS_MAX}");
            return Err(Error::new("a number of threads that cannot be", fix));
        }
        let most = CONNECTIONS_PER_THREAD_MAX as usize * threads;
        if connections > most {
            let what = format!("{connections} connections on {threads} threads");
            return Err(Error::new(
                what,
                format!("at most {most}: pass more --threads"),
            ));
        }
        Ok(Self { settings, threads })
    }
}

/// Starts the server in a network of its own, opens, holds and drives the connections, stops the server, and
/// returns what came of it.
///
/// The calling thread moves into that network for good: call it from the main thread of a process, or
/// from a thread made for it. Where a user namespace is needed, which is so for all but root, the process must
/// not have started any other thread yet.
///
/// # Errors
/// If the host forbids namespaces or TUN devices, or the server does not start or never listens. What happens
/// to single connections is in the report.
pub fn run(settings: &Settings, observer: &mut dyn Observer) -> Result<Report, Error> {
    let plan = Plan::new(settings.clone())?;
    namespace::enter(settings.workload.connections)?;
    let mut wires = Vec::with_capacity(plan.threads);
    for thread in 0..plan.threads {
        let wire = Wire::new(wire::open_device(thread)?, settings.faults, thread);
        wires.push(Mutex::new(Some(wire)));
    }
    let mut server = Server::start(&plan.settings.command)?;
    let address = SocketAddr::from((SERVER, settings.port));
    let mut go_on = || {
        let progress = Progress::default();
        match observer.tick(Phase::Connect, &progress) {
            ControlFlow::Break(()) => Err(Error::interrupted()),
            ControlFlow::Continue(()) => server.check_alive(),
        }
    };
    listening::wait_for(address, settings.server_wait, &mut go_on)?;
    listening::wait_for_all(settings.port, go_on)?;
    let orders = crew::Orders {
        workload: &settings.workload,
        threads: plan.threads,
        server_pid: Some(server.pid()),
        end_server: &|| server.tell_to_stop(),
        not_accepted: &|| listening::not_accepted(settings.port),
    };
    let outcome = crew::run(&orders, observer, |post| {
        let wire = wires[post.index]
            .lock()
            .expect("taken once")
            .take()
            .expect("taken once");
        Client::new(&plan, wire, post)?.run()
    })?;
    let mut report = Report::new(
        Mode::Tun {
            settings: plan.settings.clone(),
            threads: plan.threads,
        },
        &settings.workload,
        outcome,
    );
    let hurried = report.timeline.interrupted;
    let end = server.stop(if hurried {
        settings.server_stop.min(INTERRUPTED_STOP)
    } else {
        settings.server_stop
    })?;
    report.server_ended = end.unasked;
    report.server_counters = end.counters;
    Ok(report)
}
