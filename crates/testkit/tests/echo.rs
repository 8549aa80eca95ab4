//! What a peer sends comes back, whatever its size and its pieces.

use roadstead::CloseReason;
use roadstead::services::Echo;
use roadstead_testkit::{Peer, Seed, Setup, Stream, on_every_setup};

on_every_setup!(
    every_size_in_odd_pieces,
    many_at_once,
    one_byte_at_a_time,
    a_long_stream_in_both_directions,
);

/// Sizes around those of buffers, segments and water marks.
const SIZES: [usize; 14] = [
    1,
    2,
    63,
    64,
    127,
    128,
    129,
    1_461,
    4_095,
    4_096,
    4_097,
    65_537,
    262_145,
    1 << 20,
];

fn every_size_in_odd_pieces(setup: Setup) {
    let seed = Seed::new();
    let server = setup.serve(Echo);
    let mut rng = seed.rng(0);
    for size in SIZES {
        let peer = server.connect();
        let mut sent = Stream::new(size as u64);
        let bytes = sent.take(size);
        std::thread::scope(|scope| {
            scope.spawn(|| peer.send_in_pieces(&bytes, (size / 40).max(1), &mut rng));
            peer.expect_stream(&mut Stream::new(size as u64), size, 10_000);
        });
        peer.finish();
        peer.expect_end();
    }
    let stats = server.finish();
    let total = SIZES.iter().sum::<usize>() as u64;
    assert_eq!((stats.bytes_in, stats.bytes_out), (total, total));
    assert_eq!(stats.closed_by(CloseReason::PeerEnded), SIZES.len() as u64);
}

fn many_at_once(setup: Setup) {
    const PEERS: usize = 100;
    const ROUNDS: usize = 20;
    let server = setup.serve(Echo);
    let mut peers: Vec<(Peer, Stream)> = (0..PEERS)
        .map(|key| (server.connect(), Stream::new(key as u64)))
        .collect();
    for round in 0..ROUNDS {
        let size = 1 + round * 37;
        for (peer, stream) in &peers {
            peer.send(&stream.clone().take(size));
        }
        for (peer, stream) in &mut peers {
            peer.expect_stream(stream, size, size);
        }
    }
    server.await_live(PEERS as u64);
    drop(peers);
    server.await_live(0);
    let stats = server.finish();
    assert_eq!(stats.closed_by(CloseReason::PeerEnded), PEERS as u64);
}

fn one_byte_at_a_time(setup: Setup) {
    let server = setup.serve(Echo);
    let peer = server.connect();
    for byte in 0..=255 {
        peer.send(&[byte]);
        peer.expect(&[byte]);
    }
    drop(peer);
    server.await_live(0);
    let stats = server.finish();
    assert_eq!((stats.reads, stats.sends), (256, 256));
}

/// More than all buffers on the way can hold, so that both directions stop and go on many times.
fn a_long_stream_in_both_directions(setup: Setup) {
    const BYTES: usize = 12 << 20;
    let seed = Seed::new();
    let mut rng = seed.rng(0);
    let server = setup.serve(Echo);
    let peer = server.connect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = Stream::new(3);
            while stream.position() < BYTES as u64 {
                let left = BYTES - stream.position() as usize;
                peer.send(&stream.take(rng.usize(1..=100_000).min(left)));
            }
            peer.finish();
        });
        peer.expect_stream(&mut Stream::new(3), BYTES, 1 << 20);
        peer.expect_end();
    });
    let stats = server.finish();
    assert_eq!(
        (stats.bytes_in, stats.bytes_out),
        (BYTES as u64, BYTES as u64)
    );
    assert_eq!(stats.closed_by(CloseReason::PeerEnded), 1);
}
