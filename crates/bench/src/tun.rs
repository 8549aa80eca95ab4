//! A measurement carried by `roadstead-load tun`, in a process of its own: more connections than descriptors, the
//! server's sockets alone in the kernel. Ours alone can be asked for as many.

use crate::metric::{KERNEL_ONE_END, MIB, Metric, SERVER_MIB, USER_BYTES};
use crate::record::Round;
use crate::scenarios::Cell;
use crate::subject::{Subject, beside, serve_arguments, server_binary};
use anyhow::{Context, bail, ensure};
use nix::unistd::{AccessFlags, access};
use roadstead_load::{Active, Traffic, Workload};
use serde_json::Value;
use std::fs::File;
use std::process::{Command, Stdio};

const DEVICE: &str = "/dev/net/tun";
/// Where in the load tool's report each metric is.
const METRICS: [(&str, &str); 7] = [
    ("user_bytes", "/bytes_per_connection/server_user"),
    ("kernel_one_end_bytes", "/slab_bytes_per_connection"),
    ("cpu_us_per_message", "/server/cpu_us_per_message"),
    ("messages_per_second", "/messages_per_second"),
    ("p50_us", "/latency_us/p50"),
    ("p99_us", "/latency_us/p99"),
    ("p99.9_us", "/latency_us/p99.9"),
];

/// Why this user cannot have TUN devices; `None` if they can.
pub(crate) fn refused() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("a network of its own needs root".to_owned());
    }
    let access = access(DEVICE, AccessFlags::R_OK | AccessFlags::W_OK);
    access.err().map(|why| format!("{DEVICE}: {why}"))
}

/// Measures one subject, into `round`.
pub(crate) fn measure(
    cell: &Cell,
    subject: &Subject,
    serve: &[String],
    round: &mut Round,
) -> anyhow::Result<()> {
    let Some(engine) = subject.engine() else {
        bail!("{subject} cannot hold that many");
    };
    let directory = tempfile::tempdir()?;
    let report = directory.path().join("report.json");
    let said = directory.path().join("said");
    let output = File::create(&said)?;
    let mut load = Command::new(beside("roadstead-load")?);
    load.arg("tun").args(flags(&cell.workload));
    load.arg("--json")
        .arg(&report)
        .arg("--")
        .arg(server_binary()?);
    load.args(serve_arguments(engine));
    load.args(["--listen", "0.0.0.0:8080", "--service", cell.service()]);
    load.args(["--max-connections", &cell.workload.connections.to_string()]);
    load.args(serve).stdin(Stdio::null());
    load.stdout(output.try_clone()?).stderr(output);
    let status = load.status().context("cannot start roadstead-load")?;
    if !status.success() {
        let said = std::fs::read_to_string(&said)?;
        bail!("roadstead-load ended with {status}: {}", said.trim());
    }
    let report: Value = serde_json::from_reader(File::open(&report)?)?;
    keep(round, cell.metrics, report);
    ensure!(
        !round.values.is_empty(),
        "the report has none of the metrics"
    );
    Ok(())
}

/// Takes over a report of the load tool, and of its numbers those that are asked for.
pub(crate) fn keep(round: &mut Round, metrics: &[Metric], report: Value) {
    let values = METRICS.iter().filter_map(|(key, place)| {
        let wanted = metrics.iter().any(|metric| metric.key == *key);
        let value = report.pointer(place)?.as_f64()?;
        wanted.then(|| ((*key).to_owned(), value))
    });
    round.values.extend(values);
    let caches = report.pointer("/bytes_per_connection/slab_caches");
    let caches = caches.and_then(Value::as_object).into_iter().flatten();
    let caches = caches.filter_map(|(name, bytes)| Some((name.clone(), bytes.as_f64()?)));
    round.caches.extend(caches);
    if let (Some(kernel), Some(user)) = (
        round.values.get(KERNEL_ONE_END.key),
        round.values.get(USER_BYTES.key),
    ) {
        let connections = report["connections"].as_f64().unwrap_or_default();
        let server = (kernel + user) * connections / MIB;
        round.values.insert(SERVER_MIB.key.to_owned(), server);
    }
    round.report = report;
}

fn flags(workload: &Workload) -> Vec<String> {
    let seconds = |time: std::time::Duration| format!("{}ms", time.as_millis());
    let mut flags = vec![
        ("--connections", workload.connections.to_string()),
        ("--idle", seconds(workload.idle)),
        ("--warmup", seconds(workload.warmup)),
        ("--hold", seconds(workload.hold)),
        ("--size", workload.message_bytes.to_string()),
    ];
    flags.push(match workload.active {
        Active::Share(share) => ("--active", format!("{}%", share * 100.0)),
        Active::Count(count) => ("--active", count.to_string()),
    });
    match workload.traffic {
        Traffic::None => {}
        Traffic::ClosedLoop { pipeline } => flags.push(("--pipeline", pipeline.to_string())),
        Traffic::OpenLoop {
            messages_per_second,
        } => flags.push(("--rate", messages_per_second.to_string())),
    }
    flags
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric;

    #[test]
    fn every_value_that_is_looked_up_is_a_metric() {
        let known = [
            USER_BYTES,
            KERNEL_ONE_END,
            metric::CPU_PER_MESSAGE,
            metric::MESSAGES_PER_SECOND,
            metric::P50,
            metric::P99,
            metric::P99_9,
        ];
        assert_eq!(METRICS.map(|(key, _)| key), known.map(|metric| metric.key));
    }

    #[test]
    fn a_workload_is_told_in_the_load_tools_flags() {
        let workload = Workload {
            connections: 1_000_000,
            active: Active::Share(0.01),
            traffic: Traffic::OpenLoop {
                messages_per_second: 10_000.0,
            },
            ..Workload::default()
        };
        let flags = flags(&workload).join(" ");
        assert!(
            flags.starts_with("--connections 1000000 --idle 0ms"),
            "{flags}"
        );
        assert!(flags.ends_with("--active 1% --rate 10000"), "{flags}");
    }
}
