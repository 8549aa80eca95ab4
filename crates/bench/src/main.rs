//! `roadstead-bench`: the demo, and every measurement that is published.
//!
//! ```text
//!  scenarios ── cells ──┐
//!                       ├─ runner ── measure ── record ──┬─ folder   README.md, raw.json
//!  subjects ────────────┘  A B C A B C …                 ├─ summary  tables, plots
//!                                                        └─ diff     two runs of one host
//! ```
//!
//! Every comparison is made within one run, its subjects taken in turn, and reported with the spread
//! of its rounds: the machine is noisy, ratios within a run are not.
#![forbid(unsafe_code)]

mod bare;
mod closing;
mod cores;
mod demo;
mod diff;
mod folder;
mod headline;
mod host;
mod measure;
mod metric;
mod plots;
mod progress;
mod readme;
mod record;
mod run;
mod runner;
mod scenarios;
mod stats;
mod steal;
mod subject;
mod summary;
mod syscalls;
mod table;
mod tun;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Measures Roadstead beside epoll and other servers.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Hold as many connections as this host allows, on each engine in turn, and show what it costs
    Demo(demo::Args),
    /// Measure scenarios over subjects in interleaved rounds, into a folder of their own
    #[command(after_help = scenarios::list())]
    Run(run::Args),
    /// Millions of connections on one port of this host, by engine: what each costs, what each is answered
    Headline(headline::Args),
    /// What letting go of one connection costs beside many others, by watch policy
    Closing(closing::Args),
    /// Tell what changed between two runs of one scenario on one host
    Diff(diff::Args),
    /// System calls per message, counted by strace
    Syscalls(syscalls::Args),
    /// Accept and hold connections without watching them: what a bare socket costs
    #[command(hide = true)]
    Bare,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Headline(args) => headline::run(&args),
        Command::Closing(args) => closing::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Syscalls(args) => syscalls::run(&args),
        Command::Bare => bare::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roadstead-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
