//! What an idle connection costs in memory, added up from the sizes that the [ledger](crate::ledger) knows.

use serde::Serialize;

use crate::ledger::{ConnectionKind, Object, ObjectSizes, Watch};

/// The engine's record of a connection.
pub(crate) const RECORD_BYTES: u64 = 32;

/// What one connection costs in its worker's descriptor table, at most: a pointer and two bits and a bit for
/// 64 of them, for each entry of a table that grows by doubling.
pub(crate) const DESCRIPTOR_BYTES: u64 = 17;

/// What one idle connection costs this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionCost {
    /// The socket itself, with its file and inode.
    pub socket_bytes: u64,
    /// What it takes to learn that it is readable.
    pub watch_bytes: u64,
    /// Pointers to the memory control group that pays for these objects.
    pub accounting_bytes: u64,
    /// The entry of the connection tracking table, where the port is tracked.
    pub tracking_bytes: u64,
    /// What the server keeps of it, and its entry of the descriptor table.
    pub user_bytes: u64,
    /// What the peer's end costs, where the peer is on this host too.
    pub peer_bytes: u64,
    /// How it is watched.
    pub watch: Watch,
}

impl ConnectionCost {
    /// What such a connection costs where objects have these sizes.
    #[must_use]
    pub fn on(sizes: &ObjectSizes, kind: ConnectionKind) -> Self {
        let accounting = |object: Object| sizes.accounting_bytes(object);
        Self {
            socket_bytes: sizes.sum(kind.socket_objects()),
            watch_bytes: sizes.sum(kind.watch.objects().iter().copied()),
            accounting_bytes: kind.objects().map(accounting).sum::<f64>().ceil() as u64,
            tracking_bytes: sizes.sum(kind.tracking_objects().iter().copied()),
            user_bytes: RECORD_BYTES + DESCRIPTOR_BYTES,
            peer_bytes: 0,
            watch: kind.watch,
        }
    }

    /// An untracked IPv4 connection from elsewhere, on the newest kernel that was measured.
    #[must_use]
    pub fn watched_by(watch: Watch) -> Self {
        Self::on(&ObjectSizes::newest(), ConnectionKind::watched_by(watch))
    }

    /// A connection whose other end is a socket of this host, watched in the same way.
    #[must_use]
    pub fn with_peer_on_this_host(self) -> Self {
        let peer_bytes =
            self.socket_bytes + self.watch_bytes + self.accounting_bytes + self.user_bytes;
        Self { peer_bytes, ..self }
    }

    /// All parts together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let here = self.socket_bytes + self.watch_bytes + self.accounting_bytes + self.user_bytes;
        // At least one byte: it is divided by.
        (here + self.tracking_bytes + self.peer_bytes).max(1)
    }

    /// Open files of this host that one connection takes.
    #[must_use]
    pub fn files(&self) -> u64 {
        if self.peer_bytes > 0 { 2 } else { 1 }
    }

    /// Whether it is one of the epoll watches that the kernel allows its user.
    #[must_use]
    pub fn takes_epoll_watch(&self) -> bool {
        matches!(self.watch, Watch::Epoll | Watch::EpollInRing)
    }

    /// Whether it takes an entry of the connection tracking table.
    #[must_use]
    pub fn is_tracked(&self) -> bool {
        self.tracking_bytes > 0
    }
}
