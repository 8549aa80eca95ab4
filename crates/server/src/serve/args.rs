//! What `roadstead serve` is told, and the engine configuration that follows from it.

use anyhow::Context;
use clap::{ArgAction, ValueEnum};
use roadstead::{Config, Engine, Keepalive, Steering, WatchPolicy};
use roadstead_host::capacity::{ConnectionCost, Plan, Request};
use roadstead_host::ledger::{ConnectionKind, ObjectSizes, Watch};
use roadstead_host::quantity::Choice;
use std::net::SocketAddr;
use std::time::Duration;

/// Exit: 0 drained, 1 failed while serving, 2 bad usage, 78 the host or the configuration cannot do it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Address to listen on; may be given several times, IPv4 and IPv6
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:8080")]
    pub(crate) listen: Vec<SocketAddr>,

    /// What to do with bytes: send them back, or answer frames (4-byte big-endian length, payload)
    #[arg(long, value_enum, default_value_t = ServiceChoice::Echo)]
    pub(crate) service: ServiceChoice,

    /// Longest payload of a frame, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 65_536)]
    pub(crate) frame_bytes: usize,

    /// Kernel interface: auto, uring or epoll
    #[arg(long, default_value_t = Engine::Auto)]
    pub(crate) engine: Engine,

    /// How idle connections are watched on io_uring: poll, poll-multi, epoll, recv or adaptive
    #[arg(long, default_value_t = Config::default().watch)]
    pub(crate) watch: WatchPolicy,

    /// Worker threads: one per core, or as many more as the connections need where the nofile limit
    /// bounds each; or this many
    #[arg(long, value_name = "auto|N", default_value_t = Choice::Auto)]
    pub(crate) workers: Choice,

    /// Connections to hold: all that the host's limits allow, by memory, descriptors and tables
    /// (`roadstead ledger` shows the cost of one); or this many (5M, 250k)
    #[arg(long, value_name = "auto|N", default_value_t = Choice::Auto)]
    pub(crate) max_connections: Choice,

    /// Read buffers per worker: a power of two (io_uring)
    #[arg(long, value_name = "N", default_value_t = Config::default().buffers)]
    pub(crate) buffers: u16,

    /// Size of one read buffer
    #[arg(long, value_name = "BYTES", default_value_t = Config::default().buffer_bytes)]
    pub(crate) buffer_bytes: u32,

    /// Close connections that are silent for this long (for instance 10m), or off
    #[arg(long, value_name = "TIME|off", default_value = "off", value_parser = time_or_off)]
    pub(crate) idle_timeout: OptionalTime,

    /// Reset connections that take nothing of what waits for them for this long
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) write_stall_timeout: Duration,

    /// TCP keepalive: first probe after so many seconds, interval in seconds, number of probes; or off
    #[arg(
        long,
        value_name = "IDLE/INTERVAL/PROBES|off",
        default_value = "300/30/3"
    )]
    #[arg(value_parser = keepalive_or_off)]
    pub(crate) keepalive: OptionalKeepalive,

    /// TCP_USER_TIMEOUT: how long sent bytes, or keepalive probes, may stay unacknowledged; or off
    #[arg(long, value_name = "TIME|off", default_value = "390s", value_parser = time_or_off)]
    pub(crate) user_timeout: OptionalTime,

    /// TCP_NODELAY
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub(crate) nodelay: bool,

    /// How long connections have to be flushed and closed after SIGTERM or SIGINT
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) drain_timeout: Duration,

    /// Do not pin workers to cores
    #[arg(long)]
    pub(crate) no_pin: bool,

    /// Which worker takes a new connection: hash, or cpu, one of the core that its packets come to
    #[arg(long, value_name = "hash|cpu", default_value_t = Steering::Hash, conflicts_with = "no_pin")]
    pub(crate) steering: Steering,

    /// Print the start-up report and the counters as JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// The services that come with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceChoice {
    Echo,
    Frames,
}

/// A time, or none; clap would take an `Option` for a flag that may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionalTime(pub(crate) Option<Duration>);

/// Keepalive settings, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionalKeepalive(pub(crate) Option<Keepalive>);

fn time_or_off(text: &str) -> anyhow::Result<OptionalTime> {
    if text == "off" {
        return Ok(OptionalTime(None));
    }
    let time = humantime::parse_duration(text).context("write 30s, 5m, or off")?;
    anyhow::ensure!(!time.is_zero(), "write off to switch it off");
    Ok(OptionalTime(Some(time)))
}

