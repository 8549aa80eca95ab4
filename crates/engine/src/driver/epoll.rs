//! The baseline: edge-triggered epoll, one scratch buffer, nothing allocated per event.
//!
//! Each connection is registered once, for reading and writing alike; nothing is changed afterwards
//! and closing the descriptor ends it. An edge is worth reading until a read comes back short. What
//! could not be read at once, because the connection was paused or it was others' turn, is remembered
//! in the record (`MORE`) and, if wanted, in a queue that is served once per wait.

use super::{Data, Driver, Event, Sending};
use crate::buffers::Outgoing;
use crate::limits;
use crate::listener::Listener;
use crate::stats::WorkerStats;
use crate::sys::epoll::Epoll;
use crate::sys::socket;
use crate::table::{Table, Watch};
use crate::token::{Handle, Kind, parse, worker_token};
use socket2::SockRef;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

const READABLE: i32 = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR;
/// Bits after which a short read is not the end of the story: an end of stream or an error follows.
const FINAL: i32 = libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR;
const WRITABLE: i32 = libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR;
const CONNECTION: i32 = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;

/// Reads of a connection that always has more, before new edges are looked for.
const READS_PER_WAIT: usize = 4;

pub(crate) struct EpollDriver {
    epoll: Epoll,
    next_event: usize,
    scratch: Vec<u8>,
    /// Connections with more to read, first come first served.
    queue: VecDeque<Handle>,
    /// How many of the queue may be served before the next wait.
    turns: usize,
    listeners: Vec<Listener>,
    accepting: Option<Accepting>,
    stats: Arc<WorkerStats>,
}

/// A listener that has connections to take, and how many more before others have their turn.
struct Accepting {
    listener: u8,
    left: u32,
}

impl EpollDriver {
    pub(crate) fn new(
        listeners: Vec<Listener>,
        wake: BorrowedFd<'_>,
        stats: Arc<WorkerStats>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(limits::EPOLL_EVENTS)?;
        epoll.add(
            wake,
            libc::EPOLLIN | libc::EPOLLET,
            worker_token(Kind::Wake, 0),
        )?;
        for (index, listener) in listeners.iter().enumerate() {
            SockRef::from(listener).set_nonblocking(true)?;
            epoll.add(
                listener.as_fd(),
                0,
                worker_token(Kind::Listener, index as u32),
            )?;
        }
        Ok(Self {
            epoll,
            next_event: 0,
            scratch: vec![0; limits::SCRATCH_BYTES],
            queue: VecDeque::new(),
            turns: 0,
            listeners,
            accepting: None,
            stats,
        })
    }

    fn watch_listener(&self, listener: u8, interest: i32) -> io::Result<()> {
        let Some(socket) = self.listeners.get(usize::from(listener)) else {
            return Ok(());
        };
        let token = worker_token(Kind::Listener, u32::from(listener));
        self.epoll.modify(socket.as_fd(), interest, token)
    }

    /// Takes one connection from the listener whose turn it is.
    fn take_connection(&mut self) -> Option<Event> {
        let Accepting { listener, left } = self.accepting.as_mut()?;
        let (listener, turn_is_over) = (*listener, *left == 0);
        *left = left.saturating_sub(1);
        let socket = self
            .listeners
            .get(usize::from(listener))
            .filter(|_| !turn_is_over);
        let Some(socket) = socket else {
            self.accepting = None;
            return None;
        };
        match socket::accept(socket.as_fd()) {
            Ok(socket) => Some(Event::Accepted { listener, socket }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.accepting = None;
                None
            }
            Err(error) => {
                self.accepting = None;
                // Level-triggered readiness would report the same listener at once, again and again.
                let error = self.watch_listener(listener, 0).err().unwrap_or(error);
                Some(Event::AcceptStopped {
                    listener,
                    error: Some(error),
                })
            }
        }
    }

    fn ready(&mut self, table: &mut Table, handle: Handle, bits: i32) -> Option<Event> {
        let Some(record) = table.claim(handle) else {
            self.stats.completions_stale.add(1);
            return None;
        };
        if bits & READABLE != 0 {
            record.watch.insert(Watch::MORE);
            if bits & FINAL != 0 {
                record.watch.insert(Watch::FINAL_EDGE);
            }
        }
        if bits & WRITABLE != 0 && record.watch.has_any(Watch::WRITE) {
            record.watch.remove(Watch::WRITE);
            self.read(table, handle.slot);
            return Some(Event::Writable { slot: handle.slot });
        }
        if bits & READABLE == 0 {
            return None;
        }
        self.receive(table, handle)
    }

