//! `roadstead ledger`: what connections cost this host, by kernel object and by part of the server.
//!
//! The rows are made in `roadstead_host::ledger`; here are the flags, and how the server processes are found: by
//! their command lines, read by the same parser that they were started with.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use roadstead::Engine;
use roadstead_host::ledger::{self, Ledger, ServerProcess};
use roadstead_host::quantity::parse_count;
use roadstead_host::{HostRoot, ReadError};

use crate::serve;

/// Say what connections cost this host now, by kernel object and by part of the server, and what more would.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Project to this many connections, such as 250k or 5M; may be given several times
    #[arg(long, value_name = "N", value_parser = parse_count)]
    #[arg(default_values = ["1M", "2M", "5M"])]
    connections: Vec<u64>,

    /// The server's process, instead of every process named roadstead that serves
    #[arg(long)]
    pid: Option<u32>,

    /// Print the ledger as JSON
    #[arg(long)]
    json: bool,

    /// Read a directory tree laid out like /, such as a copy of another host's /proc and /sys
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// The flags of a server that runs, as it was given them.
#[derive(Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: ServeCommand,
}

#[derive(clap::Subcommand)]
enum ServeCommand {
    Serve(serve::Args),
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if !args.root.is_dir() {
        bail!("{} is no directory", args.root.display());
    }
    let root = HostRoot::at(&args.root);
    let servers = match args.pid {
        Some(pid) => vec![server_of(&root, pid)?],
        None => servers(&root),
    };
    let ledger = Ledger::take(&root, &servers, &args.connections)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&ledger)?);
    } else {
        print!("{}", ledger.text());
    }
    Ok(ExitCode::SUCCESS)
}

/// The servers that this user may look at; those that it may not are named.
fn servers(root: &HostRoot) -> Vec<ServerProcess> {
    let mut servers = Vec::new();
    for (pid, words) in ledger::serving_processes(root) {
        match server(root, pid, &words) {
            Ok(server) => servers.push(server),
            Err(error) => eprintln!("roadstead: server {pid} is left out: {error:#}"),
        }
    }
    servers
}

fn server_of(root: &HostRoot, pid: u32) -> anyhow::Result<ServerProcess> {
    let words = ledger::command_line(root, pid)
        .with_context(|| format!("process {pid} cannot be looked at"))?;
    server(root, pid, &words)
}

/// What the command line, and for `auto` the mappings, say of a server.
fn server(root: &HostRoot, pid: u32, words: &[String]) -> anyhow::Result<ServerProcess> {
    let parsed = CommandLine::try_parse_from(words);
    let CommandLine {
        command: ServeCommand::Serve(args),
    } = parsed.map_err(|_| {
        anyhow::anyhow!(
            "`{}` is not understood as a server's; ask the roadstead that it runs",
            words.join(" ")
        )
    })?;
    let uses_io_uring = ledger::uses_io_uring(root, pid).map_err(explained)?;
    let engine = if uses_io_uring {
        Engine::Uring
    } else {
        Engine::Epoll
    };
    Ok(ServerProcess {
        pid,
        listeners: args.listen.len() as u32,
        kind: args.connection_kind(engine, false),
        worker_buffers_bytes: u64::from(args.buffers) * u64::from(args.buffer_bytes),
        worker_bytes: args.config(None).worker_bytes(),
    })
}

fn explained(error: ReadError) -> anyhow::Error {
    match error {
        ReadError::Denied { .. } => {
            anyhow::anyhow!("{error}; run this as the server's user, or as root")
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roadstead_host::ledger::Watch;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        Cli::try_parse_from(["ledger"].iter().chain(flags)).map(|cli| cli.args)
    }

    #[test]
    fn projections_are_one_two_and_five_million_unless_told_otherwise() {
        let millions = [1_000_000, 2_000_000, 5_000_000];
        assert_eq!(parse(&[]).unwrap().connections, millions);
        assert_eq!(
            parse(&["--connections", "250k"]).unwrap().connections,
            [250_000]
        );
        assert!(parse(&["--connections", "many"]).is_err());
    }

    #[test]
    fn a_server_is_known_by_its_command_line_and_its_mappings() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("proc/7")).unwrap();
        let maps = tree.path().join("proc/7/maps");
        let root = HostRoot::at(tree.path());
        let words = |flags: &[&str]| -> Vec<String> {
            let all = ["/usr/bin/roadstead", "serve"].iter().chain(flags);
            all.map(|word| (*word).to_owned()).collect()
        };
        let look = |flags: &[&str]| server(&root, 7, &words(flags));
        std::fs::write(&maps, "7f-80 rw-s 0 00:10 1 anon_inode:[io_uring]\n").unwrap();
        let found = look(&[
            "--watch",
            "recv",
            "--listen",
            "[::]:80",
            "--buffers",
            "128",
            "--buffer-bytes",
            "4096",
        ])
        .unwrap();
        assert_eq!(found.kind.watch, Watch::Recv);
        assert!(found.kind.ipv6 && !found.kind.tracked);
        assert_eq!(found.worker_buffers_bytes, 128 * 4096);
        std::fs::write(&maps, "").unwrap();
        assert_eq!(
            look(&[]).unwrap().kind.watch,
            Watch::Epoll,
            "auto without rings"
        );
        let error = look(&["--no-such-flag"]).unwrap_err().to_string();
        assert!(error.contains("--no-such-flag"), "{error}");
    }
}
