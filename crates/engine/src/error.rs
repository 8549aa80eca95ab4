//! Why a server does not start, said with what to do about it.

use std::net::SocketAddr;
use std::{fmt, io};

/// Why [`Server::start`](crate::Server::start) failed. Nothing is left open.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot work; the text says which part.
    Config(String),
    /// Somebody listens there already.
    AddressInUse(SocketAddr),
    /// Binding to it takes a privilege.
    AddressForbidden(SocketAddr),
    /// No interface of this host has it.
    AddressUnavailable(SocketAddr),
    /// io_uring was demanded and cannot be had.
    UringUnavailable(UringUnavailable),
    /// The kernel refused something else.
    Os {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        error: io::Error,
    },
}

impl StartError {
    pub(crate) fn os(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Os { doing, error }
    }

    pub(crate) fn of_bind(address: SocketAddr) -> impl FnOnce(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse(address),
            io::ErrorKind::PermissionDenied => Self::AddressForbidden(address),
            io::ErrorKind::AddrNotAvailable => Self::AddressUnavailable(address),
            _ => Self::Os {
                doing: format!("listening on {address}"),
                error,
            },
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(what) => f.write_str(what),
            Self::AddressInUse(address) => write!(
                f,
                "{address} is in use; stop what listens there (ss -ltnp 'sport = :{}') or choose \
                 another port",
                address.port()
            ),
            Self::AddressForbidden(address) => write!(
                f,
                "no permission to listen on {address}; choose a port from 1024 up, or grant \
                 CAP_NET_BIND_SERVICE",
            ),
            Self::AddressUnavailable(address) => write!(
                f,
                "no interface of this host has the address {}; see `ip address`, or listen on \
                 0.0.0.0 or [::]",
                address.ip()
            ),
            Self::UringUnavailable(why) => write!(f, "{why}; or use the epoll engine"),
            Self::Os { doing, error } => write!(f, "{doing}: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Os { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Why this process cannot use io_uring.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UringUnavailable {
    /// `kernel.io_uring_disabled` forbids it to this process; its value.
    Sysctl(u8),
    /// Refused though the sysctl allows it: a seccomp filter (containers), or an old kernel.
    Refused,
    /// The kernel lacks what the engine needs; the text says what.
    Missing(&'static str),
    /// Something else; the text is the kernel's.
    Other(String),
}

impl fmt::Display for UringUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl(value) => write!(
                f,
                "io_uring is disabled (kernel.io_uring_disabled = {value}); set it to 0 with \
                 `sysctl -w kernel.io_uring_disabled=0`",
            ),
            Self::Refused => f.write_str(
                "io_uring is refused to this process (EPERM or ENOSYS), most likely by a seccomp \
                 filter; allow io_uring_setup, io_uring_enter and io_uring_register in it",
            ),
            Self::Missing(what) => {
                write!(
                    f,
                    "this kernel's io_uring has no {what}; use Linux 6.1 or later"
                )
            }
            Self::Other(what) => write!(f, "io_uring cannot be set up: {what}"),
        }
    }
}
