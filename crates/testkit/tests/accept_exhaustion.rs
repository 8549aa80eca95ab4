//! Out of descriptors: accepting waits, says so in a counter, and goes on when there are some.
//!
//! The limit is the process's, so this file is a process of its own: its tests run one at a time.

use roadstead::services::Echo;
use roadstead_testkit::{Peer, Setup, on_every_setup};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use std::net::TcpStream;

on_every_setup!(plain: accepting_recovers);

/// Descriptors that each thread may have; a worker needs about ten before its first connection.
const LIMIT: u64 = 64;
/// Connections that ask to be let in.
const PEERS: usize = 100;

/// A lowered soft limit, until it is dropped. Takes no privilege: the hard limit stays.
struct Lowered(Rlimit);

impl Lowered {
    fn to_limit() -> Self {
        let before = getrlimit(Resource::Nofile);
        let lowered = Rlimit {
            current: Some(LIMIT),
            ..before
        };
        setrlimit(Resource::Nofile, lowered).expect("a soft limit may be lowered");
        Self(before)
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).expect("a soft limit may be raised up to the hard one");
    }
}

fn accepting_recovers(setup: Setup) {
    let lowered = Lowered::to_limit();
    let server = setup.serve(Echo);
    // A multishot accept goes by the limit of the moment at which it was armed: before this exchange.
    let first = server.connect();
    first.send(b"armed");
    first.expect(b"armed");
    drop((first, lowered));
    server.await_live(0);

    // Descriptors for the peers, whose thread is limited, too; connecting takes none.
    let sockets: Vec<Socket> = (0..PEERS)
        .map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket"))
        .collect();
    let lowered = Lowered::to_limit();
    let connect = |socket: Socket| {
        let connected = socket.connect(&server.address().into());
        connected.expect("the backlog has room");
        Peer::from(TcpStream::from(socket))
    };
    let mut peers: Vec<Peer> = sockets.into_iter().map(connect).collect();
    server.await_stats("accepting has failed, more than once", |stats| {
        stats.accept_exhausted > 1
    });
    let held = server.stats().live as usize;
    assert!((1..LIMIT as usize).contains(&held), "{held} are held");
    // Those that are in are served, and each that goes makes room for the next.
    for _ in held..PEERS {
        drop(peers.remove(0));
        let newest = &peers[held - 1];
        newest.send(b"in");
        newest.expect(b"in");
        assert_eq!(server.stats().live as usize, held);
    }
    drop((peers, lowered));
    server.await_live(0);
    let stats = server.finish();
    assert_eq!(stats.opened as usize, 1 + PEERS, "all were accepted");
    assert!(stats.accept_exhausted < 1_000, "it does not spin");
}
