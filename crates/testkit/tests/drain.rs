//! The end of a server: what was answered is whole, and it comes in time.

use roadstead::services::{Echo, Frames};
use roadstead::{CloseReason, Connection, Service};
use roadstead_testkit::{Peer, Setup, Stream, on_every_setup};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

on_every_setup!(
    idle_connections_end_well,
    every_answer_is_whole,
    what_waits_for_its_reader_is_flushed,
);
on_every_setup!(plain:
    peers_that_stay_are_cut_off,
    a_second_drain_may_be_shorter,
    nobody_is_let_in_any_more,
    dropping_a_server_ends_it,
);

const SOON: Duration = Duration::from_secs(10);

fn idle_connections_end_well(setup: Setup) {
    let server = setup.serve(Echo);
    let peers: Vec<_> = (0..200).map(|_| server.connect()).collect();
    server.await_live(200);
    server.server().drain(SOON);
    for peer in &peers {
        peer.expect_end();
        peer.finish();
    }
    let stats = server.finish_drained();
    assert_eq!(stats.closed_by(CloseReason::Drained), 200);
}

const PAYLOAD_BYTES: usize = 3_000;

fn frame() -> Vec<u8> {
    let mut frame = (PAYLOAD_BYTES as u32).to_be_bytes().to_vec();
    frame.extend(Stream::new(5).take(PAYLOAD_BYTES));
    frame
}

/// Requests as fast as they go, until the server ends: whole answers, then the end of the stream.
fn demand(peer: &Peer) -> usize {
    let stop = AtomicBool::new(false);
    let request = frame();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) && peer.try_send(&request) {}
            peer.finish();
        });
        let (answers, end) = peer.receive_to_end();
        stop.store(true, Ordering::Relaxed);
        end.expect("an end of stream, not a reset");
        assert_eq!(answers.len() % request.len(), 0, "an answer was cut");
        assert!(
            answers
                .chunks(request.len())
                .all(|answer| answer == request)
        );
        answers.len() / request.len()
    })
}

fn every_answer_is_whole(setup: Setup) {
    const PEERS: usize = 20;
    let server = setup.serve(Frames::default());
    let peers: Vec<Peer> = (0..PEERS).map(|_| server.connect()).collect();
    let answered: usize = std::thread::scope(|scope| {
        let demands = peers.iter().map(|peer| scope.spawn(|| demand(peer)));
        let demands: Vec<_> = demands.collect();
        server.await_stats("all are busy", |stats| stats.sends > 20 * PEERS as u64);
        server.server().drain(SOON);
        let answered = demands.into_iter().map(|demand| demand.join());
        answered.map(|count| count.expect("whole answers")).sum()
    });
    let stats = server.finish_drained();
    assert_eq!(stats.closed_by(CloseReason::Drained), PEERS as u64);
    assert_eq!(stats.bytes_out as usize, answered * frame().len());
}

/// Sends much to whoever comes.
#[derive(Clone)]
struct Greets;

const GREETING_BYTES: usize = 6 << 20;

impl Service for Greets {
    type State = ();
    type Message = ();

    fn open(&mut self, connection: &mut Connection<'_, Self>) {
        let greeting = Stream::new(6).take(GREETING_BYTES);
        connection.send(&greeting).expect("there is room");
    }

    fn data(&mut self, _: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
        bytes.len()
    }
}

fn room_to_greet(config: &mut roadstead::Config) {
    config.outbox_limit_bytes = GREETING_BYTES;
}

fn what_waits_for_its_reader_is_flushed(setup: Setup) {
    let server = setup.serve_with(Greets, room_to_greet);
    let peer = Peer::connect_narrow(server.address());
    server.await_stats("the greeting waits", |stats| stats.sends_blocked > 0);
    server.server().drain(SOON);
    peer.expect_stream(&mut Stream::new(6), GREETING_BYTES, 100_000);
    peer.expect_end();
    peer.finish();
    let stats = server.finish_drained();
    assert_eq!(stats.closed_by(CloseReason::Drained), 1);
    assert_eq!(stats.bytes_out as usize, GREETING_BYTES);
}

/// One that does not read, one that does not go.
fn peers_that_stay_are_cut_off(setup: Setup) {
    let within = Duration::from_millis(300);
    let server = setup.serve_with(Greets, room_to_greet);
    let deaf = Peer::connect_narrow(server.address());
    let stays = server.connect();
    stays.expect_stream(&mut Stream::new(6), GREETING_BYTES, 100_000);
    server.await_stats("the greeting waits", |stats| {
        stats.sends_blocked > 0 && stats.live == 2
    });
    let start = Instant::now();
    server.server().drain(within);
    stays.expect_end();
    let stats = server.finish_drained();
    let took = start.elapsed();
    assert!(
        took >= within && took < within + Duration::from_secs(2),
        "took {took:?}"
    );
    assert_eq!(stats.closed_by(CloseReason::DrainForced), 2);
    deaf.receive_to_end().1.expect_err("cut off by a reset");
}

fn a_second_drain_may_be_shorter(setup: Setup) {
    let server = setup.serve(Echo);
    let peer = server.connect();
    server.await_live(1);
    server.server().drain(Duration::from_secs(3_600));
    peer.expect_end();
    server.server().drain(Duration::ZERO);
    let stats = server.finish_drained();
    assert_eq!(stats.closed_by(CloseReason::DrainForced), 1);
}

fn nobody_is_let_in_any_more(setup: Setup) {
    let server = setup.serve(Echo);
    let peer = server.connect();
    server.await_live(1);
    server.server().drain(SOON);
    peer.expect_end();
    // The end was sent after the listener was closed.
    let refused = TcpStream::connect(server.address()).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    drop(peer);
    assert_eq!(server.finish_drained().opened, 1);
}

fn dropping_a_server_ends_it(setup: Setup) {
    let server = setup.serve(Echo);
    let address = server.address();
    let peer = server.connect();
    server.await_live(1);
    drop(server);
    peer.expect_reset();
    TcpStream::connect(address).expect_err("nobody listens");
}
