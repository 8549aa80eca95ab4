//! What is said when the wanted connections do not fit: the limit, and what to do about it.

use std::fmt;

use super::{
    Binding, Bound, MEMORY_HEADROOM_PART, Request, WORKERS_MAX, descriptor_reserve,
    descriptors_per_worker, with_skew, workers_for,
};
use crate::Limits;
use crate::quantity::{Choice, binary_bytes, grouped};

/// The wanted connections do not fit this host. Its text carries the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// Connections asked for.
    pub wanted: u64,
    /// Connections that would fit.
    pub can_hold: u64,
    /// The limit that is too low.
    pub binding: Binding,
    /// Why, in numbers.
    reason: String,
    /// What to do about it.
    fix: String,
}

impl Shortfall {
    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> &str {
        &self.fix
    }

    pub(super) fn too_many_workers(workers: u64) -> Self {
        Self {
            wanted: workers,
            can_hold: WORKERS_MAX,
            binding: Binding::Asked,
            reason: format!(
                "{} workers are more than the {WORKERS_MAX} a server may have",
                grouped(workers)
            ),
            fix: "leave --workers to auto".to_owned(),
        }
    }

    pub(super) fn new(
        wanted: u64,
        workers: u64,
        bound: Bound,
        request: &Request,
        limits: &Limits,
    ) -> Self {
        let (reason, fix) = match bound.binding {
            Binding::Descriptors => descriptors(wanted, workers, request, limits),
            Binding::FileMax => file_max(wanted, workers, request, limits),
            Binding::Memory | Binding::ControlGroupMemory => {
                memory(wanted, workers, bound, request, limits)
            }
            Binding::EpollWatches => epoll_watches(wanted, limits),
            Binding::Conntrack => conntrack(wanted, limits),
            Binding::Asked => unreachable!("no bound of a plan"),
        };
        let reason = format!("{} connections do not fit: {reason}", grouped(wanted));
        let fix = match bound.connections {
            0 => fix,
            fitting => format!("{fix}, or ask for --max-connections {fitting}"),
        };
        Self {
            wanted,
            can_hold: bound.connections,
            binding: bound.binding,
            reason,
            fix,
        }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.fix)
    }
}

impl std::error::Error for Shortfall {}

fn descriptors(wanted: u64, workers: u64, request: &Request, limits: &Limits) -> (String, String) {
    let reason = format!(
        "the hard nofile limit gives each of {workers} workers {} descriptors, {} of them reserved",
        grouped(descriptors_per_worker(limits)),
        grouped(descriptor_reserve(request, workers)),
    );
    let needed =
        with_skew(wanted.div_ceil(workers), workers) + descriptor_reserve(request, workers);
    let raise = match limits.nr_open {
        Some(nr_open) if nr_open < needed => {
            format!(
                "set sysctl fs.nr_open={needed} and raise the hard nofile limit to {needed} (LimitNOFILE=)"
            )
        }
        _ => format!(
            "raise the hard nofile limit to {needed} (LimitNOFILE= in the unit, or limits.d)"
        ),
    };
    if request.workers == Choice::Auto {
        return (reason, raise);
    }
    let enough = workers_for(wanted, request, limits);
    let fits = super::descriptor_bound(request, limits, enough) >= wanted;
    let fix = if fits {
        format!("use --workers {enough} or auto, or {raise}")
    } else {
        raise
    };
    (reason, fix)
}

fn file_max(wanted: u64, workers: u64, request: &Request, limits: &Limits) -> (String, String) {
    let open = limits.files_open.unwrap_or(0);
    let reserve = workers * descriptor_reserve(request, workers);
    let needed = wanted
        .saturating_mul(request.cost.files())
        .saturating_add(reserve)
        .saturating_add(open);
    let reason = format!(
        "fs.file-max allows {} open files on this host, {} are open",
        grouped(limits.file_max.unwrap_or(0)),
        grouped(open),
    );
    (
        reason,
        format!("set sysctl fs.file-max={needed}, or give the server CAP_SYS_ADMIN"),
    )
}

fn epoll_watches(wanted: u64, limits: &Limits) -> (String, String) {
    let reason = format!(
        "fs.epoll.max_user_watches allows a user {} epoll interests, and each connection is one",
        grouped(limits.epoll_watches.unwrap_or(0))
    );
    // A fifth more, as for descriptors: whatever else runs as this user has interests as well.
    let enough = wanted.saturating_add(wanted / 5);
    (
        reason,
        format!("set sysctl fs.epoll.max_user_watches={enough}, or --watch poll on io_uring"),
    )
}

fn conntrack(wanted: u64, limits: &Limits) -> (String, String) {
    let left = limits.conntrack_left.unwrap_or(0);
    let reason = format!(
        "the port is tracked, and the connection tracking table has room for {}",
        grouped(left)
    );
    let fix = format!(
        "exempt the port (roadstead doctor --apply), or raise nf_conntrack_max by {}",
        wanted.saturating_sub(left)
    );
    (reason, fix)
}

fn memory(
    wanted: u64,
    workers: u64,
    bound: Bound,
    request: &Request,
    limits: &Limits,
) -> (String, String) {
    let memory = limits.memory.expect("the bound was computed from it");
    let headroom = memory.total_bytes / MEMORY_HEADROOM_PART;
    let needed = wanted
        .saturating_mul(request.cost.total_bytes())
        .saturating_add(workers.saturating_mul(request.worker_bytes))
        .saturating_add(headroom);
    let reason = format!(
        "at {} B each they and a headroom of {} take {}, and {} are available",
        grouped(request.cost.total_bytes()),
        binary_bytes(headroom),
        binary_bytes(needed),
        binary_bytes(memory.available_bytes),
    );
    let missing = binary_bytes(needed.saturating_sub(memory.available_bytes));
    let fix = match bound.binding {
        Binding::ControlGroupMemory => {
            format!("raise the control group's limit by {missing} (MemoryMax=)")
        }
        _ => format!("free or add {missing}"),
    };
    (reason, fix)
}
