//! What an idle connection costs in memory: measured on Linux 6.18, x86-64, as slab object sizes.

use serde::Serialize;

/// An accepted IPv4 socket: tcp_sock 2368, inode 832, file 192, dentry 192, security 56.
const ACCEPTED_SOCKET_BYTES: u64 = 3640;

/// What the engine keeps of a connection in user space, as its tables reserve it.
const USER_BYTES: u64 = 64;

/// How idle connections are watched, as far as it costs memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// A poll request on the ring: one io_kiocb.
    Poll,
    /// An epoll interest: epitem 128, eppoll_entry 64, ep_head 16.
    Epoll,
    /// An armed multishot receive: io_kiocb 256, async_poll 96, io_async_msghdr 512.
    Recv,
}

impl Watch {
    /// What watching one idle connection costs the kernel.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::Poll => 256,
            Self::Epoll => 208,
            Self::Recv => 864,
        }
    }
}

/// What one idle connection costs this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionCost {
    /// The socket itself, with its file and inode.
    pub socket_bytes: u64,
    /// What it takes to learn that it is readable.
    pub watch_bytes: u64,
    /// What the server keeps of it.
    pub user_bytes: u64,
    /// What the peer's end costs, where the peer is on this host too.
    pub peer_bytes: u64,
}

impl ConnectionCost {
    /// A connection from elsewhere.
    #[must_use]
    pub fn watched_by(watch: Watch) -> Self {
        Self {
            socket_bytes: ACCEPTED_SOCKET_BYTES,
            watch_bytes: watch.bytes(),
            user_bytes: USER_BYTES,
            peer_bytes: 0,
        }
    }

    /// A connection whose other end is a socket of this host, watched in the same way.
    #[must_use]
    pub fn with_peer_on_this_host(self) -> Self {
        Self {
            peer_bytes: self.socket_bytes + self.watch_bytes + self.user_bytes,
            ..self
        }
    }

    /// All parts together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        // At least one byte: it is divided by.
        (self.socket_bytes + self.watch_bytes + self.user_bytes + self.peer_bytes).max(1)
    }

    /// Open files of this host that one connection takes.
    #[must_use]
    pub fn files(&self) -> u64 {
        if self.peer_bytes > 0 { 2 } else { 1 }
    }
}
