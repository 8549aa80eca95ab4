//! Workers talk to each other, and to connections by their ids, living or dead.

use roadstead::{CloseReason, Connection, ConnectionId, Service, Worker};
use roadstead_testkit::{Harness, Peer, Setup, Stream, on_every_setup};
use std::sync::mpsc::{Sender, channel};

on_every_setup!(plain:
    between_workers,
    to_the_dead,
    to_everybody,
    pauses_keep_what_came,
    an_end_waits_for_the_pause,
);

/// Tells the test who is who, and does what it is told.
#[derive(Clone)]
struct Obeys {
    events: Sender<Event>,
}

#[derive(Debug, PartialEq)]
enum Event {
    Opened(ConnectionId),
    Data(Vec<u8>),
    Ended,
    Found(bool),
}

#[derive(Debug)]
enum Order {
    /// Send this to that connection, wherever it is.
    Say(ConnectionId, Vec<u8>),
    SayToAll(Vec<u8>),
    Pause(ConnectionId),
    Resume(ConnectionId),
}

impl Obeys {
    fn tell(&self, event: Event) {
        self.events.send(event).expect("the test listens");
    }
}

impl Service for Obeys {
    type State = ();
    type Message = Order;

    fn open(&mut self, connection: &mut Connection<'_, Self>) {
        self.tell(Event::Opened(connection.id()));
    }

    /// Whatever a peer says goes through the next worker, back to the peer.
    fn data(&mut self, connection: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
        self.tell(Event::Data(bytes.to_vec()));
        let next = (connection.id().worker() + 1) % connection.workers();
        let order = Order::Say(connection.id(), bytes.to_vec());
        connection.post(next, order).expect("the mailbox has room");
        bytes.len()
    }

    fn end(&mut self, connection: &mut Connection<'_, Self>) {
        self.tell(Event::Ended);
        connection.close();
    }

    fn message(&mut self, worker: &mut Worker<'_, Self>, order: Order) {
        match order {
            Order::Say(id, bytes) => {
                if id.worker() == worker.index() {
                    let found = worker.connection(id).filter(|found| found.is_open());
                    self.tell(Event::Found(found.is_some()));
                    if let Some(mut connection) = found {
                        connection.send(&bytes).expect("there is room");
                    }
                } else {
                    let posted = worker.post(id.worker(), Order::Say(id, bytes));
                    posted.expect("the mailbox has room");
                }
            }
            Order::SayToAll(bytes) => {
                worker.for_each_connection(|connection| {
                    connection.send(&bytes).expect("only open ones are visited");
                });
            }
            Order::Pause(id) => worker.connection(id).expect("it lives").pause(),
            Order::Resume(id) => worker.connection(id).expect("it lives").resume(),
        }
    }
}

fn post(server: &Harness<Order>, worker: usize, order: Order) {
    let posted = server.server().post(worker, order);
    assert!(posted.is_ok(), "the mailbox has room");
}

fn between_workers(setup: Setup) {
    let (events, _events) = channel();
    let server = setup.serve_with(Obeys { events }, |config| config.workers = 3);
    let peers: Vec<Peer> = (0..60).map(|_| server.connect()).collect();
    for round in 1..20 {
        for peer in &peers {
            peer.send(&Stream::new(1).take(round));
        }
        for peer in &peers {
            peer.expect(&Stream::new(1).take(round));
        }
    }
    drop(peers);
    server.await_live(0);
    let stats = server.finish();
    // Each exchange takes at least two: to the neighbour, and back.
    assert!(stats.messages >= 2 * 60 * 19, "{} messages", stats.messages);
}

fn to_the_dead(setup: Setup) {
    let (events, heard) = channel();
    let server = setup.serve(Obeys { events });
    let first = server.connect();
    let Event::Opened(dead) = heard.recv().expect("it is opened") else {
        panic!("opened is the first");
    };
    first.finish();
    first.expect_end();
    assert_eq!(heard.recv(), Ok(Event::Ended));
    server.await_live(0);
    // The same slot, in its next generation.
    let second = server.connect();
    let Event::Opened(living) = heard.recv().expect("it is opened") else {
        panic!("opened is the first");
    };
    assert_ne!(dead, living);
    post(&server, 0, Order::Say(dead, b"to the first".to_vec()));
    post(&server, 0, Order::Say(living, b"to the second".to_vec()));
    second.expect(b"to the second");
    assert_eq!(heard.recv(), Ok(Event::Found(false)));
    assert_eq!(heard.recv(), Ok(Event::Found(true)));
    drop(second);
    server.await_live(0);
    server.finish();
}

