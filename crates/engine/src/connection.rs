//! The handles through which a service acts: on a connection, and on its worker.

use crate::held::Held;
use crate::lifecycle::{CloseReason, Phase};
use crate::mailbox::Full;
use crate::service::Service;
use crate::table::Flags;
use crate::token::Handle;
use socket2::SockRef;
use std::fmt;
use std::net::SocketAddr;

/// Names one connection of one worker for as long as it lives, and nothing afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    pub(crate) worker: u16,
    pub(crate) handle: Handle,
}

impl ConnectionId {
    /// The worker that holds the connection.
    #[must_use]
    pub fn worker(self) -> usize {
        usize::from(self.worker)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}.{}",
            self.worker, self.handle.slot, self.handle.generation
        )
    }
}

/// Why [`Connection::send`] did not take the bytes. None of them are queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The outbox would exceed its limit; there is room again when `writable` is called.
    Full,
    /// The connection is closing.
    Closing,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the connection's outbox is full",
            Self::Closing => "the connection is closing",
        })
    }
}

impl std::error::Error for SendError {}

/// A live connection, for the length of one call.
pub struct Connection<'a, S: Service> {
    held: &'a mut Held<S>,
    handle: Handle,
}

impl<'a, S: Service> Connection<'a, S> {
    pub(crate) fn new(held: &'a mut Held<S>, handle: Handle) -> Self {
        Self { held, handle }
    }

    /// The connection's name, valid in messages.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.held.id(self.handle)
    }

    /// What the service keeps for this connection.
    pub fn state(&mut self) -> &mut S::State {
        &mut self.held.states[self.handle.slot as usize]
    }

    /// The peer's address, asked of the kernel; `None` once the peer is gone.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        let record = &self.held.table[self.handle.slot];
        SockRef::from(&record.fd()).peer_addr().ok()?.as_socket()
    }

    /// Queues bytes for the peer. All that is queued in one batch of events leaves in one send.
    ///
    /// # Errors
    /// [`SendError::Full`] when they do not fit, [`SendError::Closing`] after [`Self::close`] or
    /// [`Self::finish`]; nothing is queued in either case.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        let finished = self.held.table[self.handle.slot]
            .flags
            .has_any(Flags::FINISH);
        if finished || !self.is_open() {
            return Err(SendError::Closing);
        }
        if bytes.len() > self.room_bytes() {
            self.held.congest_if_queued(self.handle.slot);
            return Err(SendError::Full);
        }
        if !bytes.is_empty() {
            self.held.push(self.handle.slot, bytes);
        }
        Ok(())
    }

    /// How many bytes [`Self::send`] would take.
    #[must_use]
    pub fn room_bytes(&self) -> usize {
        self.held.config.outbox_limit_bytes - self.queued_bytes()
    }

    /// Bytes that were sent and that the kernel has not taken yet.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.held.queued_bytes(self.handle.slot)
    }

    /// Whether neither side has begun to close.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.held.table[self.handle.slot].phase == Phase::Open
    }

    /// Closes gracefully: what is queued is flushed, then the peer is told, and what it still sends is
    /// discarded until it ends too or `linger_timeout` has passed.
    pub fn close(&mut self) {
        let ended = self.held.table[self.handle.slot]
            .flags
            .has_any(Flags::PEER_ENDED);
        self.close_for(if ended {
            CloseReason::PeerEnded
        } else {
            CloseReason::Service
        });
    }

    /// Closes gracefully and counts it under this reason.
    pub fn close_for(&mut self, reason: CloseReason) {
        self.held.begin_close(self.handle.slot, reason);
    }

    /// Resets the connection: what is queued is dropped.
    pub fn abort(&mut self, reason: CloseReason) {
        self.held.begin_abort(self.handle.slot, reason);
    }

    /// Sends this side's end of stream once everything queued is flushed; the peer may go on sending.
    pub fn finish(&mut self) {
        if self.is_open() {
            self.held.table[self.handle.slot]
                .flags
                .insert(Flags::FINISH);
            self.held.mark_dirty(self.handle.slot);
        }
    }

    /// Stops reading. What was read already is kept and comes after [`Self::resume`].
    pub fn pause(&mut self) {
        self.held.table[self.handle.slot]
            .flags
            .insert(Flags::PAUSED);
    }

    /// Goes on reading, with what was kept first.
    pub fn resume(&mut self) {
        self.held.table[self.handle.slot]
            .flags
            .remove(Flags::PAUSED);
        self.held.mark_dirty(self.handle.slot);
    }

    /// Sends a message to a worker, this one included.
    ///
    /// # Errors
    /// [`Full`] hands the message back when the mailbox has no room, or there is no such worker.
    pub fn post(&self, worker: usize, message: S::Message) -> Result<(), Full<S::Message>> {
        self.held.post(worker, message)
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.held.mailboxes.len()
    }
}

/// A worker, for the length of one message.
pub struct Worker<'a, S: Service> {
    held: &'a mut Held<S>,
}

impl<'a, S: Service> Worker<'a, S> {
    pub(crate) fn new(held: &'a mut Held<S>) -> Self {
        Self { held }
    }

    /// This worker's number.
    #[must_use]
    pub fn index(&self) -> usize {
        usize::from(self.held.worker)
    }

    /// Connections that it holds now.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.held.table.len()
    }

    /// Sends a message to a worker, this one included.
    ///
    /// # Errors
    /// [`Full`] hands the message back when the mailbox has no room, or there is no such worker.
    pub fn post(&self, worker: usize, message: S::Message) -> Result<(), Full<S::Message>> {
        self.held.post(worker, message)
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.held.mailboxes.len()
    }

    /// A connection of this worker, if it still lives.
    pub fn connection(&mut self, id: ConnectionId) -> Option<Connection<'_, S>> {
        if id.worker != self.held.worker {
            return None;
        }
        self.held.table.claim(id.handle)?;
        Some(Connection::new(self.held, id.handle))
    }

    /// Calls `visit` for each connection that is open, in no particular order.
    pub fn for_each_connection(&mut self, mut visit: impl FnMut(&mut Connection<'_, S>)) {
        for slot in 0..self.held.table.slots() {
            let handle = self.held.table.handle(slot);
            if let Some(handle) = handle.filter(|_| self.held.table[slot].phase == Phase::Open) {
                visit(&mut Connection::new(self.held, handle));
            }
        }
    }
}
