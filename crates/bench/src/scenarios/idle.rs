//! Bytes per idle connection: resident memory, and kernel objects over those of a bare accepted socket.

use super::{Carrier, Cell, Scale, Scenario, Who};
use crate::metric::{
    BYTES, KERNEL_BYTES, KERNEL_ONE_END, KERNEL_OVER_BARE, SERVER_MIB, USER_BYTES,
};
use crate::record::Axis;
use roadstead_host::quantity::grouped;

pub(super) const IDLE: Scenario = Scenario {
    name: "idle",
    about: "bytes per idle connection, in the server and in the kernel",
    rounds: 3,
    cells,
};

/// Carried by sockets, which a descriptor limit of 20,000 allows everybody.
const BY_SOCKETS: [usize; 5] = [1_000, 2_000, 4_000, 8_000, 15_000];
/// Carried by TUN devices: only ours hold more than their descriptors.
const BY_TUN: [usize; 3] = [10_000, 100_000, 1_000_000];

fn cells(scale: &Scale) -> Vec<Cell> {
    let by_sockets = BY_SOCKETS.map(|count| cell(scale, Carrier::Sockets, count));
    let by_tun = BY_TUN.map(|count| cell(scale, Carrier::Tun, count));
    by_sockets.into_iter().chain(by_tun).collect()
}

/// So many connections that say nothing.
pub(super) fn cell(scale: &Scale, carrier: Carrier, count: usize) -> Cell {
    let workload = scale.silent(count);
    let connections = workload.connections;
    Cell {
        name: format!("{connections}{}", carrier.suffix()),
        title: format!("{} idle connections", grouped(connections as u64)),
        workload,
        carrier,
        metrics: match carrier {
            Carrier::Sockets => &[
                BYTES,
                USER_BYTES,
                KERNEL_OVER_BARE,
                KERNEL_BYTES,
                SERVER_MIB,
            ],
            Carrier::Tun => &[USER_BYTES, KERNEL_ONE_END, SERVER_MIB],
        },
        axis: Some(Axis {
            name: "idle connections".to_owned(),
            value: connections as f64,
        }),
        ..Cell::of(Who::ServersAndBare)
    }
}
