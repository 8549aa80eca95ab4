//! What `roadstead-bench` relies on, asked of every contender that `scripts/contenders.sh` has built. One that is
//! missing is named on stderr with the reason that the script left; none of all is a failure.

#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Nothing here takes a second; a contender that has stopped answers nothing in this time either.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECTIONS: usize = 8;
const BYTES_PER_CONNECTION: usize = 1 << 20;
/// More than a socket and its peer hold between them before the peer reads.
const UNREAD_BYTES_MAX: usize = 32 << 20;

/// The refusal of a job or a number of workers, by its exit status.
const REFUSED: i32 = 2;

macro_rules! contenders {
    ($($module:ident = $name:literal;)*) => {$(
        mod $module {
            #[test] fn echo() { super::echo($name, 1); }
            #[test] fn echo_by_two_workers() { super::echo($name, 2); }
            #[test] fn frames() { super::frames($name); }
            #[test] fn half_close() { super::half_close($name); }
            #[test] fn a_peer_that_reads_late() { super::a_peer_that_reads_late($name); }
            #[test] fn unknown_service_is_refused() { super::unknown_service_is_refused($name); }
        }
    )*

        const NAMES: &[&str] = &[$($name),*];
    };
}

contenders! {
    compio = "compio";
    glommio = "glommio";
    go = "go";
    mio = "mio";
    monoio = "monoio";
    node = "node";
    tokio = "tokio";
    tokio_uring = "tokio-uring";
    uws = "uws";
}

#[test]
fn at_least_one_is_built() {
    assert!(
        NAMES.iter().any(|name| program(name).exists()),
        "none is built: run scripts/contenders.sh"
    );
}

