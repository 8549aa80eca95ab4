//! Peers that stop reading: what the server keeps for them, and what it costs the others.

use super::{Cell, Scale, Scenario, Who};
use crate::metric::{BUFFERS_MIB, CPU_PER_MESSAGE, MESSAGES_PER_SECOND, P50, P99, USER_MIB};
use crate::record::Axis;
use roadstead_host::quantity::grouped;
use roadstead_load::sockets::{Lag, Laggards};
use roadstead_load::{Active, Workload};
use std::time::Duration;

pub(super) const STALL: Scenario = Scenario {
    name: "stall",
    about: "memory kept for peers that read nothing, and what it costs those that do",
    rounds: 3,
    cells,
};

const BUSY: usize = 100;
const MESSAGE_BYTES: usize = 1 << 10;
/// 4 MiB that each stalled peer sends and does not take back.
const UNREAD: usize = 4 << 10;
/// How long the server may take to read what it reads of it.
const SETTLE: Duration = Duration::from_secs(3);

fn cells(scale: &Scale) -> Vec<Cell> {
    let cell = |stalled: usize| {
        let stalled = scale.connections(stalled);
        let laggards = Laggards {
            connections: stalled,
            lag: Lag::Unread { messages: UNREAD },
        };
        let workload = Workload {
            connections: BUSY + stalled + scale.spare(),
            active: Active::Count(BUSY),
            idle: SETTLE,
            message_bytes: MESSAGE_BYTES,
            ..scale.busy(0)
        };
        Cell {
            name: format!("{stalled}-stalled"),
            title: format!(
                "{} peers that have sent 4 MiB and read nothing, beside {BUSY} busy with 1 KiB",
                grouped(stalled as u64)
            ),
            workload,
            laggards: (stalled > 0).then_some(laggards),
            metrics: &[
                USER_MIB,
                BUFFERS_MIB,
                CPU_PER_MESSAGE,
                MESSAGES_PER_SECOND,
                P50,
                P99,
            ],
            axis: Some(Axis {
                name: "stalled peers".to_owned(),
                value: stalled as f64,
            }),
            ..Cell::of(Who::Servers)
        }
    };
    [0, 10, 100].map(cell).to_vec()
}
