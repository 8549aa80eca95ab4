//! The kernel interface, behind one narrow trait: io_uring, epoll (the baseline), or a simulation.
//!
//! A driver turns what a worker wants into requests and what the kernel answers into [`Event`]s. It
//! knows sockets, buffers and readiness; it knows nothing of services, outboxes or deadlines. What it
//! keeps per connection is the `watch` byte of the record.

pub(crate) mod epoll;
pub(crate) mod uring;

use crate::buffers::Outgoing;
use crate::listener::Listener;
use crate::sys::buffer_ring::Lease;
use crate::table::Table;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// What has happened. Slots are those of live connections: stale answers end inside the driver.
pub(crate) enum Event {
    /// A connection was accepted.
    Accepted { listener: u8, socket: OwnedFd },
    /// The listener accepts no more until it is asked to, with the error that stopped it.
    AcceptStopped {
        listener: u8,
        error: Option<io::Error>,
    },
    /// Bytes were read; to be given back once they have been looked at.
    Data { slot: u32, data: Data },
    /// The peer has finished sending.
    Ended { slot: u32 },
    /// The socket failed; nothing more will be read from it.
    Failed { slot: u32, error: io::Error },
    /// A send that was pending has been answered.
    Sent {
        slot: u32,
        outgoing: Outgoing,
        result: io::Result<usize>,
    },
    /// The socket takes bytes again.
    Writable { slot: u32 },
    /// The kernel holds nothing of this releasing connection any more.
    Released { slot: u32 },
    /// The mailbox wants to be looked at.
    Woken,
}

/// Bytes that were read, and whose memory they are in.
pub(crate) enum Data {
    /// A provided buffer.
    Leased(Lease),
    /// The first so many bytes of the driver's scratch buffer; valid until the next event.
    Scratch(usize),
}

/// What became of a send.
pub(crate) enum Sending {
    /// Answered at once.
    Done(Outgoing, io::Result<usize>),
    /// To be answered by [`Event::Sent`].
    Pending,
}

pub(crate) trait Driver: Sized {
    /// Whether [`Driver::send`] acts at once, so that replies are best sent right after the read.
    const SENDS_AT_ONCE: bool;

    /// Asks for one [`Event::Woken`] when the mailbox's eventfd is readable.
    fn watch_mailbox(&mut self, wake: BorrowedFd<'_>);

    /// The listeners that it accepts from.
    fn listeners(&mut self) -> &mut [Listener];

    /// Starts accepting, or goes on after [`Event::AcceptStopped`].
    fn accept(&mut self, listener: u8) -> io::Result<()>;

    /// Closes the listeners; what waits in their queues is reset.
    fn stop_accepting(&mut self);

    /// Hands over what was asked for and waits until something happens, `timeout` at most.
    fn wait(&mut self, table: &mut Table, timeout: Option<Duration>) -> io::Result<()>;

    /// The next thing that has happened; `None` when it is time to wait again.
    fn next(&mut self, table: &mut Table) -> Option<Event>;

    /// The bytes of a [`Event::Data`].
    fn bytes(&self, data: &Data) -> &[u8];

    /// Ends the use of a [`Event::Data`].
    fn give_back(&mut self, data: Data);

    /// Takes a new connection on. Reads begin with [`Driver::read`].
    fn open(&mut self, table: &mut Table, slot: u32) -> io::Result<()>;

    /// Sees to it that data is reported, if the record wants data: after each event that brought some,
    /// and whenever the record begins to want it.
    fn read(&mut self, table: &mut Table, slot: u32);

    /// Notes that the record no longer wants data. What is read already may still be reported.
    fn pause(&mut self, table: &mut Table, slot: u32);

    /// Offers bytes to the socket. At most one send per connection is under way.
    fn send(&mut self, table: &mut Table, slot: u32, outgoing: Outgoing) -> Sending;

    /// Asks for one [`Event::Writable`].
    fn await_writable(&mut self, table: &mut Table, slot: u32);

    /// Begins to let go of a releasing connection that was shut down or reset just before. True if
    /// nothing is held already; otherwise [`Event::Released`] follows.
    fn release(&mut self, table: &mut Table, slot: u32) -> bool;

    /// Closes the descriptor of a released connection.
    fn close(&mut self, socket: OwnedFd) {
        drop(socket);
    }
}
