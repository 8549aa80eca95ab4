//! What a round yields: each metric with its name, its direction, and where in a measurement it is.

use crate::measure::Measured;
use crate::record::{self, Better};
use roadstead_load::Percentiles;

/// A number that a measurement yields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) key: &'static str,
    title: &'static str,
    better: Better,
    decimals: usize,
    /// `None` where the measurement has none; of a metric that is a difference between subjects, always.
    pub(crate) of: fn(&Measured) -> Option<f64>,
}

impl Metric {
    pub(crate) fn record(&self) -> record::Metric {
        record::Metric {
            key: self.key.to_owned(),
            title: self.title.to_owned(),
            better: self.better,
            decimals: self.decimals,
        }
    }
}

const fn lower(key: &'static str, title: &'static str, decimals: usize, of: Of) -> Metric {
    Metric {
        key,
        title,
        better: Better::Lower,
        decimals,
        of,
    }
}

const fn higher(key: &'static str, title: &'static str, of: Of) -> Metric {
    Metric {
        key,
        title,
        better: Better::Higher,
        decimals: 0,
        of,
    }
}

/// `None` if no message was timed.
fn latency(it: &Measured, of: fn(&Percentiles) -> f64) -> Option<f64> {
    let latency = &it.report.latency_us;
    (latency.count > 0).then(|| of(latency))
}

type Of = fn(&Measured) -> Option<f64>;

// Memory.

/// Both parts that a server is answerable for.
pub(crate) const BYTES: Metric = lower(
    "bytes",
    "bytes per connection, user + kernel over bare",
    0,
    |_| None,
);
pub(crate) const USER_BYTES: Metric = lower("user_bytes", "user bytes (RSS growth)", 1, |it| {
    Some(it.user_bytes())
});
/// Its difference to the bare server's of the same round is [`KERNEL_OVER_BARE`].
pub(crate) const KERNEL_BYTES: Metric = lower("kernel_bytes", "kernel bytes, both ends", 0, |it| {
    it.counts_objects().then(|| it.kernel_bytes_both_ends())
});
pub(crate) const KERNEL_OVER_BARE: Metric = lower(
    "kernel_over_bare_bytes",
    "kernel bytes over a bare socket",
    0,
    |_| None,
);

/// Slab memory per connection where the client has no sockets.
pub(crate) const KERNEL_ONE_END: Metric = lower(
    "kernel_one_end_bytes",
    "kernel bytes, the server's end",
    0,
    |_| None,
);
pub(crate) const USER_MIB: Metric = lower("user_mib", "server memory, MiB (RSS growth)", 2, |it| {
    Some(it.user_bytes_in_all() / MIB)
});
pub(crate) const KERNEL_MIB: Metric =
    lower("kernel_mib", "kernel objects, MiB, both ends", 1, |it| {
        let bytes = it.kernel_bytes_both_ends() * it.connections() as f64;
        it.counts_objects().then_some(bytes / MIB)
    });
/// Some of it is in kernel objects too.
pub(crate) const BUFFERS_MIB: Metric =
    lower("buffers_mib", "socket buffers, MiB, both ends", 1, |it| {
        Some(it.buffer_bytes() / MIB)
    });

/// All that a server's connections take on its own end, kernel memory included; from the memory per connection.
pub(crate) const SERVER_MIB: Metric =
    lower("server_mib", "server's end, user + kernel, MiB", 1, |_| {
        None
    });

pub(crate) const MIB: f64 = (1 << 20) as f64;

// Work.

pub(crate) const CPU_PER_MESSAGE: Metric = lower("cpu_us_per_message", "CPU µs/message", 3, |it| {
    it.cpu_ns_per_message().map(|ns| ns / 1e3)
});
pub(crate) const MESSAGES_PER_CPU_SECOND: Metric = higher(
    "messages_per_cpu_second",
    "messages per server CPU second",
    |it| it.cpu_ns_per_message().map(|ns| 1e9 / ns),
);
pub(crate) const MESSAGES_PER_SECOND: Metric = higher("messages_per_second", "messages/s", |it| {
    Some(it.report.messages_per_second)
});

pub(crate) const CPU_PER_ACCEPT: Metric =
    lower("cpu_us_per_accept", "CPU µs/connection", 2, |it| {
        Some(it.cpu_ns_per_accept() / 1e3)
    });
/// A connection closed, opened again and accepted.
pub(crate) const CPU_PER_CYCLE: Metric = lower("cpu_us_per_cycle", "CPU µs/cycle", 2, |it| {
    it.cpu_ns_per_cycle().map(|ns| ns / 1e3)
});
pub(crate) const CYCLES_PER_SECOND: Metric = higher("cycles_per_second", "cycles/s", |it| {
    Some(it.report.counters.reopened as f64 / it.report.timeline.hold_seconds)
});
pub(crate) const ACCEPTS_PER_CPU_SECOND: Metric = higher(
    "accepts_per_cpu_second",
    "connections per server CPU second",
    |it| Some(1e9 / it.cpu_ns_per_accept()),
);

// Time.

pub(crate) const CONNECT_P99: Metric = lower("connect_p99_us", "connect p99 µs", 0, |it| {
    Some(it.report.connect_us.p99)
});

pub(crate) const P50: Metric = lower("p50_us", "p50 µs", 0, |it| latency(it, |it| it.p50));
pub(crate) const P99: Metric = lower("p99_us", "p99 µs", 0, |it| latency(it, |it| it.p99));
pub(crate) const P99_9: Metric = lower("p99.9_us", "p99.9 µs", 0, |it| latency(it, |it| it.p99_9));
