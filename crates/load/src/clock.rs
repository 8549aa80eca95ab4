//! One monotonic clock for a whole run, in nanoseconds since it began.

use std::time::Instant;

/// Shared by all threads of a run; copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    pub(crate) fn now_ns(self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}
