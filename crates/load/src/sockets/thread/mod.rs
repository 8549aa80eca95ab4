//! One thread's connections: an epoll loop that opens, sends, checks and closes what is due.
//!
//! Every turn of the loop does what the clock says is due, then waits until something comes or the next
//! thing falls due. Nothing is allocated per message; the readiness of all sockets is edge-triggered and
//! registered once.

mod closing;
mod lagging;
mod messages;
mod opening;

use super::Plan;
use super::connection::{Connection, State};
use crate::crew::Post;
use crate::phase::{DoneOnce, Phase, Stage};
use crate::tally::Tally;
use crate::workload::{Agenda, Share, Tape};
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;

/// Bytes read at once.
const SCRATCH_BYTES: usize = 64 << 10;
/// Events taken at once.
const EVENTS: usize = 512;
/// How long the thread sleeps at most, so that its counters stay fresh.
const SLEEP_NS_MAX: u64 = 100_000_000;
/// The key of the waker; connections have their index.
const WAKER: u64 = u64::MAX;

/// A thread's share of the run.
pub(super) struct ClientThread<'a> {
    plan: &'a Plan,
    stage: &'a Stage,
    share: Share,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    tape: Tape,
    agenda: Agenda,
    /// Handshakes by when they are given up, the oldest in front; answered ones are skipped.
    handshakes: VecDeque<(u64, u32)>,
    awaiting_peer_close: usize,
    lagging: lagging::Stage,
    /// Closed loop: when the messages under way were sent, `pipeline` per slot.
    sent_ns: Vec<u64>,
    scratch: Box<[u8]>,
    done: DoneOnce,
    tally: Tally,
}

impl<'a> ClientThread<'a> {
    pub(super) fn new(plan: &'a Plan, post: Post<'a>) -> io::Result<Self> {
        let Post {
            index,
            stage,
            done,
            tally,
        } = post;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            stage.waker(index),
            epoll::EventData::new_u64(WAKER),
            epoll::EventFlags::IN,
        )?;
        let workload = &plan.settings.workload;
        let tape = Tape::new(workload);
        let share = Share {
            thread: index,
            threads: plan.threads,
        };
        let agenda = Agenda::new(
            workload,
            index,
            plan.threads,
            stage.traffic_times(),
            &stage.herd,
        );
        let connection = |local| Connection::new(tape.start(share.global(local) as u64));
        Ok(Self {
            epoll,
            connections: (0..agenda.connections()).map(connection).collect(),
            handshakes: VecDeque::new(),
            awaiting_peer_close: 0,
            lagging: lagging::Stage::NotYet,
            sent_ns: vec![0; agenda.turns.active() as usize * agenda.pipeline()],
            scratch: vec![0; SCRATCH_BYTES].into(),
            plan,
            stage,
            share,
            agenda,
            tape,
            done,
            tally,
        })
    }

    /// Runs all phases; returns what was found out.
    pub(super) fn run(mut self) -> io::Result<Tally> {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); EVENTS];
        while let Some(phase) = self.stage.phase() {
            let now = self.stage.clock.now_ns();
            let next_due = self.advance(phase, now);
            self.tally.publish(now);
            if self.done.pending(phase) && self.is_done(phase) {
                self.done.tell(phase);
            }
            let sleep = next_due
                .saturating_sub(self.stage.clock.now_ns())
                .min(SLEEP_NS_MAX);
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: sleep as _,
            };
            let (ready, _) = match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            for event in ready.iter() {
                match event.data.u64() {
                    WAKER => {
                        let _ =
                            rustix::io::read(self.stage.waker(self.share.thread), &mut [0_u8; 8]);
                    }
                    key => self.connection_ready(phase, key as usize, event.flags),
                }
            }
        }
        self.count_what_is_left();
        Ok(self.tally)
    }

    /// Does what is due in this phase. Returns when the next thing is.
    fn advance(&mut self, phase: Phase, now: u64) -> u64 {
        let mut next_due = self.give_up_handshakes(now);
        match phase {
            Phase::Connect => next_due = next_due.min(self.open_due(now)),
            Phase::Idle => self.fall_behind(),
            Phase::Warmup | Phase::Hold | Phase::Drain => {
                self.agenda.times = self.stage.traffic_times();
                if phase == Phase::Drain {
                    self.catch_up(phase);
                } else {
                    self.fill_pipelines();
                    next_due = next_due
                        .min(self.stampede_due(now))
                        .min(self.churn_due(now));
                }
                next_due = next_due.min(self.send_due(now)).min(self.open_due(now));
            }
            Phase::Close => {
                self.catch_up(phase);
                self.close_all();
            }
        }
        next_due
    }

    fn is_done(&self, phase: Phase) -> bool {
        let closed = self.awaiting_peer_close == 0
            && (!self.plan.settings.workload.server_closes() || self.tally.counters.open == 0);
        (phase != Phase::Close || closed) && self.agenda.is_done(phase)
    }

    fn connection_ready(&mut self, phase: Phase, index: usize, flags: epoll::EventFlags) {
        use epoll::EventFlags as Ready;
        if self.connections[index].state == State::AwaitsHandshake {
            if flags.intersects(Ready::OUT | Ready::ERR | Ready::HUP) {
                self.handshake_over(index);
            }
        } else if flags.contains(Ready::OUT) {
            self.send(index);
        }
        if flags.intersects(Ready::IN | Ready::RDHUP | Ready::HUP | Ready::ERR) {
            self.receive(
                phase,
                index,
                flags.intersects(Ready::RDHUP | Ready::HUP | Ready::ERR),
            );
        }
    }

    fn count_what_is_left(&mut self) {
        let message = self.tape.message_bytes() as u64;
        let server_closes = self.plan.settings.workload.server_closes();
        for connection in &self.connections {
            let unclosed = connection.state == State::AwaitsPeerClose
                || (server_closes && connection.is_open());
            self.tally.counters.unclosed += u64::from(unclosed);
            self.tally.counters.unanswered += connection.outstanding(message);
        }
        self.tally.counters.open = 0;
        self.tally.publish(self.stage.clock.now_ns());
    }
}

fn reason(doing: &str, error: &io::Error) -> String {
    format!("{doing}: {error}")
}
