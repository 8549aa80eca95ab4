//! The kernel objects that connections are made of, and the slab caches they come from.

use serde::Serialize;

/// How idle connections are watched, as far as it costs memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// A poll request on the ring.
    Poll,
    /// An epoll interest.
    Epoll,
    /// An epoll interest that is changed and waited for through the ring: the objects of epoll, no others.
    EpollInRing,
    /// An armed multishot receive.
    Recv,
}

impl Watch {
    /// What watching one idle connection allocates.
    #[must_use]
    pub fn objects(self) -> &'static [Object] {
        match self {
            Self::Poll => &[Object::Request],
            Self::Epoll | Self::EpollInRing => {
                &[Object::EpollItem, Object::EpollWait, Object::EpollHead]
            }
            Self::Recv => &[Object::Request, Object::AsyncPoll, Object::AsyncMessage],
        }
    }
}

/// A kind of kernel object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    /// The IPv4 socket: `tcp_sock`, which contains `inet_sock`, which contains `sock`.
    Tcp,
    /// The IPv6 socket, for IPv4 peers of an IPv6 listener too.
    Tcp6,
    /// The socket's inode.
    Inode,
    /// The open file that a descriptor points to.
    File,
    /// The file's name in sockfs.
    Dentry,
    /// What the security modules keep of the inode.
    InodeSecurity,
    /// What they keep of the file.
    FileSecurity,
    /// What they keep of the socket.
    SocketSecurity,
    /// The epoll interest (`epitem`).
    EpollItem,
    /// Its place in the socket's wait queue (`eppoll_entry`).
    EpollWait,
    /// The socket's list of interests (`ep_head`).
    EpollHead,
    /// An io_uring request (`io_kiocb`).
    Request,
    /// Its place in the socket's wait queue, for a request that is not itself a poll (`async_poll`).
    AsyncPoll,
    /// The message header of a receive that waits (`io_async_msghdr`).
    AsyncMessage,
    /// The entry of a tracked connection (`nf_conn`).
    Conntrack,
    /// The entry's extensions, where modules ask for some (`nf_ct_ext`).
    ConntrackExtensions,
    /// A handshake that is not complete (`tcp_request_sock`).
    HalfOpen,
    /// The same over IPv6.
    HalfOpen6,
    /// What is left of a connection closed by this end (`tcp_timewait_sock`).
    TimeWait,
    /// The same over IPv6.
    TimeWait6,
}

/// What an accepted connection consists of beside the socket itself.
pub(super) const BESIDE_SOCKET: [Object; 6] = [
    Object::Inode,
    Object::File,
    Object::Dentry,
    Object::InodeSecurity,
    Object::FileSecurity,
    Object::SocketSecurity,
];

impl Object {
    /// Every kind, in the order of a ledger.
    pub const ALL: [Self; 20] = [
        Self::Tcp,
        Self::Tcp6,
        Self::Inode,
        Self::File,
        Self::Dentry,
        Self::InodeSecurity,
        Self::FileSecurity,
        Self::SocketSecurity,
        Self::EpollItem,
        Self::EpollWait,
        Self::EpollHead,
        Self::Request,
        Self::AsyncPoll,
        Self::AsyncMessage,
        Self::Conntrack,
        Self::ConntrackExtensions,
        Self::HalfOpen,
        Self::HalfOpen6,
        Self::TimeWait,
        Self::TimeWait6,
    ];

