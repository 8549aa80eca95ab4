//! What a run came to, as text for people and as a distribution for plotting tools.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use roadstead_host::quantity::{binary_bytes, grouped};
use roadstead_load::{BytesPerConnection, CpuPerConnection, Percentiles, Report, Sample};
use std::fmt::Write;
use std::fs::File;
use std::time::Duration;

const NS_PER_MS: f64 = 1e6;

/// The whole summary.
pub(super) fn table(report: &Report) -> String {
    let mut out = String::new();
    let _ = write_counts(&mut out, report)
        .and_then(|()| write_latencies(&mut out, report))
        .and_then(|()| write_usage(&mut out, report));
    out
}

fn write_counts(out: &mut String, report: &Report) -> std::fmt::Result {
    let (counters, timeline) = (&report.counters, &report.timeline);
    let ended = match (timeline.interrupted, timeline.deserted) {
        (true, _) => ", interrupted",
        (_, true) => ", ended early: no connection was left",
        _ => "",
    };
    if report.asked_connections > report.connections {
        writeln!(
            out,
            "{} connections were asked for, and did not fit into the available memory",
            grouped(report.asked_connections as u64),
        )?;
    }
    writeln!(
        out,
        "{} of {} connections established in {:.1} s; {:.1} s in all{ended}",
        grouped(counters.established),
        grouped(report.connections as u64),
        timeline.connect_seconds,
        timeline.total_seconds,
    )?;
    writeln!(
        out,
        "{} replies checked, {} measured, {} per second over {:.1} s",
        grouped(counters.messages),
        grouped(counters.measured_messages),
        grouped(report.messages_per_second as u64),
        timeline.hold_seconds,
    )?;
    if report.latency_warmup_us.count > 0 {
        writeln!(
            out,
            "a warm-up of {:.1} s, {} replies, is not in the measured ones",
            timeline.warmup_seconds,
            grouped(report.latency_warmup_us.count),
        )?;
    }
    if let Some(seconds) = timeline.drain_seconds {
        writeln!(
            out,
            "drained by the server in {seconds:.1} s: {} closed in order, {} cut off, {} left open",
            grouped(report.closed_in_the_end()),
            grouped(counters.cut_off),
            grouped(counters.unclosed),
        )?;
    }
    writeln!(
        out,
        "errors: {} failed, {} lost, {} cut off, {} unanswered, {} wrong bytes",
        grouped(counters.failed),
        grouped(counters.lost),
        grouped(counters.cut_off),
        grouped(counters.unanswered),
        grouped(counters.wrong_bytes),
    )?;
    for (reason, count) in &report.reasons {
        writeln!(out, "{:>12} × {reason}", grouped(*count))?;
    }
    if let Some(said) = &report.server_counters {
        let of = |name: &str| grouped(said["counters"][name].as_u64().unwrap_or_default());
        let is = if said["accounts_close"] == true {
            "="
        } else {
            "≠"
        };
        let closed = grouped(said["closed_total"].as_u64().unwrap_or_default());
        let (opened, live) = (of("opened"), of("live"));
        writeln!(
            out,
            "the server says: opened {opened} {is} live {live} + closed {closed}"
        )?;
    }
    if let Some(how) = &report.server_ended {
        writeln!(out, "the server ended by itself or not at all: {how}")?;
    }
    if counters.retransmitted + counters.packets_refused > 0 {
        writeln!(
            out,
            "{} segments sent again, {} packets refused by the device",
            grouped(counters.retransmitted),
            grouped(counters.packets_refused),
        )?;
    }
    if let Some(stampede) = &report.stampede {
        let took = stampede
            .seconds
            .map_or("not all came back".to_owned(), |seconds| {
                format!("all back after {seconds:.2} s")
            });
        writeln!(
            out,
            "stampede: {} reset at once, {} back, {took}; {} attempts in vain",
            grouped(stampede.reset),
            grouped(stampede.back),
            grouped(stampede.shed.values().sum()),
        )?;
        for (reason, count) in &stampede.shed {
            writeln!(out, "{:>12} × {reason}", grouped(*count))?;
        }
    }
    if counters.reopened + counters.unclosed > 0 {
        writeln!(
            out,
            "{} opened again, {} messages sent again; {} not closed by the server in time",
            grouped(counters.reopened),
            grouped(counters.resent),
            grouped(counters.unclosed),
        )?;
    }
    Ok(())
}

