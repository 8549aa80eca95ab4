//! `roadstead serve` as an operator meets it: reports, signals, exit codes, and bad input.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_roadstead");
const NOBODY: u32 = 65_534;

fn serve(flags: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("serve").args(flags).stdin(Stdio::null());
    command
}

fn refused(flags: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = serve(flags).output().expect("the binary runs");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// A server that runs, told to print JSON.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Running {
    fn start(flags: &[&str]) -> Self {
        let mut child = serve(flags)
            .args(["--json", "--workers", "2", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let report = json_line(&mut stdout);
        let address = report["listen"][0].as_str().expect("an address");
        Self {
            child,
            address: address.parse().expect("an address"),
            stdout,
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
    }

    /// What it printed at its end, and how it ended.
    fn wait(mut self) -> (Option<serde_json::Value>, ExitStatus) {
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).expect("UTF-8");
        let status = self.child.wait().expect("it was started");
        (
            said.lines()
                .last()
                .map(|line| serde_json::from_str(line).expect("JSON")),
            status,
        )
    }
}

fn json_line(stdout: &mut impl BufRead) -> serde_json::Value {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("UTF-8");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

fn echo(peer: &mut TcpStream, text: &[u8]) {
    peer.set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    peer.write_all(text).expect("the server reads");
    let mut reply = vec![0; text.len()];
    peer.read_exact(&mut reply).expect("the server answers");
    assert_eq!(reply, text);
}

#[test]
fn serves_counts_and_drains() {
    for engine in ["auto", "epoll"] {
        let mut server = Running::start(&["--engine", engine]);
        let mut peer = TcpStream::connect(server.address).expect("it listens");
        echo(&mut peer, b"ahoy");
        server.signal("USR1");
        let counters = json_line(&mut server.stdout);
        assert_eq!(counters["counters"]["live"], 1, "{counters}");
        server.signal("TERM");
        assert_eq!(
            peer.read(&mut [0; 16]).expect("an end of stream, no reset"),
            0
        );
        drop(peer);
        let (counters, status) = server.wait();
        let counters = counters.expect("counters at the end");
        assert_eq!(status.code(), Some(0));
        assert_eq!(counters["accounts_close"], true, "{counters}");
        assert_eq!(counters["counters"]["closed_drained"], 1, "{counters}");
        assert_eq!(counters["counters"]["bytes_in"], 4, "{counters}");
    }
}

#[test]
fn the_ledger_counts_what_a_running_server_holds() {
    for flags in [
        ["--engine", "epoll"],
        ["--watch", "recv"],
        ["--watch", "adaptive"],
    ] {
        ledger_of_a_server(&flags);
    }
}

fn ledger_of_a_server(flags: &[&str]) {
    const CONNECTIONS: usize = 50;
    let server = Running::start(flags);
    let mut peers: Vec<_> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(server.address).expect("it listens"))
        .collect();
    peers.iter_mut().for_each(|peer| echo(peer, b"ahoy"));
    let pid = server.child.id().to_string();
    let ledger = Command::new(BINARY)
        .args(["ledger", "--json", "--connections", "1M", "--pid", &pid])
        .output();
    let said = ledger.expect("the binary runs").stdout;
    let ledger: serde_json::Value = serde_json::from_slice(&said).expect("JSON");
    assert_eq!(ledger["servers"][0]["workers"], 2, "{ledger}");
    assert_eq!(ledger["servers"][0]["connections"], CONNECTIONS, "{ledger}");
    let sum = |part: &dyn Fn(&serde_json::Value) -> u64| -> u64 {
        let rows = ledger["rows"].as_array().expect("rows");
        rows.iter().map(part).sum()
    };
    let bytes = sum(&|row| row["bytes"].as_u64().expect("a number"));
    assert_eq!(ledger["total"]["bytes"], bytes);
    let projected = sum(&|row| row["projected_bytes"][0].as_u64().expect("a number"));
    assert_eq!(ledger["total"]["projected_bytes"][0], projected);
    assert!(projected > 3_000_000_000, "{projected}");
    server.signal("TERM");
    drop(peers);
    assert!(server.wait().1.success());
}

#[test]
fn a_second_signal_leaves_at_once() {
    let server = Running::start(&["--drain-timeout", "1h"]);
    let mut peer = TcpStream::connect(server.address).expect("it listens");
    echo(&mut peer, b"ahoy");
    server.signal("INT");
    // The drain has begun when the server has ended its side; a peer that stays open keeps it waiting.
    assert_eq!(peer.read(&mut [0; 16]).expect("an end of stream"), 0);
    server.signal("TERM");
    let (_, status) = server.wait();
    assert_eq!(status.code(), Some(128 + 15));
}

#[test]
fn frames_are_answered_and_long_ones_refused() {
    let server = Running::start(&["--service", "frames", "--frame-bytes", "8"]);
    let mut peer = TcpStream::connect(server.address).expect("it listens");
    echo(&mut peer, b"\0\0\0\x04ahoy\0\0\0\x00");
    peer.write_all(&9u32.to_be_bytes())
        .expect("the server reads");
    assert_eq!(peer.read(&mut [0; 16]).expect("an end of stream"), 0);
    drop(peer);
    server.signal("TERM");
    let (counters, _) = server.wait();
    let counters = counters.expect("counters at the end");
    assert_eq!(
        counters["counters"]["closed_protocol_error"], 1,
        "{counters}"
    );
}

#[test]
fn an_unknown_flag_or_value_is_bad_usage() {
    for flags in [
        ["--lisen", "x"],
        ["--engine", "kqueue"],
        ["--max-connections", "many"],
    ] {
        let (code, said) = refused(&flags);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("--help") || said.contains("auto"), "{said}");
    }
}

#[test]
fn an_address_in_use_is_named_with_the_fix() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let (code, said) = refused(&["--listen", &address]);
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains(&address) && said.contains("ss -ltnp"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn two_servers_do_not_share_a_port_in_silence() {
    let first = Running::start(&[]);
    let (code, said) = refused(&["--listen", &first.address.to_string()]);
    assert_eq!(code, Some(78), "{said}");
    first.signal("TERM");
    assert!(first.wait().1.success());
}

#[test]
fn an_address_of_another_host_is_named() {
    let (code, said) = refused(&["--listen", "192.0.2.1:8080"]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("192.0.2.1"), "{said}");
}

#[test]
fn more_than_the_host_can_hold_is_refused_with_the_fix() {
    let (code, said) = refused(&["--workers", "1", "--max-connections", "900M"]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("900,000,000"), "{said}");
}

/// Needs root, to become somebody who may not; without it, whoever runs the test must be that somebody.
#[test]
fn a_privileged_port_without_permission_is_named_with_the_fix() {
    let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let start: u16 = start.expect("Linux 4.11").trim().parse().expect("a port");
    assert!(
        start > 1,
        "CANNOT RUN HERE: ip_unprivileged_port_start lets everybody bind port 1"
    );
    let am_root = std::fs::metadata("/proc/self")
        .is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    // Where nobody can execute it: the build directory may lie in root's home.
    let copy = std::env::temp_dir().join(format!("roadstead-{}", std::process::id()));
    std::fs::copy(BINARY, &copy).expect("a copy of the binary");
    let mut command = Command::new(&copy);
    command.args(["serve", "--listen", "127.0.0.1:1"]);
    if am_root {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output();
    std::fs::remove_file(&copy).expect("the copy is there");
    let output = output.expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("CAP_NET_BIND_SERVICE"), "{said}");
}
