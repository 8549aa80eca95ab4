//! A server's process: waited for until it listens, ended in order, killed if it is dropped.

use anyhow::{Context, anyhow, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a server may take until it listens: runtimes that compile at their start included.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a server may take to end: ours drains for 10 s at most.
const END_LIMIT: Duration = Duration::from_secs(15);
/// Of what a server complains about, what is quoted.
const COMPLAINT_BYTES_MAX: usize = 400;

/// The line that a server prints when it listens.
#[derive(Deserialize)]
struct Started {
    listen: Vec<SocketAddr>,
}

/// The line that one of our servers prints when it has drained.
#[derive(Debug, Deserialize)]
pub(crate) struct Drained {
    pub(crate) counters: BTreeMap<String, u64>,
    accounts_close: bool,
}

/// A server that runs.
pub(crate) struct Running {
    name: String,
    child: Child,
    address: SocketAddr,
    /// All that it says after its first line, once it has ended.
    rest: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts it and waits for its word that it listens.
    pub(crate) fn start(name: &str, mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let stderr = child.stderr.take().context("its errors are piped")?;
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let (mut first, mut rest) = (String::new(), String::new());
            // What cannot be read is as good as not said; a receiver that is gone does not want it.
            let _ = stdout.read_line(&mut first);
            let _ = tell.send(first);
            let _ = stdout.read_to_string(&mut rest);
            let _ = tell.send(rest);
        });
        let complaints = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = BufReader::new(stderr).read_to_end(&mut bytes);
            tail(&String::from_utf8_lossy(&bytes)).to_owned()
        });
        let mut running = Self {
            name: name.to_owned(),
            child,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            rest: told,
            complaints: Some(complaints),
        };
        let Ok(line) = running.rest.recv_timeout(START_LIMIT) else {
            let why = running.killed();
            return Err(anyhow!("{name} did not listen in time: {why}"));
        };
        let started = serde_json::from_str::<Started>(&line);
        match started.ok().and_then(|it| it.listen.first().copied()) {
            Some(address) => running.address = address,
            None => {
                let why = running.killed();
                return Err(anyhow!("{name} did not start: {line}{why}"));
            }
        }
        Ok(running)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends one of ours in order, and checks that its books close.
    pub(crate) fn drain(mut self) -> anyhow::Result<Drained> {
        let said = self.terminate()?;
        let status = self.child.wait()?;
        ensure!(
            status.success(),
            "the server ended with {status}: {}",
            self.complaint()
        );
        let drained: Drained = serde_json::from_str(&said).context("no counters at the end")?;
        ensure!(
            drained.accounts_close,
            "opened is not live + closed: {drained:?}"
        );
        Ok(drained)
    }

    /// Ends one that owes nothing but its end.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        self.terminate()?;
        self.child.wait()?;
        Ok(())
    }

    /// What it said until it ended.
    fn terminate(&mut self) -> anyhow::Result<String> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM)?;
        let said = self.rest.recv_timeout(END_LIMIT);
        said.with_context(|| format!("{} did not end within {END_LIMIT:?} of SIGTERM", self.name))
    }

    /// Kills it, for its last words.
    pub(crate) fn killed(&mut self) -> String {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.complaint()
    }

    fn complaint(&mut self) -> String {
        let complaints = self.complaints.take().map(JoinHandle::join);
        complaints.and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of a text, from a character's first byte on.
fn tail(text: &str) -> &str {
    let text = text.trim();
    let from = text.len().saturating_sub(COMPLAINT_BYTES_MAX);
    let mut ends = from..=text.len();
    ends.find_map(|at| text.get(at..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_server_that_ends_at_once_is_quoted() {
        let error = Running::start("fake", shell("echo no port left >&2")).err();
        let error = error.expect("it never listened").to_string();
        assert!(
            error.contains("fake") && error.contains("no port left"),
            "{error}"
        );
    }

    #[test]
    fn a_server_is_ended_by_sigterm_whatever_its_status() {
        let script = r#"trap 'exit 7' TERM; echo '{"listen":["127.0.0.1:9"]}'; while :; do sleep 0.01; done"#;
        let running = Running::start("fake", shell(script)).expect("it says that it listens");
        assert_eq!(running.address().port(), 9);
        running.end().expect("it ends");
    }

    #[test]
    fn what_is_quoted_is_cut_between_characters() {
        let text = "é".repeat(COMPLAINT_BYTES_MAX);
        assert!(tail(&text).len() <= COMPLAINT_BYTES_MAX);
        assert_eq!(tail(" short \n"), "short");
    }
}