    /// Reads once from a connection that may have something.
    fn receive(&mut self, table: &mut Table, handle: Handle) -> Option<Event> {
        let slot = handle.slot;
        let record = table.claim(handle)?;
        if !record.wants_data() {
            return None;
        }
        match socket::receive(record.fd(), &mut self.scratch) {
            Ok(0) => Some(Event::Ended { slot }),
            Ok(len) => {
                if len < self.scratch.len() && !record.watch.has_any(Watch::FINAL_EDGE) {
                    record.watch.remove(Watch::MORE);
                }
                Some(Event::Data {
                    slot,
                    data: Data::Scratch(len),
                })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                record.watch.remove(Watch::MORE.union(Watch::FINAL_EDGE));
                None
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.read(table, slot);
                None
            }
            Err(error) => Some(Event::Failed { slot, error }),
        }
    }
}

impl Driver for EpollDriver {
    const SENDS_AT_ONCE: bool = true;

    fn listeners(&mut self) -> &mut [Listener] {
        &mut self.listeners
    }

    /// Registered for good, edge-triggered: each signal is an edge.
    fn watch_mailbox(&mut self, _: BorrowedFd<'_>) {}

    fn accept(&mut self, listener: u8) -> io::Result<()> {
        self.watch_listener(listener, libc::EPOLLIN)
    }

    fn stop_accepting(&mut self) {
        self.listeners.clear();
        self.accepting = None;
    }

    fn wait(&mut self, _: &mut Table, timeout: Option<Duration>) -> io::Result<()> {
        let more_to_do = self.accepting.is_some() || !self.queue.is_empty();
        let timeout = if more_to_do {
            Some(Duration::ZERO)
        } else {
            timeout
        };
        self.next_event = 0;
        self.epoll.wait(timeout)?;
        self.turns = self.queue.len() * READS_PER_WAIT;
        Ok(())
    }

    fn next(&mut self, table: &mut Table) -> Option<Event> {
        loop {
            if let Some(event) = self.take_connection() {
                return Some(event);
            }
            if let Some((bits, token)) = self.epoll.event(self.next_event) {
                self.next_event += 1;
                match parse(token) {
                    Some((Kind::Wake, _)) => return Some(Event::Woken),
                    Some((Kind::Listener, Handle { slot, .. })) => {
                        let left = limits::ACCEPT_BATCH;
                        self.accepting = Some(Accepting {
                            listener: slot as u8,
                            left,
                        });
                    }
                    Some((_, handle)) => {
                        if let Some(event) = self.ready(table, handle, bits) {
                            return Some(event);
                        }
                    }
                    None => self.stats.completions_stale.add(1),
                }
                continue;
            }
            self.turns = self.turns.checked_sub(1)?;
            let handle = self.queue.pop_front()?;
            if let Some(record) = table.claim(handle) {
                record.watch.remove(Watch::QUEUED);
                if let Some(event) = self.receive(table, handle) {
                    return Some(event);
                }
            }
        }
    }

    fn bytes(&self, data: &Data) -> &[u8] {
        match data {
            Data::Scratch(len) => &self.scratch[..*len],
            Data::Leased(_) => &[],
        }
    }

    fn give_back(&mut self, _: Data) {}

    fn open(&mut self, table: &mut Table, slot: u32) -> io::Result<()> {
        let Some(handle) = table.handle(slot) else {
            return Ok(());
        };
        // Data that is there already is reported as an edge.
        self.epoll
            .add(table[slot].fd(), CONNECTION, handle.token(Kind::Poll))
    }

    fn read(&mut self, table: &mut Table, slot: u32) {
        let Some(handle) = table.handle(slot) else {
            return;
        };
        let record = &mut table[slot];
        let queued = record.watch.has_any(Watch::QUEUED);
        if record.wants_data() && record.watch.has_any(Watch::MORE) && !queued {
            record.watch.insert(Watch::QUEUED);
            self.queue.push_back(handle);
        }
    }

    fn pause(&mut self, _: &mut Table, _: u32) {}

    fn send(&mut self, table: &mut Table, slot: u32, outgoing: Outgoing) -> Sending {
        let result = socket::send(table[slot].fd(), outgoing.unsent());
        Sending::Done(outgoing, result)
    }

    fn await_writable(&mut self, table: &mut Table, slot: u32) {
        table[slot].watch.insert(Watch::WRITE);
    }

    fn release(&mut self, _: &mut Table, _: u32) -> bool {
        true
    }
}
