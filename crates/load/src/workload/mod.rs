//! What the connections do, whatever carries them: how many there are, how they come up, what they
//! send and when, and which bytes must come back.
//!
//! ```text
//!  Workload ──┬─ Agenda ───┬─ Ramp      when the next connection may be opened
//!   (wanted)  │  what is   ├─ Turns     which active connection the n-th message goes to
//!             │  due next  └─ Arrivals  when the n-th message (or churn) is due, sent or not
//!             └─ Tape                   the bytes of the n-th message, and of its reply
//! ```
//!
//! The leaves are pure functions of a few numbers: nothing is stored per connection or per message, so
//! that the client which keeps 16 bytes per connection can use them as well as the one with sockets.

mod agenda;
mod arrivals;
mod ramp;
mod stampede;
mod tape;
mod turns;

pub use stampede::Stampede;

pub(crate) use agenda::{Agenda, Due, Opening, Share};
pub(crate) use stampede::{Herd, Part};
pub(crate) use tape::Tape;

use arrivals::Arrivals;
use ramp::Ramp;
use stampede::Crowd;
use turns::Turns;

use crate::Error;
use serde::{Serialize, Serializer};
use std::time::Duration;

/// The largest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What is asked of every connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Workload {
    /// Connections to open and to hold.
    pub connections: usize,
    /// Connections opened per second over all threads; `None`: as fast as they are answered.
    pub ramp_per_second: Option<f64>,
    /// Handshakes in flight at most, over all threads.
    pub handshakes_in_flight: usize,
    /// How long a handshake may take before the connection counts as failed.
    #[serde(rename = "connect_timeout_seconds", serialize_with = "seconds")]
    pub connect_timeout: Duration,
    /// Silence between the last handshake and the first message.
    #[serde(rename = "idle_seconds", serialize_with = "seconds")]
    pub idle: Duration,
    /// Traffic before what is measured.
    #[serde(rename = "warmup_seconds", serialize_with = "seconds")]
    pub warmup: Duration,
    /// Traffic that is measured, or silence if there is no traffic.
    #[serde(rename = "hold_seconds", serialize_with = "seconds")]
    pub hold: Duration,
    /// How long the server may be silent at the end, while replies and closes are waited for.
    #[serde(rename = "grace_seconds", serialize_with = "seconds")]
    pub grace: Duration,
    /// Which of the connections carry messages.
    pub active: Active,
    /// What makes the next message due.
    pub traffic: Traffic,
    /// Bytes of payload per message.
    pub message_bytes: usize,
    /// What a message looks like on the wire.
    pub protocol: Protocol,
    /// Connections closed and opened again per second, over all threads.
    pub churn_per_second: f64,
    /// How the load is spread over time.
    pub pattern: Pattern,
    /// Connections that are reset at once and come back.
    pub stampede: Option<Stampede>,
    /// Who closes the connections in the end.
    pub closed_by: Side,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            connections: 1000,
            ramp_per_second: None,
            handshakes_in_flight: 1024,
            connect_timeout: Duration::from_secs(30),
            idle: Duration::ZERO,
            warmup: Duration::ZERO,
            hold: Duration::from_secs(10),
            grace: Duration::from_secs(10),
            active: Active::Share(1.0),
            traffic: Traffic::None,
            message_bytes: 64,
            protocol: Protocol::Echo,
            churn_per_second: 0.0,
            pattern: Pattern::Uniform,
            stampede: None,
            closed_by: Side::Client,
        }
    }
}

/// Durations in reports are plain seconds.
pub(crate) fn seconds<S: Serializer>(duration: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_f64(duration.as_secs_f64())
}

/// Which of the connections carry messages; they are spread evenly over all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Active {
    /// This share of them, 0 to 1.
    Share(f64),
    /// This many.
    Count(usize),
}

