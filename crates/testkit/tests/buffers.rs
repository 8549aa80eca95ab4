//! Few read buffers, many readers: everybody gets their turn, and every byte arrives.

use roadstead::services::Echo;
use roadstead::{CloseReason, Connection, Service};
use roadstead_testkit::{Peer, Setup, Stream, on_every_setup};

on_every_setup!(
    five_hundred_busy_connections,
    a_greedy_peer_does_not_starve_others,
    a_rest_over_the_limit_closes,
);

/// Each has more under way than both buffers of a tiny ring hold.
fn five_hundred_busy_connections(setup: Setup) {
    const PEERS: usize = 500;
    const ROUNDS: usize = 4;
    const BYTES: usize = 700;
    let server = setup.serve(Echo);
    let mut peers: Vec<(Peer, Stream)> = (0..PEERS)
        .map(|key| (server.connect(), Stream::new(key as u64)))
        .collect();
    for _ in 0..ROUNDS {
        for (peer, stream) in &peers {
            peer.send(&stream.clone().take(BYTES));
        }
        for (peer, stream) in &mut peers {
            peer.expect_stream(stream, BYTES, BYTES);
        }
    }
    for (peer, _) in &peers {
        peer.finish();
        peer.expect_end();
    }
    let stats = server.finish();
    assert_eq!(stats.closed_by(CloseReason::PeerEnded), PEERS as u64);
    let total = (PEERS * ROUNDS * BYTES) as u64;
    assert_eq!((stats.bytes_in, stats.bytes_out), (total, total));
}

/// Reads and drops, except that what does not begin with a zero is answered.
#[derive(Clone)]
struct IgnoresZeros;

impl Service for IgnoresZeros {
    type State = ();
    type Message = ();

    fn data(&mut self, connection: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
        if bytes[0] != 0 {
            connection.send(bytes).expect("an empty outbox");
        }
        bytes.len()
    }
}

fn a_greedy_peer_does_not_starve_others(setup: Setup) {
    let server = setup.serve(IgnoresZeros);
    let greedy = server.connect();
    let modest = server.connect();
    std::thread::scope(|scope| {
        let served = scope.spawn(|| {
            for byte in 1..=200 {
                modest.send(&[byte]);
                modest.expect(&[byte]);
            }
        });
        // Never out of data while the other is served.
        while !served.is_finished() && greedy.try_send(&[0; 100_000]) {}
    });
    drop((greedy, modest));
    server.await_live(0);
    server.finish();
}

/// Consumes nothing, ever.
#[derive(Clone)]
struct Hoards;

impl Service for Hoards {
    type State = ();
    type Message = ();

    fn data(&mut self, _: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
        assert!(bytes.len() <= 1_000 + (16 << 10), "kept without a bound");
        0
    }
}

fn a_rest_over_the_limit_closes(setup: Setup) {
    let server = setup.serve_with(Hoards, |config| config.carry_limit_bytes = 1_000);
    let peer = server.connect();
    peer.send(&[0; 1_000]);
    server.await_stats("it is read", |stats| stats.bytes_in == 1_000);
    assert_eq!(
        server.stats().closed_total(),
        0,
        "the limit itself is allowed"
    );
    peer.send(&[0; 1]);
    peer.expect_end();
    peer.finish();
    server.await_live(0);
    assert_eq!(server.finish().closed_by(CloseReason::CarryLimit), 1);
}
