//! Everything at once: peers of all kinds, chosen at random, against one server with two workers.
//!
//! Each peer acts out a script drawn from the seed; what it reads is verified byte by byte.

use fastrand::Rng;
use roadstead::CloseReason;
use roadstead::services::Echo;
use roadstead_testkit::{Peer, Seed, Setup, Stream, on_every_setup};
use std::net::SocketAddr;
use std::time::Duration;

on_every_setup!(peers_of_all_kinds);

/// Client threads, and peers that each of them acts out, one after another, a few at a time.
const THREADS: u64 = 4;
const PEERS: u64 = 60;
const TOGETHER: usize = 8;

fn peers_of_all_kinds(setup: Setup) {
    let seed = Seed::new();
    let server = setup.serve_with(Echo, |config| {
        config.workers = 2;
        config.outbox_low_bytes = 4 << 10;
        config.outbox_high_bytes = 16 << 10;
        config.outbox_limit_bytes = 64 << 10;
    });
    let address = server.address();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let mut rng = seed.rng(thread);
            scope.spawn(move || act_all(address, thread, &mut rng));
        }
    });
    server.await_live(0);
    let stats = server.finish();
    let ended = stats.closed_by(CloseReason::PeerEnded) + stats.closed_by(CloseReason::PeerReset);
    assert_eq!(ended, stats.opened, "{stats:#?}");
    assert!(stats.bytes_out <= stats.bytes_in);
}

fn act_all(address: SocketAddr, thread: u64, rng: &mut Rng) {
    let mut acting: Vec<Actor> = Vec::new();
    let mut next = 0;
    while next < PEERS || !acting.is_empty() {
        if next < PEERS && acting.len() < TOGETHER {
            acting.push(Actor::new(address, thread << 32 | next, rng));
            next += 1;
        }
        let chosen = rng.usize(0..acting.len());
        if !acting[chosen].act(rng) {
            acting.swap_remove(chosen).leave(rng);
        }
    }
}

/// A peer with what it has sent and not yet received.
struct Actor {
    peer: Peer,
    sent: Stream,
    received: Stream,
    acts_left: usize,
}

impl Actor {
    fn new(address: SocketAddr, key: u64, rng: &mut Rng) -> Self {
        let peer = if rng.u8(0..4) == 0 {
            Peer::connect_narrow(address)
        } else {
            Peer::connect(address)
        };
        Self {
            peer,
            sent: Stream::new(key),
            received: Stream::new(key),
            acts_left: rng.usize(0..15),
        }
    }

    fn owed(&self) -> usize {
        (self.sent.position() - self.received.position()) as usize
    }

    /// One step; false when there are no more.
    fn act(&mut self, rng: &mut Rng) -> bool {
        if self.acts_left == 0 {
            return false;
        }
        self.acts_left -= 1;
        match rng.u8(0..6) {
            // What one side has not read must fit into the buffers between the two.
            0 | 1 if self.owed() < 32 << 10 => {
                let len = rng.usize(1..16 << 10);
                let bytes = self.sent.take(len);
                self.peer.send_in_pieces(&bytes, 1 + len / 3, rng);
            }
            2 if self.owed() < 32 << 10 => {
                let bytes = self.sent.take(rng.usize(1..40));
                self.peer.send_in_pieces(&bytes, 1, rng);
            }
            // A pause: others of the same worker go on.
            3 => std::thread::park_timeout(Duration::from_micros(rng.u64(0..2_000))),
            _ => {
                let some = rng.usize(0..=self.owed());
                self.peer.expect_stream(&mut self.received, some, 5_000);
            }
        }
        true
    }

    /// Well-behaved, half-closed, or gone.
    fn leave(mut self, rng: &mut Rng) {
        match rng.u8(0..5) {
            0 => self.peer.reset(),
            1 => drop(self.peer),
            2 => {
                self.peer.try_send(&self.sent.take(3_000));
                self.peer.reset();
            }
            _ => {
                self.peer.finish();
                let owed = self.owed();
                self.peer.expect_stream(&mut self.received, owed, 9_000);
                self.peer.expect_end();
            }
        }
    }
}
