//! System calls per message, as strace counts them over a busy hold.

use crate::measure::measure;
use crate::subject::{Running, Subject};
use crate::table::table;
use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roadstead_load::sockets::Settings;
use roadstead_load::{Active, Phase, Traffic, Workload};
use std::ops::ControlFlow;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Busy connections, each with one request in flight
    #[arg(long, default_value_t = 1_000)]
    busy: usize,
    /// Traced seconds
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    println!(
        "{} busy connections, 64-byte echoes, strace -c -f over {} s (which slows the server down)",
        args.busy, args.seconds
    );
    let mut table = table(["subject", "messages", "system calls", "per message"]);
    for subject in Subject::ours() {
        let (messages, calls) = one(args, &subject).with_context(|| format!("{subject}"))?;
        table.add_row([
            subject.to_string(),
            messages.to_string(),
            calls.to_string(),
            format!("{:.4}", calls as f64 / messages as f64),
        ]);
    }
    println!("{table}");
    Ok(())
}

/// Messages that came back, and the calls that strace counted from the first of them on, but for the
/// tenth of a second that it may take to attach.
fn one(args: &Args, subject: &Subject) -> anyhow::Result<(u64, u64)> {
    let server = subject.start(&["--workers".to_owned(), "1".to_owned()])?;
    let workload = Workload {
        connections: args.busy,
        hold: Duration::from_secs_f64(args.seconds),
        active: Active::Share(1.0),
        traffic: Traffic::ClosedLoop { pipeline: 1 },
        ..Workload::default()
    };
    let mut trace = None;
    let mut settings = Settings::new(server.address());
    settings.workload = workload;
    let measured = measure(&server, &settings, &mut |phase, _| {
        if phase == Phase::Hold && trace.is_none() {
            trace = Some(Trace::start(&server));
        }
        ControlFlow::Continue(())
    })?;
    let calls = trace
        .context("the hold was too short to be traced")??
        .finish()?;
    server.drain()?;
    Ok((measured.report.counters.measured_messages, calls))
}

/// A strace that counts.
struct Trace {
    strace: Child,
}

impl Trace {
    fn start(server: &Running) -> anyhow::Result<Self> {
        let strace = Command::new("strace")
            .args(["-c", "-f", "-qq", "-p", &server.pid().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run strace; install it (Debian: apt-get install strace)")?;
        Ok(Self { strace })
    }

    /// The number in the summary's last line: `100.00  0.012345  1  4711  total`.
    fn finish(self) -> anyhow::Result<u64> {
        kill(Pid::from_raw(self.strace.id() as i32), Signal::SIGINT)?;
        let output = self.strace.wait_with_output()?;
        let summary = String::from_utf8_lossy(&output.stderr);
        let total = summary.lines().rev().find(|line| line.ends_with("total"));
        let total = total.with_context(|| {
            format!("strace counted nothing (may it trace the server?): {summary}")
        })?;
        let calls = total
            .split_whitespace()
            .nth(3)
            .context("no number of calls")?;
        calls
            .parse()
            .with_context(|| format!("no number of calls in {total:?}"))
    }
}
