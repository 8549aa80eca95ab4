//! Where a server listens, whom it lets in, and why it does not start.

use roadstead::services::Echo;
use roadstead::{Config, Engine, Server, StartError, Steering};
use roadstead_testkit::{Peer, Setup, on_every_setup};
use rustix::thread::{
    CapabilitySet, CpuSet, capabilities, sched_getaffinity, sched_setaffinity, set_capabilities,
};
use std::net::SocketAddr;

on_every_setup!(plain:
    several_addresses_and_both_families,
    more_than_fit_are_refused,
    workers_share_a_port,
    steering_keeps_connections_on_their_core,
    a_failed_start_leaves_nothing,
    a_worker_that_panics_is_reported,
);

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn several_addresses_and_both_families(setup: Setup) {
    let server = setup.serve_with(Echo, |config| {
        config.listen = ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"]
            .map(address)
            .to_vec();
        config.workers = 2;
    });
    let addresses = server.server().addresses().to_vec();
    assert_eq!(addresses.len(), 3);
    assert!(addresses.iter().all(|address| address.port() != 0));
    assert!(addresses[2].is_ipv6());
    for address in &addresses {
        for _ in 0..10 {
            let peer = Peer::connect(*address);
            peer.send(b"which way");
            peer.expect(b"which way");
        }
    }
    server.await_live(0);
    assert_eq!(server.finish().opened, 30);
}

/// A reset says so at once; those that are in do not notice.
fn more_than_fit_are_refused(setup: Setup) {
    let server = setup.serve_with(Echo, |config| config.connections_per_worker = 5);
    let peers: Vec<Peer> = (0..5).map(|_| server.connect()).collect();
    server.await_live(5);
    for refused in 1..=20 {
        server.connect().expect_reset();
        server.await_stats("the refusal is counted", |stats| {
            stats.refused_at_capacity == refused
        });
    }
    for peer in &peers {
        peer.send(b"in");
        peer.expect(b"in");
    }
    drop(peers);
    server.await_live(0);
    let next = server.connect();
    next.send(b"in");
    next.expect(b"in");
    drop(next);
    server.await_live(0);
    assert_eq!(server.finish().opened, 6);
}

/// None is out of 400 connections: the odds against a fair hash are 4 × (3/4)^400.
fn workers_share_a_port(setup: Setup) {
    let server = setup.serve_with(Echo, |config| {
        config.workers = 4;
        config.connections_per_worker = 400;
    });
    let before: Vec<usize> = (0..4)
        .map(|worker| server.worker_descriptors(worker))
        .collect();
    let peers: Vec<Peer> = (0..400).map(|_| server.connect()).collect();
    server.await_live(400);
    for (worker, before) in before.into_iter().enumerate() {
        assert!(
            server.worker_descriptors(worker) > before,
            "worker {worker} has none"
        );
    }
    drop(peers);
    server.await_live(0);
    server.finish();
}

/// Over loopback a SYN is worked on by the core that sends it. Of 200 connections from one core each of its
/// two workers has some, the odds against it being 2^-199, and the workers of other cores have none.
fn steering_keeps_connections_on_their_core(setup: Setup) {
    let cores = allowed_cores();
    let workers = 2 * cores.len();
    for (place, &core) in cores.iter().enumerate() {
        let server = setup.serve_with(Echo, |config| {
            config.workers = workers;
            config.pin = true;
            config.steering = Steering::Cpu;
        });
        let descriptors = || -> Vec<usize> {
            (0..workers)
                .map(|worker| server.worker_descriptors(worker))
                .collect()
        };
        let before = descriptors();
        let address = server.address();
        let peers = on_core(core, || -> Vec<Peer> {
            (0..200).map(|_| Peer::connect(address)).collect()
        });
        server.await_live(200);
        for (worker, (before, after)) in before.into_iter().zip(descriptors()).enumerate() {
            let own = worker % cores.len() == place;
            assert_eq!(after > before, own, "worker {worker}, SYNs on core {core}");
        }
        drop(peers);
        server.await_live(0);
        server.finish();
    }
}

