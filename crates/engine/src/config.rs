//! What a server is told: addresses, sizes, timeouts. Checked once, before anything is opened.

use crate::error::StartError;
use crate::limits;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

/// Everything that can be chosen. `Config::default()` listens on nothing; all else has a value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Addresses to listen on; port 0 takes any free port, the same for all workers.
    pub listen: Vec<SocketAddr>,
    /// The kernel interface.
    pub engine: Engine,
    /// How idle connections are watched (io_uring only).
    pub watch: WatchPolicy,
    /// Worker threads. More than there are cores is useful where a descriptor limit bounds each.
    pub workers: usize,
    /// Whether worker *n* is pinned to the *n*-th allowed core, round-robin.
    pub pin: bool,
    /// Which worker a new connection comes to; `Cpu` goes with `pin`.
    pub steering: Steering,
    /// Connections that one worker takes; those above are reset and counted.
    pub connections_per_worker: u32,
    /// Length of each listener's accept queue; the kernel caps it at `net.core.somaxconn`.
    pub backlog: u32,
    /// Read buffers of a worker (io_uring only): a power of two, at most 32,768.
    pub buffers: u16,
    /// Size of one read buffer, in bytes.
    pub buffer_bytes: u32,
    /// Unsent bytes of a connection above which nothing more is read from it.
    pub outbox_high_bytes: usize,
    /// Unsent bytes below which reading goes on.
    pub outbox_low_bytes: usize,
    /// Unsent bytes above which [`send`](crate::Connection::send) says `Full`.
    pub outbox_limit_bytes: usize,
    /// Bytes that a service may leave unconsumed while it is not paused: its longest frame.
    pub carry_limit_bytes: usize,
    /// Closes connections on which nothing was read or written for this long.
    pub idle_timeout: Option<Duration>,
    /// Resets connections whose peer takes none of what waits for it for this long.
    pub write_stall_timeout: Duration,
    /// How long a closing connection waits for the peer's end of stream.
    pub linger_timeout: Duration,
    /// TCP keepalive, set on the listener and inherited.
    pub keepalive: Option<Keepalive>,
    /// `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged.
    pub user_timeout: Option<Duration>,
    /// `TCP_NODELAY`.
    pub nodelay: bool,
}

/// TCP keepalive: first probe after `idle`, then `probes` of them, one each `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keepalive {
    /// `TCP_KEEPIDLE`.
    pub idle: Duration,
    /// `TCP_KEEPINTVL`.
    pub interval: Duration,
    /// `TCP_KEEPCNT`.
    pub probes: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(300),
            interval: Duration::from_secs(30),
            probes: 3,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            engine: Engine::Auto,
            watch: WatchPolicy::Adaptive,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            pin: true,
            steering: Steering::Hash,
            connections_per_worker: 16_384,
            backlog: 4_096,
            // Where a buffer serves many reads, few large ones carry short messages as well as many small
            // ones do, and long messages in a quarter of the reads.
            buffers: 16,
            buffer_bytes: 16_384,
            outbox_high_bytes: 256 << 10,
            outbox_low_bytes: 64 << 10,
            outbox_limit_bytes: 1 << 20,
            carry_limit_bytes: (64 << 10) + 4,
            idle_timeout: None,
            write_stall_timeout: Duration::from_secs(30),
            linger_timeout: Duration::from_secs(2),
            keepalive: Some(Keepalive::default()),
            // As long as keepalive takes to give up: 300 s and three probes, 30 s apart.
            user_timeout: Some(Duration::from_secs(390)),
            nodelay: true,
        }
    }
}

impl Config {
    /// Memory that a worker takes before its first connection, at most: its ring, its read buffers, what
    /// it keeps for reuse, and the touched part of its stack.
    #[must_use]
    pub fn worker_bytes(&self) -> u64 {
        const STACK_BYTES: u64 = 64 << 10;
        let ring = u64::from(limits::SQ_ENTRIES) * 64 + u64::from(limits::CQ_ENTRIES) * 16;
        let buffers = u64::from(self.buffers) * u64::from(self.buffer_bytes);
        STACK_BYTES + ring + buffers + limits::POOL_BYTES as u64
    }

