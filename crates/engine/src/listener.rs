//! Listening sockets: one per address and worker, joined by `SO_REUSEPORT`.
//!
//! Options that connections need are set here once and inherited by all that are accepted.

use crate::config::Config;
use crate::error::StartError;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::limits::{ACCEPT_BACKOFF_MAX_MS, ACCEPT_BACKOFF_MIN_MS};

/// Makes sure that nobody listens on these addresses: `SO_REUSEPORT` alone would let a second server
/// of the same user join the first and take half of its connections, silently.
pub(crate) fn check_free(addresses: &[SocketAddr]) -> Result<(), StartError> {
    for &address in addresses.iter().filter(|address| address.port() != 0) {
        let listen = || -> io::Result<()> {
            let socket = open(address)?;
            socket.bind(&address.into())?;
            socket.listen(1)
        };
        listen().map_err(StartError::of_bind(address))?;
    }
    Ok(())
}

/// Binds without listening yet: until every worker is ready, none may be chosen by the kernel.
pub(crate) fn bind(address: SocketAddr, config: &Config) -> Result<Listener, StartError> {
    let bind = || -> io::Result<Socket> {
        let socket = open(address)?;
        socket.set_reuse_port(true)?;
        socket.set_tcp_nodelay(config.nodelay)?;
        if let Some(keepalive) = &config.keepalive {
            let keepalive = TcpKeepalive::new()
                .with_time(keepalive.idle)
                .with_interval(keepalive.interval)
                .with_retries(keepalive.probes);
            socket.set_tcp_keepalive(&keepalive)?;
        }
        socket.set_tcp_user_timeout(config.user_timeout)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    let socket = bind().map_err(StartError::of_bind(address))?;
    Ok(Listener {
        fd: socket.into(),
        pause: Pause::default(),
    })
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.cloexec(),
        Some(Protocol::TCP),
    )?;
    // Connections of a former server in TIME_WAIT must not keep the address.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and [::] can be listened on together.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// One listening socket of one worker.
#[derive(Debug)]
pub(crate) struct Listener {
    fd: OwnedFd,
    pause: Pause,
}

impl Listener {
    pub(crate) fn listen(&self, backlog: u32) -> io::Result<()> {
        SockRef::from(&self.fd).listen(i32::try_from(backlog).unwrap_or(i32::MAX))
    }

    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        let address = SockRef::from(&self.fd).local_addr()?;
        address
            .as_socket()
            .ok_or_else(|| io::Error::other("not an IP address"))
    }

    /// Notes that accepting failed for want of something, and stops it for a while.
    pub(crate) fn pause(&mut self, now: Instant) {
        self.pause.lengthen(now);
    }

    /// Notes that accepting works.
    pub(crate) fn accepted(&mut self) {
        self.pause = Pause::default();
    }

    /// When a paused listener is to be tried again.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.pause.until
    }

    /// Ends a pause that is over by `now`.
    pub(crate) fn resume(&mut self, now: Instant) -> bool {
        let over = self.pause.until.is_some_and(|until| until <= now);
        if over {
            self.pause.until = None;
        }
        over
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Each failure in a row doubles the pause, from 10 ms up to a second.
#[derive(Debug, Default)]
struct Pause {
    last: Option<Duration>,
    until: Option<Instant>,
}

impl Pause {
    fn lengthen(&mut self, now: Instant) {
        let longest = Duration::from_millis(ACCEPT_BACKOFF_MAX_MS);
        let next = self
            .last
            .map_or(Duration::from_millis(ACCEPT_BACKOFF_MIN_MS), |d| d * 2);
        self.last = Some(next.min(longest));
        self.until = Some(now + next.min(longest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> SocketAddr {
        "127.0.0.1:0".parse().expect("an address")
    }

    #[test]
    fn several_bind_together_but_a_stranger_is_noticed() {
        let config = Config::default();
        let first = bind(any_port(), &config).expect("a free port");
        let address = first.local_address().expect("bound");
        let second = bind(address, &config).expect("SO_REUSEPORT");
        first.listen(16).expect("listens");
        second.listen(16).expect("listens");
        let error = check_free(&[address]).expect_err("two listen there");
        assert!(
            matches!(error, StartError::AddressInUse(a) if a == address),
            "{error}"
        );
        drop((first, second));
        check_free(&[address]).expect("nobody listens any more");
    }

    #[test]
    fn pauses_double_up_to_a_second_and_end_with_success() {
        let now = Instant::now();
        let mut listener = bind(any_port(), &Config::default()).expect("a free port");
        let mut lengths_ms = Vec::new();
        for _ in 0..9 {
            listener.pause(now);
            let until = listener.retry_at().expect("paused");
            lengths_ms.push((until - now).as_millis());
            assert!(!listener.resume(now));
            assert!(listener.resume(until));
        }
        assert_eq!(lengths_ms, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        listener.accepted();
        listener.pause(now);
        assert_eq!(listener.retry_at(), Some(now + Duration::from_millis(10)));
    }
}