fn allowed_cores() -> Vec<usize> {
    let allowed = sched_getaffinity(None).expect("always known");
    (0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .collect()
}

/// Runs in a thread that stays on this core.
fn on_core<T: Send>(core: usize, work: impl FnOnce() -> T + Send) -> T {
    let pinned = move || {
        let mut only = CpuSet::new();
        only.set(core);
        sched_setaffinity(None, &only).expect("one of the allowed cores");
        work()
    };
    std::thread::scope(|scope| scope.spawn(pinned).join().expect("does not panic"))
}

fn open_descriptors() -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("always there");
    descriptors.count()
}

/// Whatever fails, and however late.
fn a_failed_start_leaves_nothing(setup: Setup) {
    // While it runs, no other test of this process opens anything.
    let server = setup.serve(Echo);
    let taken = server.address();
    let before = open_descriptors();
    for _ in 0..20 {
        let mut config = setup.config();
        config.listen.push(taken);
        let error = start(config).err().expect("the second address is taken");
        assert!(matches!(error, StartError::AddressInUse(_)), "{error}");
        let mut config = setup.config();
        config.listen.push(address("198.51.100.1:0"));
        let error = start(config).err().expect("the second address is not ours");
        assert!(
            matches!(error, StartError::AddressUnavailable(_)),
            "{error}"
        );
    }
    assert_eq!(open_descriptors(), before);
    server.finish();
}

fn start(config: Config) -> Result<Server<()>, StartError> {
    Server::start(config, |_| Echo)
}

/// Panics when it is told to, as services should not.
#[derive(Clone)]
struct Fragile;

impl roadstead::Service for Fragile {
    type State = ();
    type Message = ();

    fn data(&mut self, _: &mut roadstead::Connection<'_, Self>, bytes: &[u8]) -> usize {
        panic!("this panic is part of the test: {} bytes", bytes.len());
    }
}

/// Its connections end with it; the process and the other workers do not.
fn a_worker_that_panics_is_reported(setup: Setup) {
    let server = setup.serve_with(Fragile, |config| config.workers = 2);
    let peer = server.connect();
    server.await_live(1);
    peer.send(b"boo");
    server.await_workers_ended(1);
    let (received, _) = peer.receive_to_end();
    assert!(received.is_empty());
    let failures = server.abandon().failures;
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].contains("panicked"), "{failures:?}");
}

mod start_errors {
    //! Each says what is wrong in one line, and what to do. They do not depend on the driver.

    use super::*;

    fn error_of(listen: &str) -> StartError {
        let mut config = Config::default();
        config.listen = vec![address(listen)];
        config.engine = Engine::Epoll;
        config.workers = 1;
        start(config).err().expect("it must not start")
    }

    fn assert_says(error: &StartError, parts: &[&str]) {
        let text = error.to_string();
        assert!(!text.contains('\n'), "{text}");
        for part in parts {
            assert!(text.contains(part), "'{part}' is missing in: {text}");
        }
    }

    #[test]
    fn an_address_in_use() {
        let holder = Setup::EPOLL.serve(Echo);
        let held = holder.address().to_string();
        assert_says(&error_of(&held), &[&held, "in use", "another port"]);
        holder.finish();
    }

    /// Binding to a low port takes a capability, which this thread gives up: a test's thread is its own.
    #[test]
    fn a_port_without_permission() {
        let file = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
        let first_free = std::fs::read_to_string(file).expect("Linux has it");
        assert!(
            first_free.trim().parse::<u16>().is_ok_and(|port| port > 1),
            "this test needs a port that takes a privilege: set net.ipv4.ip_unprivileged_port_start \
             to more than 1"
        );
        let mut sets = capabilities(None).expect("own capabilities can be read");
        sets.effective.remove(CapabilitySet::NET_BIND_SERVICE);
        set_capabilities(None, sets).expect("and be given up");
        let error = error_of("127.0.0.1:1");
        assert_says(
            &error,
            &["127.0.0.1:1", "no permission", "CAP_NET_BIND_SERVICE"],
        );
    }

    #[test]
    fn an_address_of_another_host() {
        let error = error_of("198.51.100.1:8080");
        assert_says(&error, &["198.51.100.1", "no interface", "0.0.0.0"]);
    }

    #[test]
    fn nothing_to_listen_on() {
        let error = start(Config::default()).err().expect("no address");
        assert_says(&error, &["no address"]);
    }
}
