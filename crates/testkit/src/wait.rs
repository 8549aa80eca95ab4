//! Waiting for what no descriptor tells.

use std::time::{Duration, Instant};

/// How long a server may take to get where it must: far more than it needs, for slow machines.
pub const SETTLE_WITHIN: Duration = Duration::from_secs(15);

/// Looks again and again until `holds`, and gives up after [`SETTLE_WITHIN`].
///
/// # Panics
/// When it gave up, with `what` was awaited.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < SETTLE_WITHIN,
            "not within {SETTLE_WITHIN:?}: {what}"
        );
        // Between two looks at a counter there is nothing to block on.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
