//! A few busy connections among many idle ones.

use super::{Carrier, Cell, Scale, Scenario, Who};
use crate::metric::{CPU_PER_MESSAGE, MESSAGES_PER_SECOND, P50, P99, P99_9, USER_BYTES};
use roadstead_host::quantity::grouped;
use roadstead_load::{Active, Traffic, Workload};

pub(super) const MIXED: Scenario = Scenario {
    name: "mixed",
    about: "one connection in a hundred busy, of 15,000 and of a million",
    rounds: 5,
    cells,
};

/// The connections that carry messages.
const BUSY: Active = Active::Share(0.01);
/// Messages per second over a million connections.
const MILLION_RATE: f64 = 10_000.0;

fn cells(scale: &Scale) -> Vec<Cell> {
    let many = Workload {
        active: BUSY,
        ..scale.busy(15_000)
    };
    let million = Workload {
        active: BUSY,
        traffic: Traffic::OpenLoop {
            messages_per_second: MILLION_RATE,
        },
        ..scale.busy(1_000_000)
    };
    let cell = |workload: Workload, carrier: Carrier, how: &str| {
        let connections = workload.connections;
        Cell {
            name: format!("{connections}{}", carrier.suffix()),
            title: format!(
                "{} connections, {} of them busy with 64 bytes, {how}",
                grouped(connections as u64),
                grouped(BUSY.of(connections) as u64)
            ),
            carrier,
            workload,
            metrics: &[
                CPU_PER_MESSAGE,
                MESSAGES_PER_SECOND,
                P50,
                P99,
                P99_9,
                USER_BYTES,
            ],
            ..Cell::of(Who::Servers)
        }
    };
    vec![
        cell(many, Carrier::Sockets, "one request in flight on each"),
        cell(million, Carrier::Tun, "10,000 messages per second"),
    ]
}
