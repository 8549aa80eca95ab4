//! The driver that the engine is built for.
//!
//! An idle connection costs one pending poll. When that answers, the connection stands in a queue, and
//! as many reads are submitted as there are buffers free; a read completes while it is submitted. So
//! buffers follow reads in flight, never connections:
//!
//! ```text
//!            poll answers            buffers free              bytes
//!   POLL ───────────────► QUEUED ───────────────► RECEIVE ───────────────► the service
//!    ▲                      ▲ ENOBUFS                │                          │
//!    │                      └────────────────────────┤ more in the socket ──────┤ wants more
//!    └───────────────────────────────────────────────┴──────────────────────────┘
//! ```
//!
//! `poll-multi` leaves the poll pending; `epoll` has an interest instead of a request (`interest`); `recv`
//! keeps a multishot read pending instead; `adaptive` does so for connections that are busy. Sends complete while they are submitted, too. What is pending
//! when a connection ends is therefore a poll or a multishot read, and shutting the socket down
//! completes both, except a multishot poll, which has to be cancelled.

mod answers;
mod heat;
mod interest;
mod pace;
mod promotion;

use super::{Data, Driver, Event, Sending};
use crate::buffers::Outgoing;
use crate::config::WatchPolicy;
use crate::limits;
use crate::listener::Listener;
use crate::probe;
use crate::stats::WorkerStats;
use crate::sys::ring::{Completion, Ring, RingSizes, Wait};
use crate::table::{Record, Table, Watch};
use crate::token::{Handle, Kind, parse, worker_token};
use answers::Answer;
use interest::Interests;
use pace::Pace;
use promotion::{Promoted, end_multishot};
use socket2::SockRef;
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

const READABLE: i16 = libc::POLLIN | libc::POLLRDHUP;

/// Requests that the kernel holds until they are answered.
const PENDING: Watch = Watch::POLL
    .union(Watch::POLL_MULTISHOT)
    .union(Watch::WRITE)
    .union(Watch::RECEIVE)
    .union(Watch::RECEIVE_MULTISHOT)
    .union(Watch::SEND);

/// Ways in which a connection is being read already, or soon; a multishot read is one more.
const READING: Watch = Watch::POLL.union(Watch::RECEIVE).union(Watch::QUEUED);

pub(crate) struct UringDriver {
    ring: Ring,
    policy: WatchPolicy,
    listeners: Vec<Listener>,
    /// Connections to read from, first come first served.
    queue: VecDeque<Handle>,
    /// Connections whose single read found no buffer, in the order in which they were submitted.
    refused: Vec<Handle>,
    /// Sends since the last wait; they complete while they are submitted.
    sends: usize,
    pace: Pace,
    /// The last wait gathered what it could: what stands in the queue is read next.
    gathered: bool,
    promoted: Promoted,
    /// Where connections are watched by epoll interest.
    interests: Option<Interests>,
    stats: Arc<WorkerStats>,
}

impl UringDriver {
    pub(crate) fn new(
        config: &crate::Config,
        listeners: Vec<Listener>,
        stats: Arc<WorkerStats>,
    ) -> io::Result<Self> {
        // Where a buffer's bytes belong follows from the order of completions.
        let multishot_reads = matches!(config.watch, WatchPolicy::Recv | WatchPolicy::Adaptive);
        let ring = Ring::new(RingSizes {
            sq_entries: limits::SQ_ENTRIES,
            cq_entries: limits::CQ_ENTRIES,
            buffers: config.buffers,
            buffer_bytes: config.buffer_bytes,
            incremental: !multishot_reads || probe::completions_in_order(),
        })?;
        let by_interest = config.watch == WatchPolicy::Epoll;
        Ok(Self {
            ring,
            interests: by_interest.then(Interests::new).transpose()?,
            policy: config.watch,
            listeners,
            queue: VecDeque::new(),
            refused: Vec::new(),
            sends: 0,
            pace: Pace::new(),
            gathered: false,
            promoted: Promoted::new(config.workers),
            stats,
        })
    }

