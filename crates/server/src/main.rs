//! `roadstead`: holds millions of mostly idle TCP connections on one Linux host.
#![forbid(unsafe_code)]

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
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("roadstead: {error:#}");
        ExitCode::FAILURE
    })
}
