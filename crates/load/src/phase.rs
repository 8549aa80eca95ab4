//! The phases of a run, and how the controller leads its threads through them.
//!
//! ```text
//!  Connect ─▶ Idle ─▶ Warmup ─▶ Hold ─▶ Drain ─▶ Close
//!     │                                            ▲     an interruption goes straight to Close
//!     └────────────────────────────────────────────┘
//! ```
//!
//! Connect, Drain and Close are over when every thread says so, the latter two also when the server has been
//! silent for too long; Idle, Warmup and Hold when their time is.
//! Between two phases the controller's caller is told, on its own thread: there it can look at the server
//! while the connections are quiet.

use crate::Error;
use crate::clock::Clock;
use crate::counters::{Counters, Published};
use crate::workload::{Herd, Traffic, Workload};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use serde::Serialize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How often the observer is asked.
const TICK: Duration = Duration::from_millis(100);
/// How often the server's accept queues are looked at.
const ACCEPTED_EVERY: Duration = Duration::from_millis(10);
/// How long an interrupted run takes to close its connections, at most.
const INTERRUPTED_GRACE: Duration = Duration::from_secs(2);

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    /// Connections are opened.
    Connect,
    /// All of them are open and silent.
    Idle,
    /// Traffic that is not measured.
    Warmup,
    /// Traffic that is measured.
    Hold,
    /// Nothing new is sent; replies are waited for.
    Drain,
    /// Connections are closed.
    Close,
}

impl Phase {
    const ALL: [Self; 6] = [
        Self::Connect,
        Self::Idle,
        Self::Warmup,
        Self::Hold,
        Self::Drain,
        Self::Close,
    ];
}

/// How far a run is, over all threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Since the run began.
    pub elapsed: Duration,
    /// What was counted until now.
    pub counters: Counters,
    /// The slowest thread's 99th percentile until now, in nanoseconds.
    pub p99_ns: u64,
}

/// Told about a run's phases, on the thread that called `run`.
pub trait Observer {
    /// A phase is over and the next has not begun. After Connect, Idle and Drain all connections are quiet.
    fn phase_over(&mut self, phase: Phase, progress: &Progress) {
        let _ = (phase, progress);
    }

    /// Asked about ten times a second; `Break` ends the run early.
    fn tick(&mut self, phase: Phase, progress: &Progress) -> ControlFlow<()> {
        let _ = (phase, progress);
        ControlFlow::Continue(())
    }
}

impl Observer for () {}

/// What the controller tells its threads.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) clock: Clock,
    /// The phase in force; past the last one, threads return.
    phase: AtomicU8,
    /// When arrivals start, when recording does, and when nothing more falls due.
    traffic_from_ns: AtomicU64,
    record_from_ns: AtomicU64,
    traffic_until_ns: AtomicU64,
    /// Who is away in a stampede.
    pub(crate) herd: Arc<Herd>,
    /// Open connections that the server had not accepted when last looked at.
    not_accepted: AtomicU64,
    /// One per thread: written to when the phase changes.
    wakers: Vec<OwnedFd>,
}

/// The times of a run's traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrafficTimes {
    pub(crate) from_ns: u64,
    pub(crate) record_from_ns: u64,
    pub(crate) until_ns: u64,
}

impl Stage {
    pub(crate) fn new(threads: usize) -> Result<Self, Error> {
        let wakers =
            (0..threads).map(|_| eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC));
        Ok(Self {
            clock: Clock::start(),
            herd: Arc::new(Herd::new(threads)),
            not_accepted: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Connect as u8),
            traffic_from_ns: AtomicU64::new(u64::MAX),
            record_from_ns: AtomicU64::new(u64::MAX),
            traffic_until_ns: AtomicU64::new(u64::MAX),
            wakers: wakers.collect::<Result<_, _>>().map_err(|error| {
                Error::new(
                    format!("no eventfd to wake threads with ({error})"),
                    "raise the descriptor limit",
                )
            })?,
        })
    }

    /// The phase in force; `None` when the run is over.
    pub(crate) fn phase(&self) -> Option<Phase> {
        Phase::ALL
            .get(usize::from(self.phase.load(Ordering::Acquire)))
            .copied()
    }

    /// Whether the server has been told to stop and to close all connections.
    pub(crate) fn drains(&self, workload: &Workload) -> bool {
        workload.server_closes() && self.phase() == Some(Phase::Close)
    }

    /// Open connections that the server has not accepted, some tenths of a second ago.
    pub(crate) fn not_accepted(&self) -> u64 {
        self.not_accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn waker(&self, thread: usize) -> &OwnedFd {
        &self.wakers[thread]
    }

    /// Valid from Warmup on.
    pub(crate) fn traffic_times(&self) -> TrafficTimes {
        TrafficTimes {
            from_ns: self.traffic_from_ns.load(Ordering::Relaxed),
            record_from_ns: self.record_from_ns.load(Ordering::Relaxed),
            until_ns: self.traffic_until_ns.load(Ordering::Relaxed),
        }
    }

    fn enter(&self, phase: u8) {
        self.phase.store(phase, Ordering::Release);
        for waker in &self.wakers {
            // Full means that the thread has not yet read the last one: it will look at the phase anyway.
            let _ = rustix::io::write(waker, &1_u64.to_ne_bytes());
        }
    }

    /// Lets all threads return.
    pub(crate) fn end(&self) {
        self.enter(Phase::ALL.len() as u8);
    }

    fn begin_traffic(&self, workload: &Workload) {
        let from = self.clock.now_ns();
        let record_from = from + workload.warmup.as_nanos() as u64;
        self.traffic_from_ns.store(from, Ordering::Relaxed);
        self.record_from_ns.store(record_from, Ordering::Relaxed);
        self.traffic_until_ns.store(
            record_from + workload.hold.as_nanos() as u64,
            Ordering::Relaxed,
        );
    }
}

