//! `roadstead serve`: from flags and limits to a running server, and down again by signals.

mod args;
mod report;

pub(crate) use args::Args;
use args::ServiceChoice;

use anyhow::Context;
use roadstead::services::{Echo, Frames};
use roadstead::{Engine, Server, StartError};
use roadstead_host::capacity;
use roadstead_host::doctor::{Facts, Target, Tracking, examine};
use roadstead_host::{HostRoot, raise_nofile};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc;

/// The host or the configuration cannot do what was asked: `EX_CONFIG` of `sysexits.h`.
const EXIT_CONFIG: u8 = 78;

/// Accept queues are this long, or as long as the host allows.
const BACKLOG_MIN: u32 = 4_096;

/// What the main thread waits for.
enum Happening {
    Signal(i32),
    WorkerEnded(usize),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // Before any thread is started: workers inherit the descriptors behind the signal handlers.
    let signals = Signals::new([SIGTERM, SIGINT, SIGUSR1]).context("cannot handle signals")?;
    let raised = raise_nofile();
    // Before it listens: whether the port is tracked is found out by using it.
    let root = HostRoot::live();
    let target = Target {
        port: args.listen.first().map_or(0, SocketAddr::port),
        ..Target::default()
    };
    let facts = Facts::gather(&root, &target);
    let limits = &facts.limits;
    let uring = roadstead::probe::uring().is_ok();
    let engine = if uring { args.engine } else { Engine::Epoll };
    let kind = args.connection_kind(engine, facts.tracking == Tracking::Tracked);
    let plan = match capacity::plan(&args.request(kind, &facts.sizes), limits) {
        Ok(plan) => plan,
        Err(shortfall) => return Ok(refuse(&shortfall)),
    };
    if let Err(error) = raised {
        eprintln!("roadstead: {error}");
    }
    let mut config = args.config(Some(&plan));
    let somaxconn = limits
        .somaxconn
        .and_then(|n| u32::try_from(n).ok())
        .unwrap_or(BACKLOG_MIN);
    config.backlog = somaxconn.max(BACKLOG_MIN);
    let backlog = config.backlog.min(somaxconn);
    let target = Target {
        connections: plan.connections,
        ..target
    };
    let shortcomings = examine(&root, &facts, &target).shortcomings();
    let frames = Frames::with_limit(args.frame_bytes);
    let started = match args.service {
        ServiceChoice::Echo => Server::start(config, |_| Echo),
        ServiceChoice::Frames => Server::start(config, move |_| frames),
    };
    let server = match started {
        Ok(server) => server,
        Err(error @ StartError::Os { .. }) => return Err(error.into()),
        Err(error) => return Ok(refuse(&error)),
    };
    report::print(
        args.json,
        &report::Started::new(&server, args, limits, &plan, backlog, shortcomings),
    )?;
    serve_until_told(args, server, signals)
}

fn refuse(why: &impl std::fmt::Display) -> ExitCode {
    eprintln!("roadstead: {why}");
    ExitCode::from(EXIT_CONFIG)
}

/// Waits for signals; the first that says stop begins a drain, the next one ends the process.
fn serve_until_told(
    args: &Args,
    mut server: Server<()>,
    signals: Signals,
) -> anyhow::Result<ExitCode> {
    let happenings = happenings(&mut server, signals);
    let mut draining = false;
    let mut left = server.cores().count();
    while left > 0 {
        match happenings
            .recv()
            .context("signals can no longer be received")?
        {
            Happening::Signal(SIGUSR1) => {
                report::print(args.json, &report::Counters::of(&server.stats()))?;
            }
            Happening::Signal(signal) if draining => {
                eprintln!("roadstead: second signal, leaving at once");
                return Ok(ExitCode::from(128 + signal as u8));
            }
            Happening::Signal(_) => {
                if !args.json {
                    eprintln!("roadstead: draining {} connections", server.stats().live);
                }
                server.drain(args.drain_timeout);
                draining = true;
            }
            Happening::WorkerEnded(worker) => {
                left -= 1;
                if !draining {
                    eprintln!("roadstead: worker {worker} failed; draining the others");
                    server.drain(args.drain_timeout);
                    draining = true;
                }
            }
        }
    }
    let finished = server.join();
    report::print(args.json, &report::Counters::of(&finished.stats))?;
    anyhow::ensure!(
        finished.failures.is_empty(),
        "{}",
        finished.failures.join("; ")
    );
    anyhow::ensure!(
        finished.stats.accounts_close(),
        "the counters do not add up: this is a bug"
    );
    Ok(ExitCode::SUCCESS)
}

/// Signals and ended workers, in one queue.
fn happenings(server: &mut Server<()>, mut signals: Signals) -> mpsc::Receiver<Happening> {
    let (sender, happenings) = mpsc::channel();
    let ended = server.take_ended();
    let signal_sender = sender.clone();
    // Both end with the process, or with the last worker.
    std::thread::spawn(move || {
        signals
            .forever()
            .try_for_each(|signal| signal_sender.send(Happening::Signal(signal)))
    });
    std::thread::spawn(move || {
        ended
            .into_iter()
            .flatten()
            .try_for_each(|n| sender.send(Happening::WorkerEnded(n)))
    });
    happenings
}
