//! The table: a row for each number, a column for each engine, from the load tool's reports alone.

use super::load::SLAB_STAYED_MIB;
use crate::metric::MIB;
use crate::record::{Cell, Round, Run};
use crate::table;
use roadstead_host::quantity::grouped;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;

/// What a row shows.
enum Show {
    /// Nothing: it is a heading.
    Part,
    /// A number of the report, with so many decimals.
    Number(&'static str, usize),
    /// What follows from the report.
    Of(fn(&Value) -> Option<String>),
    /// Many rows: one for each slab cache that is told by name.
    Caches,
    /// A value of the round, with one decimal.
    Kept(&'static str),
}
use Show::{Caches, Kept, Number, Of, Part};

const ROWS: &[(&str, Show)] = &[
    ("connections", Part),
    ("asked for", Number("/asked_connections", 0)),
    ("wanted of the server", Number("/connections", 0)),
    ("established", Number("/established", 0)),
    ("failed", Number("/failed", 0)),
    ("lost", Number("/lost", 0)),
    ("ramp, s", Number("/timeline/connect_seconds", 1)),
    ("connections per second", Of(ramp_rate)),
    (
        "server CPU µs per connection",
        Number("/cpu_us_per_connection_opened/server", 1),
    ),
    (
        "client CPU µs per connection",
        Number("/cpu_us_per_connection_opened/tool", 1),
    ),
    ("bytes per connection", Part),
    (
        "server, resident memory",
        Number("/bytes_per_connection/server_user", 1),
    ),
    (
        "the same after the traffic",
        Number("/server/rss_bytes_per_connection", 1),
    ),
    ("slab", Caches),
    (
        "slab, all other caches",
        Number("/bytes_per_connection/slab_rest", 1),
    ),
    ("slab, sum", Number("/slab_bytes_per_connection", 1)),
    (
        "socket buffers",
        Number("/bytes_per_connection/socket_buffers", 1),
    ),
    ("server and kernel together", Of(together)),
    ("client", Number("/bytes_per_connection/tool_user", 1)),
    ("server's resident memory in all, MiB", Of(server_mib)),
    ("messages", Part),
    ("sent", Of(sent)),
    ("answered, every byte checked", Number("/messages", 0)),
    ("wrong bytes", Number("/wrong_bytes", 0)),
    (
        "per second while measured",
        Number("/messages_per_second", 0),
    ),
    ("server CPU µs per message", Of(cpu_per_message)),
    ("latency p50, µs", Number("/latency_us/p50", 0)),
    ("latency p90, µs", Number("/latency_us/p90", 0)),
    ("latency p99, µs", Number("/latency_us/p99", 0)),
    ("latency p99.9, µs", Number("/latency_us/p99.9", 0)),
    ("latency max, µs", Number("/latency_us/max", 0)),
    ("drain", Part),
    (
        "from SIGTERM to the last close, s",
        Number("/timeline/drain_seconds", 2),
    ),
    ("connections per second", Of(drain_rate)),
    (
        "server CPU µs per connection",
        Number("/cpu_us_per_connection_closed/server", 1),
    ),
    ("cut off", Number("/cut_off", 0)),
    ("opened = live + closed", Of(books)),
    (
        "slab that stayed when all were closed, MiB",
        Of(slab_stayed),
    ),
    (
        "slab that stayed when both had ended, MiB",
        Kept(SLAB_STAYED_MIB),
    ),
];

/// After those, if connections were reset at once.
const STAMPEDE: &[(&str, Show)] = &[
    ("stampede", Part),
    ("reset at once", Number("/stampede/reset", 0)),
    ("back", Number("/stampede/back", 0)),
    ("until all were back, s", Number("/stampede/seconds", 2)),
    ("attempts in vain", Of(attempts_in_vain)),
    (
        "until one was back p50, µs",
        Number("/stampede/connect_us/p50", 0),
    ),
    (
        "until one was back p99, µs",
        Number("/stampede/connect_us/p99", 0),
    ),
    (
        "messages on the others meanwhile",
        Number("/stampede/others_us/count", 0),
    ),
    (
        "their latency p50, µs",
        Number("/stampede/others_us/p50", 0),
    ),
    (
        "their latency p99, µs",
        Number("/stampede/others_us/p99", 0),
    ),
    (
        "their latency max, µs",
        Number("/stampede/others_us/max", 0),
    ),
    (
        "before and after p50, µs",
        Number("/stampede/rest_us/p50", 0),
    ),
    (
        "before and after p99, µs",
        Number("/stampede/rest_us/p99", 0),
    ),
];

pub(super) fn markdown(run: &Run, pictures: &[(String, String)]) -> String {
    let mut out = format!("# {}\n\n", run.scenario);
    if !run.complete {
        out.push_str("**Incomplete**: the run was ended before its end.\n\n");
    }
    for cell in &run.cells {
        out.push_str(&warnings(cell));
        let _ = writeln!(out, "{}.\n\n{}", cell.title, table(cell));
    }
    for (file, title) in pictures {
        let _ = writeln!(out, "\n![{title}]({file})");
    }
    out
}

/// What must be known before anything is quoted.
fn warnings(cell: &Cell) -> String {
    let mut out = String::new();
    for round in &cell.rounds {
        let of = |place| count(&round.report, place).unwrap_or_default();
        let (asked, opened) = (of("/asked_connections"), of("/connections"));
        if opened < asked {
            let _ = writeln!(
                out,
                "**Scaled down**: {}: {} connections instead of {}, which the host's memory does not hold.\n",
                round.subject,
                grouped(opened),
                grouped(asked)
            );
        }
        if let Some(why) = &round.failed {
            let _ = writeln!(out, "**Failed**: {}: {why}\n", round.subject);
        }
    }
    out
}

fn table(cell: &Cell) -> String {
    let subjects = cell.rounds.iter().map(|it| it.subject.clone());
    let header = std::iter::once(String::new()).chain(subjects).collect();
    let has_stampede = |it: &Round| it.report["stampede"].is_object();
    let stampede = if cell.rounds.iter().any(has_stampede) {
        STAMPEDE
    } else {
        &[]
    };
    let mut rows = Vec::new();
    for (title, show) in ROWS.iter().chain(stampede) {
        let mut row = |title: String, of: &dyn Fn(&Round) -> Option<String>| {
            let values = cell
                .rounds
                .iter()
                .map(|it| of(it).unwrap_or("–".to_owned()));
            rows.push(std::iter::once(title).chain(values).collect());
        };
        let title = (*title).to_owned();
        match show {
            Part => row(format!("**{title}**"), &|_| Some(String::new())),
            Number(place, digits) => row(title, &|it| number(&it.report, place, *digits)),
            Of(of) => row(title, &|it| of(&it.report)),
            Kept(key) => row(title, &|it| Some(format!("{:.1}", it.values.get(*key)?))),
            Caches => {
                for cache in caches(cell) {
                    let bytes = |it: &Round| Some(format!("{:.1}", it.caches.get(cache)?));
                    row(format!("{title}, {cache}"), &bytes);
                }
            }
        }
    }
    table::markdown(header, rows)
}

/// All that are told of any engine, the largest first.
fn caches(cell: &Cell) -> Vec<&str> {
    let names = cell.rounds.iter().flat_map(|it| it.caches.keys());
    let names: BTreeSet<&str> = names.map(String::as_str).collect();
    let most = |name: &str| {
        let bytes = cell.rounds.iter().filter_map(|it| it.caches.get(name));
        bytes.copied().fold(0.0, f64::max)
    };
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by(|one, other| most(other).total_cmp(&most(one)));
    names
}

fn number(report: &Value, place: &str, decimals: usize) -> Option<String> {
    let number = report.pointer(place)?;
    match number.as_u64() {
        Some(whole) if decimals == 0 => Some(grouped(whole)),
        _ => {
            let number = number.as_f64()?;
            let whole = decimals == 0 && number >= 0.0;
            Some(if whole {
                grouped(number.round() as u64)
            } else {
                format!("{number:.decimals$}")
            })
        }
    }
}

fn count(report: &Value, place: &str) -> Option<u64> {
    report.pointer(place)?.as_u64()
}

fn rate(report: &Value, counted: &str, seconds: &str) -> Option<String> {
    let seconds = report.pointer(seconds)?.as_f64()?;
    let rate = count(report, counted)? as f64 / seconds;
    (seconds > 0.0).then(|| grouped(rate.round() as u64))
}

fn ramp_rate(report: &Value) -> Option<String> {
    rate(report, "/established", "/timeline/connect_seconds")
}

fn drain_rate(report: &Value) -> Option<String> {
    rate(report, "/closed", "/timeline/drain_seconds")
}

fn together(report: &Value) -> Option<String> {
    let bytes = &report["bytes_per_connection"];
    let all = bytes["total"].as_f64()? - bytes["tool_user"].as_f64().unwrap_or_default();
    bytes["server_user"].as_f64()?;
    Some(format!("{all:.1}"))
}

fn server_mib(report: &Value) -> Option<String> {
    let bytes = report.pointer("/server/rss_bytes")?.as_f64()?;
    Some(format!("{:.1}", bytes / MIB))
}

/// Not where a crowd came back: its connections are in the same account.
fn cpu_per_message(report: &Value) -> Option<String> {
    let alone = !report["stampede"].is_object();
    alone.then(|| number(report, "/server/cpu_us_per_message", 2))?
}

fn sent(report: &Value) -> Option<String> {
    Some(grouped(
        count(report, "/messages")? + count(report, "/unanswered")?,
    ))
}

/// The equation by the server's own last counters.
fn books(report: &Value) -> Option<String> {
    let said = report.get("server_counters")?;
    let of = |place| count(said, place).map(grouped);
    let equal = if said["accounts_close"].as_bool()? {
        "="
    } else {
        "≠"
    };
    let (opened, live) = (of("/counters/opened")?, of("/counters/live")?);
    Some(format!(
        "{opened} {equal} {live} + {}",
        of("/closed_total")?
    ))
}

fn slab_stayed(report: &Value) -> Option<String> {
    let samples = report["samples"].as_array()?;
    let bytes = |sample: &Value| sample["slab_bytes"].as_f64();
    let closed = samples.iter().find(|it| it["after"] == "close")?;
    let stayed = bytes(closed)? - bytes(samples.first()?)?;
    Some(format!("{:.1}", stayed / MIB))
}

fn attempts_in_vain(report: &Value) -> Option<String> {
    let shed = report.pointer("/stampede/shed")?.as_object()?;
    Some(grouped(shed.values().filter_map(Value::as_u64).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::run;
    use serde_json::json;

    fn report() -> Value {
        json!({
            "asked_connections": 5_000_000, "connections": 4_900_000, "established": 4_900_000,
            "messages": 1_000, "unanswered": 2, "messages_per_second": 19_999.6,
            "timeline": {"connect_seconds": 49.0, "drain_seconds": null},
            "bytes_per_connection": {"server_user": 33.0, "slab_rest": 12.0, "tool_user": 20.0, "total": 3_065.0},
            "server_counters": {
                "counters": {"opened": 7, "live": 0}, "closed_total": 6, "accounts_close": false
            },
            "samples": [
                {"after": null, "slab_bytes": 1_048_576},
                {"after": "connect", "slab_bytes": 99_048_576},
                {"after": "close", "slab_bytes": 3_145_728},
            ],
            "stampede": {"reset": 900, "shed": {"refused": 3, "no answer": 4}},
        })
    }

    #[test]
    fn a_summary_says_what_was_scaled_down_what_failed_and_what_is_not_known() {
        let mut run = run();
        let mut good = Round::of("uring/adaptive", 0);
        good.report = report();
        good.caches = [("TCP".to_owned(), 2_500.0), ("filp".to_owned(), 256.0)].into();
        let mut bad = Round::of("epoll", 0);
        bad.failed = Some("it left no report".to_owned());
        run.cells[0].rounds = vec![good, bad];
        let text = markdown(&run, &[]);
        assert!(
            text.contains("4,900,000 connections instead of 5,000,000"),
            "{text}"
        );
        assert!(
            text.contains("**Failed**: epoll: it left no report"),
            "{text}"
        );
        let row = |title: &str| {
            let line = text.lines().find(|line| line.contains(title)).expect(title);
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            (cells[2].to_owned(), cells[3].to_owned())
        };
        let known = |value: &str| (value.to_owned(), "–".to_owned());
        assert_eq!(row("connections per second"), known("100,000"));
        assert_eq!(row("slab, filp"), known("256.0"));
        assert_eq!(row("server and kernel together"), known("3045.0"));
        assert_eq!(row("| sent"), known("1,002"));
        assert_eq!(row("per second while measured"), known("20,000"));
        assert_eq!(row("from SIGTERM"), known("–"));
        assert_eq!(row("opened = live + closed"), known("7 ≠ 0 + 6"));
        assert_eq!(row("when all were closed"), known("2.0"));
        assert_eq!(row("attempts in vain"), known("7"));
        assert!(
            text.find("slab, TCP") < text.find("slab, filp"),
            "the largest first"
        );
    }
}
