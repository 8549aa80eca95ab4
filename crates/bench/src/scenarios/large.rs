//! Messages that are larger than what a server reads at once.

use super::{Cell, Scale, Scenario, Who};
use crate::metric::{CPU_PER_MESSAGE, MESSAGES_PER_SECOND, P50, P99};
use roadstead_host::quantity::grouped;
use roadstead_load::{Protocol, Workload};

pub(super) const LARGE: Scenario = Scenario {
    name: "large",
    about: "server CPU per message of 64 KiB, as bytes and as frames",
    rounds: 5,
    cells,
};

const MESSAGE_BYTES: usize = 64 << 10;

fn cells(scale: &Scale) -> Vec<Cell> {
    let cell = |(protocol, name)| {
        let workload = Workload {
            message_bytes: MESSAGE_BYTES,
            protocol,
            ..scale.busy(100)
        };
        let connections = workload.connections;
        Cell {
            name: format!("64k-{name}"),
            title: format!(
                "{} busy connections, {name} of 64 KiB, one in flight on each",
                grouped(connections as u64)
            ),
            workload,
            metrics: &[CPU_PER_MESSAGE, MESSAGES_PER_SECOND, P50, P99],
            ..Cell::of(Who::Servers)
        }
    };
    [(Protocol::Echo, "echoes"), (Protocol::Frames, "frames")]
        .map(cell)
        .to_vec()
}
