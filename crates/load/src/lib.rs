//! Opens, holds and drives connections against any TCP echo or frames server, and checks every byte
//! that comes back.
//!
//! ```text
//!  workload   what the connections do: ramp, turns, arrivals, bytes       (pure functions)
//!  phase      connect, idle, warm-up, hold, drain, close; the controller  (one for both carriers)
//!  sockets    carried by kernel sockets, for any server                   (no privilege needed)
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
mod error;
mod listening;
mod phase;
mod report;
pub mod sockets;
mod tally;
mod workload;

pub use counters::Counters;
pub use error::Error;
pub use phase::{Observer, Phase, Progress, Timeline};
pub use report::{Mode, Percentiles, Report};
pub use workload::{Active, MESSAGE_BYTES_MAX, Pattern, Protocol, Traffic, Workload};
