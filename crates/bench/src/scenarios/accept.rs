//! What opening a connection costs the server.

use super::{Cell, Scale, Scenario, Who};
use crate::metric::{ACCEPTS_PER_CPU_SECOND, CONNECT_P99, CPU_PER_ACCEPT};
use roadstead_host::quantity::grouped;

pub(super) const ACCEPT: Scenario = Scenario {
    name: "accept",
    about: "server CPU per accepted connection",
    rounds: 5,
    cells,
};

fn cells(scale: &Scale) -> Vec<Cell> {
    let workload = scale.silent(15_000);
    let connections = workload.connections;
    vec![Cell {
        name: format!("{connections}"),
        title: format!(
            "{} connections opened as fast as they are accepted",
            grouped(connections as u64)
        ),
        workload,
        metrics: &[CPU_PER_ACCEPT, ACCEPTS_PER_CPU_SECOND, CONNECT_P99],
        ..Cell::of(Who::ServersAndBare)
    }]
}
