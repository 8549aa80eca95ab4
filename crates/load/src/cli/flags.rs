//! Flags as people write them, turned into settings.

use clap::{Args, Parser, Subcommand, ValueEnum};
use roadstead_host::quantity::parse_count;
use roadstead_load::sockets::{Settings, Sources};
use roadstead_load::tun::{self, Faults};
use roadstead_load::{Active, Pattern, Protocol, Side, Stampede, Traffic, Workload};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Opens, holds and drives connections against a TCP echo or frames server, and checks every byte that
/// comes back.
///
/// Exit code: 0 if all went well, 1 if a connection failed or a byte was wrong or missing, 2 for bad
/// usage, 130 if it was interrupted.
#[derive(Debug, Parser)]
#[command(name = "roadstead-load", version)]
pub(super) struct Flags {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Real kernel sockets, against any server; needs no privilege
    Sockets(SocketsFlags),
    /// A user-space TCP client and the server it starts, in a network of their own; 16 bytes a connection
    Tun(TunFlags),
}

#[derive(Args, Debug)]
pub(super) struct SocketsFlags {
    /// Where the server listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    to: SocketAddr,
    /// How long to wait for the server to listen
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    server_wait: Duration,
    /// The server's process, for its CPU time and memory
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Source addresses, like 127.0.1.1,127.0.2.1-127.0.2.9 [default: spread over 127.0.0.0/8]
    #[arg(long, value_name = "LIST")]
    sources: Option<Sources>,
    /// Threads [default: one per core, or as many as the descriptors need]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    workload: WorkloadFlags,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

impl SocketsFlags {
    pub(super) fn settings(&self) -> Settings {
        Settings {
            server_wait: self.server_wait,
            server_pid: self.server_pid,
            sources: self.sources.clone().unwrap_or_default(),
            threads: self.threads,
            workload: self.workload.workload(),
            ..Settings::new(self.to)
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct TunFlags {
    /// The port the server will listen on, at 10.0.0.1 or at all addresses
    #[arg(long, value_name = "PORT", default_value = "8080")]
    port: u16,
    /// How long the server may take until it listens
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    server_wait: Duration,
    /// How long the server may take to end before it is killed
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    server_stop: Duration,
    /// Threads, each with a device of its own [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Open fewer connections if the host's available memory does not hold as many as asked for
    #[arg(long)]
    pub(super) fit: bool,
    #[command(flatten)]
    faults: FaultFlags,
    #[command(flatten)]
    workload: WorkloadFlags,
    #[command(flatten)]
    pub(super) output: OutputFlags,
    /// The server command, after --; {connections} in it becomes the number of connections
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl TunFlags {
    pub(super) fn settings(&self) -> tun::Settings {
        tun::Settings {
            server_wait: self.server_wait,
            server_stop: self.server_stop,
            threads: self.threads,
            faults: Faults {
                drop: self.faults.drop,
                duplicate: self.faults.duplicate,
                reorder: self.faults.reorder,
                seed: self.faults.seed,
            },
            workload: self.workload.workload(),
            ..tun::Settings::new(self.command.clone(), self.port)
        }
    }
}

#[derive(Args, Debug)]
#[command(next_help_heading = "A bad network")]
struct FaultFlags {
    /// Packets that are lost, both ways
    #[arg(long, value_name = "SHARE%", value_parser = share, default_value = "0%")]
    drop: f64,
    /// Packets that come twice
    #[arg(long, value_name = "SHARE%", value_parser = share, default_value = "0%")]
    duplicate: f64,
    /// Packets that the next one overtakes
    #[arg(long, value_name = "SHARE%", value_parser = share, default_value = "0%")]
    reorder: f64,
    /// What the choice of these packets follows from
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Workload")]
pub(super) struct WorkloadFlags {
    /// Connections to open and hold, like 10000, 250k or 1M
    #[arg(long, short, value_name = "N", value_parser = count, default_value = "1000")]
    connections: usize,
    /// Connections opened per second, or max
    #[arg(long, value_name = "RATE|max", value_parser = ramp, default_value = "max")]
    ramp: Ramp,
    /// Handshakes in flight at most
    #[arg(long, value_name = "N", value_parser = count, default_value = "1024")]
    in_flight: usize,
    /// When a handshake without an answer has failed
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    connect_timeout: Duration,
    /// Silence between the last handshake and the first message
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    idle: Duration,
    /// Traffic before the part that is measured
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    warmup: Duration,
    /// How long the connections are held, with traffic if --rate or --pipeline is given
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    hold: Duration,
    /// How long the server may be silent while the last replies, and then its closes, are waited for
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    grace: Duration,
    /// Connections that carry messages: a count, or a share like 10%
    #[arg(long, value_name = "N|SHARE%", value_parser = active, default_value = "100%")]
    active: Active,
    /// Open loop: messages per second over all connections, replies or not
    #[arg(long, value_name = "RATE", value_parser = rate, conflicts_with = "pipeline")]
    rate: Option<f64>,
    /// Closed loop: requests in flight on each active connection
    #[arg(long, value_name = "N", value_parser = count)]
    pipeline: Option<usize>,
    /// Bytes of payload per message
    #[arg(long, value_name = "BYTES", value_parser = count, default_value = "64")]
    size: usize,
    /// What a message looks like
    #[arg(long, value_enum, default_value = "echo")]
    protocol: ProtocolFlag,
    /// Connections closed and opened again per second
    #[arg(long, value_name = "RATE", value_parser = rate, default_value = "0")]
    churn: f64,
    /// How the load is spread over time
    #[arg(long, value_enum, default_value = "uniform")]
    pattern: PatternFlag,
    /// Connections reset at once that come back as fast as they can: a count or a share, and when, from the
    /// beginning of the hold, as in 1M@10s [when: half-way through it]
    #[arg(long, value_name = "N|SHARE%[@TIME]", value_parser = stampede)]
    stampede: Option<Stampede>,
    /// Who closes the connections in the end
    #[arg(long, value_enum, default_value = "client")]
    end: EndFlag,
}

impl WorkloadFlags {
    pub(super) fn workload(&self) -> Workload {
        Workload {
            connections: self.connections,
            ramp_per_second: self.ramp.0,
            handshakes_in_flight: self.in_flight,
            connect_timeout: self.connect_timeout,
            idle: self.idle,
            warmup: self.warmup,
            hold: self.hold,
            grace: self.grace,
            active: self.active,
            traffic: match (self.rate, self.pipeline) {
                (Some(messages_per_second), _) => Traffic::OpenLoop {
                    messages_per_second,
                },
                (None, Some(pipeline)) => Traffic::ClosedLoop { pipeline },
                (None, None) => Traffic::None,
            },
            message_bytes: self.size,
            protocol: match self.protocol {
                ProtocolFlag::Echo => Protocol::Echo,
                ProtocolFlag::Frames => Protocol::Frames,
            },
            churn_per_second: self.churn,
            pattern: match self.pattern {
                PatternFlag::Uniform => Pattern::Uniform,
                PatternFlag::Bursty => Pattern::Bursty,
                PatternFlag::Stampede => Pattern::Uniform,
            },
            stampede: self.stampede.or(match self.pattern {
                PatternFlag::Stampede => Some(Stampede {
                    connections: Active::Share(1.0),
                    at: None,
                }),
                PatternFlag::Uniform | PatternFlag::Bursty => None,
            }),
            closed_by: match self.end {
                EndFlag::Client => Side::Client,
                EndFlag::Server => Side::Server,
            },
        }
    }
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Results")]
pub(super) struct OutputFlags {
    /// Write settings, host facts, counters and percentiles here
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write the latency percentiles here, in milliseconds, as HdrHistogram's plotters read them
    #[arg(long, value_name = "FILE")]
    pub(super) hgrm: Option<PathBuf>,
    /// Write the whole latency histogram here, in nanoseconds, as an HdrHistogram V2 log
    #[arg(long, value_name = "FILE")]
    pub(super) hlog: Option<PathBuf>,
    /// Failed and lost connections, unanswered messages and wrong bytes that are no failure
    #[arg(long, value_name = "N", default_value = "0")]
    pub(super) allow_errors: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProtocolFlag {
    /// Bytes, which come back as they are
    Echo,
    /// A 4-byte big-endian length and that many bytes, answered in kind
    Frames,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PatternFlag {
    /// Evenly
    Uniform,
    /// The messages of each second fall due within its first tenth
    Bursty,
    /// Evenly, with --stampede 100%
    Stampede,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EndFlag {
    /// This tool does, one after the other
    Client,
    /// The server does: it is told to stop (SIGTERM) while all are open, and the time it takes is measured
    Server,
}

#[derive(Clone, Copy, Debug)]
struct Ramp(Option<f64>);

fn count(text: &str) -> Result<usize, String> {
    let count = parse_count(text).map_err(|error| error.to_string())?;
    usize::try_from(count).map_err(|error| error.to_string())
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => parse_count(text)
            .map(|count| count as f64)
            .map_err(|error| error.to_string()),
    }
}

fn ramp(text: &str) -> Result<Ramp, String> {
    Ok(Ramp(if text == "max" {
        None
    } else {
        Some(rate(text)?)
    }))
}

fn active(text: &str) -> Result<Active, String> {
    if text.ends_with('%') {
        share(text).map(Active::Share)
    } else {
        count(text).map(Active::Count)
    }
}

fn stampede(text: &str) -> Result<Stampede, String> {
    let (connections, at) = match text.split_once('@') {
        Some((connections, at)) => (connections, Some(duration(at)?)),
        None => (text, None),
    };
    Ok(Stampede {
        connections: active(connections)?,
        at,
    })
}

fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').ok_or("write it like 1%")?;
    percent
        .parse::<f64>()
        .map(|percent| percent / 100.0)
        .map_err(|error| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds_per_unit = match &text[digits.len()..] {
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("write it like 500ms, 30s, 5m or 1h".to_owned()),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| "write it like 500ms, 30s, 5m or 1h".to_owned())?;
    Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Flags::command().debug_assert();
    }

    #[test]
    fn quantities_are_read_as_people_write_them() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(
            ["", "s", "1d", "-1s", "NaNs"]
                .iter()
                .all(|text| duration(text).is_err())
        );
        assert_eq!(active("10%"), Ok(Active::Share(0.1)));
        assert_eq!(active("1k"), Ok(Active::Count(1000)));
        assert_eq!(
            stampede("1M@10s"),
            Ok(Stampede {
                connections: Active::Count(1_000_000),
                at: Some(Duration::from_secs(10)),
            })
        );
        assert_eq!(stampede("20%").map(|half_way| half_way.at), Ok(None));
        assert!(stampede("1M@").is_err() && stampede("@1s").is_err());
        assert_eq!(rate("10k"), Ok(10_000.0));
        assert!(rate("-1").is_err() && rate("inf").is_err());
    }
}
