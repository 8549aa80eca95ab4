//! Server CPU per echoed message: one worker on the first core, the client on the others.

use crate::measure::measure;
use crate::subject::Subject;
use crate::table::{Spread, table};
use anyhow::Context;
use roadstead_load::{Active, Traffic, Workload};
use serde::Serialize;
use std::time::Duration;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Busy connections, each with one request in flight
    #[arg(long, value_delimiter = ',', default_value = "50,1000,10000")]
    busy: Vec<usize>,
    /// What to compare; the first is what ratios refer to
    #[arg(long, value_delimiter = ',')]
    subjects: Option<Vec<Subject>>,
    /// Interleaved rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of traffic before what is measured: `adaptive` takes two to tell who is busy
    #[arg(long, default_value_t = 3.0)]
    warmup: f64,
    /// Measured seconds of each run
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Bytes of a message
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Requests in flight per connection
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
    /// Further flags for `roadstead serve`
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    serve: Vec<String>,
    /// Print one JSON object per busy count instead of tables
    #[arg(long)]
    json: bool,
}

/// The rounds of one subject.
#[derive(Default)]
struct Rounds {
    cpu_us: Vec<f64>,
    per_second: Vec<f64>,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
    /// CPU against the first subject's in the same round.
    ratio: Vec<f64>,
}

#[derive(Serialize)]
struct Row {
    subject: String,
    busy: usize,
    cpu_us_per_message: Spread,
    cpu_ratio: Spread,
    messages_per_second: Spread,
    p50_us: Spread,
    p99_us: Spread,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let subjects = args.subjects.clone().unwrap_or_else(Subject::ours);
    for &busy in &args.busy {
        let mut rounds: Vec<Rounds> = subjects.iter().map(|_| Rounds::default()).collect();
        for _ in 0..args.rounds {
            for (index, subject) in subjects.iter().enumerate() {
                one(args, *subject, busy, &mut rounds[index])
                    .with_context(|| format!("{subject}, {busy} busy"))?;
                let first = rounds[0]
                    .cpu_us
                    .last()
                    .copied()
                    .context("the first has run")?;
                let ratio = rounds[index].cpu_us.last().map(|cpu| cpu / first);
                rounds[index].ratio.extend(ratio);
            }
        }
        let rows: Vec<Row> = subjects
            .iter()
            .zip(rounds)
            .map(|(subject, rounds)| row(*subject, busy, rounds))
            .collect::<Option<_>>()
            .context("at least one round")?;
        print(args, busy, &rows)?;
    }
    Ok(())
}

fn one(args: &Args, subject: Subject, busy: usize, rounds: &mut Rounds) -> anyhow::Result<()> {
    let mut flags = vec!["--workers".to_owned(), "1".to_owned()];
    flags.extend(args.serve.iter().cloned());
    on_all_cores();
    let server = subject.start(&flags)?;
    leave_first_core();
    let workload = Workload {
        connections: busy,
        warmup: Duration::from_secs_f64(args.warmup),
        hold: Duration::from_secs_f64(args.seconds),
        active: Active::Share(1.0),
        traffic: Traffic::ClosedLoop {
            pipeline: args.pipeline,
        },
        message_bytes: args.size,
        ..Workload::default()
    };
    let measured = measure(&server, workload, &mut |_, _| {})?;
    server.drain()?;
    let cpu_ns = measured
        .cpu_ns_per_message
        .context("no message came back")?;
    rounds.cpu_us.push(cpu_ns / 1e3);
    rounds.per_second.push(measured.report.messages_per_second);
    rounds.p50_us.push(measured.report.latency_us.p50);
    rounds.p99_us.push(measured.report.latency_us.p99);
    Ok(())
}

/// The server inherits what it may run on, and pins its one worker to the first core of it.
fn on_all_cores() {
    keep_to_cores(|_| true);
}

fn leave_first_core() {
    keep_to_cores(|core| core > 0);
}

/// Keeps this process to the cores that are wanted, unless that would leave none.
fn keep_to_cores(wanted: impl Fn(usize) -> bool) {
    use nix::sched::{CpuSet, sched_setaffinity};
    let cores = std::fs::read_to_string("/proc/cpuinfo").map_or(1, |text| {
        text.lines()
            .filter(|line| line.starts_with("processor"))
            .count()
    });
    let mut set = CpuSet::new();
    let chosen = (0..cores).filter(|core| wanted(*core) || cores == 1);
    if chosen.map(|core| set.set(core)).all(|set| set.is_ok()) {
        // Without it the comparison is only noisier.
        let _ = sched_setaffinity(nix::unistd::Pid::from_raw(0), &set);
    }
}

fn row(subject: Subject, busy: usize, rounds: Rounds) -> Option<Row> {
    Some(Row {
        subject: subject.to_string(),
        busy,
        cpu_us_per_message: Spread::of(rounds.cpu_us)?,
        cpu_ratio: Spread::of(rounds.ratio)?,
        messages_per_second: Spread::of(rounds.per_second)?,
        p50_us: Spread::of(rounds.p50_us)?,
        p99_us: Spread::of(rounds.p99_us)?,
    })
}

fn print(args: &Args, busy: usize, rows: &[Row]) -> anyhow::Result<()> {
    if args.json {
        println!("{}", serde_json::to_string(rows)?);
        return Ok(());
    }
    println!(
        "\n{busy} busy connections, {} bytes, {} in flight each, {} rounds interleaved",
        args.size, args.pipeline, args.rounds
    );
    let first = rows.first().map_or("", |row| &row.subject);
    let against = format!("against {first}");
    let mut table = table([
        "subject",
        "CPU µs/message",
        "min – max",
        &against,
        "messages/s",
        "p50 µs",
        "p99 µs",
    ]);
    for row in rows {
        table.add_row([
            row.subject.clone(),
            format!("{:.3}", row.cpu_us_per_message.median),
            format!(
                "{:.3} – {:.3}",
                row.cpu_us_per_message.min, row.cpu_us_per_message.max
            ),
            format!("{:.3}", row.cpu_ratio.median),
            format!("{:.0}", row.messages_per_second.median),
            format!("{:.0}", row.p50_us.median),
            format!("{:.0}", row.p99_us.median),
        ]);
    }
    println!("{table}");
    Ok(())
}
