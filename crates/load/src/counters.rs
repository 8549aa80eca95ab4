//! What a thread counts: plain integers while it works, published for the controller once per batch.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One list of names, three uses: the thread's own integers, what others may read, and the sum.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened, over all connections of a thread or of a run.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            /// Adds another thread's.
            pub(crate) fn add(&mut self, other: &Self) { $(self.$name += other.$name;)* }
        }

        /// The counters of one thread as others see them; on a cache line of their own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Published { $($name: AtomicU64,)* p99_ns: AtomicU64 }

        impl Published {
            pub(crate) fn publish(&self, counters: &Counters) {
                $(self.$name.store(counters.$name, Relaxed);)*
            }

            pub(crate) fn read(&self) -> Counters {
                Counters { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Connections open now.
    open,
    /// Connections whose first handshake was completed.
    established,
    /// Handshakes that were refused, reset or never answered.
    failed,
    /// Connections opened again after churn or a stampede.
    reopened,
    /// Connections which the server closed or reset without being asked to.
    lost,
    /// Connections which the run closed: in the end together with the server, to open them again on its own.
    closed,
    /// Connections which the server, told to stop, ended without the close of TCP: reset at its time-out.
    cut_off,
    /// Connections which the other side did not close in time: the server, whoever was to begin.
    unclosed,
    /// Replies which came back whole.
    messages,
    /// Replies among them that belong to the measured part of the traffic.
    measured_messages,
    /// Messages which were due and whose reply never came whole.
    unanswered,
    /// Messages sent a second time because the run itself dropped their connection.
    resent,
    /// Bytes that were not what was sent, or that nobody asked for.
    wrong_bytes,
    /// Payload and header bytes given to the transport.
    bytes_sent,
    /// Payload and header bytes received and checked.
    bytes_received,
    /// Segments the user-space client sent again; 0 with kernel sockets.
    retransmitted,
    /// Packets the user-space client's device did not take; 0 with kernel sockets.
    packets_refused,
}

impl Counters {
    /// Everything that should not have happened.
    pub fn errors(&self) -> u64 {
        self.failed + self.lost + self.cut_off + self.unanswered + self.wrong_bytes
    }
}

impl Counters {
    /// Grows with everything that the server does.
    pub(crate) fn heard(&self) -> u64 {
        self.bytes_received + self.closed + self.lost + self.cut_off + self.reopened
    }
}

impl Published {
    pub(crate) fn publish_p99(&self, p99_ns: u64) {
        self.p99_ns.store(p99_ns, Relaxed);
    }

    pub(crate) fn p99_ns(&self) -> u64 {
        self.p99_ns.load(Relaxed)
    }
}
