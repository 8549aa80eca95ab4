//! Whether there is a server at all, before any connection is counted.

use crate::Error;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Between two attempts: a server that is being started tells nobody when it listens.
const RETRY: Duration = Duration::from_millis(20);
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
