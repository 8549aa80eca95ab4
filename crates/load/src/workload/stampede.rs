//! A crowd of connections that is reset at one moment and comes back as fast as it can.
//!
//! ```text
//!            at                                     over
//!  hold ──────┼──────── Crowd, one per thread ────────┼──────────▶
//!     rest    │  reset, reopened, shed and retried    │   rest         latencies: of the crowd's connections,
//!             │  others: their traffic goes on        │                of the others meanwhile, and of the rest
//!             └──────── Herd, shared: who is away ────┘
//! ```

use super::Active;
use crate::phase::TrafficTimes;
use serde::{Serialize, Serializer};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Between a connection's being refused and its next attempt.
const RETRY_NS: u64 = 100_000_000;
/// How long after all are back a server may still shed some: its kernel lets them in before it does.
const SHED_NS: u64 = 5_000_000_000;

/// Which connections are reset at once, and when.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stampede {
    /// How many: spread evenly over all.
    pub connections: Active,
    /// When, from the beginning of the hold; `None`: half-way through it.
    #[serde(rename = "at_seconds", serialize_with = "seconds")]
    pub at: Option<Duration>,
}

fn seconds<S: Serializer>(at: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.as_secs_f64()).serialize(out)
}

impl Stampede {
    fn at_ns(&self, times: TrafficTimes) -> u64 {
        match self.at {
            Some(at) => times.record_from_ns.saturating_add(at.as_nanos() as u64),
            None => times.record_from_ns.midpoint(times.until_ns),
        }
    }
}

/// How many connections of all threads are away.
#[derive(Debug)]
pub(crate) struct Herd {
    /// Connections away, and threads that have not reset all of theirs.
    away: AtomicUsize,
    /// When it began and when the last was back; 0: not yet.
    at_ns: AtomicU64,
    over_ns: AtomicU64,
}

impl Herd {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            away: AtomicUsize::new(threads),
            at_ns: AtomicU64::new(0),
            over_ns: AtomicU64::new(0),
        }
    }

    fn leaves(&self, at_ns: u64) {
        self.at_ns.store(at_ns, Ordering::Relaxed);
        self.away.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection, or a thread: the last one ends it.
    fn is_back(&self, now: u64) {
        if self.away.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.over_ns.store(now, Ordering::Relaxed);
        }
    }

    /// Away once more: if all were back, it is not over after all.
    fn leaves_again(&self) {
        self.away.fetch_add(1, Ordering::Relaxed);
        self.over_ns.store(0, Ordering::Relaxed);
    }

    /// Whether somebody is.
    pub(crate) fn is_away(&self) -> bool {
        self.at_ns().is_some() && self.over_ns().is_none()
    }

    /// When it began, if it has.
    pub(crate) fn at_ns(&self) -> Option<u64> {
        Some(self.at_ns.load(Ordering::Relaxed)).filter(|&ns| ns > 0)
    }

    /// When all were back, if they are.
    pub(crate) fn over_ns(&self) -> Option<u64> {
        Some(self.over_ns.load(Ordering::Relaxed)).filter(|&ns| ns > 0)
    }
}

/// To which part of a stampede's latencies a message belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It was due on a connection that was reset, before all were back.
    Crowd,
    /// It was due meanwhile on another one.
    Others,
    /// It was due before or after.
    Rest,
}

/// One thread's part of the connections that are reset.
#[derive(Debug)]
pub(crate) struct Crowd {
    stampede: Stampede,
    herd: Arc<Herd>,
    connections: u64,
    members: u64,
    /// The next member to reset; one past the last when the herd knows that all of them are.
    next: u64,
    /// Who is away, a bit for each connection.
    away: Vec<u64>,
    /// Who was refused, and when to try again.
    retries: VecDeque<(u64, usize)>,
}

impl Crowd {
    pub(crate) fn new(
        stampede: Stampede,
        herd: Arc<Herd>,
        connections: usize,
        members: usize,
    ) -> Self {
        Self {
            stampede,
            herd,
            connections: connections as u64,
            members: members as u64,
            next: 0,
            away: vec![0; connections.div_ceil(64)],
            retries: VecDeque::new(),
        }
    }

    fn member(&self, number: u64) -> usize {
        (number * self.connections / self.members) as usize
    }

    fn contains(&self, index: usize) -> bool {
        let number = (index as u64 * self.members).div_ceil(self.connections);
        number < self.members && self.member(number) == index
    }

    /// The next connection to reset and when that is: `Err` if not yet or no more.
    pub(crate) fn next_to_reset(&mut self, now: u64, times: TrafficTimes) -> Result<usize, u64> {
        let at = self.stampede.at_ns(times);
        if self.next > self.members {
            return Err(u64::MAX);
        }
        if now < at {
            return Err(at);
        }
        self.next += 1;
        if self.next > self.members {
            self.herd.is_back(now);
            return Err(u64::MAX);
        }
        Ok(self.member(self.next - 1))
    }

    /// A connection was reset. Returns when it should have been open again.
    pub(crate) fn leaves(&mut self, index: usize, times: TrafficTimes) -> u64 {
        let at = self.stampede.at_ns(times);
        self.herd.leaves(at);
        self.away[index / 64] |= 1 << (index % 64);
        at
    }

    pub(crate) fn is_away(&self, index: usize) -> bool {
        self.away[index / 64] & (1 << (index % 64)) != 0
    }

    /// A handshake was completed; true if it brings back one of those that were reset.
    pub(crate) fn is_back(&mut self, index: usize, now: u64) -> bool {
        let was_away = self.is_away(index);
        if was_away {
            self.away[index / 64] &= !(1 << (index % 64));
            self.herd.is_back(now);
        }
        was_away
    }