    /// Submits reads for queued connections, as many as there are buffers for, and returns how many.
    /// Single ones whatever the policy: a multishot read of a socket that is never empty would take the
    /// buffers of all behind it.
    fn receive_queued(&mut self, table: &mut Table) -> usize {
        let buffers = self.ring.buffers();
        let each = if buffers.incremental() {
            limits::READS_PER_BUFFER
        } else {
            1
        };
        let most = (buffers.available() * each).min(limits::BATCH_MAX);
        let mut receives = 0;
        while receives < most {
            let Some(handle) = self.queue.pop_front() else {
                break;
            };
            let Some(record) = table.claim(handle) else {
                continue;
            };
            record.watch.remove(Watch::QUEUED);
            if !record.wants_data() {
                continue;
            }
            receives += 1;
            record.watch.insert(Watch::RECEIVE);
            self.ring.receive(handle.token(Kind::Receive), record.fd());
        }
        receives
    }

    fn queue(&mut self, handle: Handle, record: &mut Record) {
        if !record.watch.has_any(Watch::QUEUED) {
            record.watch.insert(Watch::QUEUED);
            self.queue.push_back(handle);
        }
    }

    /// How to wait, with these reads just submitted.
    ///
    /// What was read must be answered now: the wait is over when the reads are. What was sent needs no
    /// attention, so otherwise there is time to gather a batch, where the rate says that one comes.
    fn plan(&mut self, receives: usize, timeout: Option<Duration>) -> Wait {
        let sends = std::mem::take(&mut self.sends);
        if receives > 0 {
            return Wait {
                completions: receives,
                timeout,
                batch_for: None,
            };
        }
        let Some(batch) = self.pace.batch() else {
            return Wait {
                completions: 1,
                timeout,
                batch_for: None,
            };
        };
        Wait {
            completions: (sends + batch).min(limits::BATCH_MAX),
            timeout: timeout.or(Some(limits::WAIT_MAX)),
            batch_for: Some(limits::BATCH_WAIT),
        }
    }
}

impl Driver for UringDriver {
    const SENDS_AT_ONCE: bool = false;

    fn listeners(&mut self) -> &mut [Listener] {
        &mut self.listeners
    }

    fn watch_mailbox(&mut self, wake: BorrowedFd<'_>) {
        self.ring
            .poll(worker_token(Kind::Wake, 0), wake, libc::POLLIN, false);
    }

    fn accept(&mut self, listener: u8) -> io::Result<()> {
        if let Some(socket) = self.listeners.get(usize::from(listener)) {
            self.ring.accept(listener, socket.as_fd());
        }
        Ok(())
    }

    fn stop_accepting(&mut self) {
        for listener in self.listeners.drain(..) {
            // Ends the pending accept, which would keep the socket open.
            let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
        }
    }

    fn wait(&mut self, table: &mut Table, timeout: Option<Duration>) -> io::Result<()> {
        self.demote(table);
        self.watch_interests();
        self.pace.advance();
        // Those that found no buffer were first in the queue, and are again.
        while let Some(handle) = self.refused.pop() {
            self.queue.push_front(handle);
        }
        // What was busy and goes quiet all at once is looked at nevertheless.
        let cooling = (!self.promoted.is_empty()).then_some(Duration::from_secs(1));
        let timeout = [timeout, cooling].into_iter().flatten().min();
        // While batches are gathered, gathering and reading take turns, unless there is one already.
        let wanted = self
            .pace
            .batch()
            .filter(|_| self.ring.batches() && !self.gathered);
        let gather = wanted.is_some_and(|batch| self.queue.len() < batch);
        let receives = if gather {
            0
        } else {
            self.receive_queued(table)
        };
        let timeout = match (self.queue.is_empty(), gather) {
            (true, _) => timeout,
            (false, true) => Some(limits::BATCH_WAIT),
            (false, false) => Some(Duration::ZERO),
        };
        let wait = self.plan(receives, timeout);
        self.gathered = receives == 0;
        self.ring.enter(wait)?;
        self.stats.completions_overflowed.set(self.ring.overflows());
        Ok(())
    }

