//! What a server process holds, by part: told from outside, from its mappings and its descriptor tables.
//!
//! ```text
//!   ---p  4 KiB                       a guard page, and behind it
//!   rw-p  2 MiB                       a stack
//!   rw-p  256 KiB                     as long as the configured read buffers: those
//!   rw-s  anon_inode:[io_uring]       a ring
//!   r-xp  /usr/bin/roadstead          program
//!   rw-p  anything else               heap: the table, as long as it has records, and the rest
//! ```
//!
//! The services that come with the server keep no state of their own, so there is no part for it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{ServerProcess, Watch};
use crate::capacity::RECORD_BYTES;
use crate::{HostRoot, ReadError};

/// The process's name, and the first argument by which it serves.
const PROGRAM: &str = "roadstead";
const COMMAND: &str = "serve";

/// Workers' threads have this and a number as their name.
const WORKER_PREFIX: &str = "roadstead-";

const RING: &str = "anon_inode:[io_uring]";

/// Guards are a page or a few; what `malloc` reserves and does not use yet is far longer.
const GUARD_BYTES_MAX: u64 = 64 << 10;

/// A part of a server's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Tables from descriptor to file, one per worker; the kernel's.
    Descriptors,
    /// The records of the connections.
    Table,
    /// The rings that are shared with the kernel.
    Rings,
    /// Memory that reads put their bytes into.
    ReadBuffers,
    /// Stacks of threads, but for the process's first.
    Stacks,
    /// Unsent bytes, unfinished frames, pools, and whatever else is allocated.
    Heap,
    /// Code and data of the program and its libraries, some of it shared with others, and its first stack.
    Program,
}

impl Part {
    pub(super) const ALL: [Self; 7] = [
        Self::Descriptors,
        Self::Table,
        Self::Rings,
        Self::ReadBuffers,
        Self::Stacks,
        Self::Heap,
        Self::Program,
    ];

    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptor tables",
            Self::Table => "connection table",
            Self::Rings => "rings",
            Self::ReadBuffers => "read buffers",
            Self::Stacks => "stacks",
            Self::Heap => "heap: outboxes, carries, pools, the rest",
            Self::Program => "program and libraries",
        }
    }
}

/// What one server process holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerMemory {
    /// The process.
    pub pid: u32,
    /// Its worker threads.
    pub workers: u64,
    /// Its connections, counted by the descriptors of its workers.
    pub connections: u64,
    /// Bytes by part; rings count as a whole, resident or not.
    pub parts: BTreeMap<Part, u64>,
}

impl ServerMemory {
    /// Reads the process's files; that takes its user, or root.
    pub fn read(root: &HostRoot, server: &ServerProcess) -> Result<Self, ReadError> {
        let threads = Threads::read(root, server)?;
        let path = format!("/proc/{}/smaps", server.pid);
        let smaps = root.read(&path)?;
        let mappings = parse_smaps(&smaps);
        let mut parts = resident_by_part(&mappings, server.worker_buffers_bytes);
        let heap = parts.entry(Part::Heap).or_default();
        let table = threads.connections.saturating_mul(RECORD_BYTES).min(*heap);
        *heap -= table;
        parts.insert(Part::Table, table);
        parts.insert(Part::Descriptors, threads.descriptor_table_bytes);
        Ok(Self {
            pid: server.pid,
            workers: threads.workers,
            connections: threads.connections,
            parts,
        })
    }

    /// The bytes of one part.
    #[must_use]
    pub fn bytes(&self, part: Part) -> u64 {
        self.parts.get(&part).copied().unwrap_or_default()
    }
}

/// The processes that serve, with their command lines.
#[must_use]
pub fn serving_processes(root: &HostRoot) -> Vec<(u32, Vec<String>)> {
    let names = root.entries("/proc").unwrap_or_default();
    let pids = names.iter().filter_map(|name| name.parse::<u32>().ok());
    let mut serving: Vec<_> = pids
        .filter(|pid| {
            root.read(&format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name.trim_end() == PROGRAM)
        })
        .filter_map(|pid| Some((pid, command_line(root, pid).ok()?)))
        .filter(|(_, words)| words.get(1).is_some_and(|word| word == COMMAND))
        .collect();
    serving.sort_unstable();
    serving
}

