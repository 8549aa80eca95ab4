//! Whether there is a server at all, before any connection is counted; and whether it keeps up.

use crate::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Between two attempts: a server that is being started tells nobody when it listens.
const RETRY: Duration = Duration::from_millis(20);
/// Listeners come within milliseconds of each other, each told by nobody.
const SETTLED: Duration = Duration::from_millis(200);
/// What a single attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);

/// Waits until `server` accepts a connection, which is closed at once, or `go_on` says no.
pub(crate) fn wait_for(
    server: SocketAddr,
    limit: Duration,
    mut go_on: impl FnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    let began = Instant::now();
    loop {
        match TcpStream::connect_timeout(&server, ATTEMPT) {
            Ok(_) => return Ok(()),
            Err(error) if began.elapsed() >= limit => {
                let fix = match error.kind() {
                    ErrorKind::ConnectionRefused => {
                        "start the server there, or give it time with --server-wait"
                    }
                    ErrorKind::TimedOut => {
                        "check that packets reach it: nothing refuses and nothing answers"
                    }
                    _ => "check the address",
                };
                return Err(Error::new(format!("no server at {server} ({error})"), fix));
            }
            Err(_) => {
                go_on()?;
                std::thread::sleep(RETRY);
            }
        }
    }
}

/// Waits until no further listener has come to `port` for a while: a server with one for each of its threads is not
/// all there when the first accepts, and what comes too early would all go to that one.
pub(crate) fn wait_for_all(
    port: u16,
    mut go_on: impl FnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    let mut seen = listeners(port).len();
    loop {
        go_on()?;
        std::thread::sleep(SETTLED);
        let now = listeners(port).len();
        if now == seen {
            return Ok(());
        }
        seen = now;
    }
}

/// Connections on `port` in this network whose handshake is over and which no server has accepted; 0 where the
/// kernel does not tell.
pub(crate) fn not_accepted(port: u16) -> u64 {
    listeners(port).iter().sum()
}

/// The accept queues of the listeners on `port` in this network; none where the kernel does not tell.
fn listeners(port: u16) -> Vec<u64> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| File::open(path).ok())
        .flat_map(|file| accept_queues(BufReader::new(file), port))
        .collect()
}

/// The listeners come first, whatever number of connections follows.
fn accept_queues(sockets: impl BufRead, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let heading = 1;
    sockets
        .lines()
        .skip(heading)
        .map_while(|line| {
            // sl local_address rem_address st tx_queue:rx_queue …; of a listener, rx_queue is its accept queue.
            let line = line.ok()?;
            let mut fields = line.split_whitespace().skip(1);
            let (local, state) = (fields.next()?, fields.nth(1)?);
            let (_, local_port) = local.split_once(':')?;
            let (_, queue) = fields.next()?.split_once(':')?;
            let is_ours = u16::from_str_radix(local_port, 16).ok()? == port;
            let queue = u64::from_str_radix(queue, 16).ok()?;
            (state == LISTEN).then_some(is_ours.then_some(queue))
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_queues_are_those_of_the_port_and_connections_are_not_read() {
        let listener = "   0: 00000000:1F90 00000000:0000 0A 00000000:000000FF 00:00000000 00000000 0 0 1 1 0\n";
        let other = listener.replace("1F90", "0016");
        let connection = listener.replace("0A", "01");
        let text = [
            "  sl  local_address …\n",
            listener,
            &other,
            listener,
            &connection,
            listener,
        ]
        .concat();
        assert_eq!(accept_queues(text.as_bytes(), 8080), [255, 255]);
        assert!(accept_queues("".as_bytes(), 8080).is_empty());
    }

    #[test]
    fn this_kernel_tells_who_waits() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        assert_eq!(not_accepted(address.port()), 0);
        let _waiting = [0; 3].map(|_| TcpStream::connect(address).expect("room in the queue"));
        assert_eq!(not_accepted(address.port()), 3);
        listener.accept().expect("one of them");
        assert_eq!(not_accepted(address.port()), 2);
    }
}
