//! One thread's connections as a TCP of our own: a loop over the device's packets and what is due.
//!
//! ```text
//!   agenda ──due──▶ opening ─┐                                  ┌─▶ receiving ─▶ replies checked, timed
//!   timers ──────▶ sending ──┴─▶ segment ─▶ wire ═ TUN ═ wire ──┘        │
//!   closing ─────────▲                                                   └─▶ acknowledgements, closes
//! ```
//!
//! It is a TCP for one purpose: nothing is kept to be sent again, because every byte can be computed;
//! nothing is reassembled, because the server will send what was lost again; and the server's kernel does the
//! congestion control, because there is no network between.

mod closing;
mod opening;
mod pacing;
mod receiving;
mod sending;

use super::Plan;
use super::address::{Addresses, Endpoint, SERVER};
use super::record::{Flight, Record, State};
use super::segment::PACKET_BYTES;
use super::timers::Timers;
use super::wire::Wire;
use crate::crew::Post;
use crate::phase::{DoneOnce, Phase, Stage};
use crate::tally::Tally;
use crate::workload::{Agenda, Share, Tape, Traffic};
use pacing::Pacing;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::mem::MaybeUninit;

/// Packets taken, and handshakes begun, between two looks at what is due.
const PER_TURN: usize = 256;
/// The same while messages are due at any moment: a handshake takes longer than most replies.
const PER_TURN_WITH_TRAFFIC: usize = 32;
/// How long the thread sleeps at most, so that its counters stay fresh.
const SLEEP_NS_MAX: u64 = 100_000_000;

/// A thread's share of the run.
pub(super) struct Client<'a> {
    plan: &'a Plan,
    stage: &'a Stage,
    share: Share,
    server: Endpoint,
    epoll: OwnedFd,
    wire: Wire,
    addresses: Addresses,
    records: Vec<Record>,
    flights: HashMap<u32, Flight, BuildHasherDefault<IndexHasher>>,
    timers: Timers,
    agenda: Agenda,
    tape: Tape,
    /// How far the server's sockets scale their windows: one listener, one answer.
    server_window_shift: u8,
    /// Closed loop: messages due on each slot, and when those under way were sent, `pipeline` per slot.
    due_on_slot: Vec<u32>,
    sent_ns: Vec<u64>,
    /// The next connection to close, and how many are being closed.
    closing: u32,
    awaiting_peer_close: usize,
    packet: Box<[u8; PACKET_BYTES]>,
    pacing: Pacing,
    done: DoneOnce,
    tally: Tally,
}

impl<'a> Client<'a> {
    pub(super) fn new(plan: &'a Plan, wire: Wire, post: Post<'a>) -> io::Result<Self> {
        let Post {
            index,
            stage,
            done,
            tally,
        } = post;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for descriptor in [
            wire.descriptor(),
            rustix::fd::AsFd::as_fd(stage.waker(index)),
        ] {
            epoll::add(
                &epoll,
                descriptor,
                epoll::EventData::new_u64(0),
                epoll::EventFlags::IN,
            )?;
        }
        let workload = &plan.settings.workload;
        let agenda = Agenda::new(
            workload,
            index,
            plan.threads,
            stage.traffic_times(),
            &stage.herd,
        );
        let (connections, active) = (agenda.connections(), agenda.turns.active() as usize);
        let closed_loop = if agenda.pipeline() > 0 { active } else { 0 };
        Ok(Self {
            plan,
            stage,
            share: Share {
                thread: index,
                threads: plan.threads,
            },
            server: Endpoint {
                address: SERVER.to_bits(),
                port: plan.settings.port,
            },
            epoll,
            wire,
            addresses: Addresses::new(index, connections),
            records: vec![Record::default(); connections],
            flights: HashMap::default(),
            timers: Timers::default(),
            tape: Tape::new(workload),
            server_window_shift: 0,
            due_on_slot: vec![0; closed_loop],
            sent_ns: vec![0; active * agenda.pipeline()],
            agenda,
            closing: 0,
            awaiting_peer_close: 0,
            packet: Box::new([0; PACKET_BYTES]),
            pacing: Pacing::new(index),
            done,
            tally,
        })
    }

    /// Runs all phases; returns what was found out.
    pub(super) fn run(mut self) -> io::Result<Tally> {
        let mut buffer = [0; PACKET_BYTES];
        while let Some(phase) = self.stage.phase() {
            let now = self.stage.clock.now_ns();
            self.pace(phase);
            let next_due = self.advance(phase, now);
            self.tally.publish(now);
            if self.done.pending(phase) && self.is_done(phase) {
                self.done.tell(phase);
            }
            let mut received = 0;
            while received < per_turn(phase)
                && let Some(length) = self.wire.receive(&mut buffer)?
            {
                received += 1;
                self.receive(phase, &buffer[..length]);
            }
            if received > 0 {
                self.give_way(phase, self.stage.clock.now_ns() - now);
            } else if !self.wire.release() && !self.gathers(phase) {
                self.sleep_until(next_due)?;
            }
        }
        self.count_what_is_left();
        Ok(self.tally)
    }

