//! What the host is to hold, and the numbers that follow from it.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::facts::Facts;
use super::tracking::Tracking;
use crate::capacity::{ConnectionCost, Request};
use crate::ledger::{ConnectionKind, Watch};
use crate::quantity::Choice;

/// The side of the connections that this host is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It accepts them.
    #[default]
    Server,
    /// It opens them.
    Client,
}

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        match text {
            "server" => Ok(Self::Server),
            "client" => Ok(Self::Client),
            _ => Err(InvalidRole),
        }
    }
}

/// The text is neither `server` nor `client`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRole;

impl fmt::Display for InvalidRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a role is server or client")
    }
}

impl std::error::Error for InvalidRole {}

/// What the host is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Connections at once.
    pub connections: u64,
    /// Which side of them.
    pub role: Role,
    /// The port that the server listens on, which connection tracking is to leave alone.
    pub port: u16,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            connections: 5_000_000,
            role: Role::Server,
            port: 8080,
        }
    }
}

impl Target {
    /// Open files: a fifth more than connections, and never fewer than a modest server wants.
    #[must_use]
    pub fn descriptors(&self) -> u64 {
        self.connections
            .saturating_add(self.connections / 5)
            .max(65_536)
    }

    /// Pages for socket buffers, where one connection in twenty has a page in each direction. Idle
    /// connections hold none.
    #[must_use]
    pub fn buffer_pages(&self) -> u64 {
        (self.connections / 10).max(65_536)
    }

    /// Buckets of the TCP hash for chains of four or so, in a power of two.
    #[must_use]
    pub fn hash_buckets(&self) -> u64 {
        (self.connections / 4)
            .max(65_536)
            .checked_next_power_of_two()
            .unwrap_or(1 << 63)
    }

    /// The question for [`capacity`](crate::capacity) that this target amounts to on this host.
    #[must_use]
    pub fn request(&self, facts: &Facts) -> Request {
        let kind = ConnectionKind {
            tracked: facts.tracking == Tracking::Tracked,
            ..ConnectionKind::watched_by(Watch::Poll)
        };
        Request {
            connections: Choice::Exactly(self.connections.max(1)),
            workers: Choice::Auto,
            listeners: 1,
            cost: ConnectionCost::on(&facts.sizes, kind),
            worker_bytes: 1 << 20,
        }
    }
}
