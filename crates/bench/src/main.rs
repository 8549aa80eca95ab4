//! `roadstead-bench`: the demo, and measurements of our drivers side by side.
//!
//! Every comparison is made within one run, its subjects taken in turn, and reported with the spread
//! of its rounds: the machine is noisy, ratios within a run are not.
#![forbid(unsafe_code)]

mod bare;
mod demo;
mod echo;
mod idle;
mod measure;
mod subject;
mod syscalls;
mod table;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Measures Roadstead's drivers side by side.
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
    /// Bytes per idle connection, in the kernel and in the server, by driver and watch policy
    Idle(idle::Args),
    /// Server CPU per echoed message, by driver and watch policy
    Echo(echo::Args),
    /// System calls per message, counted by strace
    Syscalls(syscalls::Args),
    /// Accept and hold connections without watching them: what a bare socket costs
    #[command(hide = true)]
    Bare,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Idle(args) => idle::run(&args),
        Command::Echo(args) => echo::run(&args),
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
