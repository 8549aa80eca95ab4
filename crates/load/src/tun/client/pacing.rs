//! Who runs when, on cores that this tool and the server share.
//!
//! While connections come and go by the thousand, every packet of ours makes a thread of the server ready to run. If
//! that thread ran at once, it would find one connection, and its core would change hands twice for it; if there are
//! many of them, the packets they send overflow our device before it is our turn. So we run first:
//!
//! ```text
//!  core  │ our turn: some hundred packets │ we give way │ our turn …
//!        │      (server's threads wait)   │ each of them takes all that came for it
//! ```
//!
//! Each of our threads then stays on a core of its own, and with it the kernel's receive path, which our `write`
//! runs. While latencies are measured this is so only during a stampede; otherwise everybody runs when he is ready,
//! and where there is room.

use super::super::sys;
use super::Client;
use crate::crew::be_punctual;
use crate::phase::Phase;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::time::Duration;

/// For how long, in hundredths of our turn, the server then has the core.
const GIVE_WAY_PERCENT: u64 = 30;
/// The same if more connections wait to be accepted than handshakes may be in flight, and while there are messages
/// to be answered as well.
const GIVE_WAY_EVENLY_PERCENT: u64 = 100;
/// How long we wait for more than one packet while connections are closed.
const GATHER: Duration = Duration::from_micros(500);

/// How this thread is scheduled.
#[derive(Debug)]
pub(super) struct Pacing {
    thread: usize,
    /// Where it may run, if the kernel says.
    cores: Option<CpuSet>,
    first: bool,
    /// Whether the last wait for several packets brought none.
    in_vain: bool,
}

impl Pacing {
    /// Of the calling thread, the run's `thread`-th.
    pub(super) fn new(thread: usize) -> Self {
        Self {
            thread,
            cores: sched_getaffinity(None).ok(),
            first: false,
            in_vain: false,
        }
    }

    /// Whoever may not is slower, and the server as well: none of this is an error.
    fn run_first(&mut self, first: bool) {
        if self.first == first {
            return;
        }
        self.first = first;
        let _ = sys::run_first(first);
        if first {
            roadstead::thread::pin_to_core(self.thread);
            return;
        }
        if let Some(cores) = &self.cores {
            let _ = sched_setaffinity(None, cores);
        }
        // Back among the others, a thread has the kernel's usual slack.
        be_punctual();
    }
}

impl Client<'_> {
    /// Decides, before a turn, whether it is to be ours undisturbed.
    pub(super) fn pace(&mut self, phase: Phase) {
        let first = match phase {
            Phase::Connect | Phase::Close => true,
            Phase::Warmup | Phase::Hold | Phase::Drain => self.stage.herd.is_away(),
            Phase::Idle => false,
        };
        self.pacing.run_first(first);
    }

    /// After a turn of `busy_ns` that brought packets.
    pub(super) fn give_way(&mut self, phase: Phase, busy_ns: u64) {
        self.pacing.in_vain = false;
        if self.pacing.first && phase != Phase::Close {
            let in_flight_max = self.plan.settings.workload.handshakes_in_flight as u64;
            let behind = self.stage.not_accepted() > in_flight_max;
            let percent = if behind || phase != Phase::Connect {
                GIVE_WAY_EVENLY_PERCENT
            } else {
                GIVE_WAY_PERCENT
            };
            std::thread::sleep(Duration::from_nanos(busy_ns * percent / 100));
        }
    }

    /// After a turn that brought none: true if more than one should be there the next time.
    pub(super) fn gathers(&mut self, phase: Phase) -> bool {
        let gathers = phase == Phase::Close && !self.pacing.in_vain;
        if gathers {
            std::thread::sleep(GATHER);
        }
        self.pacing.in_vain = gathers;
        gathers
    }
}
