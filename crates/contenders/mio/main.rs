//! The loop that people write by hand: edge-triggered epoll through mio, one read buffer for all connections of a
//! worker, and per connection a buffer only for what its peer has not taken. No task, no runtime.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io::{self, ErrorKind, Read, Write};
use std::process::ExitCode;

use contenders::{Replies, Service};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

/// Connections are known by their place in the slab, which never gets this far.
const LISTENER: Token = Token(usize::MAX);
const EVENTS_PER_WAIT: usize = 1024;
const SHARED_BUFFER_BYTES: usize = 64 << 10;

fn main() -> ExitCode {
    contenders::run(worker)
}

fn worker(listener: std::net::TcpListener, service: Service) -> io::Result<Infallible> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;

    let mut events = Events::with_capacity(EVENTS_PER_WAIT);
    let mut connections = Slab::new();
    let mut buffer = vec![0; SHARED_BUFFER_BYTES];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&listener, poll.registry(), &mut connections, service)?;
                continue;
            }
            // One that was closed in this batch may have an event left.
            let Some(connection) = connections.get_mut(event.token().0) else {
                continue;
            };
            if !event.is_readable() && connection.unsent.is_empty() {
                continue; // A new socket can be written to, which nobody waits for.
            }
            match connection.advance(&mut buffer, event.is_read_closed()) {
                Ok(Next::Wait) => {}
                Ok(Next::Close) | Err(_) => drop(connections.remove(event.token().0)),
            }
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    registry: &Registry,
    connections: &mut Slab<Connection>,
    service: Service,
) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                let entry = connections.vacant_entry();
                registry.register(
                    &mut stream,
                    Token(entry.key()),
                    Interest::READABLE | Interest::WRITABLE,
                )?;
                entry.insert(Connection {
                    stream,
                    replies: Replies::new(service),
                    unsent: Vec::new(),
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

struct Connection {
    stream: TcpStream,
    replies: Replies,
    /// What the socket did not take. While there is any, nothing is read.
    unsent: Vec<u8>,
}

enum Next {
    Wait,
    Close,
}

impl Connection {
    /// Reads and answers until the socket is empty or takes no more; the next edge calls again.
    fn advance(&mut self, buffer: &mut [u8], peer_ended: bool) -> io::Result<Next> {
        loop {
            let flushed_bytes = write_some(&mut self.stream, &self.unsent)?;
            self.unsent.drain(..flushed_bytes);
            if !self.unsent.is_empty() {
                return Ok(Next::Wait);
            }
            self.unsent.shrink_to(0);

            let read_bytes = match self.stream.read(buffer) {
                Ok(0) => return Ok(Next::Close),
                Ok(read_bytes) => read_bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(error) => return Err(error),
            };
            let reply = self.replies.to(&buffer[..read_bytes])?;
            let sent_bytes = write_some(&mut self.stream, reply)?;
            self.unsent.extend_from_slice(&reply[sent_bytes..]);

            // A short read emptied the socket: what comes later is another edge. Only the end has had its own already.
            if read_bytes < buffer.len() && self.unsent.is_empty() && !peer_ended {
                return Ok(Next::Wait);
            }
        }
    }
}

/// Writes as much as the socket takes.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent_bytes = 0;
    while sent_bytes < bytes.len() {
        match stream.write(&bytes[sent_bytes..]) {
            Ok(taken_bytes) => sent_bytes += taken_bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent_bytes)
}