fn write_latencies(out: &mut String, report: &Report) -> std::fmt::Result {
    const HEAD: [&str; 7] = ["count", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    write!(out, "\n{:>10}", "µs")?;
    HEAD.iter()
        .try_for_each(|name| write!(out, " {name:>12}"))?;
    let rows = [
        ("warm-up", &report.latency_warmup_us),
        ("message", &report.latency_us),
        ("connect", &report.connect_us),
    ];
    let stampede = report.stampede.as_ref().map(|stampede| {
        [
            ("others", &stampede.others_us),
            ("crowd", &stampede.crowd_us),
            ("the rest", &stampede.rest_us),
            ("reconnect", &stampede.connect_us),
        ]
    });
    let rows = rows.into_iter().chain(stampede.into_iter().flatten());
    for (name, row) in rows.filter(|(_, row)| row.count > 0) {
        let Percentiles {
            count,
            p50,
            p90,
            p99,
            p99_9,
            p99_99,
            max,
            ..
        } = *row;
        write!(out, "\n{name:>10} {:>12}", grouped(count))?;
        [p50, p90, p99, p99_9, p99_99, max]
            .iter()
            .try_for_each(|us| write!(out, " {us:>12.1}"))?;
    }
    writeln!(out)
}

fn write_usage(out: &mut String, report: &Report) -> std::fmt::Result {
    const HEAD: [&str; 6] = [
        "open",
        "server CPU s",
        "server RSS",
        "slab",
        "tool CPU s",
        "tool RSS",
    ];
    write!(out, "\n{:>10}", "after")?;
    HEAD.iter()
        .try_for_each(|name| write!(out, " {name:>12}"))?;
    writeln!(out)?;
    for Sample {
        after,
        open,
        server,
        tool,
        slab_bytes,
        ..
    } in &report.usage.samples
    {
        let phase = after.map_or("start".to_owned(), |phase| {
            format!("{phase:?}").to_lowercase()
        });
        write!(out, "{phase:>10} {:>12}", grouped(*open))?;
        let cpu = |process: &Option<roadstead_load::ProcessSample>| {
            process.map_or("-".to_owned(), |process| {
                format!("{:.2}", process.cpu_seconds)
            })
        };
        let rss = |process: &Option<roadstead_load::ProcessSample>| {
            process.map_or("-".to_owned(), |process| binary_bytes(process.rss_bytes))
        };
        let slab = slab_bytes.map_or("-".to_owned(), binary_bytes);
        writeln!(
            out,
            " {:>12} {:>12} {slab:>12} {:>12} {:>12}",
            cpu(server),
            rss(server),
            cpu(tool),
            rss(tool),
        )?;
    }
    let usage = &report.usage;
    if let Some(bytes) = &usage.bytes_per_connection {
        write_bytes(out, bytes)?;
        if let Some(source) = usage.slab_source {
            writeln!(out, "{:>22}   slab: {source}", "")?;
        }
    }
    for (what, cpu) in [
        ("opened", usage.cpu_us_per_connection_opened),
        ("closed", usage.cpu_us_per_connection_closed),
    ] {
        write_cpu(out, what, cpu)?;
    }
    if let Some(us) = usage.server.and_then(|server| server.cpu_us_per_message) {
        writeln!(out, "server CPU per message: {us:.2} µs")?;
    }
    Ok(())
}

fn write_bytes(out: &mut String, bytes: &BytesPerConnection) -> std::fmt::Result {
    writeln!(out, "\n{:>22} {:>9}", "bytes per connection", "")?;
    let mut row = |name: &str, bytes: Option<f64>| match bytes {
        Some(bytes) => writeln!(out, "{name:>22} {bytes:>9.1}"),
        None => writeln!(out, "{name:>22} {:>9}", "-"),
    };
    row("server, user memory", bytes.server_user)?;
    let mut caches: Vec<(&String, f64)> = bytes.slab_caches.iter().map(|(n, b)| (n, *b)).collect();
    caches.sort_by(|one, other| other.1.total_cmp(&one.1));
    for (name, bytes) in caches {
        row(&format!("slab, {name}"), Some(bytes))?;
    }
    row("slab, the rest", bytes.slab_rest)?;
    row("socket buffers", bytes.socket_buffers)?;
    row("this tool", bytes.tool_user)?;
    row("together", Some(bytes.total))
}

fn write_cpu(out: &mut String, what: &str, cpu: CpuPerConnection) -> std::fmt::Result {
    let us = |us: Option<f64>| us.map_or("-".to_owned(), |us| format!("{us:.1} µs"));
    writeln!(
        out,
        "CPU per connection {what}: server {}, tool {}",
        us(cpu.server),
        us(cpu.tool)
    )
}

/// The distribution as HdrHistogram's percentile text, in milliseconds.
pub(super) fn hgrm(latency_ns: &Histogram<u64>) -> String {
    let ms = |ns: f64| ns / NS_PER_MS;
    let mut out = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut seen = 0;
    for step in latency_ns.iter_quantiles(5) {
        seen += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        let inverse = if quantile < 1.0 {
            format!("{:14.2}", 1.0 / (1.0 - quantile))
        } else {
            String::new()
        };
        let value = ms(step.value_iterated_to() as f64);
        let _ = writeln!(out, "{value:12.3} {quantile:2.12} {seen:10} {inverse}");
    }
    let _ = writeln!(
        out,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n#[Max     = {:12.3}, Total count    = {:12}]\n#[Buckets = {:12}, SubBuckets     = {:12}]",
        ms(latency_ns.mean()),
        ms(latency_ns.stdev()),
        ms(latency_ns.max() as f64),
        latency_ns.len(),
        latency_ns.buckets(),
        2048,
    );
    out
}

/// The whole histogram as one interval of an HdrHistogram log, from which runs can be merged and compared.
pub(super) fn write_hlog(report: &Report, file: &mut File) -> anyhow::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[roadstead-load: latencies in nanoseconds]")
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(file, &mut serializer)?;
    let (start, length) = (Duration::ZERO, report.timeline.hold_seconds);
    log.write_histogram(
        &report.latency_ns,
        start,
        Duration::from_secs_f64(length),
        None,
    )
    .map_err(|error| anyhow::anyhow!("{error:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_ends_with_all_values_and_the_largest() {
        let mut histogram = Histogram::new(3).expect("three digits");
        (1..=1000_u64).for_each(|ms| histogram.record(ms * 1_000_000).expect("in range"));
        let text = hgrm(&histogram);
        let rows: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let last: Vec<&str> = rows.last().expect("rows").split_whitespace().collect();
        assert_eq!(last[1..], ["1.000000000000", "1000"]);
        assert!(
            (999.0..1001.0).contains(&last[0].parse::<f64>().expect("a number")),
            "{last:?}"
        );
        let medians = rows.iter().filter(|row| row.contains(" 0.500000000000 "));
        assert_eq!(medians.count(), 1, "{text}");
    }
}
