//! What letting go of one connection costs while many others are watched by the same worker: for the
//! harness, which compares the watch policies by it.
//!
//! Few descriptors stand in for the many: thousands of polls, or reads, are pending on each of some idle
//! sockets, because what counts is how many requests a ring has to look through. An epoll instance takes
//! each descriptor once, so there the others are eventfds, held by as many threads as it takes, each with
//! a descriptor table of its own.

use crate::config::WatchPolicy;
use crate::limits;
use crate::sys::epoll::Epoll;
use crate::sys::ring::{Ring, RingSizes, Wait};
use crate::sys::wake::Wake;
use crate::thread::own_descriptor_table;
use crate::token::{Kind, worker_token};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Idle sockets on which the others are pending.
const STAND_INS: usize = 64;
/// Connections that end together, as in a storm: one submission for all of them.
const BATCH: usize = 64;
/// Descriptors that one thread holds for an epoll instance; below any usual limit.
const EVENTFDS_PER_THREAD: usize = 15_000;

const READABLE: i16 = libc::POLLIN | libc::POLLRDHUP;
const INTEREST: i32 = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET;

/// The time that it takes to let go of one connection, the watch and the descriptor, with `others` watched
/// beside it. The mean of `batches` batches of 64.
///
/// # Errors
/// The kernel's, where io_uring, memory or descriptors are refused.
pub fn cost(policy: WatchPolicy, others: usize, batches: usize) -> io::Result<Duration> {
    // A thread of its own, with a descriptor table of its own: it is left behind with all that is pending.
    let measured = std::thread::spawn(move || {
        own_descriptor_table()?;
        Bench::new(policy)?.run(others, batches)
    });
    measured
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the measuring thread panicked")))
}

struct Bench {
    ring: Ring,
    policy: WatchPolicy,
    epoll: Epoll,
}

impl Bench {
    fn new(policy: WatchPolicy) -> io::Result<Self> {
        let ring = Ring::new(RingSizes {
            sq_entries: limits::SQ_ENTRIES,
            cq_entries: limits::CQ_ENTRIES,
            buffers: 64,
            buffer_bytes: 4_096,
            incremental: false,
        })?;
        Ok(Self {
            ring,
            policy,
            epoll: Epoll::new(limits::EPOLL_EVENTS)?,
        })
    }

    fn run(mut self, others: usize, batches: usize) -> io::Result<Duration> {
        if matches!(self.policy, WatchPolicy::Epoll | WatchPolicy::Adaptive) {
            return self.beside_interests(others, batches);
        }
        let idle = pairs(STAND_INS)?;
        for other in 0..others {
            let (own, _) = &idle[other % STAND_INS];
            self.watch(BATCH + other, own)?;
        }
        self.measure(batches)
    }

    /// Measures while other threads hold `others` eventfds that are registered with the epoll instance.
    fn beside_interests(mut self, others: usize, batches: usize) -> io::Result<Duration> {
        let epoll = self.epoll.fd().try_clone_to_owned()?;
        std::thread::scope(|scope| {
            let (registered, held) = mpsc::channel();
            let mut release = Vec::new();
            for first in (0..others).step_by(EVENTFDS_PER_THREAD) {
                let count = EVENTFDS_PER_THREAD.min(others - first);
                let (released, until) = mpsc::channel::<()>();
                release.push(released);
                let (registered, epoll) = (registered.clone(), &epoll);
                scope.spawn(move || {
                    let held = register_eventfds(epoll, count);
                    let _ = registered.send(held.as_ref().map(drop).map_err(io::Error::kind));
                    // Ends with the measurement, which drops the other end.
                    let _ = until.recv();
                });
            }
            let holders = release.len();
            held.iter().take(holders).try_for_each(|done| done)?;
            self.measure(batches)
        })
    }

    fn measure(&mut self, batches: usize) -> io::Result<Duration> {
        let mut spent = Duration::ZERO;
        for _ in 0..batches {
            let (ours, peers): (Vec<_>, Vec<_>) = pairs(BATCH)?.into_iter().unzip();
            for (index, own) in ours.iter().enumerate() {
                self.watch(index, own)?;
            }
            self.settle(0)?;
            let began = Instant::now();
            let completions = self.let_go(&ours);
            self.settle(completions)?;
            for own in ours {
                let token = worker_token(Kind::Close, 0);
                self.ring.close(token, OwnedFd::from(own));
            }
            self.settle(0)?;
            spent += began.elapsed();
            drop(peers);
        }
        Ok(spent / (batches * BATCH) as u32)
    }

    /// Watches a connection as the policy does.
    fn watch(&mut self, index: usize, own: &UnixStream) -> io::Result<()> {
        let index = index as u32;
        match self.policy {
            WatchPolicy::Poll | WatchPolicy::PollMulti => {
                let multishot = self.policy == WatchPolicy::PollMulti;
                let token = worker_token(Kind::Poll, index);
                self.ring.poll(token, own.as_fd(), READABLE, multishot);
            }
            WatchPolicy::Recv => {
                let token = worker_token(Kind::ReceiveMultishot, index);
                self.ring.receive_multishot(token, own.as_fd());
            }
            WatchPolicy::Epoll | WatchPolicy::Adaptive => {
                let token = worker_token(Kind::Poll, index);
                self.epoll.add(own.as_fd(), INTEREST, token)?;
            }
        }
        Ok(())
    }

    /// Ends what is pending as the driver does; returns how many completions that brings.
    fn let_go(&mut self, ours: &[UnixStream]) -> usize {
        if matches!(self.policy, WatchPolicy::Epoll | WatchPolicy::Adaptive) {
            return 0; // Closing the descriptor does it.
        }
        let cancels = self.policy == WatchPolicy::PollMulti;
        for (index, own) in ours.iter().enumerate() {
            if cancels {
                let target = worker_token(Kind::Poll, index as u32);
                self.ring.cancel(worker_token(Kind::Cancel, 0), target);
            }
            // Fails only on a socket that is not connected.
            let _ = own.shutdown(Shutdown::Both);
        }
        ours.len() * if cancels { 2 } else { 1 }
    }

    /// Submits what there is and waits for so many completions.
    fn settle(&mut self, completions: usize) -> io::Result<()> {
        let mut left = completions;
        loop {
            self.ring.enter(Wait {
                completions: left.max(1),
                timeout: (left == 0).then_some(Duration::ZERO),
                batch_for: None,
            })?;
            while self.ring.take().is_some() {
                left = left.saturating_sub(1);
            }
            if left == 0 {
                return Ok(());
            }
        }
    }
}

fn pairs(count: usize) -> io::Result<Vec<(UnixStream, UnixStream)>> {
    (0..count).map(|_| UnixStream::pair()).collect()
}

/// Opens eventfds in the calling thread's own descriptor table and registers them.
fn register_eventfds(epoll: &OwnedFd, count: usize) -> io::Result<Vec<Wake>> {
    own_descriptor_table()?;
    let epoll = Epoll::adopt(epoll.try_clone()?);
    (0..count)
        .map(|index| {
            let other = Wake::new()?;
            epoll.add(other.as_fd(), INTEREST, index as u64)?;
            Ok(other)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_lets_go() {
        for policy in WatchPolicy::ALL {
            let cost = cost(*policy, 300, 2).expect("io_uring is allowed here");
            assert!(cost > Duration::ZERO, "{policy}");
        }
    }
}
