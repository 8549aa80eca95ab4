//! The server command: started in our network, told to stop in the end, killed if we cannot tell it.

use super::said::Said;
use super::sys;
use crate::Error;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::cell::Cell;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The server's processes; all of them end when this is dropped.
pub(super) struct Server {
    name: String,
    child: Child,
    /// Whether it was told to stop.
    told: Cell<bool>,
    /// What it prints, until it is ended.
    said: Option<Said>,
}

/// How a server ended.
pub(super) struct End {
    /// How it had ended before it was told to, or that it had to be killed; `None`: as it should.
    pub(super) unasked: Option<String>,
    /// The last counters it printed.
    pub(super) counters: Option<serde_json::Value>,
}

impl Server {
    /// Starts the command in a process group of its own, so that Ctrl-C ends the run and not the server.
    pub(super) fn start(command: &[OsString]) -> Result<Self, Error> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(Error::new(
                "no server command",
                "give one: roadstead-load tun … -- COMMAND ARGUMENTS",
            ));
        };
        let name = program.to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut child = sys::spawn_bound(&mut command).map_err(|error| {
            Error::new(
                format!("cannot start the server command {name} ({error})"),
                "check its path",
            )
        })?;
        let said = Said::pass_on(child.stdout.take().expect("piped"));
        Ok(Self {
            said: Some(said),
            name,
            child,
            told: Cell::new(false),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error if it has ended, though nobody told it to.
    pub(super) fn check_alive(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(Error::new(
                format!(
                    "the server command {} ended before it listened ({status})",
                    self.name
                ),
                "see what it printed above",
            )),
            _ => Ok(()),
        }
    }

    /// Tells it to stop. Once: a second signal ends a server that drains.
    pub(super) fn tell_to_stop(&self) {
        if !self.told.replace(true) {
            self.signal(Signal::TERM);
        }
    }

    /// Tells it to stop, if that has not been done, and waits.
    pub(super) fn stop(mut self, limit: Duration) -> Result<End, Error> {
        let unasked = self.wait(limit)?;
        Ok(End {
            unasked,
            counters: self.end(),
        })
    }

    /// Returns how it had ended if it did so before it was told, or has not ended in time.
    fn wait(&mut self, limit: Duration) -> Result<Option<String>, Error> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Ok((!self.told.get()).then(|| status.to_string()));
        }
        let what = |error| Error::new(format!("cannot wait for {} ({error})", self.name), "see ps");
        let process =
            rustix::process::pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())
                .map_err(what)?;
        self.tell_to_stop();
        let timeout = Timespec {
            tv_sec: limit.as_secs() as _,
            tv_nsec: limit.subsec_nanos().into(),
        };
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        let in_time = rustix::event::poll(&mut ended, Some(&timeout)).map_err(what)? > 0;
        Ok((!in_time).then(|| {
            format!(
                "killed: still there {:.0} s after SIGTERM",
                limit.as_secs_f64()
            )
        }))
    }

    /// Signals all of its processes.
    fn signal(&self, signal: Signal) {
        // Fails only if none is left.
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), signal);
    }

    /// Ends what is left of it, once, and hears what it still has to say; returns the last counters it printed.
    fn end(&mut self) -> Option<serde_json::Value> {
        let said = self.said.take()?;
        self.signal(Signal::KILL);
        let _ = self.child.wait();
        said.hear_out()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