/// A thread's word to the controller.
#[derive(Debug)]
pub(crate) enum Done {
    /// Its part of this phase is done.
    With(Phase),
    /// It has ended: too early, if anybody still listens.
    Gone,
}

/// How long the phases took, and whether all of them were seen to their end.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Timeline {
    /// Seconds from the first connection attempt until the last handshake was over and the server had accepted all,
    /// as far as its kernel tells.
    pub connect_seconds: f64,
    /// Seconds of traffic before what is measured.
    pub warmup_seconds: f64,
    /// Seconds of measured traffic, or of silence.
    pub hold_seconds: f64,
    /// Seconds from the first close to the last.
    pub close_seconds: f64,
    /// The same if the server closed: from when it was told to stop.
    pub drain_seconds: Option<f64>,
    /// Seconds from start to end.
    pub total_seconds: f64,
    /// Whether somebody ended the run early.
    pub interrupted: bool,
    /// Whether it ended early because no connection was left.
    pub deserted: bool,
}

/// Leads the threads through all phases.
pub(crate) struct Controller<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) stage: &'a Stage,
    pub(crate) published: &'a [Arc<Published>],
    pub(crate) done: Receiver<Done>,
    pub(crate) observer: &'a mut dyn Observer,
    /// Tells the server to stop.
    pub(crate) end_server: &'a dyn Fn(),
    /// Connections that are open and that the server has not accepted yet, where that can be told.
    pub(crate) not_accepted: &'a dyn Fn() -> u64,
}

/// When a phase ends though its threads are not done.
#[derive(Clone, Copy)]
enum Limit {
    None,
    Time(Duration),
    /// When the server has done nothing for so long.
    Silence(Duration),
}

/// Why a phase ended.
#[derive(PartialEq)]
enum End {
    Over,
    Interrupted,
    Deserted,
    /// A thread ended before the run did.
    Broken,
}

