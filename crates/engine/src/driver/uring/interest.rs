//! Watching by epoll interest: the cheapest watch there is, and readiness is still waited for in the ring.
//!
//! ```text
//!   EPOLL_CTL ADD ──► interest, edge-triggered, until the descriptor is closed
//!                        │ edge
//!                        ▼
//!   POLL_ADD on the epoll descriptor ──► completion ──► epoll_wait(2), not waiting ──► QUEUED
//!        ▲                                                   │
//!        └───────────────────────────────────────────────────┘ armed again first thing
//! ```
//!
//! Arming a poll asks the epoll descriptor for readiness, so whatever came since it was read should complete
//! the poll at once. Among hundreds of workers readiness has come late all the same, or not at all: not
//! explained yet, see `ARCHITECTURE.md`. What an edge told and was not read is remembered in the record (`MORE`).

use super::answers::FINAL;
use super::{READABLE, UringDriver};
use crate::limits;
use crate::sys::epoll::Epoll;
use crate::table::{Table, Watch};
use crate::token::{Handle, Kind, parse, worker_token};
use std::io;
use std::time::Duration;

const INTEREST: i32 = READABLE as i32 | libc::EPOLLET;

/// The worker's epoll instance.
pub(super) struct Interests {
    epoll: Epoll,
    armed: bool,
}

impl Interests {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(limits::EPOLL_EVENTS)?,
            armed: false,
        })
    }
}

impl UringDriver {
    /// Registers a new connection, where connections are watched in this way.
    pub(super) fn register_interest(&mut self, table: &Table, slot: u32) {
        let (Some(interests), Some(handle)) = (&self.interests, table.handle(slot)) else {
            return;
        };
        self.ring.epoll_add(
            handle.token(Kind::Interest),
            interests.epoll.fd(),
            table[slot].fd(),
            (INTEREST, handle.token(Kind::Poll)),
        );
    }

    /// Sees to it that the next edge completes something.
    pub(super) fn watch_interests(&mut self) {
        if let Some(interests) = &mut self.interests
            && !interests.armed
        {
            interests.armed = true;
            let token = worker_token(Kind::Readiness, 0);
            self.ring
                .poll(token, interests.epoll.fd(), libc::POLLIN, false);
        }
    }

    /// Takes the edges that there are and queues their connections for a read.
    pub(super) fn take_edges(&mut self, table: &mut Table) {
        let Some(interests) = &mut self.interests else {
            return;
        };
        interests.armed = false;
        // Fails only for arguments that cannot be; the poll that is armed next would tell again.
        let edges = interests.epoll.wait(Some(Duration::ZERO)).unwrap_or(0);
        for index in 0..edges {
            let event = self.interests.as_ref().and_then(|i| i.epoll.event(index));
            if let Some((bits, token)) = event
                && let Some((_, handle)) = parse(token)
            {
                self.edge(table, handle, bits);
            }
        }
        self.pace.arrived(edges as u32);
    }

    fn edge(&mut self, table: &mut Table, handle: Handle, bits: i32) {
        let Some(record) = table.claim(handle) else {
            self.stats.completions_stale.add(1);
            return;
        };
        record.watch.insert(Watch::MORE);
        if bits & i32::from(FINAL) != 0 {
            record.watch.insert(Watch::FINAL_EDGE);
        }
        if record.wants_data() {
            self.queue(handle, record);
        }
    }
}
