//! What one thread has to do next, and when: the one place where ramp, arrivals, churn and stampede meet.
//!
//! The thread asks for one thing after the other and does it by its own means, with sockets or with
//! packets; the agenda knows nothing of either.

use super::{Arrivals, Crowd, Herd, Pattern, Ramp, Traffic, Turns, Workload};
use crate::phase::{Phase, TrafficTimes};
use crate::tally::Tally;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// The answer to 'what is next'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due<T> {
    /// This, now.
    Now(T),
    /// Nothing before this time; `u64::MAX`: not by the clock.
    At(u64),
}

/// A connection whose turn to be opened has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) index: usize,
    /// When it should have been opened.
    pub(crate) due_ns: u64,
}

/// One thread's part of a workload.
#[derive(Debug)]
pub(crate) struct Agenda {
    pub(crate) traffic: Traffic,
    pub(crate) turns: Turns,
    pub(crate) times: TrafficTimes,
    /// Handshakes begun whose end was not told.
    handshakes_in_flight: usize,
    /// Messages due on connections that may still answer them.
    pub(crate) outstanding: u64,
    connections: usize,
    ramp: Ramp,
    arrivals: Option<Arrivals>,
    churn: Option<Arrivals>,
    /// Arrivals and churn that were dealt with.
    arrived: u64,
    churned: u64,
    crowd: Option<Crowd>,
    pipelines_filled: bool,
    /// Connections were opened in the order of their index so far.
    opened: usize,
    reopen: VecDeque<Opening>,
}