    fn next(&mut self, table: &mut Table) -> Option<Event> {
        loop {
            let (token, answer) = match self.ring.take()? {
                Completion::Accepted {
                    listener,
                    socket,
                    more,
                } => {
                    self.pace.arrived(1);
                    return Some(match socket {
                        Ok(socket) => {
                            if !more {
                                // Ended by a full completion queue: nothing is wrong, go on.
                                let _ = self.accept(listener);
                            }
                            Event::Accepted { listener, socket }
                        }
                        Err(error) => Event::AcceptStopped {
                            listener,
                            error: Some(error),
                        },
                    });
                }
                Completion::Sent {
                    token,
                    outgoing,
                    result,
                } => {
                    // A connection is not released while its send is pending.
                    let (_, handle) = parse(token)?;
                    table[handle.slot].watch.remove(Watch::SEND);
                    return Some(Event::Sent {
                        slot: handle.slot,
                        outgoing,
                        result,
                    });
                }
                Completion::Other {
                    token,
                    result,
                    more,
                    nonempty,
                    lease,
                } => (
                    token,
                    Answer {
                        result,
                        more,
                        nonempty,
                        lease,
                    },
                ),
            };
            match parse(token) {
                Some((Kind::Wake, _)) => return Some(Event::Woken),
                Some((Kind::Cancel, handle)) => {
                    // Not found: a multishot read that is about to run again. Its next data asks anew.
                    if let (..0, Some(record)) = (answer.result, table.claim(handle)) {
                        record.watch.remove(Watch::ENDING);
                    }
                }
                Some((Kind::Close, _)) => {}
                Some((Kind::Readiness, _)) => self.take_edges(table),
                Some((kind, handle)) => {
                    self.pace.arrived(u32::from(kind != Kind::Receive));
                    if let Some(event) = self.answered(table, kind, handle, answer) {
                        return Some(event);
                    }
                }
                None => self.stats.completions_stale.add(1),
            }
        }
    }

    fn bytes(&self, data: &Data) -> &[u8] {
        match data {
            Data::Leased(lease) => self.ring.buffers().bytes(lease),
            Data::Scratch(_) => &[],
        }
    }

    fn give_back(&mut self, data: Data) {
        if let Data::Leased(lease) = data {
            self.ring.buffers_mut().give_back(lease);
        }
    }

    fn open(&mut self, table: &mut Table, slot: u32) -> io::Result<()> {
        self.register_interest(table, slot);
        Ok(())
    }

    fn read(&mut self, table: &mut Table, slot: u32) {
        let Some(handle) = table.handle(slot) else {
            return;
        };
        let record = &mut table[slot];
        if !record.wants_data() || record.watch.has_any(READING) {
            return;
        }
        let multishot = record.watch.has_any(Watch::RECEIVE_MULTISHOT);
        if multishot && record.owes_bytes() {
            record.watch.remove(Watch::MORE);
        } else if record.watch.has_any(Watch::MORE) {
            self.queue(handle, record);
        } else if multishot || self.interests.is_some() {
            // The kernel reads on, or an edge will tell.
        } else if self.multishot_is_due(record) {
            self.arm_multishot(handle, record);
        } else if self.policy == WatchPolicy::PollMulti {
            if !record.watch.has_any(Watch::POLL_MULTISHOT) {
                record.watch.insert(Watch::POLL_MULTISHOT);
                self.ring.poll(
                    handle.token(Kind::PollMultishot),
                    record.fd(),
                    READABLE,
                    true,
                );
            }
        } else {
            record.watch.insert(Watch::POLL);
            self.ring
                .poll(handle.token(Kind::Poll), record.fd(), READABLE, false);
        }
    }

    fn pause(&mut self, table: &mut Table, slot: u32) {
        if let Some(handle) = table.handle(slot) {
            end_multishot(&mut self.ring, handle, &mut table[slot]);
        }
    }

    fn send(&mut self, table: &mut Table, slot: u32, outgoing: Outgoing) -> Sending {
        let Some(handle) = table.handle(slot) else {
            return Sending::Done(outgoing, Err(io::ErrorKind::NotConnected.into()));
        };
        let record = &mut table[slot];
        record.watch.insert(Watch::SEND);
        self.ring
            .send(handle.token(Kind::Send), record.fd(), outgoing);
        self.sends += 1;
        Sending::Pending
    }

    fn await_writable(&mut self, table: &mut Table, slot: u32) {
        let Some(handle) = table.handle(slot) else {
            return;
        };
        let record = &mut table[slot];
        record.watch.insert(Watch::WRITE);
        self.ring.poll(
            handle.token(Kind::PollWrite),
            record.fd(),
            libc::POLLOUT,
            false,
        );
    }

    fn release(&mut self, table: &mut Table, slot: u32) -> bool {
        let Some(handle) = table.handle(slot) else {
            return true;
        };
        let record = &mut table[slot];
        if !record.watch.has_any(PENDING) {
            return true;
        }
        if record.watch.has_any(Watch::POLL_MULTISHOT) {
            self.ring.cancel(
                handle.token(Kind::Cancel),
                handle.token(Kind::PollMultishot),
            );
        }
        false
    }

    fn close(&mut self, socket: OwnedFd) {
        self.ring.close(worker_token(Kind::Close, 0), socket);
    }
}
