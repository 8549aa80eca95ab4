//! When something is sent again: one queue per delay, so that each is in order by itself.
//!
//! ```text
//!  strikes 0   200 ms  │ (deadline, connection) (deadline, connection) …   in the order they were set
//!  strikes 1   400 ms  │ …
//!  …                                    a connection that was answered meanwhile is skipped when it comes up
//! ```

use std::collections::VecDeque;

/// What a kernel waits at least before it sends data again.
const FIRST_NS: u64 = 200_000_000;
/// Each strike doubles the delay.
const LEVELS: usize = 8;
/// A SYN is not answered by the server's process but by its kernel, which may be swamped.
pub(super) const STRIKES_OF_SYN: u8 = 2;
/// How long received bytes may wait for something to be sent that acknowledges them.
const ACK_DELAY_NS: u64 = 40_000_000;

/// Deadlines of one thread's connections.
#[derive(Debug, Default)]
pub(super) struct Timers {
    levels: [VecDeque<(u64, u32)>; LEVELS],
    acks: VecDeque<(u64, u32)>,
}

impl Timers {
    /// Sets the timer of a connection; returns its deadline, by which it is known when it comes up.
    pub(super) fn set(&mut self, now: u64, strikes: u8, index: u32) -> u64 {
        let level = usize::from(strikes).min(LEVELS - 1);
        let deadline = now + (FIRST_NS << level);
        self.levels[level].push_back((deadline, index));
        deadline
    }

    /// A timer whose time has come: its deadline and its connection.
    pub(super) fn next_struck(&mut self, now: u64) -> Option<(u64, u32)> {
        self.levels.iter_mut().find_map(|level| pop_due(level, now))
    }

    /// Received bytes are to be acknowledged, but not at once.
    pub(super) fn set_ack(&mut self, now: u64, index: u32) {
        self.acks.push_back((now + ACK_DELAY_NS, index));
    }

    pub(super) fn next_ack(&mut self, now: u64) -> Option<u32> {
        pop_due(&mut self.acks, now).map(|(_, index)| index)
    }

    /// When the next one of either kind comes up.
    pub(super) fn next_deadline(&self) -> u64 {
        let first = |queue: &VecDeque<(u64, u32)>| queue.front().map(|(deadline, _)| *deadline);
        self.levels
            .iter()
            .chain([&self.acks])
            .filter_map(first)
            .min()
            .unwrap_or(u64::MAX)
    }
}

fn pop_due(queue: &mut VecDeque<(u64, u32)>, now: u64) -> Option<(u64, u32)> {
    if queue.front()?.0 > now {
        return None;
    }
    queue.pop_front()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_strike_in_the_order_of_their_deadlines_per_level() {
        let mut timers = Timers::default();
        assert_eq!(timers.next_deadline(), u64::MAX);
        let late = timers.set(0, 3, 1);
        let soon = timers.set(1, 0, 2);
        assert_eq!((late, soon), (1_600_000_000, 200_000_001));
        assert_eq!(timers.next_deadline(), soon);
        assert_eq!(timers.next_struck(soon - 1), None);
        assert_eq!(timers.next_struck(soon), Some((soon, 2)));
        assert_eq!(timers.next_struck(late), Some((late, 1)));
        assert!(timers.set(0, 200, 3) >= timers.set(0, 7, 3));
    }
}