    fn sleep_until(&self, next_due: u64) -> io::Result<()> {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 2];
        let sleep = next_due
            .saturating_sub(self.stage.clock.now_ns())
            .min(SLEEP_NS_MAX);
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: sleep as _,
        };
        match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Whether it was the waker or not: a phase is looked at in every turn.
        let _ = rustix::io::read(self.stage.waker(self.share.thread), &mut [0_u8; 8]);
        Ok(())
    }

    /// Does what is due in this phase. Returns when the next thing is.
    fn advance(&mut self, phase: Phase, now: u64) -> u64 {
        self.strike_timers(now);
        let mut next_due = u64::MAX;
        match phase {
            Phase::Connect => next_due = self.open_due(phase, now),
            Phase::Idle => {}
            Phase::Warmup | Phase::Hold | Phase::Drain => {
                self.agenda.times = self.stage.traffic_times();
                if phase != Phase::Drain {
                    self.fill_pipelines(now);
                    next_due = self.stampede_due(now).min(self.churn_due(now));
                }
                next_due = next_due
                    .min(self.send_due(now))
                    .min(self.open_due(phase, now));
            }
            Phase::Close => self.close_due(now),
        }
        next_due.min(self.timers.next_deadline())
    }

    fn is_done(&self, phase: Phase) -> bool {
        let all_closed =
            self.closing as usize == self.records.len() && self.awaiting_peer_close == 0;
        let followed =
            !self.server_drains() || (self.tally.counters.open == 0 && self.flights.is_empty());
        (phase != Phase::Close || (all_closed && followed)) && self.agenda.is_done(phase)
    }

    /// Whether the server has been told to stop and to close all connections.
    fn server_drains(&self) -> bool {
        self.stage.drains(&self.plan.settings.workload)
    }

    /// Bytes of a message, which fit the offsets: a message is at most 1 MiB and a header.
    fn message_bytes(&self) -> u32 {
        self.tape.message_bytes() as u32
    }

    /// Messages that were ever due on a slot.
    fn due_on(&self, slot: u64) -> u64 {
        match self.agenda.traffic {
            Traffic::ClosedLoop { .. } => u64::from(self.due_on_slot[slot as usize]),
            _ => self.agenda.arrived_on(slot),
        }
    }

    /// Messages due on a connection and not answered.
    fn outstanding(&self, index: u32) -> u64 {
        self.agenda.turns.slot_of(index as usize).map_or(0, |slot| {
            let due = self.due_on(slot);
            due - self.records[index as usize].answered(due, self.message_bytes())
        })
    }

    fn failed(&mut self, index: u32, why: &str, now: u64) {
        let tally = &mut self.tally;
        if self.agenda.is_retried(index as usize, why, now, tally) {
            return self.restart(index);
        }
        self.tally.counters.failed += 1;
        self.tally.because(why);
        self.give_up(index);
    }

    /// Nothing will be answered on this connection any more.
    fn give_up(&mut self, index: u32) {
        self.agenda.outstanding -= self.outstanding(index);
        self.flights.remove(&index);
        self.records[index as usize].set_state(State::Gone);
    }

    fn count_what_is_left(&mut self) {
        for slot in 0..self.agenda.turns.active() {
            let index = self.agenda.turns.connection(slot) as u32;
            self.tally.counters.unanswered += self.outstanding(index);
        }
        let server_closes = self.plan.settings.workload.server_closes();
        let awaits_close = |record: &&Record| {
            let state = record.state();
            state == State::AwaitsPeerClose || (server_closes && state.is_open())
        };
        self.tally.counters.unclosed = self.records.iter().filter(awaits_close).count() as u64;
        self.tally.counters.open = 0;
        self.tally.counters.packets_refused = self.wire.refused;
        self.tally.publish(self.stage.clock.now_ns());
    }
}

/// Things of one kind that are done in one turn.
fn per_turn(phase: Phase) -> usize {
    match phase {
        Phase::Warmup | Phase::Hold | Phase::Drain => PER_TURN_WITH_TRAFFIC,
        Phase::Connect | Phase::Idle | Phase::Close => PER_TURN,
    }
}

/// Spreads connection numbers, which are small and dense, over a table.
#[derive(Default)]
pub(super) struct IndexHasher(u64);

impl Hasher for IndexHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u32");
    }

    fn write_u32(&mut self, index: u32) {
        self.0 = u64::from(index).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }
}
