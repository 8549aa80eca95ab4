//! Either side may finish first; the other direction goes on.

use roadstead::services::Echo;
use roadstead::{CloseReason, Connection, ConnectionId, SendError, Service};
use roadstead_testkit::{Peer, Setup, Stream, on_every_setup};
use std::sync::mpsc::{Sender, channel};

on_every_setup!(
    the_peer_first,
    the_peer_first_with_answers_that_wait,
    the_server_first,
    both_at_once,
    without_a_byte,
);

fn the_peer_first(setup: Setup) {
    let server = setup.serve(Echo);
    for size in [1, 100, 5_000, 60_000] {
        let peer = server.connect();
        let bytes = Stream::new(1).take(size);
        peer.send(&bytes);
        peer.finish();
        peer.expect(&bytes);
        peer.expect_end();
    }
    assert_eq!(server.finish().closed_by(CloseReason::PeerEnded), 4);
}

/// The end of stream has arrived long before everything is answered.
fn the_peer_first_with_answers_that_wait(setup: Setup) {
    const BYTES: usize = 8 << 20;
    let server = setup.serve_with(Echo, |config| {
        config.outbox_low_bytes = 1_000;
        config.outbox_high_bytes = 10_000;
        config.outbox_limit_bytes = 20_000;
    });
    let peer = Peer::connect_narrow(server.address());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            peer.send(&Stream::new(1).take(BYTES));
            peer.finish();
        });
        // Nothing is read before the server has stopped reading.
        server.await_stats("the server is congested", |stats| stats.congested > 0);
        peer.expect_stream(&mut Stream::new(1), BYTES, 30_000);
        peer.expect_end();
    });
    let stats = server.finish();
    assert_eq!(stats.closed_by(CloseReason::PeerEnded), 1);
    assert_eq!(
        (stats.bytes_in, stats.bytes_out),
        (BYTES as u64, BYTES as u64)
    );
}

/// Says its piece, finishes, and listens to the end; then reports what it has heard.
#[derive(Clone)]
struct SpeaksFirst {
    report: Sender<Vec<u8>>,
}

const GREETING: &[u8] = b"said everything";

impl Service for SpeaksFirst {
    type State = Vec<u8>;
    type Message = ();

    fn open(&mut self, connection: &mut Connection<'_, Self>) {
        connection.send(GREETING).expect("an empty outbox");
        connection.finish();
    }

    fn data(&mut self, connection: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
        assert_eq!(connection.send(b"more"), Err(SendError::Closing));
        connection.state().extend_from_slice(bytes);
        bytes.len()
    }

    fn closed(&mut self, _: ConnectionId, heard: Vec<u8>, _: CloseReason) {
        self.report.send(heard).expect("the test listens");
    }
}

fn the_server_first(setup: Setup) {
    let (report, heard) = channel();
    let server = setup.serve(SpeaksFirst { report });
    let peer = server.connect();
    peer.expect(GREETING);
    peer.expect_end();
    let bytes = Stream::new(1).take(1 << 20);
    peer.send(&bytes);
    peer.finish();
    server.await_live(0);
    let stats = server.finish();
    assert_eq!(stats.closed_by(CloseReason::PeerEnded), 1);
    assert!(heard.recv().expect("one report") == bytes);
}

fn both_at_once(setup: Setup) {
    let (report, heard) = channel();
    let server = setup.serve(SpeaksFirst { report });
    for _ in 0..50 {
        let peer = server.connect();
        peer.finish();
        peer.expect(GREETING);
        peer.expect_end();
    }
    server.await_live(0);
    assert_eq!(server.finish().closed_by(CloseReason::PeerEnded), 50);
    assert!(heard.iter().take(50).all(|bytes| bytes.is_empty()));
}

fn without_a_byte(setup: Setup) {
    let server = setup.serve(Echo);
    for _ in 0..50 {
        let peer = server.connect();
        peer.finish();
        peer.expect_end();
    }
    let stats = server.finish();
    assert_eq!(stats.closed_by(CloseReason::PeerEnded), 50);
    assert_eq!((stats.bytes_in, stats.reads), (0, 0));
}
