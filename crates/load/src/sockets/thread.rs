//! One thread's connections: an epoll loop that opens, sends, checks and closes what is due.
//!
//! Every turn of the loop does what the clock says is due, then waits until something comes or the next
//! thing falls due. Nothing is allocated per message; the readiness of all sockets is edge-triggered and
//! registered once.

use super::Plan;
use super::connection::{Connection, State};
use crate::phase::{DoneOnce, Phase, Stage, TrafficTimes};
use crate::tally::Tally;
use crate::workload::{Arrivals, Pattern, Ramp, Tape, Traffic, Turns};
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;

/// Bytes read at once.
const SCRATCH_BYTES: usize = 64 << 10;
/// Events taken at once.
const EVENTS: usize = 512;
/// Messages sent between two looks at what has come.
const SENDS_PER_TURN: usize = 256;
/// Handshakes begun between two looks at what has come.
const OPENS_PER_TURN: usize = 256;
/// How long the thread sleeps at most, so that its counters stay fresh.
const SLEEP_NS_MAX: u64 = 100_000_000;
/// The key of the waker; connections have their index.
const WAKER: u64 = u64::MAX;

/// A thread's share of the run.
pub(super) struct ClientThread<'a> {
    plan: &'a Plan,
    stage: &'a Stage,
    index: usize,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    tape: Tape,
    turns: Turns,
    ramp: Ramp,
    arrivals: Option<Arrivals>,
    churn: Option<Arrivals>,
    times: TrafficTimes,
    /// Arrivals and churn that were dealt with.
    arrived: u64,
    churned: u64,
    stampeded: bool,
    pipeline_filled: bool,
    /// Connections to open, in order: those never opened, then those to be opened again.
    opened: usize,
    reopen: VecDeque<u32>,
    /// Handshakes by when they are given up, the oldest in front; answered ones are skipped.
    handshakes: VecDeque<(u64, u32)>,
    handshakes_in_flight: usize,
    /// Messages queued on connections that may still answer them.
    outstanding: u64,
    awaiting_peer_close: usize,
    /// Closed loop: when the messages under way were sent, `pipeline` per slot.
    sent_ns: Vec<u64>,
    scratch: Box<[u8]>,
    done: DoneOnce,
    tally: Tally,
}