impl Agenda {
    /// The part of thread `thread` of `threads`.
    pub(crate) fn new(
        workload: &Workload,
        thread: usize,
        threads: usize,
        times: TrafficTimes,
        herd: &Arc<Herd>,
    ) -> Self {
        let share = Share { thread, threads };
        let connections = share.of(workload.connections);
        let all_active = workload.active.of(workload.connections);
        let active = share.of(all_active);
        let rate = match workload.traffic {
            Traffic::OpenLoop {
                messages_per_second,
            } if active > 0 => messages_per_second,
            _ => 0.0,
        };
        let churn = workload.churn_per_second;
        let crowd = workload.stampede.map(|stampede| {
            let members = share.of(stampede.connections.of(workload.connections));
            Crowd::new(stampede, Arc::clone(herd), connections, members)
        });
        Self {
            traffic: workload.traffic,
            turns: Turns::new(connections, active),
            times,
            handshakes_in_flight: 0,
            outstanding: 0,
            connections,
            ramp: Ramp::new(workload, threads),
            // Only the first threads have an active connection if there are fewer of those than threads.
            arrivals: Arrivals::new(rate, workload.pattern, thread, threads.min(all_active)),
            churn: Arrivals::new(churn, Pattern::Uniform, thread, threads),
            arrived: 0,
            churned: 0,
            crowd,
            pipelines_filled: false,
            opened: 0,
            reopen: VecDeque::new(),
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    /// Requests that each active connection keeps in flight; 0 unless the loop is closed.
    pub(crate) fn pipeline(&self) -> usize {
        match self.traffic {
            Traffic::ClosedLoop { pipeline } => pipeline,
            _ => 0,
        }
    }

    /// The next connection to open; the caller begins its handshake. The ramp is for the way up: what is
    /// opened again is bounded by the handshakes in flight alone.
    pub(crate) fn next_opening(&mut self, now: u64) -> Due<Opening> {
        let in_flight = self.handshakes_in_flight;
        let opening =
            if self.opened < self.connections && self.ramp.allows(now, self.opened, in_flight) {
                self.opened += 1;
                Opening {
                    index: self.opened - 1,
                    due_ns: now,
                }
            } else if self.ramp.has_room(in_flight)
                && let Some(index) = self.crowd.as_mut().and_then(|crowd| crowd.next_retry(now))
            {
                Opening { index, due_ns: now }
            } else if self.ramp.has_room(in_flight)
                && let Some(opening) = self.reopen.pop_front()
            {
                opening
            } else {
                let due = self.ramp.next_due_ns(self.opened, in_flight);
                let retry = self
                    .crowd
                    .as_ref()
                    .filter(|_| self.ramp.has_room(in_flight))
                    .map_or(u64::MAX, Crowd::next_retry_ns);
                return Due::At(
                    due.filter(|_| self.opened < self.connections)
                        .unwrap_or(u64::MAX)
                        .min(retry),
                );
            };
        self.handshakes_in_flight += 1;
        Due::Now(opening)
    }

    /// A handshake has ended, one way or another.
    pub(crate) fn handshake_over(&mut self) {
        self.handshakes_in_flight -= 1;
    }

    /// The run itself has closed this connection: it is to be opened again.
    pub(crate) fn reopen(&mut self, index: usize, due_ns: u64) {
        self.reopen.push_back(Opening { index, due_ns });
    }

    /// Opens nothing more.
    pub(crate) fn stop_opening(&mut self) {
        self.opened = self.connections;
        self.reopen.clear();
        self.crowd.iter_mut().for_each(Crowd::stop);
    }

    /// Open loop: the slot whose next message is due.
    pub(crate) fn next_message(&mut self, now: u64) -> Due<u64> {
        match self.next_arrival_ns() {
            Some(due) if due > now => Due::At(due),
            None => Due::At(u64::MAX),
            Some(_) => {
                self.arrived += 1;
                Due::Now(self.turns.slot(self.arrived - 1))
            }
        }
    }

    /// When the next message is due; `None` if there is none before the traffic ends.
    fn next_arrival_ns(&self) -> Option<u64> {
        let due = self
            .times
            .from_ns
            .saturating_add(self.arrivals?.due_ns(self.arrived));
        (due < self.times.until_ns).then_some(due)
    }

    /// Open loop: messages that have fallen due on a slot until now.
    pub(crate) fn arrived_on(&self, slot: u64) -> u64 {
        self.turns.count_before(slot, self.arrived)
    }

    /// Counts the messages `numbers` of a slot as answered now. `sent_ns` holds, under a closed loop,
    /// when each message in flight was sent; the one that takes its place is sent now.
    pub(crate) fn answered(
        &mut self,
        slot: u64,
        numbers: Range<u64>,
        now: u64,
        sent_ns: &mut [u64],
        tally: &mut Tally,
    ) {
        let replies = numbers.end - numbers.start;
        self.outstanding -= replies;
        tally.counters.messages += replies;
        for number in numbers {
            let began = match self.traffic {
                Traffic::ClosedLoop { pipeline } => {
                    let at = slot as usize * pipeline + (number % pipeline as u64) as usize;
                    std::mem::replace(&mut sent_ns[at], now)
                }
                Traffic::OpenLoop { .. } => self.due_ns(slot, number),
                Traffic::None => continue,
            };
            let took = now.saturating_sub(began);
            if began >= self.times.record_from_ns {
                tally.counters.measured_messages += 1;
                tally.latency_ns.saturating_record(took);
                if let Some(crowd) = &self.crowd {
                    let part = crowd.part(self.turns.connection(slot), began);
                    tally.stampede().latency(part).saturating_record(took);
                }
            } else {
                tally.warmup_ns.saturating_record(took);
            }
        }
    }

    /// Open loop: when message `number` of a slot was due.
    pub(crate) fn due_ns(&self, slot: u64, number: u64) -> u64 {
        let arrival = self.turns.number(slot, number);
        self.times.from_ns + self.arrivals.map_or(0, |arrivals| arrivals.due_ns(arrival))
    }

    /// Closed loop: true once, when the traffic begins.
    pub(crate) fn fill_pipelines(&mut self) -> bool {
        self.pipeline() > 0 && !std::mem::replace(&mut self.pipelines_filled, true)
    }

    /// The next connection to close and open again.
    pub(crate) fn next_churn(&mut self, now: u64) -> Due<Opening> {
        let Some(churn) = self.churn else {
            return Due::At(u64::MAX);
        };
        let due_ns = self
            .times
            .from_ns
            .saturating_add(churn.due_ns(self.churned));
        if due_ns >= self.times.until_ns {
            return Due::At(u64::MAX);
        }
        if due_ns > now {
            return Due::At(due_ns);
        }
        let index = (self.churned % self.connections as u64) as usize;
        self.churned += 1;
        Due::Now(Opening { index, due_ns })
    }

    /// The next connection to reset in a stampede.
    pub(crate) fn next_reset(&mut self, now: u64) -> Due<usize> {
        let Some(crowd) = &mut self.crowd else {
            return Due::At(u64::MAX);
        };
        match crowd.next_to_reset(now, self.times) {
            Ok(index) => Due::Now(index),
            Err(due) => Due::At(due),
        }
    }

    /// A connection was reset as told: it is to be opened again at once.
    pub(crate) fn stampedes(&mut self, index: usize, tally: &mut Tally) {
        if let Some(crowd) = &mut self.crowd {
            let due_ns = crowd.leaves(index, self.times);
            tally.stampede().reset += 1;
            self.reopen.push_back(Opening { index, due_ns });
        }
    }

    /// A handshake was completed that should have been `took_ns` ago: counts it as one of the ramp, of churn or of
    /// a stampede.
    pub(crate) fn is_open(
        &mut self,
        index: usize,
        reopened: bool,
        now: u64,
        due_ns: u64,
        tally: &mut Tally,
    ) {
        let took_ns = now.saturating_sub(due_ns);
        tally.counters.open += 1;
        tally.counters.reopened += u64::from(reopened);
        tally.counters.established += u64::from(!reopened);
        let stampeded = |crowd: &mut Crowd| crowd.is_back(index, now);
        if self.crowd.as_mut().is_some_and(stampeded) {
            let stampede = tally.stampede();
            stampede.back += 1;
            stampede.connect_ns.saturating_record(took_ns);
        } else {
            tally.connect_ns.saturating_record(took_ns);
        }
    }

    /// An attempt to open has failed. True if it is one of a stampede and will be repeated.
    pub(crate) fn is_retried(
        &mut self,
        index: usize,
        why: &str,
        now: u64,
        tally: &mut Tally,
    ) -> bool {
        let times = self.times;
        let retried = |crowd: &mut Crowd| crowd.retries(index, now, times);
        let retried = self.crowd.as_mut().is_some_and(retried);
        if retried {
            tally.stampede().because(why);
        }
        retried
    }

    /// The server has ended an open connection on which it said nothing. True if it is one that came back in a stampede:
    /// it will come back again.
    pub(crate) fn is_shed(&mut self, index: usize, why: &str, now: u64, tally: &mut Tally) -> bool {
        let times = self.times;
        let shed = |crowd: &mut Crowd| crowd.leaves_again(index, now, times);
        let shed = self.crowd.as_mut().is_some_and(shed);
        if shed {
            let stampede = tally.stampede();
            stampede.back -= 1;
            stampede.because(why);
        }
        shed
    }

    /// A SYN of a connection that is away in a stampede was not answered and is sent again.
    pub(crate) fn asks_again(&mut self, index: usize, tally: &mut Tally) {
        if self
            .crowd
            .as_ref()
            .is_some_and(|crowd| crowd.is_away(index))
        {
            tally.stampede().because("connect: no answer, asked again");
        }
    }

    /// Whether nothing remains to be done in this phase but what replies and closes bring.
    pub(crate) fn is_done(&self, phase: Phase) -> bool {
        let all_opened = self.opened == self.connections
            && self.reopen.is_empty()
            && self
                .crowd
                .as_ref()
                .is_none_or(|crowd| crowd.next_retry_ns() == u64::MAX)
            && self.handshakes_in_flight == 0;
        match phase {
            Phase::Connect => all_opened,
            Phase::Idle | Phase::Warmup | Phase::Hold => false,
            Phase::Drain => all_opened && self.outstanding == 0 && self.next_arrival_ns().is_none(),
            Phase::Close => true,
        }
    }
}

/// A thread's share of whole numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) thread: usize,
    pub(crate) threads: usize,
}

impl Share {
    /// The first threads have one more if it does not come out even.
    pub(crate) fn of(self, total: usize) -> usize {
        total / self.threads + usize::from(self.thread < total % self.threads)
    }

