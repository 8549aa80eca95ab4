//! The adaptive watch policy: who is busy is promoted, who goes quiet is demoted, on a worker that has
//! nothing else to do as well.

use roadstead::services::Echo;
use roadstead_testkit::{Peer, Setup};

#[test]
fn busy_connections_are_promoted_and_quiet_ones_demoted() {
    const BUSY: usize = 10;
    let setup = Setup::URING_ADAPTIVE;
    let server = setup.serve(Echo);
    let peers: Vec<Peer> = (0..2 * BUSY).map(|_| server.connect()).collect();
    let (busy, quiet) = peers.split_at(BUSY);
    for round in 0..20 {
        for peer in busy {
            peer.send(&[round]);
            peer.expect(&[round]);
        }
    }
    assert_eq!(server.stats().promoted, BUSY as u64);
    assert_eq!(server.stats().demoted, 0);
    // Heat halves each second; nobody sends, and nothing else wakes the worker.
    server.await_stats("all are demoted", |stats| stats.demoted == BUSY as u64);
    for peer in quiet.iter().chain(busy) {
        peer.send(b"again");
        peer.expect(b"again");
    }
    drop(peers);
    server.await_live(0);
    let stats = server.finish();
    assert_eq!(stats.promoted, BUSY as u64);
}
