//! The sockets mode against servers that behave, and against such that do not.

mod fixture;

use fixture::{Behaviour, Server};
use roadstead_load::sockets::{self, Lag, Laggards, Settings};
use roadstead_load::{
    Active, Observer, Pattern, Phase, Progress, Protocol, Report, Stampede, Traffic,
};
use std::ops::ControlFlow;
use std::time::Duration;

const CLOSED_LOOP: Traffic = Traffic::ClosedLoop { pipeline: 4 };

fn settings(server: &Server, traffic: Traffic) -> Settings {
    let mut settings = Settings::new(server.address);
    settings.threads = Some(2);
    settings.workload.connections = 500;
    settings.workload.traffic = traffic;
    settings.workload.hold = Duration::from_millis(600);
    settings.workload.grace = Duration::from_secs(5);
    settings
}

fn run(settings: &Settings) -> Report {
    sockets::run(settings, &mut ()).expect("a run")
}

/// Everything was opened, answered as sent, and closed by both sides.
fn assert_spotless(report: &Report) {
    let counters = &report.counters;
    assert_eq!(counters.errors(), 0, "{counters:?} {:?}", report.reasons);
    assert_eq!(counters.established, report.connections as u64);
    assert_eq!(counters.unclosed, 0);
    assert_eq!(
        counters.closed,
        counters.established + counters.reopened,
        "{counters:?}"
    );
    assert!(counters.messages > 0);
    assert_eq!(counters.measured_messages, report.latency_us.count);
    assert!(
        counters.bytes_received == counters.bytes_sent || counters.resent > 0,
        "{counters:?}"
    );
}

#[test]
fn closed_loop_keeps_all_connections_busy() {
    let server = Server::start(Behaviour::Echo);
    let report = run(&settings(&server, CLOSED_LOOP));
    assert_spotless(&report);
    assert!(report.counters.messages >= 500 * 4, "{:?}", report.counters);
}

#[test]
fn messages_of_any_size_come_back() {
    for (size, protocol) in [
        (1, Protocol::Echo),
        (1, Protocol::Frames),
        (1500, Protocol::Frames),
        (65_536, Protocol::Frames),
        (1 << 20, Protocol::Echo),
    ] {
        let server = Server::start(Behaviour::Echo);
        let mut settings = settings(&server, CLOSED_LOOP);
        settings.workload.connections = 8;
        settings.workload.message_bytes = size;
        settings.workload.protocol = protocol;
        let report = run(&settings);
        assert_spotless(&report);
        let wire = size as u64 + if protocol == Protocol::Frames { 4 } else { 0 };
        assert_eq!(
            report.counters.bytes_received,
            report.counters.messages * wire
        );
    }
}

#[test]
fn open_loop_sends_what_the_clock_says() {
    for pattern in [Pattern::Uniform, Pattern::Bursty] {
        let server = Server::start(Behaviour::Echo);
        let mut settings = settings(
            &server,
            Traffic::OpenLoop {
                messages_per_second: 5000.0,
            },
        );
        settings.workload.pattern = pattern;
        settings.workload.hold = Duration::from_secs(1);
        settings.workload.active = Active::Count(37);
        let report = run(&settings);
        assert_spotless(&report);
        assert_eq!(report.counters.messages, 5000, "{pattern:?}");
    }
}

#[test]
fn warm_up_is_sent_but_not_measured() {
    let server = Server::start(Behaviour::Echo);
    let mut settings = settings(
        &server,
        Traffic::OpenLoop {
            messages_per_second: 2000.0,
        },
    );
    settings.workload.warmup = Duration::from_millis(500);
    settings.workload.hold = Duration::from_millis(500);
    let report = run(&settings);
    assert_spotless(&report);
    assert_eq!(
        (report.counters.messages, report.counters.measured_messages),
        (2000, 1000)
    );
}

#[test]
fn churn_loses_no_message() {
    for traffic in [
        CLOSED_LOOP,
        Traffic::OpenLoop {
            messages_per_second: 5000.0,
        },
    ] {
        let server = Server::start(Behaviour::Echo);
        let mut settings = settings(&server, traffic);
        settings.workload.churn_per_second = 500.0;
        settings.workload.hold = Duration::from_secs(1);
        let report = run(&settings);
        assert_spotless(&report);
        assert!(
            (450..=550).contains(&report.counters.reopened),
            "{:?}",
            report.counters
        );
    }
}

