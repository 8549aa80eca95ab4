//! io_uring refused, as container runtimes refuse it: by a seccomp filter, which binds the thread that
//! installs it and those it starts. Needs no privilege.

use roadstead::services::Echo;
use roadstead::{Config, Engine, Server, StartError, UringUnavailable};
use roadstead_testkit::{Peer, check_books};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use std::collections::BTreeMap;
use std::time::Duration;

/// `io_uring_setup(2)`, the same number on every architecture.
const IO_URING_SETUP: i64 = 425;

/// Runs in a thread of its own that io_uring is refused to with `errno`.
fn without_uring<T: Send>(errno: i32, run: impl FnOnce() -> T + Send) -> T {
    let filter = SeccompFilter::new(
        BTreeMap::from([(IO_URING_SETUP, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        std::env::consts::ARCH
            .try_into()
            .expect("seccompiler knows it"),
    );
    let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a valid filter");
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| {
            apply_filter(&program).expect("a thread may restrict itself");
            run()
        });
        refused.join().expect("no panic")
    })
}

fn start(engine: Engine) -> Result<Server<()>, StartError> {
    let mut config = Config::default();
    config.listen = vec![([127, 0, 0, 1], 0).into()];
    config.engine = engine;
    config.workers = 2;
    Server::start(config, |_| Echo)
}

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const ENOMEM: i32 = 12;

#[test]
fn auto_falls_back_to_epoll_and_says_why() {
    for errno in [EPERM, ENOSYS] {
        without_uring(errno, || {
            let server = start(Engine::Auto).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(server.engine(), Engine::Epoll);
            let why = server.fallback().expect("a reason");
            assert_eq!(*why, UringUnavailable::Refused);
            assert!(why.to_string().contains("seccomp"), "{why}");
            let peer = Peer::connect(server.addresses()[0]);
            peer.send(b"served all the same");
            peer.expect(b"served all the same");
            drop(peer);
            server.drain(Duration::from_secs(5));
            check_books(&server.join().stats);
        });
    }
}

#[test]
fn uring_does_not_start_and_says_what_to_do() {
    without_uring(EPERM, || {
        let error = start(Engine::Uring).err().expect("it is refused");
        assert!(matches!(
            error,
            StartError::UringUnavailable(UringUnavailable::Refused)
        ));
        let text = error.to_string();
        assert!(!text.contains('\n'), "{text}");
        for part in ["seccomp", "io_uring_setup", "epoll"] {
            assert!(text.contains(part), "'{part}' is missing in: {text}");
        }
    });
}

#[test]
fn another_failure_is_quoted() {
    without_uring(ENOMEM, || {
        let error = start(Engine::Uring).err().expect("it fails");
        assert!(
            error.to_string().contains("Cannot allocate memory"),
            "{error}"
        );
    });
}

#[test]
fn auto_takes_uring_where_it_can_be_had() {
    let server = start(Engine::Auto).unwrap_or_else(|error| panic!("{error}"));
    assert!(
        server.engine() == Engine::Uring,
        "this suite needs io_uring, and this process cannot have it: {}",
        server.fallback().expect("a reason")
    );
    assert!(server.fallback().is_none());
}
