//! Connections that leave something in the server's hands while the others go on.

use crate::Error;
use crate::workload::{Pattern, Protocol, Traffic, Workload};
use serde::Serialize;

/// Connections that begin to lag in the idle phase and catch up when the traffic is over. None of them is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Laggards {
    /// How many.
    pub connections: usize,
    /// What they are behind with.
    pub lag: Lag,
}

/// What a connection is behind with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lag {
    /// It has sent half of a frame: the server must keep that half.
    HalfSent,
    /// It sends messages and reads no reply: the server must keep what the sockets do not take, or stop reading.
    Unread {
        /// How many messages.
        messages: usize,
    },
}

impl Laggards {
    /// Refuses what cannot be carried out on so many threads, with what would be.
    pub(super) fn check(self, workload: &Workload, threads: usize) -> Result<(), Error> {
        let active = workload.active.of(workload.connections);
        // The shares of a thread may be rounded up, both.
        let needed = active + self.connections + threads;
        if workload.connections < needed {
            let what = format!(
                "{} laggards beside {active} active connections on {threads} threads",
                self.connections
            );
            return Err(Error::new(what, format!("ask for {needed} connections")));
        }
        let quiet = workload.traffic == Traffic::None || workload.idle.is_zero();
        let restless = workload.churn_per_second > 0.0 || workload.pattern != Pattern::Uniform;
        if quiet || restless {
            return Err(Error::new(
                "laggards lag from the idle phase until the traffic is over, and are not reopened",
                "set an idle time and some traffic, and neither churn nor a pattern",
            ));
        }
        if self.lag == Lag::HalfSent && workload.protocol != Protocol::Frames {
            return Err(Error::new(
                "half of a message that is no frame is a message to the server",
                "use the frames protocol",
            ));
        }
        Ok(())
    }
}
