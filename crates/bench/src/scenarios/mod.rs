//! What is measured: a scenario is a list of cells, a cell is a workload and the metrics that it yields.
//!
//! A new scenario is a file with one function and a line in [`ALL`].

mod accept;
mod churn;
mod echo;
mod idle;
mod inflight;
mod large;
mod mixed;
mod pipeline;
mod stall;
mod watch;

use crate::metric::Metric;
use crate::record::Axis;
use roadstead_load::sockets::{Lag, Laggards};
use roadstead_load::{Protocol, Traffic, Workload};
use std::time::Duration;

/// All scenarios, in the order in which they are run.
pub(crate) const ALL: [Scenario; 10] = [
    idle::IDLE,
    echo::ECHO,
    mixed::MIXED,
    accept::ACCEPT,
    churn::CHURN,
    pipeline::PIPELINE,
    large::LARGE,
    stall::STALL,
    inflight::INFLIGHT,
    watch::WATCH,
];

/// Their names and what they measure, for people.
pub(crate) fn list() -> String {
    let line = |scenario: &Scenario| format!("  {:<9} {}", scenario.name, scenario.about);
    let lines: Vec<String> = ALL.iter().map(line).collect();
    format!("Scenarios:\n{}", lines.join("\n"))
}

/// What a connection costs at most at both ends, for the question whether memory suffices.
const CONNECTION_BYTES_MAX: u64 = 6 << 10;

/// A question that is put to every subject.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Interleaved rounds, unless otherwise asked for.
    pub(crate) rounds: usize,
    cells: fn(&Scale) -> Vec<Cell>,
}

/// One workload.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// Unique in its scenario.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) carrier: Carrier,
    pub(crate) workload: Workload,
    pub(crate) laggards: Option<Laggards>,
    /// The first is what ratios are made of.
    pub(crate) metrics: &'static [Metric],
    pub(crate) axis: Option<Axis>,
    pub(crate) who: Who,
}

/// What carries a cell's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// Kernel sockets at both ends: every subject.
    Sockets,
    /// The load tool's own TCP behind TUN devices: ours alone, with as many workers as the connections need.
    Tun,
}

impl Carrier {
    fn suffix(self) -> &'static str {
        match self {
            Self::Sockets => "",
            Self::Tun => "-tun",
        }
    }
}

/// Who takes part in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// All subjects that answer.
    Servers,
    /// Those, and the bare server for the floor.
    ServersAndBare,
}

/// How long and how large, where a scenario leaves it open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Traffic before what is measured: `adaptive` takes two seconds to tell who is busy.
    pub(crate) warmup: Duration,
    /// Measured traffic.
    pub(crate) hold: Duration,
    /// Threads of the client: one for each of its cores.
    pub(crate) client_threads: usize,
    /// No cell has more connections.
    pub(crate) connections_max: usize,
}

impl Scale {
    /// Connections beside laggards and active ones that let both be divided among the client's threads.
    fn spare(&self) -> usize {
        self.client_threads
    }

    fn connections(&self, wanted: usize) -> usize {
        wanted.min(self.connections_max)
    }

    /// So many connections, all of them busy with requests of 64 bytes, one in flight on each.
    fn busy(&self, connections: usize) -> Workload {
        Workload {
            connections: self.connections(connections),
            warmup: self.warmup,
            hold: self.hold,
            traffic: Traffic::ClosedLoop { pipeline: 1 },
            ..Workload::default()
        }
    }

    /// So many connections that say nothing.
    fn silent(&self, connections: usize) -> Workload {
        Workload {
            connections: self.connections(connections),
            idle: Duration::from_secs(1),
            hold: Duration::from_millis(1),
            ..Workload::default()
        }
    }
}

impl Scenario {
    /// Its cells; those that a small scale makes equal are there once.
    pub(crate) fn cells(&self, scale: &Scale) -> Vec<Cell> {
        let mut cells = (self.cells)(scale);
        let mut names = std::collections::BTreeSet::new();
        for cell in &mut cells {
            cell.name = format!("{}/{}", self.name, cell.name);
        }
        cells.retain(|cell| names.insert(cell.name.clone()));
        cells
    }
}

impl Cell {
    /// What most cells have in common; the rest is for the scenario to say.
    fn of(who: Who) -> Self {
        Self {
            name: String::new(),
            title: String::new(),
            carrier: Carrier::Sockets,
            workload: Workload::default(),
            laggards: None,
            metrics: &[],
            axis: None,
            who,
        }
    }

    /// What both ends may come to take, generously: sockets, and what is in flight on laggards.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let in_flight = self.laggards.map_or(0, |laggards| {
            let messages = match laggards.lag {
                Lag::HalfSent => 1,
                Lag::Unread { messages } => messages,
            };
            laggards.connections * messages * self.workload.message_bytes
        });
        let connections = self.workload.connections as u64 * CONNECTION_BYTES_MAX;
        connections + in_flight as u64 * 2
    }

    /// The service that its messages are for, as servers are told.
    pub(crate) fn service(&self) -> &'static str {
        match self.workload.protocol {
            Protocol::Echo => "echo",
            Protocol::Frames => "frames",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_and_their_cells_have_names_of_their_own() {
        for connections_max in [100, usize::MAX] {
            let scale = Scale {
                warmup: Duration::from_secs(1),
                client_threads: 2,
                hold: Duration::from_secs(1),
                connections_max,
            };
            let cells: Vec<Cell> = ALL.iter().flat_map(|it| it.cells(&scale)).collect();
            let names: std::collections::BTreeSet<_> = cells.iter().map(|it| &it.name).collect();
            assert_eq!(names.len(), cells.len());
            for cell in &cells {
                assert!(!cell.metrics.is_empty(), "{}", cell.name);
                let laggards = cell.laggards.map_or(0, |it| it.connections);
                assert!(laggards <= connections_max, "{}", cell.name);
            }
        }
    }
}
