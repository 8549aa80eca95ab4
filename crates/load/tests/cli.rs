//! The binary: exit codes, files, and what Ctrl-C does.

mod fixture;

use fixture::{Behaviour, Server};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

fn load(arguments: &[&str], server: &Server) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadstead-load"));
    command
        .arg("sockets")
        .args(arguments)
        .args(["--to", &server.address.to_string()]);
    command.args(["--connections", "200"]);
    command
}

fn run(arguments: &[&str], server: &Server) -> Output {
    load(arguments, server).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn a_good_run_exits_0_and_writes_its_files() {
    let server = Server::start(Behaviour::Echo);
    let files = tempfile::tempdir().expect("a directory");
    let [json, hgrm, hlog] = ["json", "hgrm", "hlog"].map(|kind| files.path().join(kind));
    let pid = std::process::id().to_string();
    let output = load(
        &["--rate", "2k", "--hold", "500ms", "--server-pid", &pid],
        &server,
    )
    .arg("--json")
    .arg(&json)
    .arg("--hgrm")
    .arg(&hgrm)
    .arg("--hlog")
    .arg(&hlog)
    .output()
    .expect("the binary starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("200 of 200 connections established"));
    let report: Value =
        serde_json::from_slice(&std::fs::read(json).expect("a file")).expect("valid JSON");
    assert_eq!(report["established"], 200);
    assert_eq!(report["failed"], 0);
    assert_eq!(report["wrong_bytes"], 0);
    assert_eq!(report["messages"], 1000);
    assert_eq!(report["latency_us"]["count"], 1000);
    assert!(report["latency_us"]["p99.99"].as_f64() >= report["latency_us"]["p50"].as_f64());
    assert_eq!(report["connect_us"]["count"], 200);
    assert!(report["server"]["cpu_seconds"].as_f64().expect("a number") > 0.0);
    assert!(report["server"]["rss_bytes"].as_u64().expect("a number") > 0);
    assert!(report["slab_bytes"].is_i64());
    assert_eq!(
        report["mode"]["sockets"]["settings"]["workload"]["hold_seconds"],
        0.5
    );
    assert!(
        std::fs::read_to_string(hgrm)
            .expect("a file")
            .contains("Total count")
    );
    assert_eq!(values_in_log(&std::fs::read(hlog).expect("a file")), 1000);
}

/// How many values the histograms of an HdrHistogram log have.
fn values_in_log(log: &[u8]) -> u64 {
    use base64::Engine;
    use hdrhistogram::serialization::{Deserializer, interval_log};
    let intervals = interval_log::IntervalLogIterator::new(log).map(|entry| match entry {
        Ok(interval_log::LogEntry::Interval(interval)) => {
            let packed = base64::engine::general_purpose::STANDARD
                .decode(interval.encoded_histogram())
                .expect("base64");
            let mut packed = packed.as_slice();
            let read = Deserializer::new().deserialize::<u64, _>(&mut packed);
            read.expect("a histogram").len()
        }
        Ok(_) => 0,
        Err(error) => panic!("not a log: {error:?}"),
    });
    intervals.sum()
}

#[test]
fn errors_exit_1_unless_they_are_allowed() {
    let server = Server::start(Behaviour::Corrupt { at: 3 });
    let arguments = ["--pipeline", "1", "--hold", "300ms"];
    let output = run(&arguments, &server);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains("200 wrong bytes"),
        "{}",
        text(&output.stdout)
    );
    let output = run(
        &[&arguments[..], &["--allow-errors", "200"]].concat(),
        &server,
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[test]
fn bad_usage_exits_2_and_an_impossible_run_1() {
    let server = Server::start(Behaviour::Echo);
    for wrong in [
        ["--size", "many"],
        ["--active", "x%"],
        ["--hold", "1 fortnight"],
    ] {
        assert_eq!(run(&wrong, &server).status.code(), Some(2), "{wrong:?}");
    }
    for (impossible, fix) in [
        (["--size", "0"], "--size between 1"),
        (["--pipeline", "0"], "--pipeline 1"),
        (["--active", "110%"], "between 0% and 100%"),
        (["--in-flight", "0"], "--in-flight 1"),
        (["--ramp", "0"], "--ramp above 0"),
        (["--stampede", "101%"], "--stampede between 0% and 100%"),
        (["--stampede", "10@1h"], "within --hold"),
        (["--sources", "::1"], "one address family"),
        (["--server-pid", "4194305"], "--server-pid"),
        (["--end", "server"], "--server-pid"),
    ] {
        let output = run(&impossible, &server);
        assert_eq!(output.status.code(), Some(1), "{impossible:?}");
        assert!(
            text(&output.stderr).contains(fix),
            "{impossible:?}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn more_connections_than_a_table_of_descriptors_holds_take_more_threads() {
    let server = Server::start(Behaviour::Echo);
    let script = format!(
        "ulimit -n 300 && exec {} sockets -c 700 --pipeline 1 --hold 300ms --to {}",
        env!("CARGO_BIN_EXE_roadstead-load"),
        server.address
    );
    let run = |more: &str| {
        Command::new("sh")
            .args(["-c", &format!("{script} {more}")])
            .output()
    };
    let output = run("").expect("a shell");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("700 of 700 connections established"));
    let output = run("--threads 2").expect("a shell");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("--threads 3"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn readers_who_have_read_enough_do_not_stop_a_run() {
    let server = Server::start(Behaviour::Echo);
    let mut command = load(&["--pipeline", "1", "--hold", "300ms"], &server);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}

#[test]
fn an_interruption_exits_130_with_a_summary() {
    let server = Server::start(Behaviour::Echo);
    let mut child = load(&["--pipeline", "1", "--hold", "60s"], &server)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // The first line says that all connections are open.
    let mut line = String::new();
    let mut progress = BufReader::new(child.stderr.take().expect("piped"));
    progress.read_line(&mut line).expect("a line of progress");
    assert!(line.contains("200 of 200 open"), "{line}");
    kill_process(Pid::from_child(&child), Signal::INT).expect("a running child");
    let output = child.wait_with_output().expect("the child ends");
    assert_eq!(output.status.code(), Some(130));
    assert!(
        text(&output.stdout).contains("interrupted"),
        "{}",
        text(&output.stdout)
    );
    assert!(
        text(&output.stdout).contains("0 failed, 0 lost"),
        "{}",
        text(&output.stdout)
    );
}

/// The server of a few lines on a port of its own, which is given back for it to take.
fn python_server(arguments: &[&str]) -> (std::process::Child, String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixture/echo.py");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = port.expect("a free port").port().to_string();
    let server = Command::new("python3")
        .args([script, "127.0.0.1", &port])
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .expect("python3 is needed for this test");
    (server, format!("127.0.0.1:{port}"))
}

#[test]
fn a_server_that_is_told_to_stop_closes_everything_in_order() {
    let files = tempfile::tempdir().expect("a directory");
    let json = files.path().join("run.json");
    for (keep, closed, cut_off) in [("0", 200, 0), ("50", 150, 50)] {
        let (mut server, address) = python_server(&["--drain", keep]);
        let status = Command::new(env!("CARGO_BIN_EXE_roadstead-load"))
            .args(["sockets", "--server-wait", "10s", "--to", &address])
            .args([
                "-c", "200", "--rate", "1k", "--hold", "500ms", "--end", "server",
            ])
            .args(["--server-pid", &server.id().to_string(), "--json"])
            .arg(&json)
            .stdout(Stdio::null())
            .status()
            .expect("the binary starts");
        assert_eq!(status.code(), Some(i32::from(cut_off > 0)));
        assert!(
            server.wait().expect("an end").success(),
            "it was told to stop"
        );
        let report: Value =
            serde_json::from_slice(&std::fs::read(&json).expect("a file")).expect("valid JSON");
        assert_eq!(report["closed"], closed, "{report:#}");
        assert_eq!(report["cut_off"], cut_off, "{report:#}");
        assert!(report["timeline"]["drain_seconds"].as_f64() > Some(0.0));
    }
}

#[test]
fn a_pause_of_a_second_is_seen_by_an_open_loop() {
    let files = tempfile::tempdir().expect("a directory");
    let json = files.path().join("run.json");
    let (mut server, address) = python_server(&[]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_roadstead-load"))
        .args(["sockets", "--server-wait", "10s", "--to", &address])
        .args(["-c", "200", "--rate", "1k", "--hold", "5s", "--json"])
        .arg(&json)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut line = String::new();
    let mut progress = BufReader::new(child.stderr.take().expect("piped"));
    progress.read_line(&mut line).expect("a line of progress");
    assert!(line.contains("200 of 200 open"), "{line}");
    kill_process(Pid::from_child(&server), Signal::STOP).expect("a running server");
    std::thread::sleep(std::time::Duration::from_secs(1));
    kill_process(Pid::from_child(&server), Signal::CONT).expect("a stopped server");
    let status = child.wait().expect("an end");
    server.kill().expect("a running server");
    server.wait().expect("an end");
    assert_eq!(status.code(), Some(0));
    let report: Value =
        serde_json::from_slice(&std::fs::read(json).expect("a file")).expect("valid JSON");
    assert_eq!(report["messages"], 5000);
    let latency = &report["latency_us"];
    let us = |name: &str| latency[name].as_f64().expect("a number");
    // A fifth of all messages fell due while nobody answered: evenly late by up to a second.
    assert!(
        (800_000.0..1_500_000.0).contains(&us("p99.9")),
        "{latency:#}"
    );
    assert!(
        us("p90") > 300_000.0 && us("p50") < 100_000.0,
        "{latency:#}"
    );
}
