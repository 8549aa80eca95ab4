//! Figures that people quote for two million connections, beside what is measured.
//!
//! Articles add the sizes of `tcp_sock`, `inet_sock` and the tracking entry. But `tcp_sock` begins with an
//! `inet_connection_sock`, which begins with an `inet_sock`: counted once more it is counted twice. And a socket
//! that a process holds has an inode, a file and a name, and something that watches it.

use std::fmt;

use serde::Serialize;

use super::object::{ConnectionKind, Object};
use super::sizes::ObjectSizes;
use crate::capacity::ConnectionCost;
use crate::quantity::grouped;

const CONNECTIONS: u64 = 2_000_000;

/// One object as it is quoted, and as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QuotedObject {
    /// Its name.
    pub object: &'static str,
    /// The size that is quoted.
    pub quoted_bytes: u64,
    /// The size that is measured; 0 where it is part of another, or not there.
    pub measured_bytes: u64,
}

/// A published account and the measured one, for the same number of connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quoted {
    /// How many connections.
    pub connections: u64,
    /// What is quoted.
    pub objects: [QuotedObject; 3],
    /// What is not mentioned, per connection: inode, file, name, security data, watch and accounting.
    pub forgotten_bytes: u64,
    /// The quoted sum, per connection.
    pub quoted_bytes: u64,
    /// The measured sum of the kernel's memory, per connection.
    pub measured_bytes: u64,
}

impl Quoted {
    pub(super) fn beside(sizes: &ObjectSizes, kind: ConnectionKind) -> Self {
        let socket = if kind.ipv6 { Object::Tcp6 } else { Object::Tcp };
        let cost = ConnectionCost::on(sizes, kind);
        let objects = [
            ("tcp_sock", 1_500, sizes.bytes(socket)),
            ("inet_sock", 700, 0),
            ("nf_conntrack", 900, cost.tracking_bytes),
        ];
        let objects = objects.map(|(object, quoted_bytes, measured_bytes)| QuotedObject {
            object,
            quoted_bytes,
            measured_bytes,
        });
        let measured_bytes =
            cost.socket_bytes + cost.watch_bytes + cost.accounting_bytes + cost.tracking_bytes;
        let told: u64 = objects.iter().map(|object| object.measured_bytes).sum();
        Self {
            connections: CONNECTIONS,
            forgotten_bytes: measured_bytes - told,
            quoted_bytes: objects.iter().map(|object| object.quoted_bytes).sum(),
            measured_bytes,
            objects,
        }
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gigabytes = |bytes: u64| bytes as f64 * self.connections as f64 / 1e9;
        let [tcp, inet, tracking] = self.objects;
        writeln!(
            f,
            "What people quote, at {} connections:",
            grouped(self.connections)
        )?;
        writeln!(
            f,
            "  quoted    tcp_sock {} + inet_sock {} + nf_conntrack {} = {} B each, {:.1} GB",
            grouped(tcp.quoted_bytes),
            inet.quoted_bytes,
            tracking.quoted_bytes,
            grouped(self.quoted_bytes),
            gigabytes(self.quoted_bytes),
        )?;
        let tracked = match tracking.measured_bytes {
            0 => "nf_conntrack 0 (untracked)".to_owned(),
            bytes => format!("nf_conntrack {bytes}"),
        };
        writeln!(
            f,
            "  measured  tcp_sock {} with inet_sock inside + {tracked} + what is forgotten {} = {} B each, {:.1} GB",
            grouped(tcp.measured_bytes),
            grouped(self.forgotten_bytes),
            grouped(self.measured_bytes),
            gigabytes(self.measured_bytes),
        )?;
        write!(
            f,
            "  forgotten are inode, file, name, their security data, the watch, and slab accounting"
        )
    }
}