    /// Checks what can be checked without asking the kernel.
    pub(crate) fn validate(&self) -> Result<(), StartError> {
        let require = |holds: bool, what: &str| {
            if holds {
                Ok(())
            } else {
                Err(StartError::Config(what.to_owned()))
            }
        };
        require(
            !self.listen.is_empty(),
            "no address to listen on; give at least one",
        )?;
        require(
            self.listen.len() <= 250,
            "at most 250 addresses to listen on",
        )?;
        require(
            (1..=4096).contains(&self.workers),
            "workers must be between 1 and 4096",
        )?;
        require(
            (1..=limits::CONNECTIONS_PER_WORKER_MAX).contains(&self.connections_per_worker),
            "connections per worker must be between 1 and 16,777,216",
        )?;
        require(
            self.buffers.is_power_of_two() && self.buffers <= 1 << 15,
            "read buffers must be a power of two, at most 32,768",
        )?;
        require(
            (64..=1 << 20).contains(&self.buffer_bytes),
            "a read buffer must have between 64 bytes and 1 MiB",
        )?;
        require(
            self.outbox_low_bytes <= self.outbox_high_bytes
                && self.outbox_high_bytes <= self.outbox_limit_bytes,
            "outbox sizes must rise: low <= high <= limit",
        )?;
        require(
            self.outbox_limit_bytes <= 1 << 30,
            "an outbox can hold at most 1 GiB",
        )?;
        require(
            self.pin || self.steering == Steering::Hash,
            "steering by cpu needs workers that are pinned to cores",
        )?;
        let polls_bounded = self.connections_per_worker <= limits::POLL_MULTISHOT_PENDING_MAX;
        require(
            self.watch != WatchPolicy::PollMulti || polls_bounded,
            "watch policy poll-multi holds at most 32,768 connections per worker, because closing \
             one walks the pending polls; use more workers or --watch poll",
        )
    }
}

/// A choice by name, on the command line and in reports.
macro_rules! named_choice {
    ($(#[$doc:meta])* $type:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident => $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $type {
            /// Every choice.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The choice's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $type {
            type Err = String;
            fn from_str(name: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|choice| choice.name() == name).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|choice| choice.name()).collect();
                    format!("no {} '{name}'; there is {}", $what, names.join(", "))
                })
            }
        }
    };
}

named_choice! {
    /// The kernel interface to serve through.
    Engine, "engine" {
        /// io_uring where the probe passes, else epoll.
        Auto => "auto",
        /// io_uring or nothing.
        Uring => "uring",
        /// epoll, the baseline.
        Epoll => "epoll",
    }
}

named_choice! {
    /// How the kernel chooses the worker that a new connection comes to.
    Steering, "steering" {
        /// By the kernel's hash over addresses and ports: even, whatever core the packets come to.
        Hash => "hash",
        /// A worker of the core that works on the SYN: packets, socket and service stay on one core. As
        /// even as the network card's queues; cores without one get nothing.
        Cpu => "cpu",
    }
}

named_choice! {
    /// How a connection that has nothing to say is watched on io_uring.
    WatchPolicy, "watch policy" {
        /// A one-shot poll, armed again after each read: 256 bytes, and nothing to cancel at close.
        Poll => "poll",
        /// A multishot poll: saves the arming, costs a cancel at close.
        PollMulti => "poll-multi",
        /// An epoll interest, told of through the ring: 208 bytes, nothing to arm again, nothing to cancel.
        /// Not proven: among many workers readiness has come late, see `ARCHITECTURE.md`.
        Epoll => "epoll",
        /// A multishot read: fastest while busy, 864 bytes while idle.
        Recv => "recv",
        /// A poll while quiet, a multishot read while busy, within a budget.
        Adaptive => "adaptive",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening() -> Config {
        Config {
            listen: vec!["127.0.0.1:0".parse().expect("an address")],
            ..Config::default()
        }
    }

    #[test]
    fn the_default_needs_only_an_address() {
        assert!(Config::default().validate().is_err());
        assert!(listening().validate().is_ok());
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        type Spoil = fn(&mut Config);
        let spoilt: [(Spoil, &str); 7] = [
            (|c| c.workers = 0, "workers"),
            (|c| c.buffers = 48, "power of two"),
            (|c| c.buffer_bytes = 1, "read buffer"),
            (|c| c.outbox_low_bytes = usize::MAX, "outbox"),
            (|c| c.connections_per_worker = 0, "connections per worker"),
            (
                |c| {
                    c.pin = false;
                    c.steering = Steering::Cpu;
                },
                "steering",
            ),
            (
                |c| {
                    c.watch = WatchPolicy::PollMulti;
                    c.connections_per_worker = 40_000;
                },
                "poll-multi",
            ),
        ];
        for (spoil, names) in spoilt {
            let mut config = listening();
            spoil(&mut config);
            let error = config.validate().expect_err(names).to_string();
            assert!(error.contains(names), "{error}");
        }
    }

    #[test]
    fn choices_are_read_as_they_are_written() {
        for policy in WatchPolicy::ALL {
            assert_eq!(policy.name().parse(), Ok(*policy));
        }
        let error = "kqueue".parse::<Engine>().expect_err("no such engine");
        assert!(error.contains("auto, uring, epoll"), "{error}");
    }
}
