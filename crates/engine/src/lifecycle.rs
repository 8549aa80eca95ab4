//! The life of a connection: its phases and the reasons why it ends.
//!
//! ```text
//!   Open ──► Flushing ──► Lingering ──► Releasing ──► (slot free, generation + 1)
//!     │          │            │            ▲
//!     └──────────┴────────────┴────────────┘   reset, error, deadline
//! ```
//!
//! | phase | awaits | reads | writes |
//! |---|---|---|---|
//! | `Open` | the service's pleasure | to the service | from the service |
//! | `Flushing` | an empty outbox | discarded | what is queued |
//! | `Lingering` | the peer's end of stream | discarded | our end of stream was sent |
//! | `Releasing` | the kernel to let go of every request | – | – |
//!
//! Discarding what still comes in, instead of closing over it, keeps the kernel from answering unread
//! bytes with a reset that would destroy our last reply on its way (RFC 1122, 4.2.2.13).

/// Where a connection is in its life; named for what it awaits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    Open,
    Flushing,
    Lingering,
    Releasing,
}

macro_rules! close_reasons {
    ($($(#[$doc:meta])* $reason:ident => $name:literal,)*) => {
        /// Why a connection ended. Each has its counter, so that opened = live + Σ closed by reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum CloseReason {
            $($(#[$doc])* $reason,)*
        }

        impl CloseReason {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)*];

            /// The reason's name in metrics and reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }
        }
    };
}

close_reasons! {
    /// The peer finished sending, and everything was answered.
    PeerEnded => "peer_ended",
    /// The peer reset the connection.
    PeerReset => "peer_reset",
    /// The peer stopped answering: `ETIMEDOUT` from keepalive or `TCP_USER_TIMEOUT`, or no route.
    PeerUnreachable => "peer_unreachable",
    /// The service closed it.
    Service => "service",
    /// The service refused what the peer sent: a frame over its limit, a malformed request.
    ProtocolError => "protocol_error",
    /// More unconsumed bytes than `carry_limit_bytes`.
    CarryLimit => "carry_limit",
    /// Nothing was read or written for `idle_timeout`.
    IdleTimeout => "idle_timeout",
    /// The peer took none of what waited for it for `write_stall_timeout`.
    WriteStalled => "write_stalled",
    /// Closed by a drain, everything flushed.
    Drained => "drained",
    /// Cut off when a drain's time was up.
    DrainForced => "drain_forced",
    /// The kernel refused an operation on the socket with some other error.
    SocketError => "socket_error",
}

impl CloseReason {
    /// The reason behind an error of a socket operation.
    pub(crate) fn of_error(error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED | libc::ENOTCONN) => {
                Self::PeerReset
            }
            Some(
                libc::ETIMEDOUT
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ENETDOWN
                | libc::EHOSTDOWN,
            ) => Self::PeerUnreachable,
            _ => Self::SocketError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_as_listed_and_named_once() {
        let mut names: Vec<_> = CloseReason::ALL
            .iter()
            .map(|reason| reason.name())
            .collect();
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CloseReason::ALL.len());
    }
}
