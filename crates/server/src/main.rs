//! `roadstead`: holds millions of mostly idle TCP connections on one Linux host.
#![forbid(unsafe_code)]

mod doctor;
mod ledger;
mod serve;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Holds millions of mostly idle TCP connections on one Linux host.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Accept, hold and answer connections.
    Serve(serve::Args),
    /// Say what this host can hold and why; set it right with --apply
    Doctor(doctor::Args),
    /// Say what connections cost this host, by kernel object and by part of the server
    Ledger(ledger::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Ledger(args) => ledger::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("roadstead: {error:#}");
        ExitCode::FAILURE
    })
}