/// The words with which a process was started.
pub fn command_line(root: &HostRoot, pid: u32) -> Result<Vec<String>, ReadError> {
    let text = root.read(&format!("/proc/{pid}/cmdline"))?;
    let words = text.trim_end_matches('\0').split('\0');
    Ok(words.map(str::to_owned).collect())
}

/// Whether the process has rings.
pub fn uses_io_uring(root: &HostRoot, pid: u32) -> Result<bool, ReadError> {
    Ok(root.read(&format!("/proc/{pid}/maps"))?.contains(RING))
}

struct Threads {
    workers: u64,
    connections: u64,
    descriptor_table_bytes: u64,
}

impl Threads {
    /// A worker's descriptor table starts as a copy of the process's; its listeners and its ring or epoll, or both, come on
    /// top, and then one descriptor for each connection.
    fn read(root: &HostRoot, server: &ServerProcess) -> Result<Self, ReadError> {
        let pid = server.pid;
        let shared = root.entry_count(&format!("/proc/{pid}/fd"))?;
        let engine = if server.kind.watch == Watch::EpollInRing {
            2
        } else {
            1
        };
        let base = shared + engine + u64::from(server.listeners);
        let mut threads = Self {
            workers: 0,
            connections: 0,
            descriptor_table_bytes: 0,
        };
        for tid in root.entries(&format!("/proc/{pid}/task"))? {
            let folder = format!("/proc/{pid}/task/{tid}");
            let name = root.read(&format!("{folder}/comm"))?;
            if !name.starts_with(WORKER_PREFIX) {
                continue;
            }
            let descriptors = root.entry_count(&format!("{folder}/fd"))?;
            let status = root.read(&format!("{folder}/status"))?;
            threads.workers += 1;
            threads.connections = threads
                .connections
                .saturating_add(descriptors.saturating_sub(base));
            threads.descriptor_table_bytes = threads
                .descriptor_table_bytes
                .saturating_add(table_bytes(&status));
        }
        Ok(threads)
    }
}

/// A pointer and two bits for each entry (`struct fdtable`); `FDSize` tells how many entries there are.
fn table_bytes(status: &str) -> u64 {
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
    let entries: u64 = size
        .and_then(|size| size.trim().parse().ok())
        .unwrap_or_default();
    entries.saturating_mul(8).saturating_add(entries / 4)
}

struct SmapsEntry<'a> {
    start: u64,
    end: u64,
    access: &'a str,
    name: &'a str,
    resident_bytes: u64,
}

impl SmapsEntry<'_> {
    fn len(&self) -> u64 {
        self.end - self.start
    }

    fn is_guard(&self) -> bool {
        self.access == "---p" && self.name.is_empty() && self.len() <= GUARD_BYTES_MAX
    }
}

fn parse_smaps(text: &str) -> Vec<SmapsEntry<'_>> {
    let mut entries: Vec<SmapsEntry<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(entry) = parse_heading(line) {
            entries.push(entry);
        } else if let (Some(value), Some(entry)) = (line.strip_prefix("Rss:"), entries.last_mut()) {
            let kib: Option<u64> = value.split_whitespace().next().and_then(|n| n.parse().ok());
            entry.resident_bytes = kib.unwrap_or_default().saturating_mul(1024);
        }
    }
    entries
}

/// `start-end access offset device inode name`.
fn parse_heading(line: &str) -> Option<SmapsEntry<'_>> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let address = |hex| u64::from_str_radix(hex, 16).ok();
    let (start, end) = (address(start)?, address(end)?);
    let mut words = rest.splitn(5, ' ');
    let access = words.next()?;
    let name = words.nth(3).unwrap_or_default().trim_start();
    Some(SmapsEntry {
        start,
        end: end.max(start),
        access,
        name,
        resident_bytes: 0,
    })
}

