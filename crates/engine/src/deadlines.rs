//! Deadlines by sweep: each record holds one tick, and now and then all records are looked at.
//!
//! There is no timer node per connection. While every deadline is far (idle timeouts), sweeps are
//! rare; while some are near (stalled writes, closing connections), they are frequent. Where nothing
//! can expire there are none at all, and the worker sleeps for as long as the kernel lets it.

use crate::table::NONE;
use std::time::{Duration, Instant};

/// One tick; deadlines are rounded up to it.
const TICK: Duration = Duration::from_millis(50);
/// Sweeps while some deadline is near, in ticks.
const URGENT_PERIOD: u32 = 4;
/// An idle timeout is swept this many times: it ends at most an eighth late.
const IDLE_SWEEPS: u32 = 8;

pub(crate) struct Deadlines {
    started: Instant,
    now: u32,
    idle_period: Option<u32>,
    last_sweep: u32,
    urgent: u32,
}

impl Deadlines {
    pub(crate) fn new(started: Instant, idle_timeout: Option<Duration>) -> Self {
        let idle_period = idle_timeout.map(|t| (ticks(t) / IDLE_SWEEPS).max(1));
        Self {
            started,
            now: 0,
            idle_period,
            last_sweep: 0,
            urgent: 0,
        }
    }

    /// Notes what time it is.
    pub(crate) fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.started);
        self.now = u32::try_from(elapsed.as_nanos() / TICK.as_nanos()).unwrap_or(NONE - 1);
    }

    /// The tick that has come `after` from now, for a record.
    pub(crate) fn after(&self, after: Duration) -> u32 {
        // One more, because the current tick has partly passed.
        self.now
            .saturating_add(ticks(after))
            .saturating_add(1)
            .min(NONE - 1)
    }

    pub(crate) fn has_passed(&self, deadline: u32) -> bool {
        deadline <= self.now
    }

    /// One more connection has a near deadline.
    pub(crate) fn add_urgent(&mut self) {
        self.urgent += 1;
    }

    pub(crate) fn remove_urgent(&mut self) {
        self.urgent -= 1;
    }

    /// Whether all records should be looked at now; the caller does so before it asks again.
    pub(crate) fn sweep_is_due(&mut self) -> bool {
        let due = self.next_sweep().is_some_and(|tick| tick <= self.now);
        if due {
            self.last_sweep = self.now;
        }
        due
    }

    /// When the next sweep is due; `None` while nothing can expire.
    pub(crate) fn next_sweep_at(&self) -> Option<Instant> {
        self.next_sweep().map(|tick| self.started + TICK * tick)
    }

    fn next_sweep(&self) -> Option<u32> {
        let urgent = (self.urgent > 0).then_some(URGENT_PERIOD);
        let period = [urgent, self.idle_period].into_iter().flatten().min()?;
        Some(self.last_sweep.saturating_add(period))
    }
}

fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(NONE / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against the naive model, a list of instants: nothing expires early, and everything has
        /// expired within its timeout, two ticks and one sweep period.
        #[test]
        fn expires_what_is_due_and_nothing_else(
            idle_ms in 100u64..20_000,
            steps in prop::collection::vec((1u64..3_000, any::<bool>()), 1..100),
        ) {
            let start = Instant::now();
            let idle = Duration::from_millis(idle_ms);
            let mut deadlines = Deadlines::new(start, Some(idle));
            let period = TICK * (ticks(idle) / IDLE_SWEEPS).max(1);
            let mut now = start;
            let mut open: Vec<(Instant, u32)> = Vec::new();
            for (step_ms, opens) in steps {
                // The worker wakes when it says, or earlier.
                let wake = deadlines.next_sweep_at().expect("an idle timeout is set");
                now = (now + Duration::from_millis(step_ms)).min(wake.max(now));
                deadlines.advance(now);
                if opens {
                    open.push((now + idle, deadlines.after(idle)));
                }
                if deadlines.sweep_is_due() {
                    open.retain(|(at, tick)| {
                        let passed = deadlines.has_passed(*tick);
                        assert!(!passed || *at <= now, "expired early");
                        assert!(passed || now < *at + 2 * TICK + period, "missed");
                        !passed
                    });
                }
            }
        }
    }

    #[test]
    fn without_anything_to_expire_there_is_no_sweep() {
        let mut deadlines = Deadlines::new(Instant::now(), None);
        assert!(deadlines.next_sweep_at().is_none());
        deadlines.add_urgent();
        assert!(deadlines.next_sweep_at().is_some());
        deadlines.remove_urgent();
        assert!(deadlines.next_sweep_at().is_none());
    }

    #[test]
    fn none_never_passes() {
        let mut deadlines = Deadlines::new(Instant::now(), None);
        deadlines.advance(Instant::now() + Duration::from_secs(3600 * 24 * 365 * 20));
        assert!(!deadlines.has_passed(NONE));
    }
}