    /// The number, among all threads' connections, of this thread's `local`-th.
    pub(crate) fn global(self, local: usize) -> usize {
        local * self.threads + self.thread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agenda(workload: &Workload) -> Agenda {
        let times = TrafficTimes {
            from_ns: 0,
            record_from_ns: 0,
            until_ns: 1_000_000_000,
        };
        Agenda::new(workload, 0, 1, times, &Arc::new(Herd::new(1)))
    }

    #[test]
    fn handshakes_in_flight_hold_the_next_opening_back() {
        let mut agenda = agenda(&Workload {
            connections: 3,
            handshakes_in_flight: 2,
            ..Workload::default()
        });
        assert_eq!(
            agenda.next_opening(5),
            Due::Now(Opening {
                index: 0,
                due_ns: 5
            })
        );
        assert_eq!(
            agenda.next_opening(5),
            Due::Now(Opening {
                index: 1,
                due_ns: 5
            })
        );
        assert_eq!(agenda.next_opening(5), Due::At(u64::MAX));
        agenda.handshake_over();
        agenda.reopen(0, 3);
        assert_eq!(
            agenda.next_opening(6),
            Due::Now(Opening {
                index: 2,
                due_ns: 6
            })
        );
        agenda.handshake_over();
        assert_eq!(
            agenda.next_opening(7),
            Due::Now(Opening {
                index: 0,
                due_ns: 3
            })
        );
        assert!(!agenda.is_done(Phase::Connect));
        agenda.handshake_over();
        agenda.handshake_over();
        assert!(agenda.is_done(Phase::Connect));
    }

    #[test]
    fn every_due_message_is_counted_on_its_slot() {
        let traffic = Traffic::OpenLoop {
            messages_per_second: 1000.0,
        };
        let mut agenda = agenda(&Workload {
            connections: 7,
            traffic,
            ..Workload::default()
        });
        let mut sent = [0_u64; 7];
        let mut now = 0;
        while now < u64::MAX {
            match agenda.next_message(now) {
                Due::Now(slot) => {
                    let number = sent[slot as usize];
                    sent[slot as usize] += 1;
                    assert_eq!(agenda.arrived_on(slot), number + 1);
                    assert!(
                        agenda.due_ns(slot, number) <= now
                            && now < agenda.due_ns(slot, number) + 10
                    );
                }
                Due::At(next) => now = next,
            }
        }
        assert_eq!(sent.iter().sum::<u64>(), 1000);
    }

    #[test]
    fn a_thread_without_an_active_connection_leaves_no_gap_in_the_stream() {
        let traffic = Traffic::OpenLoop {
            messages_per_second: 100.0,
        };
        let workload = Workload {
            connections: 8,
            active: super::super::Active::Count(1),
            traffic,
            ..Workload::default()
        };
        let times = TrafficTimes {
            from_ns: 0,
            record_from_ns: 0,
            until_ns: 1_000_000_000,
        };
        let count = |thread| {
            let mut agenda = Agenda::new(&workload, thread, 2, times, &Arc::new(Herd::new(2)));
            std::iter::from_fn(|| {
                matches!(agenda.next_message(1_000_000_000), Due::Now(_)).then_some(())
            })
            .count()
        };
        assert_eq!((count(0), count(1)), (100, 0));
    }
}
