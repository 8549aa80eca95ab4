//! A connection may be cut off at any moment; it ends once, is counted once, and leaves nothing.

use roadstead::services::{Echo, Frames};
use roadstead::{CloseReason, Connection, Service};
use roadstead_testkit::{Peer, Seed, Setup, Stream, on_every_setup};

on_every_setup!(
    before_any_data,
    in_the_middle_of_a_frame,
    together_with_data,
    behind_data_that_waits_to_be_read,
    while_the_server_is_blocked,
    while_the_server_lingers,
    by_the_service,
    at_random_among_others,
);

fn before_any_data(setup: Setup) {
    let server = setup.serve(Echo);
    for round in 1..=20 {
        let peer = server.connect();
        server.await_live(1);
        peer.reset();
        server.await_stats("the reset is counted", |stats| {
            stats.closed_by(CloseReason::PeerReset) == round
        });
    }
    assert_eq!(server.finish().opened, 20);
}

fn in_the_middle_of_a_frame(setup: Setup) {
    let server = setup.serve(Frames::default());
    for round in 1..=20 {
        let peer = server.connect();
        peer.send(UNFINISHED);
        server.await_stats("it was read", |stats| {
            stats.bytes_in == round * UNFINISHED.len() as u64
        });
        peer.reset();
        server.await_live(0);
    }
    assert_eq!(server.finish().closed_by(CloseReason::PeerReset), 20);
}

/// A frame's header and some of it: nothing that is answered, so nothing but reading tells of a reset.
const UNFINISHED: &[u8] = &[0, 0, 200, 0, 1, 2, 3];

/// Data and reset may be seen at once, by a connection that is watched already or is just accepted.
fn together_with_data(setup: Setup) {
    let server = setup.serve(Frames::default());
    for round in 1..=300 {
        let peer = server.connect();
        if round % 2 == 0 {
            server.await_live(1);
        }
        peer.send(UNFINISHED);
        peer.reset();
        server.await_stats("it is accepted and closed", |stats| {
            stats.opened + stats.accept_failed == round && stats.live == 0
        });
    }
    let stats = server.finish();
    assert_eq!(stats.closed_by(CloseReason::PeerReset), stats.opened);
}

/// Accepted, read and reset in one batch, or in whatever order the kernel likes.
fn behind_data_that_waits_to_be_read(setup: Setup) {
    let seed = Seed::new();
    let mut rng = seed.rng(2);
    let server = setup.serve(Echo);
    for round in 0..200 {
        let peer = server.connect();
        peer.try_send(&Stream::new(round).take(rng.usize(0..20_000)));
        peer.reset();
    }
    // What is reset in the accept queue may be accepted, or be gone.
    let survivor = server.connect();
    survivor.send(b"still here");
    survivor.expect(b"still here");
    drop(survivor);
    server.await_live(0);
    let stats = server.finish();
    assert_eq!(stats.closed_by(CloseReason::PeerReset), stats.opened - 1);
}

fn while_the_server_is_blocked(setup: Setup) {
    let server = setup.serve(Echo);
    for round in 1..=5 {
        let peer = Peer::connect_narrow(server.address());
        std::thread::scope(|scope| {
            // Ends when the reset has come.
            scope.spawn(|| peer.try_send(&Stream::new(1).take(8 << 20)));
            server.await_stats("a send is blocked", |stats| stats.congested >= round);
            peer.break_off();
        });
        peer.reset();
        server.await_live(0);
    }
    let stats = server.finish();
    assert!(stats.sends_blocked >= 5);
    assert_eq!(stats.closed_by(CloseReason::PeerReset), 5);
}

/// Closes when it is told anything.
#[derive(Clone)]
struct Closes;

impl Service for Closes {
    type State = ();
    type Message = ();

    fn data(&mut self, connection: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
        connection.close();
        bytes.len()
    }
}

/// The reason is the one why it was closing.
fn while_the_server_lingers(setup: Setup) {
    let server = setup.serve(Closes);
    for _ in 0..20 {
        let peer = server.connect();
        peer.send(b"bye");
        peer.expect_end();
        peer.reset();
        server.await_live(0);
    }
    assert_eq!(server.finish().closed_by(CloseReason::Service), 20);
}

/// Aborts when it is told anything, with an answer that must not arrive.
#[derive(Clone)]
struct Aborts;

impl Service for Aborts {
    type State = ();
    type Message = ();

    fn data(&mut self, connection: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
        connection.send(b"never sent").expect("an empty outbox");
        connection.abort(CloseReason::ProtocolError);
        bytes.len()
    }
}

fn by_the_service(setup: Setup) {
    let server = setup.serve(Aborts);
    for _ in 0..20 {
        let peer = server.connect();
        peer.send(b"anything");
        peer.expect_reset();
        server.await_live(0);
    }
    let stats = server.finish();
    assert_eq!(stats.closed_by(CloseReason::ProtocolError), 20);
    assert_eq!(stats.bytes_out, 0);
}

/// Slots are reused at once; answers to requests of the dead must not reach the living.
fn at_random_among_others(setup: Setup) {
    let seed = Seed::new();
    let mut rng = seed.rng(3);
    let server = setup.serve(Echo);
    let mut peers: Vec<(Peer, Stream, Stream)> = Vec::new();
    for key in 0..2_000 {
        let peer = server.connect();
        peers.push((peer, Stream::new(key), Stream::new(key)));
        let chosen = rng.usize(0..peers.len());
        let (peer, sent, received) = &mut peers[chosen];
        let len = rng.usize(1..3_000);
        peer.send(&sent.take(len));
        match rng.u8(0..4) {
            // Answered or not, it goes.
            0 => peers.swap_remove(chosen).0.reset(),
            1 => drop(peers.swap_remove(chosen)),
            _ => peer.expect_stream(received, len, 1_000),
        }
        if peers.len() > 100 {
            peers.swap_remove(rng.usize(0..peers.len())).0.reset();
        }
    }
    for (peer, sent, received) in &mut peers {
        peer.send(&sent.take(100));
        peer.expect_stream(received, 100, 100);
    }
    drop(peers);
    server.await_live(0);
    server.finish();
}
