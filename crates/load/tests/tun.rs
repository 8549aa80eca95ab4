//! The user-space client: against a server of a few lines, over good and bad networks, through pauses,
//! deaths and refusals. Needs root, /dev/net/tun and python3, and fails where it has not got them.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LOAD: &str = env!("CARGO_BIN_EXE_roadstead-load");
const ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixture/echo.py");

/// One run of the binary in a directory of its own.
struct Run {
    files: TempDir,
    arguments: Vec<String>,
    server: Vec<String>,
}

impl Run {
    fn new(arguments: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make network namespaces and kill servers: run them as root"
        );
        assert!(
            Path::new("/dev/net/tun").exists(),
            "these tests need /dev/net/tun: modprobe tun"
        );
        let files = tempfile::tempdir().expect("a directory");
        let pid_file = files.path().join("pid");
        let server = ["python3", ECHO, "10.0.0.1", "8080", "--pid-file"].map(str::to_owned);
        let server = [&server[..], &[pid_file.to_str().expect("text").to_owned()]].concat();
        Self {
            files,
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
            server,
        }
    }

    fn with_server(mut self, arguments: &str) -> Self {
        self.server
            .extend(arguments.split_whitespace().map(str::to_owned));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(LOAD);
        command
            .arg("tun")
            .args(&self.arguments)
            .arg("--json")
            .arg(self.json_path());
        command.arg("--").args(&self.server);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn json_path(&self) -> PathBuf {
        self.files.path().join("run.json")
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.json_path()).expect("a report")).expect("JSON")
    }

    fn output(&self) -> Output {
        self.command().output().expect("the binary starts")
    }

    /// Runs it, expects success, and that nothing is left of it.
    fn spotless(&self) -> Value {
        let output = self.output();
        let report = self.report();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}\n{report:#}",
            text(&output.stdout)
        );
        assert_eq!(report["established"], report["connections"]);
        assert_eq!(report["unclosed"], 0, "{report:#}");
        assert_eq!(
            report["closed"].as_u64(),
            Some(count(&report, "established") + count(&report, "reopened")),
            "{report:#}"
        );
        self.assert_nothing_left();
        report
    }

    /// Starts it; returns when all connections are open.
    fn start(&self) -> Child {
        let mut child = self.command().spawn().expect("the binary starts");
        let mut progress = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("Connect is over") {
            line.clear();
            assert!(
                progress.read_line(&mut line).expect("text") > 0,
                "ended before it was connected"
            );
        }
        // Whatever else it says goes on being read, lest the pipe fill up.
        std::thread::spawn(move || progress.lines().for_each(drop));
        child
    }

    fn server_pid(&self) -> Pid {
        let text =
            std::fs::read_to_string(self.files.path().join("pid")).expect("a listening server");
        Pid::from_raw(text.parse().expect("a number")).expect("a process")
    }

    /// No server, and no device in the network of the host.
    fn assert_nothing_left(&self) {
        if self.files.path().join("pid").exists() {
            let gone = rustix::process::test_kill_process(self.server_pid());
            assert_eq!(
                gone,
                Err(rustix::io::Errno::SRCH),
                "the server is still there"
            );
        }
        assert!(
            !Path::new("/sys/class/net/rstd0").exists(),
            "a device is left in the host's network"
        );
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn count(report: &Value, name: &str) -> u64 {
    report[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

/// Waits for a child, but not for ever.
fn wait(child: Child) -> Output {
    let began = Instant::now();
    let output = child.wait_with_output().expect("an end");
    assert!(
        began.elapsed() < Duration::from_secs(40),
        "took {:?}",
        began.elapsed()
    );
    output
}

#[test]
fn a_server_of_a_few_lines_is_driven_in_both_loops() {
    let report = Run::new("-c 500 --pipeline 4 --hold 1s").spotless();
    assert!(count(&report, "messages") > 2000);
    assert_eq!(
        count(&report, "bytes_received"),
        64 * count(&report, "messages")
    );
    assert!(report["server"]["cpu_seconds"].as_f64() > Some(0.0));
    let report = Run::new("-c 500 --rate 2k --hold 1s --threads 2 --active 10%").spotless();
    assert_eq!(count(&report, "messages"), 2000);
    let report = Run::new("-c 3 --pipeline 2 --size 1M --hold 1s").spotless();
    assert!(count(&report, "bytes_received") > 3 << 20);
    let report = Run::new("-c 50 --pipeline 3 --size 5000 --protocol frames --hold 1s").spotless();
    assert_eq!(
        count(&report, "bytes_received"),
        5004 * count(&report, "messages")
    );
}

#[test]
fn every_byte_arrives_over_a_bad_network() {
    for (seed, load) in [
        (1, "-c 200 --pipeline 4"),
        (2, "-c 200 --rate 2k"),
        // Fourteen segments a message. Longer ones would try the server's patience more than our TCP:
        // without SACK or timestamps from us its retransmission timer backs off with each further loss.
        (3, "-c 8 --pipeline 1 --size 20000"),
    ] {
        let faults =
            format!("{load} --hold 3s --drop 1% --duplicate 1% --reorder 1% --seed {seed}");
        let report = Run::new(&faults).spotless();
        assert!(count(&report, "retransmitted") > 0, "{load}");
        assert!(count(&report, "messages") > 20, "{load}: {report:#}");
    }
    // Far worse than any network that people put up with.
    let report =
        Run::new("-c 50 --pipeline 1 --hold 3s --drop 10% --reorder 20% --seed 4 --grace 30s")
            .spotless();
    assert!(count(&report, "retransmitted") > 50, "{report:#}");
}

#[test]
fn churn_and_stampede_lose_no_message() {
    let report = Run::new("-c 500 --rate 2k --hold 2s --churn 200").spotless();
    assert!(
        (300..=410).contains(&count(&report, "reopened")),
        "{report:#}"
    );
    assert_eq!(count(&report, "messages"), 4000);
    let report = Run::new("-c 500 --pipeline 2 --hold 2s --churn 200 --drop 1%").spotless();
    assert!(count(&report, "reopened") > 100, "{report:#}");
    for load in ["--rate 2k", "--pipeline 1"] {
        let report = Run::new(&format!("-c 500 {load} --hold 2s --pattern stampede")).spotless();
        assert_eq!(count(&report, "reopened"), 500);
    }
}

#[test]
fn a_part_is_reset_and_comes_back_while_the_others_go_on() {
    let run = Run::new("-c 500 --rate 2k --hold 3s --stampede 200@1s");
    let report = run.spotless();
    let stampede = &report["stampede"];
    assert_eq!(
        (count(stampede, "reset"), count(stampede, "back")),
        (200, 200)
    );
    assert_eq!(count(&stampede["connect_us"], "count"), 200);
    assert_eq!(count(&report["connect_us"], "count"), 500);
    let seconds = stampede["seconds"].as_f64().expect("all are back");
    assert!((0.0..2.0).contains(&seconds), "{stampede:#}");
    let slowest = stampede["connect_us"]["max"].as_f64().expect("a number");
    assert!((seconds * 1e6 / slowest - 1.0).abs() < 0.01, "{stampede:#}");
    let parts = ["others_us", "crowd_us", "rest_us"].map(|part| count(&stampede[part], "count"));
    assert_eq!(parts.iter().sum::<u64>(), 6000, "{stampede:#}");
    assert!(parts[2] > 2000, "{stampede:#}");
}

#[test]
fn who_is_shed_in_a_stampede_tries_again_until_it_is_let_in() {
    for (how, reason) in [
        ("--shed-close 300", "closed by the server"),
        ("--shed-reset 300", "reset by the server"),
    ] {
        let run = Run::new("-c 200 --rate 1k --hold 4s --stampede 150@500ms").with_server(how);
        let output = run.output();
        let report = run.report();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
        let stampede = &report["stampede"];
        assert_eq!(
            (count(stampede, "reset"), count(stampede, "back")),
            (150, 150)
        );
        assert!(count(&stampede["shed"], reason) > 0, "{stampede:#}");
        // A close over bytes that were not read is a reset, whatever was meant.
        let shed = stampede["shed"].as_object().expect("reasons").values();
        let shed: u64 = shed.filter_map(Value::as_u64).sum();
        // Every handshake is accounted for: those of the ramp, the way back, and those in vain.
        assert_eq!(count(&report, "reopened"), 150 + shed, "{report:#}");
        assert_eq!(count(&report, "closed"), 350, "{report:#}");
        assert_eq!(count(&report, "messages"), 4000, "{report:#}");
        assert!(
            text(&output.stdout).contains("150 back"),
            "{}",
            text(&output.stdout)
        );
        run.assert_nothing_left();
    }
}

#[test]
fn probes_of_an_idle_connection_are_answered() {
    // Unanswered, the server's kernel would drop each connection after two seconds.
    let report = Run::new("-c 100 --hold 5s")
        .with_server("--keepalive")
        .spotless();
    assert_eq!(count(&report, "messages"), 0);
}

/// Stops the server for a second once all connections are open, and lets the run end.
fn pause_for_a_second(run: &Run) -> Output {
    let child = run.start();
    kill_process(run.server_pid(), Signal::STOP).expect("a running server");
    std::thread::sleep(Duration::from_secs(1));
    kill_process(run.server_pid(), Signal::CONT).expect("a stopped server");
    wait(child)
}

#[test]
fn a_pause_of_a_second_is_seen_by_an_open_loop() {
    let run = Run::new("-c 200 --rate 1k --hold 5s");
    let output = pause_for_a_second(&run);
    let report = run.report();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(count(&report, "messages"), 5000);
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
    run.assert_nothing_left();
}

#[test]
fn a_closed_window_opens_again() {
    // Large messages fill the buffers of a server that has stopped reading.
    let run = Run::new("-c 5 --pipeline 8 --size 300000 --hold 4s");
    let output = pause_for_a_second(&run);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(run.report()["latency_us"]["max"].as_f64() > Some(900_000.0));
    run.assert_nothing_left();
}

#[test]
fn closes_and_resets_by_the_server_are_counted() {
    for (how, reason) in [
        ("--close-after", "closed by the server"),
        ("--reset-after", "reset by the server"),
    ] {
        let run = Run::new("-c 100 --rate 2k --hold 30s").with_server(&format!("{how} 640"));
        let output = run.output();
        let report = run.report();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(count(&report, "lost"), 100, "{report:#}");
        assert_eq!(report["reasons"][reason], 100, "{report:#}");
        assert_eq!(report["timeline"]["deserted"], true);
        assert_eq!(report["wrong_bytes"], 0);
        run.assert_nothing_left();
    }
}

#[test]
fn the_report_says_where_memory_and_cpu_time_go() {
    let run = Run::new("-c 2k --rate 1k --warmup 500ms --hold 1s");
    let output = run.output();
    let report = run.report();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let bytes = &report["bytes_per_connection"];
    let of = |part: &Value| part.as_f64().unwrap_or_else(|| panic!("{bytes:#}"));
    let caches = bytes["slab_caches"].as_object().expect("caches");
    // A tcp_sock has more than two thousand bytes on any kernel, and one of a connection's is the server's.
    assert!(
        caches.get("TCP").is_some_and(|tcp| of(tcp) > 1500.0),
        "{bytes:#}"
    );
    let parts = ["server_user", "slab_rest", "socket_buffers", "tool_user"];
    let sum = parts.iter().map(|part| of(&bytes[*part])).sum::<f64>()
        + caches.values().map(of).sum::<f64>();
    assert!((of(&bytes["total"]) - sum).abs() < 1.0, "{bytes:#}");
    for how in ["opened", "closed"] {
        let cpu = &report[format!("cpu_us_per_connection_{how}")];
        assert!(cpu["server"].as_f64() > Some(0.0), "{cpu}");
        assert!(cpu["tool"].as_f64() > Some(0.0), "{cpu}");
    }
    assert_eq!(report["latency_warmup_us"]["count"], 500);
    assert_eq!(report["latency_us"]["count"], 1000);
    let summary = text(&output.stdout);
    for line in [
        "a warm-up of 0.5 s, 500 replies",
        "slab, TCP",
        "CPU per connection closed",
    ] {
        assert!(summary.contains(line), "{summary}");
    }
}

#[test]
fn a_server_that_drains_closes_everything_in_order() {
    // Under way as well: what is lost of a close is sent again, from either side.
    for network in ["", "--drop 2% --reorder 2%"] {
        let run = Run::new(&format!(
            "-c 500 --rate 1k --hold 1s --end server {network}"
        ));
        let run = run.with_server("--drain");
        let report = run.spotless();
        assert_eq!(count(&report, "closed"), 500, "{report:#}");
        assert_eq!(count(&report, "cut_off"), 0, "{report:#}");
        assert_eq!(report["server_ended"], Value::Null, "{report:#}");
        // Ours, and the one that asked whether it listens.
        assert_eq!(report["server_counters"]["counters"]["opened"], 501);
        assert_eq!(report["server_counters"]["accounts_close"], true);
        let timeline = &report["timeline"];
        assert_eq!(timeline["drain_seconds"], timeline["close_seconds"]);
        assert!(timeline["drain_seconds"].as_f64() > Some(0.0));
    }
    let report = Run::new("-c 100 --hold 200ms").spotless();
    assert_eq!(report["server_counters"], Value::Null);
    assert_eq!(report["timeline"]["drain_seconds"], Value::Null);
}

#[test]
fn what_a_drain_cuts_off_is_counted_apart() {
    let run = Run::new("-c 100 --rate 1k --hold 1s --end server").with_server("--drain 30");
    let output = run.output();
    let report = run.report();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    // The first one that the server saw only asked whether it listens.
    assert_eq!(
        (count(&report, "closed"), count(&report, "cut_off")),
        (70, 30),
        "{report:#}"
    );
    assert_eq!(count(&report, "lost"), 0, "{report:#}");
    assert_eq!(report["reasons"]["reset by the server"], 30);
    run.assert_nothing_left();
}

#[test]
fn a_server_that_closes_nothing_leaves_them_unclosed() {
    let run = Run::new("-c 50 --hold 200ms --grace 500ms --server-stop 500ms --end server");
    let run = run.with_server("--drain 50 --stay");
    let output = run.output();
    let report = run.report();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert_eq!(count(&report, "unclosed"), 50, "{report:#}");
    assert!(
        report["server_ended"]
            .as_str()
            .is_some_and(|how| how.contains("killed"))
    );
    run.assert_nothing_left();
}

#[test]
fn a_run_that_does_not_fit_is_made_smaller_and_the_server_told() {
    let files = tempfile::tempdir().expect("a directory");
    let json = files.path().join("run.json");
    // A host of little memory, as far as the tool can see.
    let script = format!(
        "printf 'MemTotal: 9000000 kB\nMemAvailable: 600000 kB\n' > {files}/meminfo \
         && mount --bind {files}/meminfo /proc/meminfo && exec {LOAD} tun --fit -c 50k --hold 100ms --json {json} \
         -- sh -c 'echo {{connections}} > {files}/told; exec python3 {ECHO} 10.0.0.1 8080'",
        files = files.path().display(),
        json = json.display(),
    );
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .output()
        .expect("unshare");
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let report: Value =
        serde_json::from_slice(&std::fs::read(&json).expect("a report")).expect("JSON");
    let connections = count(&report, "connections");
    assert!((1000..50_000).contains(&connections), "{errors}");
    assert_eq!(count(&report, "asked_connections"), 50_000);
    assert_eq!(count(&report, "established"), connections);
    assert!(errors.contains("are opened instead"), "{errors}");
    let told = std::fs::read_to_string(files.path().join("told")).expect("a server that was told");
    assert_eq!(told.trim(), connections.to_string());
}

#[test]
fn refused_handshakes_are_failures() {
    // The ramp is slow enough that none is in the backlog when the server stops to listen.
    let run = Run::new("-c 100 --ramp 100 --rate 200 --hold 1s").with_server("--refuse-after 50");
    let output = run.output();
    let report = run.report();
    assert_eq!(output.status.code(), Some(1));
    // The first one that the server saw was ours as well: asking whether it listens.
    assert!(
        (45..=50).contains(&count(&report, "established")),
        "{report:#}"
    );
    assert_eq!(
        count(&report, "failed") + count(&report, "established"),
        100,
        "{report:#}"
    );
    assert_eq!(
        report["reasons"]["connect: refused by the server"],
        report["failed"]
    );
    assert!(
        count(&report, "messages") > 50,
        "those that are open are driven nonetheless"
    );
    run.assert_nothing_left();
}

#[test]
fn a_server_that_dies_ends_the_run() {
    let run = Run::new("-c 200 --rate 1k --hold 60s");
    let child = run.start();
    kill_process(run.server_pid(), Signal::KILL).expect("a running server");
    let output = wait(child);
    let report = run.report();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(count(&report, "lost"), 200, "{report:#}");
    assert!(
        report["server_ended"]
            .as_str()
            .expect("a word")
            .contains("SIGKILL"),
        "{report:#}"
    );
    assert!(
        text(&output.stdout).contains("no connection was left"),
        "{}",
        text(&output.stdout)
    );
    run.assert_nothing_left();
}

#[test]
fn an_interruption_leaves_nothing_behind() {
    let run = Run::new("-c 200 --rate 1k --hold 60s");
    let child = run.start();
    kill_process(Pid::from_child(&child), Signal::INT).expect("a running child");
    let output = wait(child);
    assert_eq!(output.status.code(), Some(130));
    assert!(text(&output.stdout).contains("interrupted"));
    assert_eq!(run.report()["lost"], 0);
    run.assert_nothing_left();
    // Not even the kernel's way to end a process.
    let run = Run::new("-c 200 --rate 1k --hold 60s");
    let mut child = run.start();
    let server =
        rustix::process::pidfd_open(run.server_pid(), rustix::process::PidfdFlags::empty());
    child.kill().expect("a running child");
    child.wait().expect("an end");
    let mut ended = [rustix::event::PollFd::from_borrowed_fd(
        rustix::fd::AsFd::as_fd(server.as_ref().expect("a running server")),
        rustix::event::PollFlags::IN,
    )];
    let limit = rustix::event::Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    assert_eq!(
        rustix::event::poll(&mut ended, Some(&limit)),
        Ok(1),
        "the server outlives its client"
    );
}

#[test]
fn a_server_that_never_listens_is_one_error_with_its_fix() {
    let run = |command: &[&str]| {
        Command::new(LOAD)
            .args(["tun", "--server-wait", "300ms", "--"])
            .args(command)
            .output()
            .expect("the binary starts")
    };
    for (command, says) in [
        (&["sleep", "3600.5"][..], "--server-wait"),
        (&["false"], "ended before it listened"),
        (
            &["no-such-server"],
            "cannot start the server command no-such-server",
        ),
    ] {
        let output = run(command);
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(
            error.contains(says) && error.lines().count() == 1,
            "{command:?}: {error}"
        );
    }
    let left = Command::new("pgrep")
        .args(["-f", "sleep 3600.5"])
        .output()
        .expect("pgrep");
    assert!(left.stdout.is_empty(), "the server command is still there");
}

#[test]
fn a_host_that_forbids_it_is_one_error_with_its_fix() {
    let bind = format!("{LOAD} tun -- sleep 1");
    for (how, says) in [
        (
            format!("unshare -m sh -c 'mount -t tmpfs none /dev/net && exec {bind}'"),
            "modprobe tun",
        ),
        (
            format!("setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin {bind}"),
            "CAP_SYS_ADMIN",
        ),
        (
            format!("{LOAD} tun --threads 17 -- sleep 1"),
            "between 1 and 16",
        ),
        (
            format!("{LOAD} tun --drop 90% -- sleep 1"),
            "between 0% and 50%",
        ),
    ] {
        let output = Command::new("sh")
            .args(["-c", &how])
            .output()
            .expect("a shell");
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{how}: {error}");
        assert!(
            error.contains(says) && error.lines().count() == 1,
            "{how}: {error}"
        );
    }
}

#[test]
fn an_ordinary_user_needs_no_more_than_access_to_the_device() {
    let run = Run::new("");
    let directory = run.files.path();
    for (from, to) in [(LOAD, "load"), (ECHO, "echo.py")] {
        std::fs::copy(from, directory.join(to)).expect("a copy");
    }
    let script = format!(
        "chmod 755 {directory} && mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 \
         && cd {directory} && exec setpriv --reuid=65534 --regid=65534 --clear-groups \
         ./load tun -c 100 --rate 500 --hold 1s -- python3 ./echo.py 10.0.0.1 8080",
        directory = directory.display(),
    );
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .output()
        .expect("unshare");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    assert!(text(&output.stdout).contains("100 of 100 connections established"));
    assert!(text(&output.stdout).contains("500 replies checked"));
    let denied =
        "chmod 600 /dev/net/tun && exec setpriv --reuid=65534 --clear-groups ./load tun -- sleep 1";
    let script = script.replace("-m 666", "-m 600");
    let script = format!(
        "{} && {denied}",
        script.split(" && exec").next().expect("a part")
    );
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .output()
        .expect("unshare");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("chmod 666 /dev/net/tun"),
        "{}",
        text(&output.stderr)
    );
}
