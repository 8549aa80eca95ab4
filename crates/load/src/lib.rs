//! Opens, holds and drives connections against any TCP echo or frames server, and checks every byte
//! that comes back.
//!
//! ```text
//!  workload   what the connections do: ramp, turns, arrivals, bytes       (pure functions)
//!  phase      connect, idle, warm-up, hold, drain, close; the controller  (one for both carriers)
//!  sockets    carried by kernel sockets, for any server                   (no privilege needed)
//!  tun        carried by a TCP of our own, 16 bytes a connection         (root, or a user namespace)
//!  usage      what server, kernel and tool use meanwhile
//!  report     counters, percentiles, reasons
//! ```
//!
//! ```no_run
//! use roadstead_load::{sockets, Traffic};
//!
//! let mut settings = sockets::Settings::new("127.0.0.1:8080".parse()?);
//! settings.workload.connections = 10_000;
//! settings.workload.traffic = Traffic::ClosedLoop { pipeline: 1 };
//! let report = sockets::run(&settings, &mut ())?;
//! assert_eq!(report.counters.errors(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

mod clock;
mod counters;
mod crew;
mod error;
mod listening;
mod phase;
mod report;
pub mod sockets;
mod tally;
pub mod tun;
mod usage;
mod workload;

pub use counters::Counters;
pub use error::Error;
pub use phase::{Observer, Phase, Progress, Timeline};
pub use report::{Host, Mode, Percentiles, Report, StampedeReport};
pub use usage::{BytesPerConnection, CpuPerConnection, ProcessSample, Sample, ServerUsage, Usage};
pub use workload::{
    Active, MESSAGE_BYTES_MAX, Pattern, Protocol, Side, Stampede, Traffic, Workload,
};
