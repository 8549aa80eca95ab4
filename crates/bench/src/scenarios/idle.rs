//! Bytes per idle connection: resident memory, and kernel objects over those of a bare accepted socket.

use super::{Cell, Scale, Scenario, Who};
use crate::metric::{BYTES, KERNEL_BYTES, KERNEL_OVER_BARE, USER_BYTES};
use crate::record::Axis;
use roadstead_host::quantity::grouped;

pub(super) const IDLE: Scenario = Scenario {
    name: "idle",
    about: "bytes per idle connection, in the server and in the kernel",
    rounds: 3,
    cells,
};

fn cells(scale: &Scale) -> Vec<Cell> {
    let counts = [1_000, 2_000, 4_000, 8_000, 15_000];
    let cell = |count: usize| {
        let workload = scale.silent(count);
        let connections = workload.connections;
        Cell {
            name: format!("{connections}"),
            title: format!("{} idle connections", grouped(connections as u64)),
            workload,
            metrics: &[BYTES, USER_BYTES, KERNEL_OVER_BARE, KERNEL_BYTES],
            axis: Some(Axis {
                name: "idle connections".to_owned(),
                value: connections as f64,
            }),
            who: Who::ServersAndBare,
        }
    };
    counts.map(cell).to_vec()
}
