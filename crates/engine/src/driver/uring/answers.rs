//! What the answers to a connection's requests mean.

use super::{PENDING, UringDriver};
use crate::config::WatchPolicy;
use crate::driver::{Data, Driver, Event};
use crate::lifecycle::Phase;
use crate::sys::buffer_ring::Lease;
use crate::table::{Table, Watch};
use crate::token::{Handle, Kind};
use std::io;

/// Readiness behind which an end of stream or an error follows, told once.
pub(super) const FINAL: i16 = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;

/// The part of a completion that says what happened.
pub(super) struct Answer {
    pub(super) result: i32,
    pub(super) more: bool,
    pub(super) nonempty: bool,
    pub(super) lease: Option<Lease>,
}

impl UringDriver {
    /// What an answer to one of a connection's requests means.
    pub(super) fn answered(
        &mut self,
        table: &mut Table,
        kind: Kind,
        handle: Handle,
        answer: Answer,
    ) -> Option<Event> {
        let slot = handle.slot;
        let Some(record) = table.claim(handle) else {
            self.stats.completions_stale.add(1);
            self.discard(answer.lease);
            return None;
        };
        if !answer.more {
            record.watch.remove(match kind {
                Kind::Poll => Watch::POLL,
                Kind::PollMultishot => Watch::POLL_MULTISHOT,
                Kind::PollWrite => Watch::WRITE,
                Kind::Receive => Watch::RECEIVE,
                Kind::ReceiveMultishot => Watch::RECEIVE_MULTISHOT.union(Watch::ENDING),
                _ => Watch::default(),
            });
        }
        if kind == Kind::Interest {
            let error = io::Error::from_raw_os_error(-answer.result);
            return (record.phase != Phase::Releasing).then_some(Event::Failed { slot, error });
        }
        if record.phase == Phase::Releasing {
            let released = !record.watch.has_any(PENDING);
            self.discard(answer.lease);
            return released.then_some(Event::Released { slot });
        }
        match kind {
            Kind::PollWrite => Some(Event::Writable { slot }),
            Kind::Poll | Kind::PollMultishot => {
                record.watch.insert(Watch::MORE);
                if answer.result & i32::from(FINAL) != 0 {
                    record.watch.insert(Watch::FINAL_EDGE);
                }
                if record.wants_data() {
                    self.queue(handle, &mut table[slot]);
                }
                None
            }
            Kind::Receive if answer.result == -libc::ENOBUFS => {
                self.stats.buffers_exhausted.add(1);
                record.watch.insert(Watch::QUEUED);
                self.refused.push(handle);
                None
            }
            Kind::Receive => self.received(table, handle, answer),
            Kind::ReceiveMultishot => {
                // Data and a reset that come together wake this read once, and Linux (6.18 is one)
                // may spend that on the data. A reply would fail and tell; where none is owed, a
                // single read looks whether there is more.
                let event = self.received(table, handle, answer);
                if let Some(Event::Data { .. }) = event {
                    table[slot].watch.insert(Watch::MORE);
                }
                event
            }
            _ => None,
        }
    }

    fn received(&mut self, table: &mut Table, handle: Handle, answer: Answer) -> Option<Event> {
        let slot = handle.slot;
        let Answer {
            result,
            nonempty,
            lease,
            ..
        } = answer;
        let record = &mut table[slot];
        match (result, lease) {
            (1.., Some(lease)) => {
                if nonempty || record.watch.has_any(Watch::FINAL_EDGE) {
                    record.watch.insert(Watch::MORE);
                } else {
                    record.watch.remove(Watch::MORE);
                }
                if self.policy == WatchPolicy::Adaptive {
                    record.warm(self.promoted.second());
                }
                Some(Event::Data {
                    slot,
                    data: Data::Leased(lease),
                })
            }
            (0, lease) => {
                self.discard(lease);
                Some(Event::Ended { slot })
            }
            (_, lease) => {
                self.discard(lease);
                self.receive_failed(table, handle, -result)
            }
        }
    }

    fn receive_failed(&mut self, table: &mut Table, handle: Handle, errno: i32) -> Option<Event> {
        let record = &mut table[handle.slot];
        match errno {
            libc::ENOBUFS => {
                self.stats.buffers_exhausted.add(1);
                record.watch.insert(Watch::MORE);
                self.read(table, handle.slot);
                None
            }
            // Readiness that was gone when we came, or a multishot read that was ended on purpose.
            libc::EAGAIN | libc::EINTR | libc::ECANCELED => {
                record.watch.remove(Watch::MORE.union(Watch::FINAL_EDGE));
                self.read(table, handle.slot);
                None
            }
            errno => {
                let error = io::Error::from_raw_os_error(errno);
                Some(Event::Failed {
                    slot: handle.slot,
                    error,
                })
            }
        }
    }

    fn discard(&mut self, lease: Option<Lease>) {
        if let Some(lease) = lease {
            self.ring.buffers_mut().give_back(lease);
        }
    }
}
