//! What is measured: a server in a process of its own, started before and stopped after each run.
//!
//! ```text
//!  epoll               our epoll driver
//!  uring/<policy>      our io_uring driver, by watch policy
//!  bare                accepts and does nothing: the floor under every connection
//!  <name>              a contender: a binary of that name that was built for the comparison
//! ```

mod contenders;
mod running;

pub(crate) use contenders::{Contenders, repository};
pub(crate) use running::Running;

use crate::record;
use anyhow::{Context, bail};
use roadstead::{Config, Engine, WatchPolicy};
use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;

/// One server to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Our epoll driver.
    Epoll,
    /// Our io_uring driver with a watch policy.
    Uring(WatchPolicy),
    /// A server that accepts and does nothing.
    Bare,
    /// Somebody else's.
    Contender(String),
}

impl Subject {
    /// Both drivers, every policy.
    pub(crate) fn ours() -> Vec<Self> {
        let uring = WatchPolicy::ALL.iter().copied().map(Self::Uring);
        std::iter::once(Self::Epoll).chain(uring).collect()
    }

    /// The engine that ours runs on.
    pub(crate) fn engine(&self) -> Option<(Engine, WatchPolicy)> {
        match self {
            Self::Epoll => Some((Engine::Epoll, Config::default().watch)),
            Self::Uring(watch) => Some((Engine::Uring, *watch)),
            Self::Bare | Self::Contender(_) => None,
        }
    }

    /// What a run's record says of it.
    pub(crate) fn record(&self) -> record::Subject {
        record::Subject {
            name: self.to_string(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            missing: None,
            family: match self {
                Self::Epoll => record::EPOLL.to_owned(),
                Self::Uring(_) => record::URING.to_owned(),
                Self::Bare => record::BARE.to_owned(),
                Self::Contender(name) => name.clone(),
            },
        }
    }

    /// Starts it on a free port of the loopback interface with further flags of `roadstead serve`, which
    /// only ours are given.
    pub(crate) fn start(&self, flags: &[String]) -> anyhow::Result<Running> {
        let mut command = Command::new(server_binary()?);
        match self.engine() {
            Some(engine) => command.args(serve_arguments(engine)).args(flags),
            None if *self == Self::Bare => {
                command = Command::new(std::env::current_exe()?);
                command.arg("bare")
            }
            None => bail!("{self} is not one of ours"),
        };
        Running::start(&self.to_string(), command)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoll => f.pad("epoll"),
            Self::Uring(watch) => f.pad(&format!("uring/{watch}")),
            Self::Bare => f.pad("bare"),
            Self::Contender(name) => f.pad(name),
        }
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name.strip_prefix("uring/") {
            Some(watch) => Ok(Self::Uring(watch.parse()?)),
            None if name == "epoll" => Ok(Self::Epoll),
            None if name == "bare" => Ok(Self::Bare),
            None if name.is_empty() || name.contains(['/', '.']) => Err(format!(
                "no subject '{name}'; there is epoll, uring/<watch policy>, bare, and contenders by name"
            )),
            None => Ok(Self::Contender(name.to_owned())),
        }
    }
}

/// How `roadstead serve` is asked for an engine.
pub(crate) fn serve_arguments((engine, watch): (Engine, WatchPolicy)) -> Vec<String> {
    [
        "serve",
        "--json",
        "--listen",
        "127.0.0.1:0",
        "--drain-timeout",
        "10s",
        "--engine",
        engine.name(),
        "--watch",
        watch.name(),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The server that was built beside this binary.
pub(crate) fn server_binary() -> anyhow::Result<PathBuf> {
    beside("roadstead")
}

/// A binary of this workspace, built beside this one.
pub(crate) fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()
        .context("where is this binary?")?
        .with_file_name(name);
    if !path.exists() {
        bail!("{} is missing; build it with `just build`", path.display());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_named_as_they_are_shown() {
        for subject in Subject::ours().into_iter().chain([Subject::Bare]) {
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
        assert_eq!("tokio".parse(), Ok(Subject::Contender("tokio".to_owned())));
        assert!("uring/never".parse::<Subject>().is_err());
        assert!("../evil".parse::<Subject>().is_err());
    }
}
