//! Connections come and go, ten thousand times; nothing of them stays.

use roadstead::services::Echo;
use roadstead::{CloseReason, Connection, ConnectionId, Service};
use roadstead_testkit::{Peer, Seed, Setup, on_every_setup};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

on_every_setup!(plain:
    ten_thousand_cycles_leave_nothing,
    every_open_has_its_closed,
);

/// Held at once by the cycles.
const TOGETHER: usize = 20;
const CYCLES: usize = 10_000;

/// A fresh table of `TOGETHER` slots serves them all: a slot that leaked would be missed by the end,
/// because the server has room for no more.
fn ten_thousand_cycles_leave_nothing(setup: Setup) {
    let seed = Seed::new();
    let mut rng = seed.rng(4);
    let server = setup.serve_with(Echo, |config| {
        config.connections_per_worker = TOGETHER as u32;
    });
    let descriptors = server.worker_descriptors(0);
    let mut opened = 0;
    while opened < CYCLES {
        let peers: Vec<Peer> = (0..TOGETHER).map(|_| server.connect()).collect();
        opened += peers.len();
        for peer in &peers {
            peer.send(b"here");
        }
        for peer in peers {
            peer.expect(b"here");
            match rng.u8(0..3) {
                0 => peer.reset(),
                1 => {
                    peer.finish();
                    peer.expect_end();
                }
                _ => drop(peer),
            }
        }
        server.await_live(0);
    }
    roadstead_testkit::eventually("every descriptor is closed", || {
        server.worker_descriptors(0) == descriptors
    });
    let stats = server.finish();
    assert_eq!(stats.opened, CYCLES as u64);
    assert_eq!(stats.refused_at_capacity, 0);
    assert_eq!(stats.bytes_in, 4 * CYCLES as u64);
    assert_eq!(stats.bytes_out, stats.bytes_in);
    let ended = stats.closed_by(CloseReason::PeerEnded) + stats.closed_by(CloseReason::PeerReset);
    assert_eq!(ended, CYCLES as u64);
}

/// Counts its calls, and what state it was given back.
#[derive(Clone, Default)]
struct Counts {
    opened: Arc<AtomicU64>,
    closed: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Service for Counts {
    type State = u64;
    type Message = ();

    fn open(&mut self, connection: &mut Connection<'_, Self>) {
        assert_eq!(*connection.state(), 0, "another connection's state");
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn data(&mut self, connection: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
        *connection.state() += bytes.len() as u64;
        bytes.len()
    }

    fn closed(&mut self, _: ConnectionId, bytes: u64, _: CloseReason) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

fn every_open_has_its_closed(setup: Setup) {
    let seed = Seed::new();
    let mut rng = seed.rng(5);
    let counts = Counts::default();
    let server = setup.serve(counts.clone());
    for _ in 0..1_000 {
        let peer = server.connect();
        peer.try_send(&[1; 300][..rng.usize(0..300)]);
        if rng.bool() {
            peer.reset();
        }
    }
    // Accepted in order, and thus after all of those.
    let last = server.connect();
    last.send(b"!");
    last.finish();
    last.expect_end();
    server.await_live(0);
    let stats = server.finish();
    assert_eq!(counts.opened.load(Ordering::Relaxed), stats.opened);
    assert_eq!(counts.closed.load(Ordering::Relaxed), stats.closed_total());
    assert_eq!(counts.bytes.load(Ordering::Relaxed), stats.bytes_in);
}