fn echo(name: &'static str, workers: usize) {
    let Some(server) = Server::start(name, &["--workers", &workers.to_string()]) else {
        return;
    };
    let clients: Vec<_> = (0..CONNECTIONS as u64)
        .map(|seed| {
            let stream = server.connect();
            thread::spawn(move || {
                let sent = random_bytes(BYTES_PER_CONNECTION, seed);
                let writer = write_in_pieces(&stream, &sent, seed);
                let mut received = vec![0; sent.len()];
                (&stream).read_exact(&mut received).unwrap();
                assert!(
                    received == sent,
                    "{name}: other bytes than were sent, seed {seed}"
                );
                writer.join().unwrap().unwrap();
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

fn frames(name: &'static str) {
    let Some(server) = Server::start(name, &["--service", "frames"]) else {
        return;
    };
    let mut random = fastrand::Rng::with_seed(7);
    let mut sent = Vec::new();
    while sent.len() < BYTES_PER_CONNECTION {
        let payload_bytes = if random.u8(..) < 250 {
            random.usize(..300)
        } else {
            random.usize(..=64 << 10)
        };
        sent.extend_from_slice(&(payload_bytes as u32).to_be_bytes());
        sent.extend(random_bytes(payload_bytes, random.u64(..)));
    }
    let stream = server.connect();
    let writer = write_in_pieces(&stream, &sent, 7);
    let mut received = vec![0; sent.len()];
    (&stream).read_exact(&mut received).unwrap();
    assert!(received == sent, "{name}: other frames than were sent");
    writer.join().unwrap().unwrap();

    // Half a frame that arrives with a whole one waits for its rest.
    (&stream).write_all(b"\0\0\0\x02ok\0\0\0\x04ha").unwrap();
    let mut whole = [0; 6];
    (&stream).read_exact(&mut whole).unwrap();
    assert_eq!(&whole, b"\0\0\0\x02ok", "{name}");
    stream.set_nonblocking(true).unwrap();
    assert_eq!(
        (&stream).read(&mut [0]).unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "{name}"
    );
    stream.set_nonblocking(false).unwrap();
    (&stream).write_all(b"lf").unwrap();
    let mut late = [0; 8];
    (&stream).read_exact(&mut late).unwrap();
    assert_eq!(&late, b"\0\0\0\x04half", "{name}");

    // One that is too long ends the connection, and only that one.
    (&stream).write_all(&u32::MAX.to_be_bytes()).unwrap();
    match (&stream).read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("{name}: {other:?} after a frame that is too long"),
    }
    let mut other = server.connect();
    other.write_all(b"\0\0\0\0").unwrap();
    other.read_exact(&mut [0; 4]).unwrap();
}

fn half_close(name: &'static str) {
    let Some(server) = Server::start(name, &[]) else {
        return;
    };
    let mut stream = server.connect();
    let sent = random_bytes(64 << 10, 1);
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(
        received == sent,
        "{name}: {} of {} bytes answered, then closed",
        received.len(),
        sent.len()
    );
}

/// The contender comes to hold bytes that nobody takes; none may be lost, nor the end that comes after them.
fn a_peer_that_reads_late(name: &'static str) {
    let Some(server) = Server::start(name, &[]) else {
        return;
    };
    let stream = server.connect();
    let sent = random_bytes(UNREAD_BYTES_MAX, 2);
    stream.set_nonblocking(true).unwrap();
    let mut unread_bytes = 0;
    while unread_bytes < sent.len() {
        match (&stream).write(&sent[unread_bytes..]) {
            Ok(taken_bytes) => unread_bytes += taken_bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{name}: {error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();

    let (mut half, rest) = (stream.try_clone().unwrap(), sent[unread_bytes..].to_vec());
    let writer = thread::spawn(move || {
        half.write_all(&rest)
            .and_then(|()| half.shutdown(Shutdown::Write))
    });
    let mut received = Vec::new();
    (&stream).read_to_end(&mut received).unwrap();
    assert!(
        received == sent,
        "{name}: {} of {} bytes answered, then closed",
        received.len(),
        sent.len()
    );
    writer.join().unwrap().unwrap();
}

fn unknown_service_is_refused(name: &'static str) {
    let Some(program) = built(name) else { return };
    let output = Command::new(program)
        .args(["--service", "discard"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(REFUSED), "{name}: {output:?}");
    assert!(
        !output.stderr.is_empty() && output.stdout.is_empty(),
        "{name}: {output:?}"
    );
}

/// A contender that runs until it goes out of scope.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// `None`, said on stderr, where the contender is not built or refuses these arguments.
    fn start(name: &str, arguments: &[&str]) -> Option<Self> {
        let mut process = Command::new(built(name)?)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        if line.is_empty() {
            let status = process.wait().unwrap();
            assert_eq!(
                status.code(),
                Some(REFUSED),
                "{name} {arguments:?} ended before it listened: {status}"
            );
            say(&format!("NOT CHECKED: {name} refuses {arguments:?}"));
            return None;
        }
        let address = line
            .trim_end()
            .strip_prefix(r#"{"listen":[""#)
            .and_then(|rest| rest.strip_suffix(r#""]}"#))
            .unwrap_or_else(|| panic!("{name}: not the line that tells where it listens: {line}"));
        Some(Self {
            process,
            address: address.parse().unwrap(),
        })
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill(); // It may have ended by itself, which the test saw.
        let _ = self.process.wait();
    }
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/release")
        .join(name)
}

fn built(name: &str) -> Option<PathBuf> {
    let program = program(name);
    if program.exists() {
        return Some(program);
    }
    let reason = fs::read_to_string(program.with_file_name(format!("{name}.missing")))
        .unwrap_or_else(|_| "run scripts/contenders.sh".into());
    say(&format!(
        "NOT CHECKED: {name} is not built: {}",
        reason.trim_end()
    ));
    None
}

/// Past the capture of the test harness, which hides what a passing test prints.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn random_bytes(bytes: usize, seed: u64) -> Vec<u8> {
    let mut filled = vec![0; bytes];
    fastrand::Rng::with_seed(seed).fill(&mut filled);
    filled
}

/// From one byte to more than a contender's buffer at a time.
fn write_in_pieces(
    stream: &TcpStream,
    bytes: &[u8],
    seed: u64,
) -> thread::JoinHandle<io::Result<()>> {
    let (mut stream, bytes) = (stream.try_clone().unwrap(), bytes.to_vec());
    let mut random = fastrand::Rng::with_seed(seed);
    thread::spawn(move || {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(random.usize(1..=9_000).min(rest.len()));
            stream.write_all(piece)?;
            rest = later;
        }
        Ok(())
    })
}
