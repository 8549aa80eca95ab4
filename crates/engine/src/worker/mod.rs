//! One worker: wait for a batch of events, run the service, settle what it changed, and wait again.
//!
//! ```text
//!        ┌──────────────► driver.wait ──► events ──► service ──► dirty list ─┐
//!        │                                                                  │
//!        └── settle: send, advance phases, resume reads ◄── sweep, drain ◄──┘
//! ```
//!
//! A service only changes records and outboxes and marks them dirty; nothing it calls reaches into the
//! driver. All consequences are drawn in one place, [`WorkerLoop::settle`], once per batch.

mod events;
mod settle;

use crate::connection::Worker;
use crate::driver::{Driver, Event};
use crate::held::Held;
use crate::lifecycle::{CloseReason, Phase};
use crate::limits;
use crate::mailbox::Mailbox;
use crate::service::Service;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

pub(crate) struct WorkerLoop<S: Service, D: Driver> {
    /// Dropped first: the kernel lets go of buffers and listeners before anything else goes.
    driver: D,
    held: Held<S>,
    service: S,
    inbox: Vec<S::Message>,
    drain: Option<Drain>,
}

/// A drain under way: connections below the cursor have been told.
struct Drain {
    until: Instant,
    cursor: u32,
    forced: bool,
}

impl<S: Service, D: Driver> WorkerLoop<S, D> {
    pub(crate) fn new(driver: D, held: Held<S>, service: S) -> Self {
        Self {
            driver,
            held,
            service,
            inbox: Vec::new(),
            drain: None,
        }
    }

    /// Serves until a drain has closed every connection.
    pub(crate) fn run(mut self) -> io::Result<()> {
        self.driver
            .watch_mailbox(own_mailbox(&self.held).wake().as_fd());
        for listener in 0..self.driver.listeners().len() {
            self.driver.accept(listener as u8)?;
        }
        while !self.is_drained() {
            let timeout = self.next_timeout();
            self.driver.wait(&mut self.held.table, timeout)?;
            self.held.stats.waits.add(1);
            let now = Instant::now();
            self.held.deadlines.advance(now);
            while let Some(event) = self.driver.next(&mut self.held.table) {
                self.handle(event, now)?;
                if D::SENDS_AT_ONCE {
                    self.settle_dirty();
                }
            }
            self.retry_listeners(now)?;
            self.sweep();
            self.drain_step(now);
            self.settle_dirty();
        }
        Ok(())
    }

    fn handle(&mut self, event: Event, now: Instant) -> io::Result<()> {
        match event {
            Event::Accepted { listener, socket } => self.accepted(listener, socket),
            Event::AcceptStopped { listener, error } => {
                return self.accept_stopped(listener, error, now);
            }
            Event::Data { slot, data } => self.data(slot, data),
            Event::Ended { slot } => self.ended(slot),
            Event::Failed { slot, error } => self.fail(slot, CloseReason::of_error(&error)),
            Event::Sent {
                slot,
                outgoing,
                result,
            } => self.sent(slot, outgoing, result),
            Event::Writable { slot } => self.writable(slot),
            Event::Released { slot } => self.finish(slot),
            Event::Woken => self.woken(),
        }
        Ok(())
    }

    /// How long nothing can happen that the kernel would not report.
    fn next_timeout(&mut self) -> Option<Duration> {
        let drain = self.drain.as_ref().map(|drain| {
            let walking = drain.cursor < self.held.table.slots();
            if walking { Instant::now() } else { drain.until }
        });
        let retry = self
            .driver
            .listeners()
            .iter()
            .filter_map(|listener| listener.retry_at())
            .min();
        let sweep = self.held.deadlines.next_sweep_at();
        let next = [drain.filter(|_| !self.drain_was_forced()), retry, sweep]
            .into_iter()
            .flatten();
        next.min()
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn woken(&mut self) {
        let mut inbox = std::mem::take(&mut self.inbox);
        let drain_until = own_mailbox(&self.held).take(&mut inbox);
        self.driver
            .watch_mailbox(own_mailbox(&self.held).wake().as_fd());
        if let Some(until) = drain_until {
            self.begin_drain(until);
        }
        self.held.stats.messages.add(inbox.len() as u64);
        for message in inbox.drain(..) {
            self.service
                .message(&mut Worker::new(&mut self.held), message);
        }
        self.inbox = inbox;
    }

    fn retry_listeners(&mut self, now: Instant) -> io::Result<()> {
        for listener in 0..self.driver.listeners().len() {
            if self.driver.listeners()[listener].resume(now) {
                self.driver.accept(listener as u8)?;
            }
        }
        Ok(())
    }

    /// Looks at every deadline, when it is time to.
    fn sweep(&mut self) {
        if !self.held.deadlines.sweep_is_due() {
            return;
        }
        for slot in 0..self.held.table.slots() {
            if self.held.table.get_mut(slot).is_some()
                && self
                    .held
                    .deadlines
                    .has_passed(self.held.table[slot].deadline)
            {
                self.expired(slot);
            }
        }
    }

    fn begin_drain(&mut self, until: Instant) {
        match &mut self.drain {
            Some(drain) => drain.until = drain.until.min(until),
            None => {
                self.driver.stop_accepting();
                self.drain = Some(Drain {
                    until,
                    cursor: 0,
                    forced: false,
                });
            }
        }
    }

    /// Closes the next connections of a drain, and cuts off all that are left when its time is up.
    fn drain_step(&mut self, now: Instant) {
        let Some(drain) = &mut self.drain else { return };
        let slots = self.held.table.slots();
        let end = slots.min(drain.cursor.saturating_add(limits::DRAIN_BATCH));
        let batch = drain.cursor..end;
        drain.cursor = end;
        let force = drain.until <= now && !drain.forced;
        drain.forced |= force;
        for slot in batch {
            if self.held.table.get_mut(slot).is_some() {
                self.held.begin_close(slot, CloseReason::Drained);
            }
        }
        if force {
            for slot in 0..slots {
                if self.held.table.get_mut(slot).is_some() {
                    self.cut_off(slot);
                }
            }
        }
    }

    fn cut_off(&mut self, slot: u32) {
        let record = &mut self.held.table[slot];
        if record.phase != Phase::Releasing && record.reason == CloseReason::Drained {
            record.reason = CloseReason::DrainForced;
        }
        self.held.begin_abort(slot, CloseReason::DrainForced);
    }

    fn drain_was_forced(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.forced)
    }

    fn is_drained(&self) -> bool {
        self.drain.is_some() && self.held.table.len() == 0
    }
}

fn own_mailbox<S: Service>(held: &Held<S>) -> &Mailbox<S::Message> {
    &held.mailboxes[usize::from(held.worker)]
}
