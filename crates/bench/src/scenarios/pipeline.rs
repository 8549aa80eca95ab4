//! Several requests in flight on each connection.

use super::{Cell, Scale, Scenario, Who};
use crate::metric::{CPU_PER_MESSAGE, MESSAGES_PER_CPU_SECOND, MESSAGES_PER_SECOND, P50, P99};
use roadstead_host::quantity::grouped;
use roadstead_load::{Traffic, Workload};

pub(super) const PIPELINE: Scenario = Scenario {
    name: "pipeline",
    about: "server CPU per message with 16 requests in flight on each connection",
    rounds: 5,
    cells,
};

const IN_FLIGHT: usize = 16;

fn cells(scale: &Scale) -> Vec<Cell> {
    let workload = Workload {
        traffic: Traffic::ClosedLoop {
            pipeline: IN_FLIGHT,
        },
        ..scale.busy(1_000)
    };
    let connections = workload.connections;
    vec![Cell {
        name: format!("{connections}-busy"),
        title: format!(
            "{} busy connections, 64 bytes, {IN_FLIGHT} requests in flight on each",
            grouped(connections as u64)
        ),
        workload,
        metrics: &[
            CPU_PER_MESSAGE,
            MESSAGES_PER_CPU_SECOND,
            MESSAGES_PER_SECOND,
            P50,
            P99,
        ],
        ..Cell::of(Who::Servers)
    }]
}
