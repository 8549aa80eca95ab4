//! What a message costs: server CPU, and latency, closed loop and at a fixed rate.

use super::{Cell, Scale, Scenario, Who};
use crate::metric::{
    CPU_PER_MESSAGE, MESSAGES_PER_CPU_SECOND, MESSAGES_PER_SECOND, P50, P99, P99_9,
};
use crate::record::Axis;
use roadstead_host::quantity::grouped;
use roadstead_load::{Traffic, Workload};

pub(super) const ECHO: Scenario = Scenario {
    name: "echo",
    about: "server CPU and latency per echoed message",
    rounds: 5,
    cells,
};

/// A rate that every subject can keep up with on one core.
const FIXED_RATE: u32 = 20_000;

fn cells(scale: &Scale) -> Vec<Cell> {
    let fixed = Workload {
        traffic: Traffic::OpenLoop {
            messages_per_second: f64::from(FIXED_RATE),
        },
        ..scale.busy(1_000)
    };
    let fixed = Cell {
        name: "fixed-rate".to_owned(),
        title: format!(
            "{} messages per second over {} connections, replies or not; latency from when each was due",
            grouped(u64::from(FIXED_RATE)),
            grouped(fixed.connections as u64)
        ),
        workload: fixed,
        metrics: &[P50, P99, P99_9, CPU_PER_MESSAGE, MESSAGES_PER_SECOND],
        ..Cell::of(Who::Servers)
    };
    [50, 1_000, 10_000]
        .map(|count| busy(scale, count))
        .into_iter()
        .chain([fixed])
        .collect()
}

/// Closed loop: so many connections, all of them busy.
pub(super) fn busy(scale: &Scale, count: usize) -> Cell {
    let workload = scale.busy(count);
    let connections = workload.connections;
    Cell {
        name: format!("{connections}-busy"),
        title: format!(
            "{} busy connections, 64 bytes, one request in flight on each",
            grouped(connections as u64)
        ),
        workload,
        metrics: &[
            CPU_PER_MESSAGE,
            MESSAGES_PER_CPU_SECOND,
            MESSAGES_PER_SECOND,
            P50,
            P99,
            P99_9,
        ],
        axis: Some(Axis {
            name: "busy connections".to_owned(),
            value: connections as f64,
        }),
        ..Cell::of(Who::Servers)
    }
}
