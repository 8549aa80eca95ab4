//! Connections that come and go.

use super::{Cell, Scale, Scenario, Who};
use crate::metric::{CONNECT_P99, CPU_PER_CYCLE, CYCLES_PER_SECOND};
use roadstead_host::quantity::grouped;
use roadstead_load::Workload;

pub(super) const CHURN: Scenario = Scenario {
    name: "churn",
    about: "server CPU per connection that is closed and opened again",
    rounds: 5,
    cells,
};

/// Below what every subject can take, and what the client's ports allow.
const PER_SECOND: u32 = 3_000;

fn cells(scale: &Scale) -> Vec<Cell> {
    let workload = Workload {
        churn_per_second: f64::from(PER_SECOND),
        hold: scale.hold,
        ..scale.silent(1_000)
    };
    let connections = grouped(workload.connections as u64);
    vec![Cell {
        name: format!("{PER_SECOND}-per-second"),
        title: format!(
            "{connections} connections, {} a second closed and opened again",
            grouped(u64::from(PER_SECOND))
        ),
        workload,
        metrics: &[CPU_PER_CYCLE, CYCLES_PER_SECOND, CONNECT_P99],
        ..Cell::of(Who::Servers)
    }]
}
