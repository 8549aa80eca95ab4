//! The harness from end to end, over contenders that are made for it: one that works, one that does not, one that
//! is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// An echo server as contenders are asked to be. What `TROUBLE` does happens when it listens.
const SERVER: &str = r#"#!/usr/bin/env python3
import asyncio, json, os, signal, sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert arguments == {"--listen": "127.0.0.1:0", "--service": "echo", "--workers": "1"}, arguments
async def echo(reader, writer):
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()
async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=4096)
    print(json.dumps({"listen": ["%s:%d" % server.sockets[0].getsockname()]}), flush=True)
    TROUBLE
    await server.serve_forever()
asyncio.run(main())
"#;

fn put(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

fn contenders() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let server = |trouble: &str| SERVER.replace("TROUBLE", trouble);
    put(directory.path(), "fake", &server("pass"));
    put(
        directory.path(),
        "broken",
        "#!/bin/sh\necho no such runtime >&2\nexit 1\n",
    );
    let impatient = server("os.kill(os.getppid(), signal.SIGINT)");
    put(directory.path(), "impatient", &impatient);
    let missing = directory.path().join("uws.missing");
    fs::write(missing, "no C++ compiler\n").expect("written");
    let versions = directory.path().join("versions.json");
    fs::write(versions, r#"{"fake": "1.2.3"}"#).expect("written");
    directory
}

fn bench(arguments: &[&str]) -> Output {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_roadstead-bench"));
    bench.args(arguments).output().expect("it starts")
}

fn run(subjects: &str, contenders: &Path, out: &Path) -> Output {
    let contenders = contenders.to_str().expect("a path");
    let out = out.to_str().expect("a path");
    let scale = [
        "--connections-max",
        "20",
        "--seconds",
        "0.2",
        "--warmup",
        "0.1",
    ];
    let wanted = ["run", "echo", "--rounds", "3", "--subjects", subjects];
    let places = ["--contenders", contenders, "--out", out];
    bench(&[&wanted[..], &scale, &places].concat())
}

#[track_caller]
fn ok(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn refused(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn contenders_are_measured_or_reported_and_the_folder_is_left_alone() {
    let contenders = contenders();
    let results = tempfile::tempdir().expect("a directory");
    let out = results.path().join("first");
    ok(&run("fake,broken,uws", contenders.path(), &out));

    let summary = fs::read_to_string(out.join("summary.md")).expect("a summary");
    let row = |name: &str| {
        summary
            .lines()
            .find(|line| line.starts_with(&format!("| {name} ")))
    };
    assert!(row("fake").expect("a row").contains(" – "), "{summary}");
    assert!(
        row("broken").expect("a row").contains("failed"),
        "{summary}"
    );
    assert!(row("uws").expect("a row").contains("missing"), "{summary}");
    assert!(summary.contains("no such runtime"), "{summary}");
    assert!(
        summary.contains("- uws: missing: no C++ compiler"),
        "{summary}"
    );
    let readme = fs::read_to_string(out.join("README.md")).expect("its head");
    assert!(readme.contains("| fake | 1.2.3 |"), "{readme}");
    let plot = fs::read_to_string(out.join("latency-echo-fixed-rate.svg")).expect("a plot");
    assert!(plot.contains("fake"));
    let raw = fs::read(out.join("raw.json")).expect("the rounds");
    let raw_json: serde_json::Value = serde_json::from_slice(&raw).expect("JSON");
    assert_eq!(raw_json["complete"], true);
    let round = &raw_json["cells"][0]["rounds"][0];
    assert_eq!(round["report"]["connections"], 20, "the load tool's report");

    let errors = refused(&run("fake", contenders.path(), &out));
    assert!(errors.contains("--out"), "{errors}");
    assert_eq!(fs::read(out.join("raw.json")).expect("still there"), raw);

    let folder = out.to_str().expect("a path");
    let diff = ok(&bench(&["diff", folder, folder]));
    assert!(
        diff.contains("no difference") && diff.contains("1.000"),
        "{diff}"
    );
}

#[test]
fn an_interrupted_run_keeps_what_was_measured_and_says_so() {
    let contenders = contenders();
    let results = tempfile::tempdir().expect("a directory");
    let out = results.path().join("interrupted");
    let errors = refused(&run("fake,impatient", contenders.path(), &out));
    assert!(errors.contains("interrupted"), "{errors}");
    let summary = fs::read_to_string(out.join("summary.md")).expect("a summary");
    assert!(summary.contains("Incomplete"), "{summary}");
    let raw = fs::read(out.join("raw.json")).expect("the rounds");
    let raw: serde_json::Value = serde_json::from_slice(&raw).expect("JSON");
    assert_eq!(raw["complete"], false);
    let rounds = raw["cells"][0]["rounds"].as_array().expect("rounds");
    let counted: Vec<_> = rounds
        .iter()
        .filter(|it| it["discarded"] == false)
        .collect();
    assert_eq!(counted.len(), 1, "the one before the interruption");
    assert_eq!(counted[0]["subject"], "fake");
}

#[test]
fn what_is_not_there_to_be_measured_is_refused_before_anything_is_made() {
    let contenders = contenders();
    let results = tempfile::tempdir().expect("a directory");
    let out = results.path().join("none");
    let errors = refused(&run("uring/never", contenders.path(), &out));
    assert!(errors.contains("never"), "{errors}");
    assert!(!out.exists());
}
