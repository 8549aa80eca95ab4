//! One connection as a kernel socket: its stream in both directions, and nothing of the workload's timing.
//!
//! ```text
//!  stream   0 ─────── received ─────── sent ─────── queued      (byte offsets since it was opened)
//!           answered  | under way      | the kernel | not yet
//!                                        has taken it  due
//! ```

use crate::workload::Tape;
use nix::sys::socket::{setsockopt, sockopt};
use rustix::event::epoll;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its turn to be opened.
    AwaitsOpening,
    /// The server's SYN-ACK.
    AwaitsHandshake,
    /// Messages and replies.
    Established,
    /// The replies to what was sent, to be opened anew then.
    AwaitsLastReply,
    /// The server's close, ours being done.
    AwaitsPeerClose,
    /// Nothing: it failed, was lost or is closed.
    Over,
}

/// A connection's socket and its place in the stream.
pub(super) struct Connection {
    pub(super) state: State,
    socket: Option<Socket>,
    /// The place of its byte 0 on the tape.
    start: usize,
    /// When it should have been opened.
    pub(super) due_ns: u64,
    /// When its handshake is given up.
    pub(super) handshake_deadline_ns: u64,
    /// Whether replies are read as they come.
    pub(super) reads: bool,
    /// Whether the run itself has closed it once.
    pub(super) reopened: bool,
    /// Messages answered before the stream last began at 0.
    pub(super) answered_before: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) queued: u64,
}

/// What reading a socket to its end for now came to.
pub(super) struct Arrived {
    pub(super) bytes: u64,
    pub(super) wrong_bytes: u64,
    pub(super) end: Option<io::Result<()>>,
}

impl Connection {
    pub(super) fn new(start: usize) -> Self {
        Self {
            state: State::AwaitsOpening,
            socket: None,
            start,
            due_ns: 0,
            handshake_deadline_ns: 0,
            reads: true,
            reopened: false,
            answered_before: 0,
            received: 0,
            sent: 0,
            queued: 0,
        }
    }

    /// Whether it may carry messages.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Established | State::AwaitsLastReply)
    }

    /// Starts a handshake. Its end shows as readiness to write.
    pub(super) fn connect(
        &mut self,
        server: SocketAddr,
        source: Option<IpAddr>,
        epoll: impl rustix::fd::AsFd,
        key: u64,
    ) -> io::Result<()> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(server), kind, Some(Protocol::TCP))?;
        if let Some(source) = source {
            // The port is chosen at connect, when the whole 4-tuple is known: a bound port would be
            // taken for all destinations.
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
        }
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => return Err(error),
            _ => {}
        }
        let events = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(epoll, &socket, epoll::EventData::new_u64(key), events)?;
        self.socket = Some(socket);
        self.state = State::AwaitsHandshake;
        Ok(())
    }

    /// What became of the handshake.
    pub(super) fn handshake_result(&self) -> io::Result<()> {
        match self.socket.as_ref().map(Socket::take_error) {
            Some(Ok(None)) => Ok(()),
            Some(Ok(Some(error)) | Err(error)) => Err(error),
            None => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Gives the kernel what is queued, as far as it takes it. Returns the bytes taken.
    pub(super) fn send(&mut self, tape: &Tape) -> io::Result<u64> {
        let Some(socket) = &self.socket else {
            return Ok(0);
        };
        let before = self.sent;
        while self.sent < self.queued {
            let bytes = tape.slice(self.start, self.sent, (self.queued - self.sent) as usize);
            match (&*socket).write(bytes) {
                Ok(taken) => self.sent += taken as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.sent - before)
    }

    /// Reads and checks what has come. Edge-triggered: a short read has emptied the socket, and whatever
    /// comes next is announced again; only a peer that has closed must be read to its end.
    pub(super) fn receive(&mut self, tape: &Tape, scratch: &mut [u8], to_the_end: bool) -> Arrived {
        let mut arrived = Arrived {
            bytes: 0,
            wrong_bytes: 0,
            end: None,
        };
        let Some(socket) = &self.socket else {
            return arrived;
        };
        loop {
            match (&*socket).read(scratch) {
                Ok(0) => {
                    arrived.end = Some(Ok(()));
                    return arrived;
                }
                Ok(got) => {
                    let asked_for = ((self.sent - self.received) as usize).min(got);
                    let wrong = tape.differing(self.start, self.received, &scratch[..asked_for]);
                    arrived.wrong_bytes += (wrong + got - asked_for) as u64;
                    arrived.bytes += asked_for as u64;
                    self.received += asked_for as u64;
                    if got < scratch.len() && !to_the_end {
                        return arrived;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return arrived,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    arrived.end = Some(Err(error));
                    return arrived;
                }
            }
        }
    }

    /// Sends our FIN and keeps reading.
    pub(super) fn finish_sending(&mut self) {
        self.state = State::AwaitsPeerClose;
        if let Some(socket) = &self.socket {
            // Fails only if the peer has reset it: the next read says so.
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
    }

    /// Lets the socket's end be a reset.
    pub(super) fn reset(&self) {
        if let Some(socket) = &self.socket {
            // Cannot fail on a TCP socket.
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }

    /// Closes the socket; its epoll interest goes with it.
    pub(super) fn drop_socket(&mut self, state: State) {
        self.socket = None;
        self.state = state;
    }

    /// Begins a new stream with the messages that were not answered on the old one.
    pub(super) fn restart_stream(&mut self, message_bytes: u64) {
        let answered = self.received / message_bytes;
        self.answered_before += answered;
        self.queued -= answered * message_bytes;
        self.sent = 0;
        self.received = 0;
    }

    /// Messages that are queued and not answered.
    pub(super) fn outstanding(&self, message_bytes: u64) -> u64 {
        self.queued / message_bytes - self.received / message_bytes
    }
}
