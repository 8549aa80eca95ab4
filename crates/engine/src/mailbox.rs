//! Messages to a worker, from other workers and from outside, and the order to drain.
//!
//! Posting takes a short lock and, only if the worker has not been told yet, one write to its eventfd;
//! taking swaps two vectors. Neither allocates once the vectors have grown.

use crate::limits;
use crate::sys::wake::Wake;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A mailbox had no room; the message comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<M>(pub M);

impl<M> std::fmt::Display for Full<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the worker's mailbox is full")
    }
}

impl<M: std::fmt::Debug> std::error::Error for Full<M> {}

/// One worker's mailbox.
pub(crate) struct Mailbox<M> {
    wake: Wake,
    /// Set while a signal is under way, so that a burst of messages costs one write.
    signalled: AtomicBool,
    content: Mutex<Content<M>>,
}

struct Content<M> {
    messages: Vec<M>,
    drain_until: Option<Instant>,
}

impl<M> Mailbox<M> {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            wake: Wake::new()?,
            signalled: AtomicBool::new(false),
            content: Mutex::new(Content {
                messages: Vec::new(),
                drain_until: None,
            }),
        })
    }

    /// What becomes readable when there is something to take.
    pub(crate) fn wake(&self) -> &Wake {
        &self.wake
    }

    pub(crate) fn post(&self, message: M) -> Result<(), Full<M>> {
        {
            let mut content = self.lock();
            if content.messages.len() >= limits::MAILBOX_MESSAGES {
                return Err(Full(message));
            }
            content.messages.push(message);
        }
        self.signal();
        Ok(())
    }

    /// Tells the worker to close everything, by then at the latest. The earliest order holds.
    pub(crate) fn drain(&self, until: Instant) {
        {
            let mut content = self.lock();
            content.drain_until = Some(content.drain_until.map_or(until, |old| old.min(until)));
        }
        self.signal();
    }

    /// Moves all messages into `into`, which must be empty, and returns the order to drain, if any.
    pub(crate) fn take(&self, into: &mut Vec<M>) -> Option<Instant> {
        // In this order: a signal between the two would be cleared while it is noted as under way, and
        // none would ever follow. What is posted from here on signals again.
        self.wake.clear();
        self.signalled.store(false, Ordering::SeqCst);
        let mut content = self.lock();
        std::mem::swap(&mut content.messages, into);
        content.drain_until
    }

    fn signal(&self) {
        if !self.signalled.swap(true, Ordering::SeqCst) {
            self.wake.signal();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Content<M>> {
        // A panicking poster leaves a whole vector behind.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    proptest! {
        #[test]
        fn behaves_like_a_queue(ops in prop::collection::vec(any::<Option<u32>>(), 1..200)) {
            let mailbox = Mailbox::new().expect("an eventfd");
            let mut model = Vec::new();
            for op in ops {
                if let Some(message) = op {
                    mailbox.post(message).expect("room");
                    model.push(message);
                } else {
                    let mut taken = Vec::new();
                    mailbox.take(&mut taken);
                    prop_assert_eq!(taken, std::mem::take(&mut model));
                }
            }
        }
    }

    #[test]
    fn a_full_mailbox_hands_the_message_back() {
        let mailbox = Mailbox::new().expect("an eventfd");
        for message in 0..limits::MAILBOX_MESSAGES {
            mailbox.post(message).expect("room");
        }
        assert_eq!(mailbox.post(7), Err(Full(7)));
        mailbox.take(&mut Vec::new());
        assert_eq!(mailbox.post(7), Ok(()));
    }

    /// The taker blocks on the eventfd alone: a lost signal would hang this test.
    #[test]
    fn every_message_from_other_threads_is_signalled() {
        let mailbox = Arc::new(Mailbox::new().expect("an eventfd"));
        let posters: Vec<_> = (0..4u64)
            .map(|poster| {
                let mailbox = Arc::clone(&mailbox);
                std::thread::spawn(move || {
                    (0..2_000).for_each(|i| mailbox.post(poster << 32 | i).expect("room"));
                })
            })
            .collect();
        let mut epoll = crate::sys::epoll::Epoll::new(1).expect("epoll");
        epoll
            .add(
                std::os::fd::AsFd::as_fd(mailbox.wake()),
                libc::EPOLLIN | libc::EPOLLET,
                0,
            )
            .expect("an eventfd can be watched");
        let mut next = [0u64; 4];
        let mut taken = Vec::new();
        while next.iter().sum::<u64>() < 8_000 {
            epoll.wait(None).expect("epoll waits");
            mailbox.take(&mut taken);
            for message in taken.drain(..) {
                let poster = (message >> 32) as usize;
                assert_eq!(message & 0xffff_ffff, next[poster], "out of order");
                next[poster] += 1;
            }
        }
        posters
            .into_iter()
            .for_each(|poster| poster.join().expect("no panic"));
    }
}
