//! Multishot reads for connections that are worth one: all under `recv`, the busy ones under `adaptive`.

use super::UringDriver;
use crate::config::WatchPolicy;
use crate::limits;
use crate::sys::ring::Ring;
use crate::table::{Record, Table, Watch};
use crate::token::{Handle, Kind};
use std::time::Instant;

/// Connections with a multishot read under `adaptive`, and the clock by which they cool.
pub(super) struct Promoted {
    handles: Vec<Handle>,
    budget: usize,
    started: Instant,
    /// Seconds since then, as far as they have been looked at.
    second: u64,
}

impl Promoted {
    /// All workers share the memory that promoted connections may take.
    pub(super) fn new(workers: usize) -> Self {
        let budget = limits::PROMOTED_BYTES / limits::PROMOTED_CONNECTION_BYTES / workers;
        Self {
            handles: Vec::new(),
            budget: budget.max(1),
            started: Instant::now(),
            second: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// The second in which reads are counted now, as records keep it.
    pub(super) fn second(&self) -> u8 {
        self.second as u8
    }
}

impl UringDriver {
    /// Whether a read that is started now should be a multishot one.
    pub(super) fn multishot_is_due(&self, record: &Record) -> bool {
        match self.policy {
            WatchPolicy::Recv => true,
            WatchPolicy::Adaptive => {
                record.heat >= limits::PROMOTE_HEAT
                    && self.promoted.handles.len() < self.promoted.budget
            }
            WatchPolicy::Poll | WatchPolicy::PollMulti | WatchPolicy::Epoll => false,
        }
    }

    pub(super) fn arm_multishot(&mut self, handle: Handle, record: &mut Record) {
        record.watch.insert(Watch::RECEIVE_MULTISHOT);
        self.ring
            .receive_multishot(handle.token(Kind::ReceiveMultishot), record.fd());
        if self.policy == WatchPolicy::Adaptive && !record.watch.has_any(Watch::PROMOTED) {
            record.watch.insert(Watch::PROMOTED);
            self.promoted.handles.push(handle);
            self.stats.promoted.add(1);
        }
    }

    /// Demotes connections that went quiet, a bounded number of them each second.
    pub(super) fn demote(&mut self, table: &mut Table) {
        if self.policy != WatchPolicy::Adaptive {
            return;
        }
        let second = self.promoted.started.elapsed().as_secs();
        if second == self.promoted.second {
            return;
        }
        self.promoted.second = second;
        let pending = (table.len() as usize).max(1);
        let mut left = (limits::DEMOTION_WALK / pending).clamp(1, limits::DEMOTIONS_PER_SECOND);
        let ring = &mut self.ring;
        self.promoted.handles.retain(|&handle| {
            let Some(record) = table.claim(handle) else {
                return false;
            };
            if !record.watch.has_any(Watch::RECEIVE_MULTISHOT) {
                record.watch.remove(Watch::PROMOTED);
                return false;
            }
            if left == 0 || !record.cool(second as u8) {
                return true;
            }
            left -= 1;
            record.watch.remove(Watch::PROMOTED);
            end_multishot(ring, handle, record);
            self.stats.demoted.add(1);
            false
        });
    }
}

/// Cancels a connection's multishot read, once: the answer may come after further data.
pub(super) fn end_multishot(ring: &mut Ring, handle: Handle, record: &mut Record) {
    let reading = record.watch.has_any(Watch::RECEIVE_MULTISHOT);
    if reading && !record.watch.has_any(Watch::ENDING) {
        record.watch.insert(Watch::ENDING);
        ring.cancel(
            handle.token(Kind::Cancel),
            handle.token(Kind::ReceiveMultishot),
        );
    }
}
