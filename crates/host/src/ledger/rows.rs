//! The rows of a ledger.

use serde::Serialize;

use super::caches::Caches;
use super::object::{ConnectionKind, Object};
use super::process::{Part, ServerMemory};
use super::sizes::ObjectSizes;
use crate::SocketCounts;
use crate::capacity::{DESCRIPTOR_BYTES, RECORD_BYTES};

/// What the kernel counts `mem` in `/proc/net/sockstat` in, on every architecture that runs with 4 KiB pages.
const PAGE_BYTES: u64 = 4096;

/// Whose memory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The kernel's.
    Kernel,
    /// The server process's.
    Server,
    /// Both together.
    Total,
}

/// One kind of memory that connections take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Whose memory it is.
    pub side: Side,
    /// What it is.
    pub what: String,
    /// The slab cache's name in slabinfo, or what else it is counted by.
    pub counted_as: Option<String>,
    /// Other caches that SLUB has merged with it: the same line of slabinfo counts them too.
    pub shared_with: Vec<String>,
    /// Objects now, as far as they can be attributed to connections.
    pub objects: Option<u64>,
    /// The size of each.
    pub object_bytes: Option<u64>,
    /// Bytes now.
    pub bytes: u64,
    /// What one idle connection takes of it.
    pub per_connection_bytes: f64,
    /// What each worker takes of it.
    pub per_worker_bytes: f64,
    /// What there is once, however many connections there are.
    pub fixed_bytes: u64,
    /// Bytes at the numbers of connections asked for.
    pub projected_bytes: Vec<u64>,
}

impl Row {
    fn new(side: Side, what: impl Into<String>) -> Self {
        Self {
            side,
            what: what.into(),
            counted_as: None,
            shared_with: Vec::new(),
            objects: None,
            object_bytes: None,
            bytes: 0,
            per_connection_bytes: 0.0,
            per_worker_bytes: 0.0,
            fixed_bytes: 0,
            projected_bytes: Vec::new(),
        }
    }

    pub(super) fn project(&mut self, connections: &[u64], workers: &[u64]) {
        let at = |(&connections, &workers): (&u64, &u64)| {
            let scaling = self.per_connection_bytes * connections as f64
                + self.per_worker_bytes * workers as f64;
            self.fixed_bytes.saturating_add(scaling.round() as u64)
        };
        self.projected_bytes = connections.iter().zip(workers).map(at).collect();
    }

    /// The sum of all rows.
    pub(super) fn total(rows: &[Self], projections: usize) -> Self {
        let sum = |part: fn(&Self) -> u64| rows.iter().map(part).fold(0, u64::saturating_add);
        let projected = |at: usize| {
            let bytes = rows.iter().filter_map(|row| row.projected_bytes.get(at));
            bytes.fold(0, |sum: u64, bytes| sum.saturating_add(*bytes))
        };
        Self {
            bytes: sum(|row| row.bytes),
            per_connection_bytes: rows.iter().map(|row| row.per_connection_bytes).sum(),
            per_worker_bytes: rows.iter().map(|row| row.per_worker_bytes).sum(),
            fixed_bytes: sum(|row| row.fixed_bytes),
            projected_bytes: (0..projections).map(projected).collect(),
            ..Self::new(Side::Total, "total")
        }
    }

    fn is_worth_a_line(&self) -> bool {
        self.bytes > 0 || self.per_connection_bytes > 0.0
    }
}

/// What the kernel holds for connections.
pub(super) fn kernel(
    caches: &Caches,
    sizes: &ObjectSizes,
    sockets: &SocketCounts,
    kind: ConnectionKind,
    watched: &[(ConnectionKind, u64)],
) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut pointers, mut vector_bytes) = (0u64, 0.0);
    for object in Object::ALL {
        let row = object_row(object, caches, sizes, sockets, kind, watched);
        let objects = row.objects.unwrap_or_default();
        let share = sizes.accounting_bytes(object);
        if share > 0.0 {
            pointers = pointers.saturating_add(objects);
            vector_bytes += share * objects as f64;
        }
        rows.push(row);
    }
    let share = |object| sizes.accounting_bytes(object);
    rows.push(Row {
        counted_as: Some("kmalloc".to_owned()),
        objects: Some(pointers),
        object_bytes: Some(8),
        bytes: vector_bytes.round() as u64,
        per_connection_bytes: kind.objects().map(share).sum(),
        ..Row::new(Side::Kernel, "slab accounting (memory cgroup)")
    });
    // Idle connections have none: what is there now is traffic.
    rows.push(Row {
        counted_as: Some("sockstat".to_owned()),
        objects: Some(sockets.tcp_buffer_pages),
        object_bytes: Some(PAGE_BYTES),
        bytes: sockets.tcp_buffer_pages.saturating_mul(PAGE_BYTES),
        ..Row::new(Side::Kernel, "socket buffers")
    });
    rows.retain(Row::is_worth_a_line);
    rows
}