    /// The name of its slab cache.
    #[must_use]
    pub const fn cache(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Tcp6 => "TCPv6",
            Self::Inode => "sock_inode_cache",
            Self::File => "filp",
            Self::Dentry => "dentry",
            Self::InodeSecurity => "lsm_inode_cache",
            Self::FileSecurity => "lsm_file_cache",
            Self::SocketSecurity => "kmalloc-16",
            Self::EpollItem => "eventpoll_epi",
            Self::EpollWait => "eventpoll_pwq",
            Self::EpollHead => "ep_head",
            Self::Request => "io_kiocb",
            Self::AsyncPoll => "kmalloc-96",
            Self::AsyncMessage => "kmalloc-512",
            Self::Conntrack => "nf_conntrack",
            Self::ConntrackExtensions => "kmalloc-64",
            Self::HalfOpen => "request_sock_TCP",
            Self::HalfOpen6 => "request_sock_TCPv6",
            Self::TimeWait => "tw_sock_TCP",
            Self::TimeWait6 => "tw_sock_TCPv6",
        }
    }

    /// What it is, in a few words.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Tcp => "socket, IPv4",
            Self::Tcp6 => "socket, IPv6",
            Self::Inode => "its inode",
            Self::File => "its open file",
            Self::Dentry => "its name",
            Self::InodeSecurity => "security data of the inode",
            Self::FileSecurity => "security data of the file",
            Self::SocketSecurity => "security data of the socket",
            Self::EpollItem => "epoll interest",
            Self::EpollWait => "its wait queue entry",
            Self::EpollHead => "the socket's interest list",
            Self::Request => "io_uring request",
            Self::AsyncPoll => "its wait queue entry",
            Self::AsyncMessage => "its message header",
            Self::Conntrack => "tracked connection",
            Self::ConntrackExtensions => "its extensions",
            Self::HalfOpen => "half-open handshake, IPv4",
            Self::HalfOpen6 => "half-open handshake, IPv6",
            Self::TimeWait => "TIME_WAIT, IPv4",
            Self::TimeWait6 => "TIME_WAIT, IPv6",
        }
    }

    /// Whether its cache is made with `SLAB_ACCOUNT`: each slab of it has a vector of pointers to whom its
    /// objects are charged.
    #[must_use]
    pub const fn is_accounted(self) -> bool {
        matches!(
            self,
            Self::Tcp
                | Self::Tcp6
                | Self::Inode
                | Self::File
                | Self::Dentry
                | Self::EpollItem
                | Self::EpollWait
                | Self::EpollHead
                | Self::Request
        )
    }

    /// Whether its cache holds these objects of TCP and nothing else, so that all of them are counted.
    pub(super) const fn has_own_cache(self) -> bool {
        matches!(
            self,
            Self::Tcp
                | Self::Tcp6
                | Self::Conntrack
                | Self::HalfOpen
                | Self::HalfOpen6
                | Self::TimeWait
                | Self::TimeWait6
        )
    }

    /// Whether it comes from `kmalloc`, whose cache tells the rounded size and not the kernel's need for it.
    pub(super) const fn is_kmalloc(self) -> bool {
        matches!(
            self,
            Self::SocketSecurity | Self::AsyncPoll | Self::AsyncMessage | Self::ConntrackExtensions
        )
    }
}

/// A connection, as far as it decides which objects there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionKind {
    /// How it is watched while idle.
    pub watch: Watch,
    /// Accepted by an IPv6 listener.
    pub ipv6: bool,
    /// The kernel tracks it (nf_conntrack).
    pub tracked: bool,
}

impl ConnectionKind {
    /// An untracked IPv4 connection.
    #[must_use]
    pub const fn watched_by(watch: Watch) -> Self {
        Self {
            watch,
            ipv6: false,
            tracked: false,
        }
    }

    /// The socket and what comes with it.
    pub fn socket_objects(self) -> impl Iterator<Item = Object> {
        let socket = if self.ipv6 { Object::Tcp6 } else { Object::Tcp };
        std::iter::once(socket).chain(BESIDE_SOCKET)
    }

    /// What tracking it takes.
    #[must_use]
    pub fn tracking_objects(self) -> &'static [Object] {
        if self.tracked {
            &[Object::Conntrack, Object::ConntrackExtensions]
        } else {
            &[]
        }
    }

    /// Every object of one such connection.
    pub fn objects(self) -> impl Iterator<Item = Object> {
        let rest = self.watch.objects().iter().chain(self.tracking_objects());
        self.socket_objects().chain(rest.copied())
    }
}
