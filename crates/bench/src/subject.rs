//! What is measured: a server in a process of its own, started before and stopped after each run.

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roadstead::{Engine, WatchPolicy};
use serde::Deserialize;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::str::FromStr;

/// One server to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Our epoll driver.
    Epoll,
    /// Our io_uring driver with a watch policy.
    Uring(WatchPolicy),
    /// A server that accepts and does nothing.
    Bare,
}

impl Subject {
    /// Both drivers, every policy.
    pub(crate) fn ours() -> Vec<Self> {
        let uring = WatchPolicy::ALL.iter().copied().map(Self::Uring);
        std::iter::once(Self::Epoll).chain(uring).collect()
    }

    pub(crate) fn start(self, flags: &[String]) -> anyhow::Result<Running> {
        let mut command = match self {
            Self::Bare => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("bare");
                command
            }
            Self::Epoll => serve(Engine::Epoll, WatchPolicy::Poll, flags)?,
            Self::Uring(watch) => serve(Engine::Uring, watch, flags)?,
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let stdout = child
            .stdout
            .take()
            .context("the server's output is piped")?;
        let mut running = Running {
            child,
            stdout: BufReader::new(stdout),
            address: None,
        };
        let mut line = String::new();
        running.stdout.read_line(&mut line)?;
        let started: Started = serde_json::from_str(&line)
            .with_context(|| format!("{self} did not start; it said {line:?}"))?;
        running.address = started.listen.first().copied();
        Ok(running)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoll => f.pad("epoll"),
            Self::Uring(watch) => f.pad(&format!("uring/{watch}")),
            Self::Bare => f.pad("bare socket"),
        }
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name.strip_prefix("uring/") {
            Some(watch) => Ok(Self::Uring(watch.parse()?)),
            None if name == "epoll" => Ok(Self::Epoll),
            None => Err(format!(
                "no subject '{name}'; there is epoll and uring/<watch policy>"
            )),
        }
    }
}

/// The line that a server prints when it listens.
#[derive(Deserialize)]
struct Started {
    listen: Vec<SocketAddr>,
}

/// The line that a server prints when it has drained.
#[derive(Debug, Deserialize)]
pub(crate) struct Drained {
    pub(crate) counters: std::collections::BTreeMap<String, u64>,
    accounts_close: bool,
}

/// A server that runs; killed if it is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: Option<SocketAddr>,
}

impl Running {
    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        self.address.context("the server listens nowhere")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it in order, and checks that its books close.
    pub(crate) fn drain(mut self) -> anyhow::Result<Drained> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM)?;
        let mut said = String::new();
        self.stdout.read_to_string(&mut said)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the server ended with {status}");
        let drained: Drained = serde_json::from_str(&said).context("no counters at the end")?;
        ensure!(
            drained.accounts_close,
            "opened is not live + closed: {drained:?}"
        );
        Ok(drained)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(engine: Engine, watch: WatchPolicy, flags: &[String]) -> anyhow::Result<Command> {
    let mut command = Command::new(server_binary()?);
    command
        .args([
            "serve",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--drain-timeout",
            "10s",
        ])
        .args(["--engine", engine.name(), "--watch", watch.name()])
        .args(flags);
    Ok(command)
}

/// The server that was built beside this binary.
fn server_binary() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("roadstead");
    if !path.exists() {
        bail!("{} is missing; build it with `just build`", path.display());
    }
    Ok(path)
}