impl Active {
    /// How many that is of `connections`.
    pub fn of(self, connections: usize) -> usize {
        match self {
            Self::Share(share) => ((connections as f64 * share).round() as usize).min(connections),
            Self::Count(count) => count.min(connections),
        }
    }
}

/// What makes the next message due.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// Nothing: the connections are held in silence.
    None,
    /// A reply: each active connection keeps this many requests in flight.
    ClosedLoop {
        /// Requests in flight per active connection.
        pipeline: usize,
    },
    /// The clock, whether replies come or not. Latency counts from when a message was due.
    OpenLoop {
        /// Messages per second over all connections.
        messages_per_second: f64,
    },
}

/// What a message looks like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Bytes, which come back as they are.
    Echo,
    /// A 4-byte big-endian length and that many bytes, answered in kind.
    Frames,
}

impl Protocol {
    /// Bytes in front of the payload of each message.
    pub fn header_bytes(self) -> usize {
        match self {
            Self::Echo => 0,
            Self::Frames => 4,
        }
    }
}

/// One end of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// This tool.
    Client,
    /// The server: it is told to stop (SIGTERM) while all connections are open.
    Server,
}

/// How the load is spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Evenly.
    Uniform,
    /// The messages of each second fall due within its first tenth.
    Bursty,
}

impl Workload {
    /// Bytes of one message on the wire.
    pub(crate) fn wire_bytes(&self) -> usize {
        self.protocol.header_bytes() + self.message_bytes
    }

    /// Whether the server closes the connections in the end.
    pub(crate) fn server_closes(&self) -> bool {
        self.closed_by == Side::Server
    }

    /// Refuses what cannot be carried out, with what would be accepted.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |what: String, fix: &str| Err(Error::new(what, fix));
        if self.connections == 0 {
            return refuse(
                "no connection asked for".into(),
                "pass --connections 1 or more",
            );
        }
        if self.message_bytes == 0 || self.message_bytes > MESSAGE_BYTES_MAX {
            return refuse(
                format!("messages of {} bytes", self.message_bytes),
                "pass --size between 1 and 1048576",
            );
        }
        if self.handshakes_in_flight == 0 {
            return refuse(
                "no handshake may be in flight".into(),
                "pass --in-flight 1 or more",
            );
        }
        let rates = [Some(self.churn_per_second), self.ramp_per_second];
        if rates
            .into_iter()
            .flatten()
            .any(|rate| !rate.is_finite() || rate < 0.0)
            || self.ramp_per_second == Some(0.0)
        {
            return refuse(
                "a rate that is no rate".into(),
                "pass --ramp above 0 and --churn of 0 or more",
            );
        }
        let share_of = |active| match active {
            Active::Share(share) => share,
            Active::Count(_) => 0.0,
        };
        let stampede = self.stampede.map(|stampede| stampede.connections);
        for (flag, share) in [
            ("--active", share_of(self.active)),
            ("--stampede", stampede.map_or(0.0, share_of)),
        ] {
            if !(0.0..=1.0).contains(&share) {
                let fix = format!("pass {flag} between 0% and 100%, or a count");
                return refuse(format!("a share of {share}"), &fix);
            }
        }
        if let Some(at) = self.stampede.and_then(|stampede| stampede.at)
            && at >= self.hold
        {
            return refuse(
                format!("a stampede {at:?} into a hold of {:?}", self.hold),
                "let it begin within --hold",
            );
        }
        match self.traffic {
            Traffic::ClosedLoop { pipeline: 0 } => {
                refuse("a pipeline of 0".into(), "pass --pipeline 1 or more")
            }
            Traffic::OpenLoop {
                messages_per_second: rate,
            } if !(rate.is_finite() && rate > 0.0) => refuse(
                format!("a rate of {rate} messages per second"),
                "pass --rate above 0",
            ),
            Traffic::None => Ok(()),
            _ if self.active.of(self.connections) == 0 => refuse(
                "messages, but no active connection".into(),
                "raise --active",
            ),
            _ => Ok(()),
        }
    }
}