fn resident_by_part(entries: &[SmapsEntry<'_>], buffers_bytes: u64) -> BTreeMap<Part, u64> {
    let mut parts = BTreeMap::new();
    let mut before: Option<&SmapsEntry<'_>> = None;
    for entry in entries {
        let behind_guard = before.is_some_and(|b| b.is_guard() && b.end == entry.start);
        let part = match entry.name {
            RING => Part::Rings,
            "" if behind_guard => Part::Stacks,
            "" if entry.len() == buffers_bytes => Part::ReadBuffers,
            "" | "[heap]" => Part::Heap,
            name if name.starts_with("[anon") => Part::Heap,
            _ => Part::Program,
        };
        // Older kernels map a ring's pages without counting them as resident; they are there from the start.
        let bytes = if part == Part::Rings {
            entry.len()
        } else {
            entry.resident_bytes
        };
        let sum = parts.entry(part).or_insert(0u64);
        *sum = sum.saturating_add(bytes);
        before = Some(entry);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::ConnectionKind;
    use crate::testing::Tree;
    use proptest::prelude::*;

    const SMAPS: &str = "\
5557d3bc3000-5557d3d7a000 r-xp 000d3000 fe:00 5334371                    /usr/bin/roadstead
Size:               1756 kB
Rss:                1000 kB
5557f30bd000-5557f30de000 rw-p 00000000 00:00 0                          [heap]
Rss:                  84 kB
7fbb54000000-7fbb54021000 rw-p 00000000 00:00 0 
Rss:                 116 kB
7fbb54021000-7fbb58000000 ---p 00000000 00:00 0 
Rss:                   0 kB
7fbb69d50000-7fbb69d51000 ---p 00000000 00:00 0 
Rss:                   0 kB
7fbb69d51000-7fbb69f51000 rw-p 00000000 00:00 0 
Rss:                  12 kB
7fbb6a152000-7fbb6a192000 rw-p 00000000 00:00 0 
Rss:                  20 kB
7fbb6a192000-7fbb6a19b000 rw-s 00000000 00:10 19528819                   anon_inode:[io_uring]
Rss:                   0 kB
";

    fn server() -> ServerProcess {
        ServerProcess {
            pid: 7,
            listeners: 1,
            kind: ConnectionKind::watched_by(Watch::Poll),
            worker_buffers_bytes: 256 << 10,
            worker_bytes: 1 << 20,
        }
    }

    fn tree() -> Tree {
        let tree = Tree::with(&[
            ("/proc/7/comm", "roadstead\n"),
            ("/proc/7/cmdline", "/usr/bin/roadstead\0serve\0--json\0"),
            ("/proc/7/smaps", SMAPS),
            ("/proc/7/task/7/comm", "roadstead\n"),
            ("/proc/7/task/8/comm", "roadstead-0\n"),
            ("/proc/7/task/8/status", "FDSize:\t1024\n"),
            ("/proc/8/comm", "roadstead\n"),
            ("/proc/8/cmdline", "roadstead\0ledger\0"),
        ]);
        for fd in 0..4 {
            tree.put(&format!("/proc/7/fd/{fd}"), "");
        }
        for fd in 0..(4 + 2 + 1000) {
            tree.put(&format!("/proc/7/task/8/fd/{fd}"), "");
        }
        tree
    }

    #[test]
    fn parts_are_told_by_their_mappings() {
        let memory = ServerMemory::read(&tree().root(), &server()).unwrap();
        assert_eq!((memory.workers, memory.connections), (1, 1000));
        let kib = |part| memory.bytes(part) as f64 / 1024.0;
        assert_eq!(kib(Part::Program), 1000.0);
        assert_eq!(kib(Part::Stacks), 12.0);
        assert_eq!(kib(Part::ReadBuffers), 20.0);
        assert_eq!(kib(Part::Rings), 36.0, "resident although not counted so");
        assert_eq!(kib(Part::Table), 31.25);
        assert_eq!(kib(Part::Heap) + kib(Part::Table), 200.0);
        assert_eq!(kib(Part::Descriptors), 8.25);
    }

    #[test]
    fn only_processes_that_serve_are_found() {
        let serving = serving_processes(&tree().root());
        assert_eq!(serving.len(), 1);
        assert_eq!(serving[0].0, 7);
        assert_eq!(serving[0].1, ["/usr/bin/roadstead", "serve", "--json"]);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        let gone = ServerProcess { pid: 9, ..server() };
        let read = ServerMemory::read(&tree().root(), &gone);
        assert!(matches!(read, Err(ReadError::Missing { .. })));
    }

    proptest! {
        #[test]
        fn no_content_panics(smaps in "(([0-9a-f]{1,17}-[0-9a-f]{1,17} [r-][w-]-p 0 0:0 0|Rss: [0-9]{1,20} kB)\n|\\PC)*") {
            let parts = resident_by_part(&parse_smaps(&smaps), 4096);
            prop_assert!(parts.len() <= Part::ALL.len());
            let _ = table_bytes(&smaps);
        }
    }
}
