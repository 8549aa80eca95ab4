//! The demo: as many connections as this host allows, on each engine in turn, in one table.

use crate::measure::{Measured, measure};
use crate::subject::Subject;
use crate::table::table;
use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use roadstead::Engine;
use roadstead_host::capacity::{self, ConnectionCost, Request, Watch};
use roadstead_host::quantity::{Choice, grouped};
use roadstead_host::{HostRoot, Limits, raise_nofile};
use roadstead_load::sockets::Settings;
use roadstead_load::{Active, Phase, Progress, Traffic, Workload};
use std::ops::ControlFlow;
use std::time::Duration;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Connections to hold [default: as many as the limits allow, 30,000 at most]
    #[arg(long)]
    connections: Option<usize>,
    /// Connections that are kept busy
    #[arg(long, default_value_t = 1_000)]
    busy: usize,
    /// Seconds of traffic on each engine
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// A few seconds in all: fewer connections, less traffic
    #[arg(long)]
    short: bool,
}

/// More show nothing new and take longer to open.
const CONNECTIONS_MAX: u64 = 30_000;
const CONNECTIONS_SHORT: u64 = 2_000;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    raise_nofile()?;
    let connections = connections(args)?;
    let busy = args.busy.min(connections);
    let seconds = if args.short {
        args.seconds.min(1.0)
    } else {
        args.seconds
    };
    println!(
        "{} connections, {} of them busy with 64-byte echoes for {seconds} s, on each engine\n",
        grouped(connections as u64),
        grouped(busy as u64),
    );
    let mut columns = Vec::new();
    for subject in subjects() {
        let most = connections.to_string();
        let server = subject.start(&["--max-connections".to_owned(), most])?;
        let workload = Workload {
            connections,
            idle: Duration::from_millis(300),
            warmup: Duration::from_secs_f64(if args.short { 0.3 } else { 3.0 }),
            hold: Duration::from_secs_f64(seconds),
            active: Active::Count(busy),
            traffic: Traffic::ClosedLoop { pipeline: 1 },
            ..Workload::default()
        };
        let mut settings = Settings::new(server.address());
        settings.workload = workload;
        let measured = with_progress(&subject, connections, |tick| {
            measure(&server, &settings, tick)
        })
        .with_context(|| format!("{subject}"))?;
        let drained = server.drain()?;
        let opened = drained.counters.get("opened").copied().unwrap_or_default();
        ensure!(
            opened >= measured.connections(),
            "the server counted {opened} connections"
        );
        columns.push((subject, measured));
    }
    print(&columns);
    Ok(())
}

/// io_uring beside epoll; epoll alone where io_uring cannot be had.
fn subjects() -> Vec<Subject> {
    match roadstead::probe::uring() {
        Ok(_) => vec![
            Subject::Uring(roadstead::Config::default().watch),
            Subject::Epoll,
        ],
        Err(why) => {
            println!("{} only: {why}\n", Engine::Epoll);
            vec![Subject::Epoll]
        }
    }
}

/// What the server's and the client's limits allow on this host, both ends counted.
fn connections(args: &Args) -> anyhow::Result<usize> {
    if let Some(connections) = args.connections {
        ensure!(connections > 0, "--connections must be at least 1");
        return Ok(connections);
    }
    let request = Request {
        connections: Choice::Auto,
        workers: Choice::Auto,
        listeners: 1,
        cost: ConnectionCost::watched_by(Watch::Poll).with_peer_on_this_host(),
        worker_bytes: roadstead::Config::default().worker_bytes(),
    };
    let plan = capacity::plan(&request, &Limits::read(&HostRoot::live()))
        .map_err(|shortfall| anyhow::anyhow!("{shortfall}"))?;
    let most = if args.short {
        CONNECTIONS_SHORT
    } else {
        CONNECTIONS_MAX
    };
    // The client's threads meet the same descriptor limit, without the spread of a hash.
    Ok(usize::try_from(plan.connections.min(most))?)
}

fn with_progress<T>(
    subject: &Subject,
    connections: usize,
    run: impl FnOnce(&mut dyn FnMut(Phase, &Progress) -> ControlFlow<()>) -> T,
) -> T {
    let bar = ProgressBar::new(connections as u64);
    let style = ProgressStyle::with_template("{prefix:<12} {msg:<8} {wide_bar} {pos:>8}/{len}");
    bar.set_style(style.expect("the template is valid"));
    bar.set_prefix(subject.to_string());
    let result = run(&mut |phase, progress| {
        bar.set_message(format!("{phase:?}").to_lowercase());
        bar.set_position(progress.counters.open);
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    result
}

fn print(columns: &[(Subject, Measured)]) {
    let subjects: Vec<String> = columns
        .iter()
        .map(|(subject, _)| subject.to_string())
        .collect();
    let mut table = table(["", "", ""]);
    table.set_header(std::iter::once(String::new()).chain(subjects));
    let mut row = |name: &str, cell: &dyn Fn(&Measured) -> String| {
        let cells = columns.iter().map(|(_, measured)| cell(measured));
        table.add_row(std::iter::once(name.to_owned()).chain(cells));
    };
    row("connections held", &|m| grouped(m.connections()));
    row("user bytes per connection (RSS growth)", &|m| {
        format!("{:.0}", m.user_bytes())
    });
    row("kernel bytes per connection, both ends", &|m| {
        format!("{:.0}", m.kernel_bytes_both_ends())
    });
    row("messages per second", &|m| {
        grouped(m.report.messages_per_second as u64)
    });
    row("server CPU per message, µs", &|m| {
        m.cpu_ns_per_message()
            .map_or("–".to_owned(), |ns| format!("{:.2}", ns / 1e3))
    });
    row("p50 latency, µs", &|m| {
        format!("{:.0}", m.report.latency_us.p50)
    });
    row("p99 latency, µs", &|m| {
        format!("{:.0}", m.report.latency_us.p99)
    });
    row("p99.9 latency, µs", &|m| {
        format!("{:.0}", m.report.latency_us.p99_9)
    });
    row("connect p99, µs", &|m| {
        format!("{:.0}", m.report.connect_us.p99)
    });
    println!("{table}");
    if let Some((_, measured)) = columns.first() {
        println!(
            "kernel bytes: {}, client and server on this host",
            measured.kernel.source
        );
    }
    println!("every reply was checked byte for byte; every server drained with its books closed");
}
