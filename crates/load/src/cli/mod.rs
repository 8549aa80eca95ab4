//! The command line: flags in, progress and a summary out.

mod flags;
mod progress;
mod summary;

use anyhow::{Context, Result};
use clap::Parser;
use flags::{Command, Flags, OutputFlags};
use progress::LiveProgress;
use roadstead_host::HostRoot;
use roadstead_load::tun::CONNECTIONS_PLACEHOLDER;
use roadstead_load::{Report, sockets, tun};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What shells say of a process ended by Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

/// Parses, runs, reports.
pub(crate) fn main() -> ExitCode {
    let flags = Flags::parse();
    match run(&flags) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<ExitCode> {
    let stop = stop_signals()?;
    let (result, progress, output) = match &flags.command {
        Command::Sockets(flags) => {
            let settings = flags.settings();
            let mut progress = LiveProgress::new(settings.workload.connections, stop);
            (
                sockets::run(&settings, &mut progress),
                progress,
                &flags.output,
            )
        }
        Command::Tun(flags) => {
            let mut settings = flags.settings();
            if flags.fit {
                fit(&mut settings)?;
            }
            let mut progress = LiveProgress::new(settings.workload.connections, stop);
            (tun::run(&settings, &mut progress), progress, &flags.output)
        }
    };
    progress.finish();
    match result {
        Err(error) if error.is_interruption() => {
            let _ = writeln!(std::io::stderr(), "{error}");
            Ok(ExitCode::from(EXIT_INTERRUPTED))
        }
        result => finish(&result?, output),
    }
}

/// Makes the run fit this host, and says so before it starts.
fn fit(settings: &mut tun::Settings) -> Result<()> {
    let fit = settings.fit_to(&HostRoot::live())?;
    let mut error_output = std::io::stderr();
    let _ = writeln!(error_output, "{fit}");
    let follows = |word: &OsString| word.to_string_lossy().contains(CONNECTIONS_PLACEHOLDER);
    if fit.connections < fit.asked_connections && !settings.command.iter().any(follows) {
        let _ = writeln!(
            error_output,
            "the server command says nothing of {CONNECTIONS_PLACEHOLDER}: the server makes room for as many as it is told"
        );
    }
    Ok(())
}

/// From here on Ctrl-C ends the run, and only a second one the process, with which its server goes. No thread is started for it: there must be none yet
/// when a user namespace is entered.
fn stop_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // In this order: the first signal finds the flag down, and raises it.
        let code = i32::from(EXIT_INTERRUPTED);
        signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .context("cannot catch signals")?;
    }
    Ok(stop)
}

fn finish(report: &Report, output: &OutputFlags) -> Result<ExitCode> {
    // Whoever reads it may have read enough; the files are written and the exit code is told all the same.
    let _ = std::io::stdout().write_all(summary::table(report).as_bytes());
    if let Some(path) = &output.json {
        let text = serde_json::to_string_pretty(report).context("the report as JSON")?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &output.hgrm {
        std::fs::write(path, summary::hgrm(&report.latency_ns))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &output.hlog {
        let mut file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        summary::write_hlog(report, &mut file)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if report.timeline.interrupted {
        ExitCode::from(EXIT_INTERRUPTED)
    } else if report.counters.errors() > output.allow_errors || report.server_ended.is_some() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
