//! In steady state a worker allocates nothing, on either engine, whatever the watch policy.
//!
//! The allocator of this test counts what the threads that asked for it allocate: the workers do, as
//! they make their service. Peers and the test itself are not counted.

use roadstead::services::{Echo, Frames};
use roadstead::{Config, Engine, Server, Service, WatchPolicy};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

struct Counting;

/// Allocations and reallocations of counted threads.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The counter is the process's: tests of this file run one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

thread_local! {
    // Constant and without a destructor, so that looking at it allocates nothing.
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if IS_COUNTED.get() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY:
// - every method keeps the contract of `GlobalAlloc` → each hands its arguments to `System`, which does.
// - counting neither allocates nor unwinds → a thread-local constant and an atomic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY:
        // - the layout is not empty → the caller's promise to this method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY:
        // - the layout is not empty → the caller's promise to this method.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY:
        // - block, layout and new size are valid → the caller's promise; the block is `System`'s,
        //   because all blocks of this allocator are.
        unsafe { System.realloc(start, layout, bytes) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY:
        // - block and layout are valid → the caller's promise; the block is `System`'s.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PEERS: usize = 50;
/// Rounds of a stretch: 5,000 messages.
const ROUNDS: usize = 100;
/// How many stretches there are at most, and how many in a row must allocate nothing. A worker's lists
/// and pooled buffers grow to the most that was ever under way at once, which is met by chance; what
/// allocates per message, or now and then for ever, has no such stretches.
const STRETCHES: usize = 20;
const QUIET_STRETCHES: usize = 3;

/// Exchanges `rounds` times with all peers at once; answers equal requests.
fn exchange(peers: &mut [TcpStream], rounds: usize, request: &[u8]) {
    let mut answer = vec![0; request.len()];
    for round in 0..rounds {
        // Now and then a request comes in two pieces.
        let cut = if round % 3 == 0 { request.len() / 2 } else { 0 };
        for piece in [&request[..cut], &request[cut..]] {
            for peer in &mut *peers {
                peer.write_all(piece).expect("the server reads");
            }
        }
        for peer in &mut *peers {
            peer.read_exact(&mut answer).expect("the server answers");
            assert!(answer == request);
        }
    }
}

fn allocates_nothing<S: Service<Message = ()> + Clone + Send + Sync>(
    engine: Engine,
    watch: WatchPolicy,
    service: S,
    request: &[u8],
) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut config = Config::default();
    config.listen = vec![([127, 0, 0, 1], 0).into()];
    config.engine = engine;
    config.watch = watch;
    config.workers = 2;
    config.idle_timeout = Some(Duration::from_secs(60));
    let server = Server::start(config, move |_| {
        IS_COUNTED.set(true);
        service.clone()
    });
    let server = server.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(server.engine(), engine);
    let connect = |_| {
        let peer = TcpStream::connect(server.addresses()[0]).expect("the server accepts");
        let within = Some(Duration::from_secs(15));
        peer.set_read_timeout(within).expect("not zero");
        peer.set_nodelay(true).expect("connected");
        peer
    };
    let mut peers: Vec<TcpStream> = (0..PEERS).map(connect).collect();
    let mut allocations: Vec<u64> = Vec::new();
    while !allocations.ends_with(&[0; QUIET_STRETCHES]) {
        assert!(
            allocations.len() < STRETCHES,
            "allocations in stretches of {} messages: {allocations:?}",
            PEERS * ROUNDS
        );
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        exchange(&mut peers, ROUNDS, request);
        allocations.push(ALLOCATIONS.load(Ordering::Relaxed) - before);
    }
    assert!(allocations[0] > 0, "nothing is counted");
    drop(peers);
    server.drain(Duration::from_secs(5));
    assert!(server.join().failures.is_empty());
}

/// A frame of 1,000 bytes.
fn frame() -> Vec<u8> {
    let mut frame = 1_000u32.to_be_bytes().to_vec();
    frame.resize(1_004, 42);
    frame
}

macro_rules! on_every_engine_and_policy {
    ($($name:ident = $engine:ident, $watch:ident;)+) => {$(
        mod $name {
            use super::*;

            #[test]
            fn echo() {
                allocates_nothing(Engine::$engine, WatchPolicy::$watch, Echo, &[7; 64]);
            }

            #[test]
            fn frames() {
                allocates_nothing(Engine::$engine, WatchPolicy::$watch, Frames::default(), &frame());
            }
        }
    )+};
}

on_every_engine_and_policy! {
    epoll = Epoll, Poll;
    uring_poll = Uring, Poll;
    uring_poll_multi = Uring, PollMulti;
    uring_epoll = Uring, Epoll;
    uring_recv = Uring, Recv;
    uring_adaptive = Uring, Adaptive;
}
