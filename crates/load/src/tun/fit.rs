//! Whether a run fits into the memory of this host, before anything of it is started; and how large one would.
//!
//! ```text
//!  available  ≥  connections × (server's socket + watch + user memory + ours)  +  its workers  +  headroom
//! ```
//!
//! What the server is written in cannot be known here: counted is what `roadstead serve` takes.

use super::Settings;
use crate::Error;
use roadstead_host::capacity::{ConnectionCost, Request, Watch, memory_needed};
use roadstead_host::quantity::{Choice, binary_bytes, grouped};
use roadstead_host::{HostRoot, Limits};
use serde::Serialize;
use std::fmt;

/// Ours: the record, and what is kept of those under way; and two pointers in the namespace's table of connections.
const CLIENT_BYTES: u64 = 20 + 16;
/// Digits that a number of connections keeps when it is made smaller.
const DIGITS: u32 = 3;

/// What was found out about the memory that a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// Connections that were asked for.
    pub asked_connections: usize,
    /// Connections that fit, at most as many.
    pub connections: usize,
    /// Memory that those asked for would take, headroom for the rest of the host included.
    pub needed_bytes: u64,
    /// Memory that was available.
    pub available_bytes: u64,
}

impl Settings {
    /// Makes the run small enough for the memory that `root` has available.
    ///
    /// # Errors
    /// If the host does not tell its memory, or has not enough for anything.
    pub fn fit_to(&mut self, root: &HostRoot) -> Result<Fit, Error> {
        let limits = Limits::read(root);
        let asked_connections = self.workload.connections;
        let needed = |connections: usize| memory_needed(&request(connections), &limits);
        let (Some(memory), Some(needed_bytes)) = (limits.memory, needed(asked_connections)) else {
            return Err(Error::new(
                "the host does not tell how much memory it has (/proc/meminfo)",
                "mount /proc, or leave --fit out",
            ));
        };
        let available_bytes = memory.available_bytes;
        let fits = |connections| needed(connections).is_some_and(|bytes| bytes <= available_bytes);
        let connections = if fits(asked_connections) {
            asked_connections
        } else {
            rounded_down(largest(asked_connections, fits))
        };
        let fit = Fit {
            asked_connections,
            connections,
            needed_bytes,
            available_bytes,
        };
        if connections == 0 {
            let what = format!(
                "not even one connection fits into {} of available memory",
                binary_bytes(available_bytes)
            );
            return Err(Error::new(
                what,
                "end what takes it, or raise the control group's limit",
            ));
        }
        self.workload.connections = connections;
        self.fit = Some(fit);
        Ok(fit)
    }
}

fn request(connections: usize) -> Request {
    Request {
        connections: Choice::Exactly(connections as u64),
        workers: Choice::Auto,
        listeners: 1,
        cost: ConnectionCost {
            peer_bytes: CLIENT_BYTES,
            ..ConnectionCost::watched_by(Watch::Poll)
        },
        worker_bytes: roadstead::Config::default().worker_bytes(),
    }
}

/// The largest number below `too_many` that fits; 0 if none does.
fn largest(too_many: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut fitting, mut not) = (0, too_many);
    while fitting + 1 < not {
        let middle = fitting.midpoint(not);
        *(if fits(middle) { &mut fitting } else { &mut not }) = middle;
    }
    fitting
}

fn rounded_down(count: usize) -> usize {
    let digits = count.checked_ilog10().map_or(0, |power| power + 1);
    let unit = 10_usize.pow(digits.saturating_sub(DIGITS));
    count / unit * unit
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = grouped(self.asked_connections as u64);
        let (needed, available) = (
            binary_bytes(self.needed_bytes),
            binary_bytes(self.available_bytes),
        );
        if self.connections == self.asked_connections {
            return write!(
                f,
                "{asked} connections fit: {needed} needed, {available} available"
            );
        }
        let fitting = grouped(self.connections as u64);
        write!(
            f,
            "{asked} connections need {needed}, and {available} are available: {fitting} are opened instead"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(total_gib: u64, available_gib: u64) -> (tempfile::TempDir, HostRoot) {
        let tree = tempfile::tempdir().expect("a directory");
        let kib = |gib: u64| gib << 20;
        let meminfo = format!(
            "MemTotal: {} kB\nMemAvailable: {} kB\n",
            kib(total_gib),
            kib(available_gib)
        );
        std::fs::create_dir(tree.path().join("proc")).expect("a directory");
        std::fs::write(tree.path().join("proc/meminfo"), meminfo).expect("a file");
        let root = HostRoot::at(tree.path());
        (tree, root)
    }

    fn fit(connections: usize, root: &HostRoot) -> Result<(Fit, Settings), Error> {
        let mut settings = Settings::new(vec!["server".into()], 8080);
        settings.workload.connections = connections;
        settings.fit_to(root).map(|fit| (fit, settings))
    }

    #[test]
    fn what_fits_stays_as_asked() {
        let (_tree, root) = host(24, 23);
        let (fit, settings) = fit(1_000_000, &root).expect("room");
        assert_eq!(
            (fit.connections, settings.workload.connections),
            (1_000_000, 1_000_000)
        );
        assert!(
            fit.needed_bytes > 4_000_000_000
                && fit.to_string().contains("1,000,000 connections fit")
        );
    }

    #[test]
    fn what_does_not_fit_is_made_smaller_until_it_does() {
        let (_tree, root) = host(16, 8);
        let (small, settings) = fit(5_000_000, &root).expect("room for some");
        assert_eq!(settings.workload.connections, small.connections);
        assert_eq!(settings.fit, Some(small));
        assert_eq!(small.connections % 10_000, 0, "rounded");
        // 8 GiB less the sixteenth of 16, at some 4,000 bytes each and the workers' memory.
        assert!(
            (1_600_000..1_900_000).contains(&small.connections),
            "{small:?}"
        );
        let (again, _) = fit(small.connections, &root).expect("room");
        assert!(again.needed_bytes <= again.available_bytes, "{again:?}");
        assert!(small.to_string().contains("are opened instead"), "{small}");
    }

    #[test]
    fn a_host_without_room_or_without_figures_is_an_error() {
        let (_tree, root) = host(16, 1);
        let error = fit(1000, &root).expect_err("all of it is headroom");
        assert!(error.to_string().contains("not even one"), "{error}");
        let empty = tempfile::tempdir().expect("a directory");
        let error = fit(1000, &HostRoot::at(empty.path())).expect_err("no figures");
        assert!(error.to_string().contains("--fit"), "{error}");
    }

    #[test]
    fn numbers_are_rounded_down_to_three_digits() {
        for (count, rounded) in [
            (0, 0),
            (7, 7),
            (999, 999),
            (1_234, 1_230),
            (4_987_654, 4_980_000),
        ] {
            assert_eq!(rounded_down(count), rounded);
        }
    }
}
