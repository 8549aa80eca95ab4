//! What ends connections that do nothing.

use roadstead::services::{Echo, Frames};
use roadstead::{CloseReason, Connection, Service};
use roadstead_testkit::{Setup, on_every_setup};
use std::time::{Duration, Instant};

on_every_setup!(plain:
    peers_that_send_nothing_are_closed,
    peers_that_stop_in_a_frame_are_closed,
    activity_keeps_a_connection,
    without_a_timeout_nothing_is_closed,
    a_closing_connection_lingers_so_long,
    paused_connections_are_closed_too,
);

const IDLE: Duration = Duration::from_millis(300);

fn idle(config: &mut roadstead::Config) {
    config.idle_timeout = Some(IDLE);
}

fn peers_that_send_nothing_are_closed(setup: Setup) {
    let server = setup.serve_with(Echo, idle);
    let start = Instant::now();
    let peers: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for peer in &peers {
        peer.expect_end();
    }
    assert!(start.elapsed() >= IDLE, "closed early");
    drop(peers);
    server.await_live(0);
    assert_eq!(server.finish().closed_by(CloseReason::IdleTimeout), 50);
}

fn peers_that_stop_in_a_frame_are_closed(setup: Setup) {
    let server = setup.serve_with(Frames::default(), idle);
    let peer = server.connect();
    peer.send(&[0, 0, 1, 0, 42]);
    peer.expect_end();
    drop(peer);
    server.await_live(0);
    assert_eq!(server.finish().closed_by(CloseReason::IdleTimeout), 1);
}

/// An exchange each now and then, for several timeouts.
fn activity_keeps_a_connection(setup: Setup) {
    let server = setup.serve_with(Echo, idle);
    let busy = server.connect();
    let quiet = server.connect();
    let start = Instant::now();
    let mut exchanges = 0;
    while start.elapsed() < 3 * IDLE {
        busy.send(b"x");
        busy.expect(b"x");
        exchanges += 1;
        // Time passes for the connection: nothing is to be seen, and nothing is awaited.
        std::thread::park_timeout(IDLE / 10);
    }
    assert!(exchanges > 3);
    quiet.expect_end();
    assert_eq!(server.stats().live, 2, "one open, one lingering");
    drop((busy, quiet));
    server.await_live(0);
    let stats = server.finish();
    assert_eq!(stats.closed_by(CloseReason::IdleTimeout), 1);
    assert_eq!(stats.closed_by(CloseReason::PeerEnded), 1);
}

/// And nothing is looked at: the worker sleeps.
fn without_a_timeout_nothing_is_closed(setup: Setup) {
    let server = setup.serve(Echo);
    let peers: Vec<_> = (0..10).map(|_| server.connect()).collect();
    server.await_live(10);
    let waits = server.stats().waits;
    std::thread::park_timeout(2 * IDLE);
    let stats = server.stats();
    assert_eq!(stats.live, 10);
    assert!(stats.waits <= waits + 2, "a worker with nothing to do woke");
    drop(peers);
    server.await_live(0);
    server.finish();
}

/// Closes at once.
#[derive(Clone)]
struct Refuses;

impl Service for Refuses {
    type State = ();
    type Message = ();

    fn open(&mut self, connection: &mut Connection<'_, Self>) {
        connection.close();
    }

    fn data(&mut self, _: &mut Connection<'_, Self>, _: &[u8]) -> usize {
        unreachable!("a closing connection gives no data");
    }
}

fn a_closing_connection_lingers_so_long(setup: Setup) {
    let server = setup.serve_with(Refuses, |config| {
        config.linger_timeout = Duration::from_millis(200);
    });
    let peer = server.connect();
    peer.expect_end();
    // What still comes is taken and dropped.
    assert!(peer.try_send(&[1; 50_000]));
    assert_eq!(server.stats().live, 1);
    server.await_live(0);
    assert_eq!(server.finish().closed_by(CloseReason::Service), 1);
}

/// Pauses at once, for good.
#[derive(Clone)]
struct Deaf;

impl Service for Deaf {
    type State = ();
    type Message = ();

    fn open(&mut self, connection: &mut Connection<'_, Self>) {
        connection.pause();
    }

    fn data(&mut self, _: &mut Connection<'_, Self>, _: &[u8]) -> usize {
        unreachable!("a paused connection gives no data");
    }
}

fn paused_connections_are_closed_too(setup: Setup) {
    let server = setup.serve_with(Deaf, idle);
    let peer = server.connect();
    peer.send(&[0; 10_000]);
    peer.expect_end();
    peer.finish();
    server.await_live(0);
    assert_eq!(server.finish().closed_by(CloseReason::IdleTimeout), 1);
}
