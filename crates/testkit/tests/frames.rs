//! Frames are answered whole and in order, however they are cut on the way.

use roadstead::CloseReason;
use roadstead::services::Frames;
use roadstead_testkit::{Peer, Seed, Setup, Stream, on_every_setup};

on_every_setup!(
    pipelined,
    cut_at_every_byte,
    cut_at_random,
    at_the_limit,
    over_the_limit,
    whole_frames_before_a_bad_one,
    an_outbox_of_one_frame,
    an_end_in_the_middle,
);

/// Appends a frame with a payload of this length.
fn append_frame(bytes: &mut Vec<u8>, payload_bytes: usize) {
    let header = u32::try_from(payload_bytes).expect("frames are short");
    bytes.extend_from_slice(&header.to_be_bytes());
    bytes.extend(Stream::new(payload_bytes as u64).take(payload_bytes));
}

fn frames(payloads: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    payloads
        .into_iter()
        .for_each(|len| append_frame(&mut bytes, len));
    bytes
}

/// Sends from another thread, so that neither side waits for the other.
fn exchange(peer: &Peer, bytes: &[u8], send: impl FnOnce(&Peer, &[u8]) + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| send(peer, bytes));
        peer.expect(bytes);
    });
}

fn pipelined(setup: Setup) {
    let server = setup.serve(Frames::default());
    let peer = server.connect();
    exchange(&peer, &frames(0..400), Peer::send);
    exchange(&peer, &frames([0; 5_000]), Peer::send);
    exchange(&peer, &frames([30_000; 60]), Peer::send);
    peer.finish();
    peer.expect_end();
    let stats = server.finish();
    assert_eq!(stats.bytes_in, stats.bytes_out);
    assert_eq!(stats.closed_by(CloseReason::PeerEnded), 1);
}

fn cut_at_every_byte(setup: Setup) {
    let server = setup.serve(Frames::default());
    let peer = server.connect();
    let bytes = frames([0, 1, 7, 300]);
    for cut in 1..bytes.len() {
        peer.send(&bytes[..cut]);
        // What is whole is answered without the rest.
        let whole = [4, 9, 20, 324].into_iter().filter(|end| *end <= cut);
        let answered = whole.max().unwrap_or(0);
        peer.expect(&bytes[..answered]);
        peer.send(&bytes[cut..]);
        peer.expect(&bytes[answered..]);
    }
    drop(peer);
    server.await_live(0);
    server.finish();
}

fn cut_at_random(setup: Setup) {
    let seed = Seed::new();
    let mut rng = seed.rng(1);
    let server = setup.serve(Frames::default());
    for piece_bytes_max in [3, 50, 1_000, 60_000] {
        let bytes = frames((0..60).map(|_| rng.usize(0..piece_bytes_max)));
        let peer = server.connect();
        exchange(&peer, &bytes, |peer, bytes| {
            peer.send_in_pieces(bytes, piece_bytes_max, &mut rng);
        });
        peer.finish();
        peer.expect_end();
    }
    let stats = server.finish();
    assert_eq!(stats.bytes_in, stats.bytes_out);
}

fn at_the_limit(setup: Setup) {
    let server = setup.serve(Frames::default());
    let peer = server.connect();
    let longest = Frames::FRAME_BYTES_DEFAULT;
    exchange(&peer, &frames([longest, 0, longest, 1]), Peer::send);
    peer.finish();
    peer.expect_end();
    assert_eq!(server.finish().closed_by(CloseReason::PeerEnded), 1);
}

/// The peer is told by an end of stream, though it goes on sending: not by a reset.
fn over_the_limit(setup: Setup) {
    let server = setup.serve(Frames::with_limit(1_000));
    let peer = server.connect();
    peer.send(&frames([1_001]));
    peer.expect_end();
    assert!(peer.try_send(&[0; 100_000]), "reset while it was closing");
    peer.finish();
    server.await_live(0);
    let stats = server.finish();
    assert_eq!(stats.closed_by(CloseReason::ProtocolError), 1);
    assert_eq!(stats.bytes_out, 0);
}

fn whole_frames_before_a_bad_one(setup: Setup) {
    let server = setup.serve(Frames::with_limit(1_000));
    let peer = server.connect();
    let good = frames([1_000, 10, 0]);
    let mut bytes = good.clone();
    bytes.extend_from_slice(&u32::MAX.to_be_bytes());
    peer.send(&bytes);
    peer.expect(&good);
    peer.expect_end();
    drop(peer);
    server.await_live(0);
    assert_eq!(server.finish().closed_by(CloseReason::ProtocolError), 1);
}

/// A frame that finds no room waits until there is some, below the high-water mark as well.
fn an_outbox_of_one_frame(setup: Setup) {
    let server = setup.serve_with(Frames::with_limit(4_000), |config| {
        config.outbox_low_bytes = 100;
        config.outbox_high_bytes = 4_004;
        config.outbox_limit_bytes = 4_004;
        config.carry_limit_bytes = 4_004;
    });
    let peer = server.connect();
    exchange(
        &peer,
        &frames([3_000, 3_001, 4_000, 1, 4_000, 2_500]),
        Peer::send,
    );
    exchange(&peer, &frames([2_001; 100]), Peer::send);
    peer.finish();
    peer.expect_end();
    assert_eq!(server.finish().closed_by(CloseReason::PeerEnded), 1);
}

fn an_end_in_the_middle(setup: Setup) {
    let server = setup.serve(Frames::default());
    let peer = server.connect();
    let mut bytes = frames([500, 40]);
    let whole = bytes.clone();
    append_frame(&mut bytes, 900);
    peer.send(&bytes[..bytes.len() - 1]);
    peer.finish();
    peer.expect(&whole);
    peer.expect_end();
    assert_eq!(server.finish().closed_by(CloseReason::PeerEnded), 1);
}
