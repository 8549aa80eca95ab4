//! Memory against messages in flight, at a fixed number of connections: half a frame that the server has read, or
//! a large reply that the peer has not.

use super::{Cell, Scale, Scenario, Who};
use crate::metric::{BUFFERS_MIB, KERNEL_MIB, USER_MIB};
use crate::record::Axis;
use roadstead_host::quantity::grouped;
use roadstead_load::sockets::{Lag, Laggards};
use roadstead_load::{Active, Protocol, Workload};
use std::time::Duration;

pub(super) const INFLIGHT: Scenario = Scenario {
    name: "inflight",
    about: "memory against reads and replies in flight, at 10,000 connections",
    rounds: 3,
    cells,
};

const CONNECTIONS: usize = 10_000;
/// Half of it is in flight: 4 KiB.
const FRAME_BYTES: usize = 8 << 10;
/// More than the peer's socket takes unread.
const REPLY_BYTES: usize = 256 << 10;
const SETTLE: Duration = Duration::from_secs(2);

/// What is in flight on a laggard.
struct Kind {
    name: &'static str,
    title: &'static str,
    lag: Lag,
    protocol: Protocol,
    message_bytes: usize,
    counts: &'static [usize],
}

const READS: Kind = Kind {
    name: "reads",
    title: "have half a frame of 8 KiB in flight",
    lag: Lag::HalfSent,
    protocol: Protocol::Frames,
    message_bytes: FRAME_BYTES,
    counts: &[0, 100, 1_000, 10_000],
};
const REPLIES: Kind = Kind {
    name: "replies",
    title: "have sent 256 KiB and read nothing of the reply",
    lag: Lag::Unread { messages: 1 },
    protocol: Protocol::Echo,
    message_bytes: REPLY_BYTES,
    counts: &[0, 100, 1_000, 10_000],
};

fn cells(scale: &Scale) -> Vec<Cell> {
    let kinds = [READS, REPLIES];
    let cells = |kind: &Kind| {
        let cell = |count: &usize| cell(scale, kind, *count);
        kind.counts.iter().map(cell).collect::<Vec<_>>()
    };
    kinds.iter().flat_map(cells).collect()
}

fn cell(scale: &Scale, kind: &Kind, count: usize) -> Cell {
    let connections = scale.connections(CONNECTIONS);
    let in_flight = count.min(connections);
    let laggards = Laggards {
        connections: in_flight,
        lag: kind.lag,
    };
    let workload = Workload {
        // One active connection, whose traffic tells the laggards when to catch up.
        connections: connections + 1 + scale.spare(),
        active: Active::Count(1),
        idle: SETTLE,
        warmup: Duration::ZERO,
        hold: Duration::from_millis(100),
        message_bytes: kind.message_bytes,
        protocol: kind.protocol,
        ..scale.busy(0)
    };
    Cell {
        name: format!("{}-{in_flight}", kind.name),
        title: format!(
            "{} connections, of which {} {}",
            grouped(connections as u64),
            grouped(in_flight as u64),
            kind.title
        ),
        workload,
        laggards: (in_flight > 0).then_some(laggards),
        metrics: &[USER_MIB, KERNEL_MIB, BUFFERS_MIB],
        axis: Some(Axis {
            name: format!("{} in flight", kind.name),
            value: in_flight as f64,
        }),
        ..Cell::of(Who::Servers)
    }
}