impl<'a> ClientThread<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        stage: &'a Stage,
        index: usize,
        done: DoneOnce,
        tally: Tally,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            stage.waker(index),
            epoll::EventData::new_u64(WAKER),
            epoll::EventFlags::IN,
        )?;
        let workload = &plan.settings.workload;
        let connections = plan.share(workload.connections, index);
        let all_active = workload.active.of(workload.connections);
        let active = plan.share(all_active, index);
        let tape = Tape::new(workload);
        let rate = match workload.traffic {
            Traffic::OpenLoop {
                messages_per_second,
            } if active > 0 => messages_per_second,
            _ => 0.0,
        };
        let pipeline = match workload.traffic {
            Traffic::ClosedLoop { pipeline } => pipeline,
            _ => 0,
        };
        let id = |local: usize| (local * plan.threads + index) as u64;
        Ok(Self {
            epoll,
            connections: (0..connections)
                .map(|local| Connection::new(tape.start(id(local))))
                .collect(),
            turns: Turns::new(connections, active),
            ramp: Ramp::new(workload, plan.threads),
            // Only the first threads have an active connection if there are fewer of those than threads.
            arrivals: Arrivals::new(rate, workload.pattern, index, plan.threads.min(all_active)),
            churn: Arrivals::new(
                workload.churn_per_second,
                Pattern::Uniform,
                index,
                plan.threads,
            ),
            times: stage.traffic_times(),
            arrived: 0,
            churned: 0,
            stampeded: workload.pattern != Pattern::Stampede,
            pipeline_filled: pipeline == 0,
            opened: 0,
            reopen: VecDeque::new(),
            handshakes: VecDeque::new(),
            handshakes_in_flight: 0,
            outstanding: 0,
            awaiting_peer_close: 0,
            sent_ns: vec![0; active * pipeline],
            scratch: vec![0; SCRATCH_BYTES].into(),
            plan,
            stage,
            index,
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
                    WAKER => _ = rustix::io::read(self.stage.waker(self.index), &mut [0_u8; 8]),
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
            Phase::Idle => {}
            Phase::Warmup | Phase::Hold | Phase::Drain => {
                self.times = self.stage.traffic_times();
                if phase != Phase::Drain {
                    self.fill_pipelines();
                    next_due = next_due
                        .min(self.stampede_due(now))
                        .min(self.churn_due(now));
                }
                next_due = next_due.min(self.send_due(now)).min(self.open_due(now));
            }
            Phase::Close => self.close_all(),
        }
        next_due
    }

    fn is_done(&self, phase: Phase) -> bool {
        let all_opened = self.opened == self.connections.len()
            && self.reopen.is_empty()
            && self.handshakes_in_flight == 0;
        match phase {
            Phase::Connect => all_opened,
            Phase::Idle | Phase::Warmup | Phase::Hold => false,
            Phase::Drain => all_opened && self.outstanding == 0,
            Phase::Close => self.awaiting_peer_close == 0,
        }
    }

    // ---- opening ------------------------------------------------------------------------------------

    /// Begins the handshakes that are due. Returns when the next is.
    fn open_due(&mut self, now: u64) -> u64 {
        // The ramp is for the way up; what is opened again is bounded by the handshakes in flight alone.
        let mut fresh = self
            .ramp
            .allowance(now, self.opened, self.handshakes_in_flight);
        fresh = fresh.min(self.connections.len() - self.opened);
        let again = self
            .ramp
            .room(self.handshakes_in_flight + fresh)
            .min(self.reopen.len());
        let this_turn = (fresh + again).min(OPENS_PER_TURN);
        for turn in 0..this_turn {
            let index = if turn < fresh {
                self.opened += 1;
                self.connections[self.opened - 1].due_ns = self.stage.clock.now_ns();
                self.opened - 1
            } else {
                self.reopen.pop_front().expect("counted above") as usize
            };
            self.open(index);
        }
        if this_turn < fresh + again {
            return now;
        }
        match self
            .ramp
            .next_due_ns(self.opened, self.handshakes_in_flight)
        {
            Some(due) if self.opened < self.connections.len() => due,
            _ => u64::MAX,
        }
    }

    fn open(&mut self, index: usize) {
        let source = self.plan.source(index, self.index);
        let connection = &mut self.connections[index];
        match connection.connect(self.plan.settings.server, source, &self.epoll, index as u64) {
            Ok(()) => {
                let limit = self.plan.settings.workload.connect_timeout.as_nanos() as u64;
                connection.handshake_deadline_ns = self.stage.clock.now_ns() + limit;
                self.handshakes_in_flight += 1;
                self.handshakes
                    .push_back((connection.handshake_deadline_ns, index as u32));
            }
            Err(error) => self.failed(index, &reason("connect", &error)),
        }
    }

    /// Counts handshakes that took too long as failed. Returns when the next one would be.
    fn give_up_handshakes(&mut self, now: u64) -> u64 {
        while let Some(&(deadline, index)) = self.handshakes.front() {
            let connection = &self.connections[index as usize];
            let waiting = connection.state == State::AwaitsHandshake
                && connection.handshake_deadline_ns == deadline;
            if waiting && deadline > now {
                return deadline;
            }
            self.handshakes.pop_front();
            if waiting {
                self.handshakes_in_flight -= 1;
                self.failed(index as usize, "connect: no answer in time");
            }
        }
        u64::MAX
    }

    fn handshake_over(&mut self, index: usize) {
        self.handshakes_in_flight -= 1;
        let connection = &mut self.connections[index];
        match connection.handshake_result() {
            Ok(()) => {
                connection.state = State::Established;
                let took = self.stage.clock.now_ns().saturating_sub(connection.due_ns);
                self.tally.connect_ns.saturating_record(took);
                let counters = &mut self.tally.counters;
                counters.open += 1;
                *(if connection.reopened {
                    &mut counters.reopened
                } else {
                    &mut counters.established
                }) += 1;
                self.send(index);
            }
            Err(error) => self.failed(index, &reason("connect", &error)),
        }
    }

    fn failed(&mut self, index: usize, why: &str) {
        self.tally.counters.failed += 1;
        self.tally.because(why);
        self.give_up(index);
    }

    fn lost(&mut self, index: usize, why: &str) {
        self.tally.counters.lost += 1;
        self.tally.counters.open -= 1;
        self.tally.because(why);
        self.give_up(index);
    }

    /// Nothing will be answered on this connection any more.
    fn give_up(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        self.outstanding -= connection.outstanding(self.tape.message_bytes() as u64);
        connection.drop_socket(State::Over);
    }

    // ---- messages -----------------------------------------------------------------------------------

    /// Closed loop: the first `pipeline` messages on every active connection.
    fn fill_pipelines(&mut self) {
        let Traffic::ClosedLoop { pipeline } = self.plan.settings.workload.traffic else {
            return;
        };
        if std::mem::replace(&mut self.pipeline_filled, true) {
            return;
        }
        for slot in 0..self.turns.active() {
            let index = self.turns.connection(slot);
            let first = slot as usize * pipeline;
            self.sent_ns[first..first + pipeline].fill(self.stage.clock.now_ns());
            self.queue(index, pipeline as u64);
            self.send(index);
        }
    }

    /// Open loop: sends what has fallen due. Returns when the next message is due.
    fn send_due(&mut self, now: u64) -> u64 {
        let Some(arrivals) = self.arrivals else {
            return u64::MAX;
        };
        for _ in 0..SENDS_PER_TURN {
            let due = self
                .times
                .from_ns
                .saturating_add(arrivals.due_ns(self.arrived));
            if due >= self.times.until_ns {
                return u64::MAX;
            }
            if due > now {
                return due;
            }
            let index = self.turns.connection(self.turns.slot(self.arrived));
            self.arrived += 1;
            self.queue(index, 1);
            self.send(index);
        }
        now
    }

    /// Makes messages due on a connection, whether it can send them or not.
    fn queue(&mut self, index: usize, messages: u64) {
        let connection = &mut self.connections[index];
        connection.queued += messages * self.tape.message_bytes() as u64;
        if connection.state != State::Over {
            self.outstanding += messages;
        }
    }

    /// Gives the kernel what is queued, unless the connection is about to be opened anew.
    fn send(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if connection.state != State::Established {
            return;
        }
        match connection.send(&self.tape) {
            Ok(bytes) => self.tally.counters.bytes_sent += bytes,
            Err(error) => self.lost(index, &reason("send", &error)),
        }
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

    fn receive(&mut self, phase: Phase, index: usize, to_the_end: bool) {
        let message = self.tape.message_bytes() as u64;
        let connection = &mut self.connections[index];
        let first = connection.received / message;
        let arrived = connection.receive(&self.tape, &mut self.scratch, to_the_end);
        let replies = connection.received / message - first;
        let first = connection.answered_before + first;
        self.tally.counters.bytes_received += arrived.bytes;
        self.tally.counters.wrong_bytes += arrived.wrong_bytes;
        if replies > 0 {
            self.replied(phase, index, first, replies);
        }
        let state = self.connections[index].state;
        match (arrived.end, state) {
            (None, State::AwaitsLastReply) => self.reopen_if_quiet(index),
            // Over: sending the next message has already found out.
            (None, _) | (Some(_), State::Over) => {}
            (Some(Ok(())), State::AwaitsPeerClose) => {
                self.awaiting_peer_close -= 1;
                self.tally.counters.open -= 1;
                self.tally.counters.closed += 1;
                self.give_up(index);
            }
            (Some(end), State::AwaitsPeerClose) => {
                self.awaiting_peer_close -= 1;
                self.lost(index, &ended(&end));
            }
            (Some(end), _) => self.lost(index, &ended(&end)),
        }
    }

    /// Messages `first..first + replies` of a connection were answered.
    fn replied(&mut self, phase: Phase, index: usize, first: u64, replies: u64) {
        let now = self.stage.clock.now_ns();
        let slot = self
            .turns
            .slot_of(index)
            .expect("only active connections have been sent messages");
        self.outstanding -= replies;
        self.tally.counters.messages += replies;
        for number in first..first + replies {
            let began = match (self.plan.settings.workload.traffic, &self.arrivals) {
                (Traffic::ClosedLoop { pipeline }, _) => {
                    let at = slot as usize * pipeline + (number % pipeline as u64) as usize;
                    // The message that takes this one's place is sent now.
                    std::mem::replace(&mut self.sent_ns[at], now)
                }
                (_, Some(arrivals)) => {
                    self.times.from_ns + arrivals.due_ns(self.turns.number(slot, number))
                }
                (_, None) => continue,
            };
            if began >= self.times.record_from_ns {
                self.tally.counters.measured_messages += 1;
                self.tally
                    .latency_ns
                    .saturating_record(now.saturating_sub(began));
            }
        }
        let goes_on = matches!(phase, Phase::Warmup | Phase::Hold);
        if goes_on
            && matches!(
                self.plan.settings.workload.traffic,
                Traffic::ClosedLoop { .. }
            )
        {
            self.queue(index, replies);
            self.send(index);
        }
    }

    // ---- reconnecting and closing -------------------------------------------------------------------

    /// Closes and reopens the connections whose time has come. Returns when the next one's has.
    fn churn_due(&mut self, now: u64) -> u64 {
        let Some(churn) = self.churn else {
            return u64::MAX;
        };
        loop {
            let due = self
                .times
                .from_ns
                .saturating_add(churn.due_ns(self.churned));
            if due > now {
                return due;
            }
            let index = (self.churned % self.connections.len() as u64) as usize;
            self.churned += 1;
            let connection = &mut self.connections[index];
            // Half a message under way could neither be finished nor forgotten: its turn comes again.
            let whole = connection
                .sent
                .is_multiple_of(self.tape.message_bytes() as u64);
            if connection.state == State::Established && whole {
                connection.due_ns = due;
                connection.state = State::AwaitsLastReply;
                self.reopen_if_quiet(index);
            }
        }
    }

    /// Reopens a connection that waited for its last reply, once there is none missing.
    fn reopen_if_quiet(&mut self, index: usize) {
        let connection = &self.connections[index];
        if connection.received == connection.sent {
            self.reopen_later(index);
        }
    }

    fn reopen_later(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.restart_stream(self.tape.message_bytes() as u64);
        connection.reopened = true;
        connection.drop_socket(State::AwaitsOpening);
        self.tally.counters.open -= 1;
        self.tally.counters.closed += 1;
        self.reopen.push_back(index as u32);
    }

    /// Half-way through the hold, drops every connection at once. Returns when that is.
    fn stampede_due(&mut self, now: u64) -> u64 {
        let middle = self.times.record_from_ns.midpoint(self.times.until_ns);
        if self.stampeded || now < middle {
            return if self.stampeded { u64::MAX } else { middle };
        }
        self.stampeded = true;
        let message = self.tape.message_bytes() as u64;
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            if connection.is_open() {
                self.tally.counters.resent +=
                    connection.sent.div_ceil(message) - connection.received / message;
                connection.due_ns = middle;
                self.reopen_later(index);
            }
        }
        u64::MAX
    }

    /// Sends our FIN on all connections; gives up what is not open.
    fn close_all(&mut self) {
        if !self.done.pending(Phase::Close) || self.awaiting_peer_close > 0 {
            return;
        }
        self.opened = self.connections.len();
        self.reopen.clear();
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            if connection.is_open() {
                connection.finish_sending();
                self.awaiting_peer_close += 1;
            } else if connection.state == State::AwaitsHandshake {
                connection.drop_socket(State::Over);
                self.handshakes_in_flight -= 1;
            }
        }
    }

    fn count_what_is_left(&mut self) {
        let message = self.tape.message_bytes() as u64;
        for connection in &self.connections {
            self.tally.counters.unclosed += u64::from(connection.state == State::AwaitsPeerClose);
            self.tally.counters.unanswered += connection.outstanding(message);
        }
        self.tally.counters.open = 0;
        self.tally.publish(self.stage.clock.now_ns());
    }
}

fn ended(end: &io::Result<()>) -> String {
    match end {
        Ok(()) => "closed by the server".to_owned(),
        Err(error) => reason("receive", error),
    }
}

fn reason(doing: &str, error: &io::Error) -> String {
    format!("{doing}: {error}")
}