fn object_row(
    object: Object,
    caches: &Caches,
    sizes: &ObjectSizes,
    sockets: &SocketCounts,
    kind: ConnectionKind,
    watched: &[(ConnectionKind, u64)],
) -> Row {
    let bytes = sizes.bytes(object);
    let found = caches.of(object);
    let there = found.as_ref().map(|found| found.usage.active_objects);
    let expected = expected(object, sockets, watched);
    let alone = found
        .as_ref()
        .is_none_or(|found| found.shared_with.is_empty());
    let objects = match there {
        _ if bytes == 0 => 0,
        Some(there) if object.has_own_cache() && alone => there,
        Some(there) => there.min(expected),
        None => expected,
    };
    let of_one = kind.objects().filter(|&part| part == object).count() as u64;
    Row {
        counted_as: found.as_ref().map(|found| found.name.to_owned()),
        shared_with: found.map(|found| found.shared_with).unwrap_or_default(),
        objects: Some(objects),
        object_bytes: Some(bytes),
        bytes: objects.saturating_mul(bytes),
        per_connection_bytes: (of_one * bytes) as f64,
        ..Row::new(
            Side::Kernel,
            format!("{} ({})", object.cache(), object.what()),
        )
    }
}

/// How many there should be, by the numbers of sockets and of watched connections. Like slabinfo, `alloc` of
/// sockstat counts those of every network namespace.
fn expected(object: Object, sockets: &SocketCounts, watched: &[(ConnectionKind, u64)]) -> u64 {
    let held = sockets.tcp_allocated.saturating_sub(sockets.tcp_orphaned);
    match object {
        Object::Tcp => sockets.tcp_allocated.saturating_sub(sockets.tcp6_in_use),
        Object::Tcp6 => sockets.tcp6_in_use,
        Object::TimeWait => sockets.tcp_time_wait,
        Object::Inode
        | Object::File
        | Object::Dentry
        | Object::InodeSecurity
        | Object::FileSecurity
        | Object::SocketSecurity => held,
        _ => {
            let has = |kind: ConnectionKind| kind.objects().any(|part| part == object);
            let counts = watched.iter().filter(|(kind, _)| has(*kind));
            counts.fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
        }
    }
}

/// What the server processes hold, all of them together.
pub(super) fn server(memories: &[ServerMemory]) -> Vec<Row> {
    if memories.is_empty() {
        return Vec::new();
    }
    let workers: u64 = memories.iter().map(|memory| memory.workers).sum();
    let connections = memories
        .iter()
        .fold(0, |sum: u64, memory| sum.saturating_add(memory.connections));
    let mut rows = Vec::new();
    for part in Part::ALL {
        let bytes = memories
            .iter()
            .fold(0, |sum: u64, memory| sum.saturating_add(memory.bytes(part)));
        let side = if part == Part::Descriptors {
            Side::Kernel
        } else {
            Side::Server
        };
        let mut row = Row {
            bytes,
            ..Row::new(side, part.what())
        };
        match part {
            Part::Table => {
                row.objects = Some(connections);
                row.object_bytes = Some(RECORD_BYTES);
                row.per_connection_bytes = RECORD_BYTES as f64;
            }
            Part::Descriptors => row.per_connection_bytes = DESCRIPTOR_BYTES as f64,
            Part::Program => row.fixed_bytes = bytes,
            // Traffic: idle connections hold none of it, so it is fixed, as it is now.
            Part::Heap => row.fixed_bytes = bytes,
            Part::Rings | Part::ReadBuffers | Part::Stacks => {
                row.per_worker_bytes = bytes as f64 / workers.max(1) as f64;
            }
        }
        rows.push(row);
    }
    rows.retain(Row::is_worth_a_line);
    rows
}