#[test]
fn a_stampede_brings_back_whom_it_reset() {
    for traffic in [
        CLOSED_LOOP,
        Traffic::OpenLoop {
            messages_per_second: 5000.0,
        },
    ] {
        let server = Server::start(Behaviour::Echo);
        let mut settings = settings(&server, traffic);
        for (connections, reset) in [(Active::Share(1.0), 500), (Active::Count(123), 123)] {
            let at = Some(Duration::from_millis(200));
            settings.workload.stampede = Some(Stampede { connections, at });
            let report = run(&settings);
            assert_spotless(&report);
            assert_eq!(report.counters.reopened, reset);
            let stampede = report.stampede.expect("a stampede");
            assert_eq!((stampede.reset, stampede.back), (reset, reset));
            assert_eq!(stampede.connect_us.count, reset);
            assert_eq!(report.connect_us.count, 500);
            let parts = [stampede.others_us, stampede.crowd_us, stampede.rest_us];
            let measured: u64 = parts.iter().map(|part| part.count).sum();
            assert_eq!(measured, report.counters.measured_messages);
            assert!(stampede.rest_us.count > 0);
            assert!(
                stampede
                    .seconds
                    .is_some_and(|seconds| (0.0..0.4).contains(&seconds))
            );
        }
    }
}

#[test]
fn a_ramp_takes_its_time() {
    let server = Server::start(Behaviour::Echo);
    let mut settings = settings(&server, Traffic::None);
    settings.workload.ramp_per_second = Some(1000.0);
    settings.workload.hold = Duration::ZERO;
    let report = run(&settings);
    assert_eq!(report.counters.established, 500);
    assert!(
        (0.45..2.0).contains(&report.timeline.connect_seconds),
        "{:?}",
        report.timeline
    );
}

#[test]
fn a_changed_byte_is_one_wrong_byte_per_connection() {
    let server = Server::start(Behaviour::Corrupt { at: 100 });
    let report = run(&settings(&server, CLOSED_LOOP));
    assert_eq!(report.counters.wrong_bytes, 500);
    assert_eq!(report.counters.errors(), 500);
}

#[test]
fn a_server_that_hangs_up_is_seen() {
    let server = Server::start(Behaviour::CloseAfter { bytes: 64 * 20 });
    let mut settings = settings(&server, CLOSED_LOOP);
    settings.workload.hold = Duration::from_secs(30);
    let report = run(&settings);
    assert_eq!(report.counters.lost, 500, "{report:?}");
    assert!(report.counters.unanswered > 0);
    assert!(report.timeline.deserted, "the run ends when nobody is left");
    assert_eq!(
        report.reasons.values().sum::<u64>(),
        500,
        "{:?}",
        report.reasons
    );
}

#[test]
fn a_server_that_says_nothing_leaves_messages_unanswered() {
    let server = Server::start(Behaviour::Swallow);
    let mut settings = settings(
        &server,
        Traffic::OpenLoop {
            messages_per_second: 1000.0,
        },
    );
    settings.workload.grace = Duration::from_millis(200);
    let report = run(&settings);
    assert_eq!(report.counters.unanswered, 600);
    assert_eq!(report.counters.messages, 0);
}

#[test]
fn no_server_is_an_error_with_its_fix() {
    let address = {
        let server = Server::start(Behaviour::Echo);
        server.address
    };
    let error = sockets::run(&Settings::new(address), &mut ()).expect_err("nobody listens there");
    assert!(error.to_string().contains("start the server"), "{error}");
}

/// Notes what it is told, and stops the run when a phase is reached.
#[derive(Default)]
struct Witness {
    over: Vec<(Phase, u64, u64)>,
    stop_in: Option<Phase>,
}

impl Observer for Witness {
    fn phase_over(&mut self, phase: Phase, progress: &Progress) {
        self.over
            .push((phase, progress.counters.open, progress.counters.messages));
    }

