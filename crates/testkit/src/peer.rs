//! The hostile client: one end of a connection that sends in odd pieces, stops half-way, does not
//! read, or is gone without a word.
//!
//! A call that is interrupted fails its test like any other error: a server in the same process has no
//! business interrupting the threads around it.

use crate::stream::Stream;
use fastrand::Rng;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a peer waits for anything before the test fails: a hang becomes a failure.
pub const REPLY_WITHIN: Duration = Duration::from_secs(15);

/// A client's end of a connection. Dropping it closes: with a FIN, or, where bytes are unread, a RST.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
}

impl Peer {
    /// Connects.
    ///
    /// # Panics
    /// When the connection is refused.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        Self::from(TcpStream::connect(address).expect("the server accepts"))
    }

    /// Connects with the smallest receive buffer, so that not reading is felt soon.
    ///
    /// # Panics
    /// When the connection is refused.
    #[must_use]
    pub fn connect_narrow(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
        let socket = socket.expect("a socket");
        // Before the connect: the window is negotiated then.
        socket.set_recv_buffer_size(2_048).expect("allowed to all");
        socket.connect(&address.into()).expect("the server accepts");
        Self::from(TcpStream::from(socket))
    }

    /// The address of this end.
    ///
    /// # Panics
    /// Never while connected.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("connected")
    }

    /// Sends all of it.
    ///
    /// # Panics
    /// When the server does not take it, within [`REPLY_WITHIN`] for any part.
    #[track_caller]
    pub fn send(&self, bytes: &[u8]) {
        (&self.stream)
            .write_all(bytes)
            .expect("the server takes it");
    }

    /// Sends all of it in pieces of one up to `piece_bytes_max` bytes, one segment each.
    ///
    /// # Panics
    /// As [`Self::send`].
    #[track_caller]
    pub fn send_in_pieces(&self, mut bytes: &[u8], piece_bytes_max: usize, rng: &mut Rng) {
        while !bytes.is_empty() {
            let len = rng.usize(1..=piece_bytes_max.min(bytes.len()));
            let (piece, rest) = bytes.split_at(len);
            self.send(piece);
            bytes = rest;
        }
    }

    /// Sends until nothing has been taken for `patience`, or `limit` bytes were; returns how many.
    ///
    /// # Panics
    /// When the connection fails otherwise.
    pub fn send_until_stuck(&self, stream: &mut Stream, limit: usize, patience: Duration) -> usize {
        let timeout = |patience| self.stream.set_write_timeout(Some(patience));
        timeout(patience).expect("not zero");
        let mut sent = 0;
        let mut next = stream.clone();
        while sent < limit {
            let piece = next.clone().take(16 << 10);
            match (&self.stream).write(&piece) {
                Ok(len) => {
                    sent += len;
                    let _ = next.take(len);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("sending failed after {sent} bytes: {error}"),
            }
        }
        *stream = next;
        timeout(REPLY_WITHIN).expect("not zero");
        sent
    }

    /// Sends without caring what becomes of it; false once the connection is broken.
    pub fn try_send(&self, bytes: &[u8]) -> bool {
        (&self.stream).write_all(bytes).is_ok()
    }

    /// Receives exactly so many bytes.
    ///
    /// # Panics
    /// When they do not come within [`REPLY_WITHIN`].
    #[must_use]
    #[track_caller]
    pub fn receive(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        if let Err(error) = (&self.stream).read_exact(&mut bytes) {
            panic!("{len} bytes did not come: {error}");
        }
        bytes
    }

    /// Receives some bytes, as many as there are; 0 is the end of the stream.
    ///
    /// # Errors
    /// The socket's, a time-out among them.
    pub fn receive_some(&self, bytes: &mut [u8]) -> std::io::Result<usize> {
        (&self.stream).read(bytes)
    }

    /// Receives exactly these bytes.
    ///
    /// # Panics
    /// When others come, or none.
    #[track_caller]
    pub fn expect(&self, bytes: &[u8]) {
        assert!(self.receive(bytes.len()) == bytes, "other bytes came back");
    }

    /// Receives the next `len` bytes of a stream, at most `piece_bytes_max` at once.
    ///
    /// # Panics
    /// When others come, or none.
    #[track_caller]
    pub fn expect_stream(&self, stream: &mut Stream, len: usize, piece_bytes_max: usize) {
        let mut piece = vec![0; piece_bytes_max.min(len)];
        let mut left = len;
        while left > 0 {
            let want = left.min(piece.len());
            match self.receive_some(&mut piece[..want]) {
                Ok(0) => panic!("the stream ended with {left} of {len} bytes to come"),
                Ok(got) => {
                    stream.check(&piece[..got]);
                    left -= got;
                }
                Err(error) => panic!("{left} of {len} bytes did not come: {error}"),
            }
        }
    }

    /// Sends this side's end of stream; receiving goes on.
    ///
    /// # Panics
    /// When the connection is gone.
    #[track_caller]
    pub fn finish(&self) {
        let finished = self.stream.shutdown(Shutdown::Write);
        finished.expect("connected");
    }

    /// Ends a send of another thread, whether the server takes it or not.
    pub fn break_off(&self) {
        // Fails only on a connection that is over already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Expects the server's end of stream, and nothing before it.
    ///
    /// # Panics
    /// When something else comes: bytes, a reset, or nothing.
    #[track_caller]
    pub fn expect_end(&self) {
        match self.receive_some(&mut [0; 64]) {
            Ok(0) => {}
            other => panic!("not an end of stream: {other:?}"),
        }
    }

    /// Expects that the server resets the connection.
    ///
    /// # Panics
    /// When something else comes before.
    #[track_caller]
    pub fn expect_reset(&self) {
        match self.receive_some(&mut [0; 64]) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("not a reset: {other:?}"),
        }
    }

    /// Receives until the connection is over; says whether it ended well, and what came.
    ///
    /// # Panics
    /// When it is not over within [`REPLY_WITHIN`] after the last bytes.
    #[track_caller]
    pub fn receive_to_end(&self) -> (Vec<u8>, std::io::Result<()>) {
        let mut all = Vec::new();
        let mut piece = vec![0; 64 << 10];
        loop {
            match self.receive_some(&mut piece) {
                Ok(0) => return (all, Ok(())),
                Ok(len) => all.extend_from_slice(&piece[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("the connection is still open after {} bytes", all.len())
                }
                Err(error) => return (all, Err(error)),
            }
        }
    }

    /// Is gone with a RST, whatever is under way (`SO_LINGER` of zero).
    ///
    /// # Panics
    /// Never on a TCP socket.
    pub fn reset(self) {
        let linger = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        linger.expect("allowed to all");
    }
}

impl From<TcpStream> for Peer {
    fn from(stream: TcpStream) -> Self {
        let prepare = || {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(REPLY_WITHIN))?;
            stream.set_write_timeout(Some(REPLY_WITHIN))
        };
        // Options fail only on a connection that was reset already, which the test will find out.
        let _ = prepare();
        Self { stream }
    }
}
