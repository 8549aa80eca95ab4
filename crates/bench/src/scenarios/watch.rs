//! How an idle connection is best watched: what it takes while it is silent, what a message costs when it is not,
//! and from which rate on a connection is worth being promoted to a read that is always pending.
//!
//! The cost of letting go of a connection beside many others is no workload: `roadstead-bench closing` has it.

use super::{Carrier, Cell, Scale, Scenario, Who, echo, idle};
use crate::metric::{CPU_PER_MESSAGE, MESSAGES_PER_SECOND, P50, P99};
use crate::record::Axis;
use roadstead_host::quantity::grouped;
use roadstead_load::{Traffic, Workload};

pub(super) const WATCH: Scenario = Scenario {
    name: "watch",
    about: "what decides the watch policy: idle bytes, CPU per message by load and by rate",
    rounds: 5,
    cells,
};

const IDLE: usize = 10_000;
const BUSY: [usize; 3] = [50, 1_000, 10_000];
/// Open loop: so many connections, each with so many messages per second.
const PACED: usize = 1_000;
const RATES: [u32; 5] = [1, 4, 8, 16, 64];

fn cells(scale: &Scale) -> Vec<Cell> {
    let mut idle = idle::cell(scale, Carrier::Sockets, IDLE);
    idle.name = format!("idle-{}", idle.name);
    let busy = BUSY.map(|count| echo::busy(scale, count));
    let paced = RATES.map(|rate| paced(scale, rate));
    std::iter::once(idle).chain(busy).chain(paced).collect()
}

fn paced(scale: &Scale, rate: u32) -> Cell {
    let busy = scale.busy(PACED);
    let connections = busy.connections;
    Cell {
        name: format!("{rate}-per-second"),
        title: format!(
            "{} connections, each with {rate} messages of 64 bytes per second, replies or not",
            grouped(connections as u64)
        ),
        workload: Workload {
            traffic: Traffic::OpenLoop {
                messages_per_second: f64::from(rate) * connections as f64,
            },
            ..busy
        },
        metrics: &[CPU_PER_MESSAGE, P50, P99, MESSAGES_PER_SECOND],
        axis: Some(Axis {
            name: "messages per second and connection".to_owned(),
            value: f64::from(rate),
        }),
        ..Cell::of(Who::Servers)
    }
}
