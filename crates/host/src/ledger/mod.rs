//! What connections cost this host: every kernel object, and every part of the server's memory, in rows that
//! add up.
//!
//! Each row has two sides. *Now* is what is there: objects that can be attributed to TCP connections, and their
//! bytes. *Each* is what one idle connection takes, from the objects that it consists of ([`ConnectionKind`])
//! and their sizes on this kernel ([`ObjectSizes`]); projections multiply it. So a projection needs no
//! connections to be open, and with many open the two sides can be compared.
//!
//! # Slab accounting
//!
//! A row that is not an object: for each slab of an accounted cache the kernel allocates a vector of pointers,
//! one for each object, to the memory control group that the object is charged to (`alloc_slab_obj_exts`;
//! `memcg_alloc_page_obj_cgroups` before 6.9). It does so when the slab is made, for processes of the root
//! group too, as soon as there is any other memory control group. `kmalloc` rounds up: 13 sockets share a slab
//! and a vector of 104 bytes, for which it hands out 128; per socket that is 9.8. Under a poll an IPv4
//! connection has five accounted objects, 46 bytes on Linux 6.18, counted by slabinfo as `kmalloc-128` and
//! `kmalloc-192`.
//!
//! # What cannot be attributed
//!
//! Files, inodes and `kmalloc` memory have other owners, and SLUB merges caches ([`Row::shared_with`]). Of such a
//! cache as many objects are counted as there are connections for, and never more than there are objects.

mod caches;
mod object;
mod process;
mod quoted;
mod rows;
mod sizes;
mod table;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::capacity::{self, ConnectionCost, Request};
use crate::quantity::Choice;
use crate::{HostRoot, KernelRelease, Limits, ReadError, SlabSource, SocketCounts};

use caches::Caches;

pub use object::{ConnectionKind, Object, Watch};
pub use process::{Part, ServerMemory, command_line, serving_processes, uses_io_uring};
pub use quoted::{Quoted, QuotedObject};
pub use rows::{Row, Side};
pub use sizes::{ObjectSize, ObjectSizes, SizeSource};

/// A server process, and what its command line says of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ServerProcess {
    /// Its number.
    pub pid: u32,
    /// Addresses that each of its workers listens on.
    pub listeners: u32,
    /// What its connections are.
    pub kind: ConnectionKind,
    /// The read buffers of one worker, all together.
    pub worker_buffers_bytes: u64,
    /// What a worker takes before its first connection, at most.
    pub worker_bytes: u64,
}

impl ServerProcess {
    fn with_tracking(self, tracked: bool) -> Self {
        let kind = ConnectionKind {
            tracked: self.kind.tracked || tracked,
            ..self.kind
        };
        Self { kind, ..self }
    }
}

/// What connections cost this host now, and would cost at other numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Ledger {
    /// The running kernel.
    pub kernel: Option<String>,
    /// Where object sizes come from.
    pub sizes: ObjectSizes,
    /// Where the numbers of kernel objects come from.
    pub counted_from: CountSource,
    /// TCP sockets of this network namespace.
    pub sockets: SocketCounts,
    /// What one connection is taken to be.
    pub kind: ConnectionKind,
    /// Server processes, and what they hold.
    pub servers: Vec<ServerMemory>,
    /// The numbers of connections that each row is projected to.
    pub projected_to: Vec<u64>,
    /// The rows; they add up to the total.
    pub rows: Vec<Row>,
    /// All rows together.
    pub total: Row,
    /// What people quote beside what is measured.
    pub quoted: Quoted,
}

/// Where the numbers of kernel objects come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CountSource {
    /// `/proc/slabinfo`.
    Slabinfo,
    /// Derived from the numbers of sockets, where slabinfo may not be read.
    Sockets,
}

impl Ledger {
    /// Takes the ledger of this host. Without `servers` the rows are the kernel's alone, and a connection is
    /// taken to be watched by a poll.
    pub fn take(
        root: &HostRoot,
        servers: &[ServerProcess],
        projected_to: &[u64],
    ) -> Result<Self, ReadError> {
        let sockets = SocketCounts::read(root)?;
        let caches = Caches::read(root);
        let sizes = ObjectSizes::from_caches(root, &caches);
        let memories = servers
            .iter()
            .map(|server| ServerMemory::read(root, server));
        let memories: Vec<ServerMemory> = memories.collect::<Result<_, _>>()?;
        let tracked = are_tracked(root, &memories);
        let servers: Vec<ServerProcess> = servers
            .iter()
            .map(|server| server.with_tracking(tracked))
            .collect();
        let kind = servers.first().map_or_else(
            || ConnectionKind::watched_by(Watch::Poll),
            |server| server.kind,
        );
        let workers = projected_to
            .iter()
            .map(|&n| workers_for(root, &sizes, servers.first(), n));
        let workers: Vec<u64> = workers.collect();
        let mut rows = rows::kernel(
            &caches,
            &sizes,
            &sockets,
            kind,
            &watched(&servers, &memories),
        );
        rows.extend(rows::server(&memories));
        for row in &mut rows {
            row.project(projected_to, &workers);
        }
        let counted_from = match caches.source() {
            Some(SlabSource::Slabinfo) => CountSource::Slabinfo,
            _ => CountSource::Sockets,
        };
        Ok(Self {
            kernel: KernelRelease::read(root)
                .ok()
                .map(|kernel| kernel.to_string()),
            counted_from,
            quoted: Quoted::beside(&sizes, kind),
            sizes,
            sockets,
            kind,
            servers: memories,
            projected_to: projected_to.to_vec(),
            total: Row::total(&rows, projected_to.len()),
            rows,
        })
    }
}

/// Whether the servers' connections have entries in the connection tracking table: it holds at least half as
/// many. Which ones only root is told, one by one.
fn are_tracked(root: &HostRoot, memories: &[ServerMemory]) -> bool {
    let entries: u64 = root
        .sysctl("net.netfilter.nf_conntrack_count")
        .unwrap_or_default();
    let connections = memories.iter().map(|memory| memory.connections);
    let connections = connections.fold(0, u64::saturating_add);
    connections > 0 && entries >= connections / 2
}

/// Connections of the servers by how they are watched.
fn watched(servers: &[ServerProcess], memories: &[ServerMemory]) -> Vec<(ConnectionKind, u64)> {
    let connections = memories.iter().map(|memory| memory.connections);
    servers
        .iter()
        .map(|server| server.kind)
        .zip(connections)
        .collect()
}

/// The workers that a server for so many connections would have on this host.
fn workers_for(
    root: &HostRoot,
    sizes: &ObjectSizes,
    server: Option<&ServerProcess>,
    connections: u64,
) -> u64 {
    let Some(server) = server else {
        return 0;
    };
    let request = Request {
        connections: Choice::Exactly(connections),
        workers: Choice::Auto,
        listeners: server.listeners,
        cost: ConnectionCost::on(sizes, server.kind),
        worker_bytes: server.worker_bytes,
    };
    capacity::workers_for(connections, &request, &Limits::read(root))
}