fn keepalive_or_off(text: &str) -> anyhow::Result<OptionalKeepalive> {
    if text == "off" {
        return Ok(OptionalKeepalive(None));
    }
    let numbers: Vec<u32> = text
        .split('/')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("write IDLE/INTERVAL/PROBES, such as 300/30/3, or off")?;
    let &[idle, interval, probes] = numbers.as_slice() else {
        anyhow::bail!("write IDLE/INTERVAL/PROBES, such as 300/30/3, or off");
    };
    // The kernel's bounds: tcp(7), MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT.
    anyhow::ensure!(
        (1..=32_767).contains(&idle),
        "IDLE must be 1 to 32767 seconds"
    );
    anyhow::ensure!(
        (1..=32_767).contains(&interval),
        "INTERVAL must be 1 to 32767 seconds"
    );
    anyhow::ensure!((1..=127).contains(&probes), "PROBES must be 1 to 127");
    let mut keepalive = Keepalive::default();
    keepalive.idle = Duration::from_secs(u64::from(idle));
    keepalive.interval = Duration::from_secs(u64::from(interval));
    keepalive.probes = probes;
    Ok(OptionalKeepalive(Some(keepalive)))
}

impl Args {
    /// What the connections of this server are, as far as it decides their cost.
    pub(crate) fn connection_kind(&self, engine: Engine, tracked: bool) -> ConnectionKind {
        let watch = match (engine, self.watch) {
            (Engine::Epoll, _) => Watch::Epoll,
            (_, WatchPolicy::Recv) => Watch::Recv,
            (_, WatchPolicy::Epoll) => Watch::EpollInRing,
            _ => Watch::Poll,
        };
        ConnectionKind {
            watch,
            ipv6: self.listen.iter().any(SocketAddr::is_ipv6),
            tracked,
        }
    }

    /// What the host is asked to make room for.
    pub(crate) fn request(&self, kind: ConnectionKind, sizes: &ObjectSizes) -> Request {
        Request {
            connections: self.max_connections,
            workers: self.workers,
            listeners: self.listen.len() as u32,
            cost: ConnectionCost::on(sizes, kind),
            worker_bytes: self.config(None).worker_bytes(),
        }
    }

    /// The engine's configuration; sizes from the plan, once there is one.
    pub(crate) fn config(&self, plan: Option<&Plan>) -> Config {
        let mut config = Config::default();
        config.listen.clone_from(&self.listen);
        config.engine = self.engine;
        config.watch = self.watch;
        config.pin = !self.no_pin;
        config.steering = self.steering;
        config.buffers = self.buffers;
        config.buffer_bytes = self.buffer_bytes;
        config.carry_limit_bytes = self.frame_bytes.saturating_add(4);
        let outbox_limit = config.outbox_high_bytes + config.carry_limit_bytes;
        config.outbox_limit_bytes = config.outbox_limit_bytes.max(outbox_limit);
        config.idle_timeout = self.idle_timeout.0;
        config.write_stall_timeout = self.write_stall_timeout;
        config.keepalive = self.keepalive.0;
        config.user_timeout = self.user_timeout.0;
        config.nodelay = self.nodelay;
        if let Some(plan) = plan {
            config.workers = plan.workers as usize;
            config.connections_per_worker =
                u32::try_from(plan.worker_connections).unwrap_or(u32::MAX);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        args: Args,
    }

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        let flags = std::iter::once("serve").chain(flags.iter().copied());
        Only::try_parse_from(flags).map(|only| only.args)
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let args = parse(&[]).expect("no flag is required");
        let config = args.config(None);
        assert_eq!(config.listen, ["0.0.0.0:8080".parse().expect("an address")]);
        assert_eq!(config.keepalive, Some(Keepalive::default()));
        assert!(config.nodelay && config.idle_timeout.is_none());
        assert_eq!(config.user_timeout, Config::default().user_timeout);
    }

    #[test]
    fn bad_values_are_refused_with_what_to_write() {
        for (flags, says) in [
            (["--keepalive", "300/30"], "300/30/3"),
            (["--keepalive", "0/30/3"], "1 to 32767"),
            (["--idle-timeout", "0s"], "off"),
            (["--watch", "kqueue"], "adaptive"),
            (["--max-connections", "0"], "at least 1"),
            (["--listen", "8080"], "--listen"),
        ] {
            let error = parse(&flags).expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn frames_up_to_the_limit_fit_carry_and_outbox() {
        let args = parse(&["--frame-bytes", "4194304"]).expect("valid");
        let config = args.config(None);
        assert_eq!(config.carry_limit_bytes, 4_194_308);
        assert!(config.outbox_limit_bytes >= config.outbox_high_bytes + 4_194_308);
    }
}