/// Those that are closing are passed over.
fn to_everybody(setup: Setup) {
    let (events, heard) = channel();
    let server = setup.serve(Obeys { events });
    let peers: Vec<Peer> = (0..100).map(|_| server.connect()).collect();
    server.await_live(100);
    for round in 0..50 {
        peers[round].finish();
        post(&server, 0, Order::SayToAll(vec![round as u8; 100]));
    }
    for peer in &peers[50..] {
        (0..50).for_each(|round| peer.expect(&[round; 100]));
    }
    drop(peers);
    server.await_live(0);
    server.finish();
    let ends = heard.try_iter().filter(|event| *event == Event::Ended);
    assert_eq!(ends.count(), 100);
}

/// More than a socket's buffers hold comes during a pause: the peer is held up, the server keeps no
/// more than the reads that were under way, and nothing is lost.
fn pauses_keep_what_came(setup: Setup) {
    const BYTES: usize = 16 << 20;
    let (events, heard) = channel();
    let server = setup.serve_with(Obeys { events }, |config| {
        config.outbox_limit_bytes = 2 * BYTES;
        config.outbox_high_bytes = 2 * BYTES;
    });
    let peer = server.connect();
    let Event::Opened(id) = heard.recv().expect("it is opened") else {
        panic!("opened is the first");
    };
    // Under `adaptive`, it is promoted first.
    for _ in 0..100 {
        peer.send(b"busy");
        peer.expect(b"busy");
    }
    let is_data = |event: &Event| matches!(event, Event::Data(_));
    assert_eq!(heard.try_iter().filter(is_data).count(), 100);
    post(&server, 0, Order::Pause(id));
    server.await_stats("the pause has come", |stats| stats.messages == 101);
    let before = server.stats().bytes_in;
    std::thread::scope(|scope| {
        scope.spawn(|| peer.send(&Stream::new(1).take(BYTES)));
        // A second connection is served all the while.
        let other = server.connect();
        for _ in 0..200 {
            other.send(b"?");
            other.expect(b"?");
        }
        let kept = server.stats().bytes_in - before - 200;
        assert!(kept < 1 << 20, "{kept} bytes were read during a pause");
        heard
            .try_iter()
            .for_each(|event| assert!(event == Event::Data(b"?".to_vec()) || !is_data(&event)));
        post(&server, 0, Order::Resume(id));
        peer.expect_stream(&mut Stream::new(1), BYTES, 100_000);
    });
    drop(peer);
    server.await_live(0);
    server.finish();
}

fn an_end_waits_for_the_pause(setup: Setup) {
    let (events, heard) = channel();
    let server = setup.serve(Obeys { events });
    let peer = server.connect();
    let Event::Opened(id) = heard.recv().expect("it is opened") else {
        panic!("opened is the first");
    };
    post(&server, 0, Order::Pause(id));
    server.await_stats("the pause has come", |stats| stats.messages == 1);
    peer.send(b"last words");
    peer.finish();
    // Something else happens, after which the end would have been told.
    let other = server.connect();
    other.send(b"?");
    other.expect(b"?");
    let told: Vec<Event> = heard.try_iter().collect();
    assert!(!told.contains(&Event::Ended), "{told:?}");
    assert!(!told.contains(&Event::Data(b"last words".to_vec())));
    post(&server, 0, Order::Resume(id));
    peer.receive_to_end()
        .1
        .expect("an end, with or without an answer before");
    server.await_live(1);
    let stats = server.stats();
    assert_eq!(stats.closed_by(CloseReason::PeerEnded), 1);
    assert!(heard.try_iter().any(|event| event == Event::Ended));
    drop(other);
    server.await_live(0);
    server.finish();
}