    /// An attempt to come back has failed. True if there will be another.
    pub(crate) fn retries(&mut self, index: usize, now: u64, times: TrafficTimes) -> bool {
        let retries = self.is_away(index) && now < times.until_ns;
        if retries {
            self.retries.push_back((now + RETRY_NS, index));
        }
        retries
    }

    /// The server has dropped a connection on which it had not said anything. True if it is one that had come
    /// back and will do so once more.
    pub(crate) fn leaves_again(&mut self, index: usize, now: u64, times: TrafficTimes) -> bool {
        let again = self.next > 0
            && self.contains(index)
            && now < times.until_ns
            && self.herd.over_ns().is_none_or(|over| now < over + SHED_NS);
        if again {
            self.herd.leaves_again();
            self.away[index / 64] |= 1 << (index % 64);
            self.retries.push_back((now + RETRY_NS, index));
        }
        again
    }

    /// A connection whose next attempt is due.
    pub(crate) fn next_retry(&mut self, now: u64) -> Option<usize> {
        let (at, index) = *self.retries.front()?;
        (at <= now).then(|| {
            self.retries.pop_front();
            index
        })
    }

    /// When the next attempt is due; `u64::MAX`: there is none.
    pub(crate) fn next_retry_ns(&self) -> u64 {
        self.retries.front().map_or(u64::MAX, |(at, _)| *at)
    }

    pub(crate) fn stop(&mut self) {
        self.retries.clear();
    }

    /// Where the latency belongs of a message that was due on a connection at `due_ns`.
    pub(crate) fn part(&self, index: usize, due_ns: u64) -> Part {
        let begun = self.herd.at_ns().is_some_and(|at| due_ns >= at);
        let over = self.herd.over_ns().is_some_and(|over| due_ns > over);
        match begun && !over {
            false => Part::Rest,
            true if self.contains(index) => Part::Crowd,
            true => Part::Others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: TrafficTimes = TrafficTimes {
        from_ns: 0,
        record_from_ns: 1000,
        until_ns: 3000,
    };

    fn crowd(herd: &Arc<Herd>, connections: usize, members: usize) -> Crowd {
        let stampede = Stampede {
            connections: Active::Count(members),
            at: None,
        };
        Crowd::new(stampede, Arc::clone(herd), connections, members)
    }

    fn reset_all(crowd: &mut Crowd, now: u64) -> Vec<usize> {
        std::iter::from_fn(|| {
            let index = crowd.next_to_reset(now, TIMES).ok()?;
            crowd.leaves(index, TIMES);
            Some(index)
        })
        .collect()
    }

    #[test]
    fn as_many_as_asked_are_reset_when_the_time_has_come() {
        for (connections, members) in [(1, 1), (10, 3), (100, 100), (1000, 0), (129, 64)] {
            let mut crowd = crowd(&Arc::new(Herd::new(1)), connections, members);
            assert_eq!(crowd.next_to_reset(1999, TIMES), Err(2000));
            let reset = reset_all(&mut crowd, 2000);
            assert_eq!(reset.len(), members);
            let counted = (0..connections).filter(|&index| crowd.contains(index));
            assert_eq!(counted.collect::<Vec<_>>(), reset);
            assert!(reset.iter().all(|&index| crowd.is_away(index)));
            assert_eq!(crowd.next_to_reset(9999, TIMES), Err(u64::MAX));
        }
    }

    #[test]
    fn it_is_over_when_the_last_of_the_last_thread_is_back() {
        let herd = Arc::new(Herd::new(2));
        let (mut one, mut other) = (crowd(&herd, 4, 2), crowd(&herd, 4, 1));
        for index in reset_all(&mut one, 2000) {
            assert!(one.is_back(index, 2001) && !one.is_back(index, 2001));
        }
        assert_eq!(herd.over_ns(), None, "the other thread has not begun");
        let index = reset_all(&mut other, 2002)[0];
        assert_eq!(
            (one.part(1, 2100), other.part(index, 2100)),
            (Part::Others, Part::Crowd)
        );
        assert!(other.is_back(index, 2200));
        assert_eq!((herd.at_ns(), herd.over_ns()), (Some(2000), Some(2200)));
        assert_eq!(
            (one.part(1, 1999), one.part(1, 2201)),
            (Part::Rest, Part::Rest)
        );
    }

    #[test]
    fn who_is_shed_tries_again_later_as_long_as_there_is_traffic() {
        let herd = Arc::new(Herd::new(1));
        let mut crowd = crowd(&herd, 4, 2);
        let [one, two] = reset_all(&mut crowd, 2000)[..] else {
            panic!("two of them");
        };
        assert!(crowd.retries(one, 2100, TIMES) && !crowd.retries(3, 2100, TIMES));
        assert_eq!(crowd.next_retry(2100), None);
        assert_eq!(crowd.next_retry(crowd.next_retry_ns()), Some(one));
        assert!(crowd.is_back(one, 2300) && crowd.leaves_again(one, 2400, TIMES));
        assert!(crowd.is_back(two, 2500) && herd.over_ns().is_none());
        assert!(!crowd.retries(one, 3000, TIMES), "the traffic has ended");
        assert!(crowd.is_back(one, 2700));
        assert_eq!(herd.over_ns(), Some(2700));
        assert!(crowd.leaves_again(two, 2800, TIMES) && herd.over_ns().is_none());
        assert!(crowd.is_back(two, 2900));
        let long = TrafficTimes {
            until_ns: u64::MAX,
            ..TIMES
        };
        assert!(!crowd.leaves_again(3, 2950, long), "it was never reset");
        let later = 2900 + SHED_NS;
        assert!(
            !crowd.leaves_again(one, later, long),
            "that is a loss like any other"
        );
    }
}