impl Controller<'_> {
    pub(crate) fn conduct(mut self) -> Timeline {
        let mut timeline = Timeline::default();
        let mut end = End::Over;
        for phase in Phase::ALL {
            let skipped = match phase {
                Phase::Close => false,
                Phase::Idle => self.workload.idle.is_zero(),
                Phase::Warmup | Phase::Drain => self.workload.traffic == Traffic::None,
                Phase::Connect | Phase::Hold => false,
            };
            if skipped || (end != End::Over && phase != Phase::Close) {
                continue;
            }
            let began = Instant::now();
            let limit = self.limit(phase, &end);
            if phase == Phase::Warmup
                || (phase == Phase::Hold && self.workload.traffic == Traffic::None)
            {
                self.stage.begin_traffic(self.workload);
            }
            self.stage.enter(phase as u8);
            let drains = phase == Phase::Close && self.workload.server_closes();
            if drains {
                // After the threads were told: what the server closes from now on, it was asked to.
                (self.end_server)();
            }
            let phase_end = self.wait(phase, limit);
            if phase == Phase::Connect && phase_end == End::Over {
                self.wait_until_accepted();
            }
            if phase_end != End::Over && end == End::Over {
                self.stage.traffic_until_ns.store(0, Ordering::Relaxed);
                end = phase_end;
            }
            let took = began.elapsed().as_secs_f64();
            match phase {
                Phase::Connect => timeline.connect_seconds = took,
                Phase::Warmup => timeline.warmup_seconds = took,
                Phase::Hold => timeline.hold_seconds = took,
                Phase::Close => timeline.close_seconds = took,
                _ => {}
            }
            timeline.drain_seconds = drains.then_some(took);
            let progress = self.progress();
            self.observer.phase_over(phase, &progress);
        }
        self.stage.end();
        timeline.total_seconds = self.progress().elapsed.as_secs_f64();
        timeline.interrupted = end == End::Interrupted;
        timeline.deserted = end == End::Deserted;
        timeline
    }

    fn limit(&self, phase: Phase, end: &End) -> Limit {
        match phase {
            Phase::Connect => Limit::None,
            Phase::Idle => Limit::Time(self.workload.idle),
            Phase::Warmup => Limit::Time(self.workload.warmup),
            Phase::Hold => Limit::Time(self.workload.hold),
            Phase::Close if *end == End::Interrupted => Limit::Time(INTERRUPTED_GRACE),
            Phase::Drain | Phase::Close => Limit::Silence(self.workload.grace),
        }
    }

    fn wait(&mut self, phase: Phase, limit: Limit) -> End {
        let mut began = Instant::now();
        let mut heard = 0;
        let mut working = self.published.len();
        while working > 0 {
            let left = match limit {
                Limit::None => TICK,
                Limit::Time(limit) | Limit::Silence(limit) => limit.saturating_sub(began.elapsed()),
            };
            if left.is_zero() {
                return End::Over;
            }
            match self.done.recv_timeout(left.min(TICK)) {
                Ok(Done::With(done)) => working -= usize::from(done == phase),
                Ok(Done::Gone) | Err(RecvTimeoutError::Disconnected) => return End::Broken,
                Err(RecvTimeoutError::Timeout) => {
                    if phase == Phase::Connect || self.stage.herd.is_away() {
                        self.look_at_accept_queues();
                    }
                    let progress = self.progress();
                    if self.observer.tick(phase, &progress).is_break() && phase != Phase::Close {
                        return End::Interrupted;
                    }
                    let in_use = phase != Phase::Connect && phase != Phase::Close;
                    if in_use && deserted(&progress.counters) {
                        return End::Deserted;
                    }
                    let hears = progress.counters.heard();
                    if matches!(limit, Limit::Silence(_)) && hears != heard {
                        heard = hears;
                        began = Instant::now();
                    }
                }
            }
        }
        match phase {
            Phase::Connect if deserted(&self.progress().counters) => End::Deserted,
            _ => End::Over,
        }
    }

    /// The kernel completes handshakes for a server that is not as fast: what is held and measured from here on is
    /// what the server has taken. Given up when it takes no more.
    fn wait_until_accepted(&mut self) {
        let mut least = u64::MAX;
        let mut since = Instant::now();
        loop {
            let waiting = self.look_at_accept_queues();
            if waiting < least {
                (least, since) = (waiting, Instant::now());
            }
            let progress = self.progress();
            let interrupted = self.observer.tick(Phase::Connect, &progress).is_break();
            if waiting == 0 || interrupted || since.elapsed() > self.workload.grace {
                return;
            }
            // No event tells that an accept queue is empty.
            std::thread::sleep(ACCEPTED_EVERY);
        }
    }

    fn look_at_accept_queues(&self) -> u64 {
        let waiting = (self.not_accepted)();
        self.stage.not_accepted.store(waiting, Ordering::Relaxed);
        waiting
    }

    fn progress(&self) -> Progress {
        let mut counters = Counters::default();
        for published in self.published {
            counters.add(&published.read());
        }
        Progress {
            elapsed: Duration::from_nanos(self.stage.clock.now_ns()),
            counters,
            p99_ns: self
                .published
                .iter()
                .map(|published| published.p99_ns())
                .max()
                .unwrap_or(0),
        }
    }
}

/// Whether there is nobody left to send to.
fn deserted(counters: &Counters) -> bool {
    counters.open == 0 && counters.failed + counters.lost > 0
}

/// Tells the controller once per phase that a thread's part is done.
#[derive(Debug)]
pub(crate) struct DoneOnce {
    sender: Sender<Done>,
    told: Option<Phase>,
}

impl DoneOnce {
    pub(crate) fn new(sender: Sender<Done>) -> Self {
        Self { sender, told: None }
    }

    /// Whether this phase's end is still to be told.
    pub(crate) fn pending(&self, phase: Phase) -> bool {
        self.told != Some(phase)
    }

    pub(crate) fn tell(&mut self, phase: Phase) {
        self.told = Some(phase);
        // The controller has gone on when its time was up: then nobody needs to know.
        let _ = self.sender.send(Done::With(phase));
    }
}

impl Drop for DoneOnce {
    fn drop(&mut self) {
        let _ = self.sender.send(Done::Gone);
    }
}
