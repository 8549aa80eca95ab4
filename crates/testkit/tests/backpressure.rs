//! Peers that do not read: what they cost is bounded, and they are let go in the end.

use roadstead::services::Echo;
use roadstead::{CloseReason, Connection, SendError, Service};
use roadstead_testkit::{Peer, Setup, Stream, on_every_setup};
use std::time::Duration;

on_every_setup!(
    a_peer_that_never_reads_is_not_read_either,
    a_slow_reader_gets_everything,
    a_flood_is_paced_by_its_reader,
);
on_every_setup!(plain: a_stalled_peer_is_reset, a_stalled_peer_is_reset_while_closing);

const HIGH: usize = 32 << 10;
const LIMIT: usize = 64 << 10;

fn narrow_outbox(config: &mut roadstead::Config) {
    config.outbox_low_bytes = 4 << 10;
    config.outbox_high_bytes = HIGH;
    config.outbox_limit_bytes = LIMIT;
}

/// What the server has read and not sent is what it keeps: the outbox, and at most the reads that
/// were under way when it was full.
fn a_peer_that_never_reads_is_not_read_either(setup: Setup) {
    const READS_UNDER_WAY_BYTES: u64 = 512 << 10;
    let server = setup.serve_with(Echo, narrow_outbox);
    let peer = Peer::connect_narrow(server.address());
    let mut stream = Stream::new(1);
    let sent = peer.send_until_stuck(&mut stream, 64 << 20, Duration::from_millis(250));
    assert!(sent < 64 << 20, "the server reads what nobody takes");
    let stats = server.stats();
    assert!(stats.congested > 0 && stats.sends_blocked > 0, "{stats:?}");
    let kept = stats.bytes_in - stats.bytes_out;
    assert!(
        kept <= LIMIT as u64 + READS_UNDER_WAY_BYTES,
        "{kept} bytes are kept"
    );
    // Others are served meanwhile.
    let other = server.connect();
    other.send(b"and we?");
    other.expect(b"and we?");
    // Nothing is lost once it reads.
    peer.expect_stream(&mut Stream::new(1), sent, 50_000);
    peer.finish();
    peer.expect_end();
    drop(other);
    server.await_live(0);
    assert_eq!(server.finish().closed_by(CloseReason::PeerEnded), 2);
}

fn a_slow_reader_gets_everything(setup: Setup) {
    const BYTES: usize = 3 << 20;
    let server = setup.serve_with(Echo, narrow_outbox);
    let peer = Peer::connect_narrow(server.address());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            peer.send(&Stream::new(1).take(BYTES));
            peer.finish();
        });
        // One window at a time: the server's sends are cut short again and again.
        peer.expect_stream(&mut Stream::new(1), BYTES, 1_500);
        peer.expect_end();
    });
    let stats = server.finish();
    assert_eq!(stats.bytes_out, BYTES as u64);
    assert_eq!(stats.closed_by(CloseReason::PeerEnded), 1);
}

/// Sends as much as there is room for, whenever there is some, until it has sent all.
#[derive(Clone)]
struct Flood;

const FLOOD_BYTES: u64 = 4 << 20;

/// What a connection of [`Flood`] has sent.
struct Sent(Stream);

impl Default for Sent {
    fn default() -> Self {
        Self(Stream::new(9))
    }
}

impl Service for Flood {
    type State = Sent;
    type Message = ();

    fn open(&mut self, connection: &mut Connection<'_, Self>) {
        self.writable(connection);
    }

    fn data(&mut self, _: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn writable(&mut self, connection: &mut Connection<'_, Self>) {
        loop {
            let Sent(stream) = connection.state();
            let left = FLOOD_BYTES - stream.position();
            let bytes = stream.clone().take(left.min(10_000) as usize);
            if bytes.is_empty() {
                connection.finish();
                return;
            }
            match connection.send(&bytes) {
                Ok(()) => drop(connection.state().0.take(bytes.len())),
                Err(error) => {
                    assert_eq!(error, SendError::Full);
                    assert!(connection.queued_bytes() > LIMIT - 10_000);
                    return;
                }
            }
        }
    }
}

fn a_flood_is_paced_by_its_reader(setup: Setup) {
    let server = setup.serve_with(Flood, narrow_outbox);
    let peers = [(); 3].map(|()| Peer::connect_narrow(server.address()));
    for peer in &peers {
        peer.expect_stream(&mut Stream::new(9), FLOOD_BYTES as usize, 7_000);
        peer.expect_end();
        peer.finish();
    }
    server.await_live(0);
    let stats = server.finish();
    assert_eq!(stats.bytes_out, 3 * FLOOD_BYTES);
    assert_eq!(stats.closed_by(CloseReason::PeerEnded), 3);
}

fn a_stalled_peer_is_reset(setup: Setup) {
    let server = setup.serve_with(Flood, |config| {
        narrow_outbox(config);
        config.write_stall_timeout = Duration::from_millis(150);
    });
    let peer = Peer::connect_narrow(server.address());
    server.await_stats("the stalled connection is closed", |stats| {
        stats.closed_by(CloseReason::WriteStalled) == 1
    });
    let (received, end) = peer.receive_to_end();
    end.expect_err("a reset, so that a cut stream is not taken for a whole one");
    Stream::new(9).check(&received);
    assert!((received.len() as u64) < FLOOD_BYTES);
    server.finish();
}

/// Floods, then closes with much to flush.
#[derive(Clone)]
struct FloodAndClose;

impl Service for FloodAndClose {
    type State = ();
    type Message = ();

    fn data(&mut self, connection: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
        let room = connection.room_bytes();
        connection.send(&vec![7; room]).expect("room was asked for");
        connection.close();
        bytes.len()
    }
}

fn a_stalled_peer_is_reset_while_closing(setup: Setup) {
    let server = setup.serve_with(FloodAndClose, |config| {
        config.outbox_limit_bytes = 32 << 20;
        config.write_stall_timeout = Duration::from_millis(150);
    });
    let peer = Peer::connect_narrow(server.address());
    peer.send(b"go");
    server.await_stats("it is given up", |stats| stats.closed_total() == 1);
    let (received, end) = peer.receive_to_end();
    end.expect_err("a reset");
    assert!(received.len() < 32 << 20);
    // The reason is why it was closing; that it did not end well, the peer knows.
    assert_eq!(server.finish().closed_by(CloseReason::Service), 1);
}