    fn tick(&mut self, phase: Phase, _: &Progress) -> ControlFlow<()> {
        if self.stop_in == Some(phase) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

#[test]
fn the_observer_sees_each_phase_with_exact_counts() {
    let server = Server::start(Behaviour::Echo);
    let mut settings = settings(&server, CLOSED_LOOP);
    settings.workload.idle = Duration::from_millis(50);
    let mut witness = Witness::default();
    let report = sockets::run(&settings, &mut witness).expect("a run");
    let phases: Vec<Phase> = witness.over.iter().map(|(phase, ..)| *phase).collect();
    assert_eq!(
        phases,
        [
            Phase::Connect,
            Phase::Idle,
            Phase::Warmup,
            Phase::Hold,
            Phase::Drain,
            Phase::Close
        ]
    );
    assert_eq!(witness.over[0], (Phase::Connect, 500, 0));
    assert_eq!(witness.over[1], (Phase::Idle, 500, 0));
    assert_eq!(
        witness.over[4],
        (Phase::Drain, 500, report.counters.messages)
    );
}

#[test]
fn the_observer_can_end_a_run() {
    let server = Server::start(Behaviour::Echo);
    let mut settings = settings(&server, CLOSED_LOOP);
    settings.workload.hold = Duration::from_secs(60);
    let mut witness = Witness {
        stop_in: Some(Phase::Hold),
        ..Witness::default()
    };
    let report = sockets::run(&settings, &mut witness).expect("a run");
    assert!(report.timeline.interrupted);
    assert!(report.timeline.total_seconds < 10.0);
    assert_eq!(report.counters.closed, 500, "{report:?}");
}

#[test]
fn an_observer_that_panics_does_not_leave_the_threads_running() {
    struct Panics;
    impl Observer for Panics {
        fn phase_over(&mut self, _: Phase, _: &Progress) {
            panic!("as a test of what follows");
        }
    }
    let server = Server::start(Behaviour::Echo);
    let settings = settings(&server, CLOSED_LOOP);
    let run = || drop(sockets::run(&settings, &mut Panics));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    assert!(
        caught.is_err(),
        "the panic arrives, and so the threads have returned"
    );
}

/// Looks at the counters when the traffic is over and the laggards have not caught up.
struct AtTheEndOfTraffic(roadstead_load::Counters);

impl Observer for AtTheEndOfTraffic {
    fn phase_over(&mut self, phase: Phase, progress: &Progress) {
        if phase == Phase::Hold {
            self.0 = progress.counters;
        }
    }
}

fn with_laggards(server: &Server, lag: Lag) -> Settings {
    let mut settings = settings(server, CLOSED_LOOP);
    settings.workload.idle = Duration::from_millis(300);
    settings.workload.active = Active::Count(10);
    settings.workload.protocol = Protocol::Frames;
    settings.workload.message_bytes = 1_000;
    settings.laggards = Some(Laggards {
        connections: 100,
        lag,
    });
    settings
}

#[test]
fn replies_that_laggards_leave_unread_are_read_and_checked_in_the_end() {
    let server = Server::start(Behaviour::Echo);
    let settings = with_laggards(&server, Lag::Unread { messages: 20 });
    let mut seen = AtTheEndOfTraffic(roadstead_load::Counters::default());
    let report = sockets::run(&settings, &mut seen).expect("a run");
    assert_spotless(&report);
    let unread = seen.0.bytes_sent - seen.0.bytes_received;
    assert!(unread >= 100 * 20 * 1_004, "{:?}", seen.0);
    let timed = report.latency_us.count;
    assert_eq!(report.counters.messages, timed + 100 * 20);
}

#[test]
fn a_frame_that_was_half_sent_is_finished_and_answered_in_the_end() {
    let server = Server::start(Behaviour::Echo);
    let report = run(&with_laggards(&server, Lag::HalfSent));
    assert_spotless(&report);
    assert_eq!(report.counters.messages, report.latency_us.count + 100);
    let server = Server::start(Behaviour::Corrupt { at: 999 });
    let report = run(&with_laggards(&server, Lag::HalfSent));
    assert_eq!(report.counters.wrong_bytes, 110, "active ones and laggards");
}

#[test]
fn laggards_that_are_not_there_are_refused_with_what_would_be() {
    let server = Server::start(Behaviour::Echo);
    let mut crowded = with_laggards(&server, Lag::HalfSent);
    crowded.workload.connections = 110;
    let mut restless = with_laggards(&server, Lag::HalfSent);
    restless.workload.churn_per_second = 1.0;
    let mut headless = with_laggards(&server, Lag::HalfSent);
    headless.workload.protocol = Protocol::Echo;
    for (settings, fix) in [
        (crowded, "ask for 112"),
        (restless, "churn"),
        (headless, "frames"),
    ] {
        let error = sockets::run(&settings, &mut ()).expect_err("refused");
        assert!(error.to_string().contains(fix), "{error}");
    }
}
