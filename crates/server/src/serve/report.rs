//! What `roadstead serve` prints: a short report at the start, the counters at the end and on SIGUSR1.

use super::Args;
use roadstead::{Engine, Server, Stats};
use roadstead_host::capacity::Plan;
use roadstead_host::quantity::{binary_bytes, grouped};
use roadstead_host::{Limit, LimitPair, Limits};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

/// Everything worth knowing about a server that has just started.
#[derive(Serialize)]
pub(super) struct Started<'a> {
    version: &'static str,
    kernel: Option<String>,
    engine: &'static str,
    engine_reason: String,
    watch: Option<&'static str>,
    service: String,
    listen: &'a [SocketAddr],
    limits: &'a Limits,
    backlog: u32,
    plan: &'a Plan,
    /// What the host lacks for the planned connections, by the doctor's rules.
    shortcomings: Vec<String>,
}

impl<'a> Started<'a> {
    pub(super) fn new<M: Send>(
        server: &'a Server<M>,
        args: &Args,
        limits: &'a Limits,
        plan: &'a Plan,
        backlog: u32,
        shortcomings: Vec<String>,
    ) -> Self {
        let uring = server.engine() == Engine::Uring;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            kernel: limits.kernel.as_ref().map(ToString::to_string),
            engine: server.engine().name(),
            engine_reason: engine_reason(server, args.engine),
            watch: uring.then(|| args.watch.name()),
            service: format!("{:?}", args.service).to_lowercase(),
            listen: server.addresses(),
            limits,
            backlog,
            plan,
            shortcomings,
        }
    }
}

fn engine_reason<M: Send>(server: &Server<M>, asked: Engine) -> String {
    if let Some(why) = server.fallback() {
        return why.to_string();
    }
    match server.uring_features() {
        Some(features) if asked == Engine::Auto => {
            let has = |yes, what| if yes { what } else { "" };
            format!(
                "the probe passed{}{}",
                has(features.incremental_buffers, ", incremental buffers"),
                has(features.batched_wait, ", batched waits"),
            )
        }
        _ => "as asked".to_owned(),
    }
}

impl fmt::Display for Started<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernel = self.kernel.as_deref().unwrap_or("unknown");
        writeln!(f, "roadstead {} on Linux {kernel}", self.version)?;
        let listen: Vec<_> = self.listen.iter().map(ToString::to_string).collect();
        writeln!(
            f,
            "  listening  {}  ({}, backlog {})",
            listen.join(" "),
            self.service,
            self.backlog
        )?;
        let watch = self
            .watch
            .map(|watch| format!(", watch {watch}"))
            .unwrap_or_default();
        writeln!(
            f,
            "  engine     {}{watch}: {}",
            self.engine, self.engine_reason
        )?;
        let pair = |pair: Option<LimitPair>| pair.map(|p| (limit(p.soft), limit(p.hard)));
        let (soft, hard) = pair(self.limits.nofile).unwrap_or_default();
        let memlock = self
            .limits
            .memlock_bytes
            .map_or("unknown".to_owned(), |pair| match pair.soft {
                Limit::Value(bytes) => binary_bytes(bytes),
                Limit::Unlimited => "unlimited".to_owned(),
            });
        let number = |n: Option<u64>| n.map_or("unknown".to_owned(), grouped);
        writeln!(
            f,
            "  limits     nofile {soft} (hard {hard}) per worker, file-max {}, somaxconn {}, memlock {memlock}",
            number(self.limits.file_max),
            number(self.limits.somaxconn),
        )?;
        write!(f, "  capacity   {}", self.plan)?;
        // What is, without why and the fix: the doctor has the room for them.
        let what = |line: &String| line.split(": ").next().unwrap_or_default().to_owned();
        let lacking: Vec<_> = self.shortcomings.iter().map(what).collect();
        if !lacking.is_empty() {
            write!(f, "\n  host       falls short: {}", lacking.join("; "))?;
            let connections = self.plan.connections;
            write!(
                f,
                "\n             see `roadstead doctor --connections {connections}`"
            )?;
        }
        Ok(())
    }
}

fn limit(limit: Limit) -> String {
    match limit {
        Limit::Value(value) => grouped(value),
        Limit::Unlimited => "unlimited".to_owned(),
    }
}

/// Counters with their names, and whether they add up.
#[derive(Serialize)]
pub(super) struct Counters {
    counters: BTreeMap<String, u64>,
    closed_total: u64,
    accounts_close: bool,
    #[serde(skip)]
    in_order: Vec<(String, u64)>,
}

impl Counters {
    pub(super) fn of(stats: &Stats) -> Self {
        let in_order: Vec<_> = stats.named().collect();
        Self {
            counters: in_order.iter().cloned().collect(),
            closed_total: stats.closed_total(),
            accounts_close: stats.accounts_close(),
            in_order,
        }
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |name| self.counters.get(name).copied().unwrap_or_default();
        for (name, count) in self.in_order.iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "  {name:<24} {:>18}", grouped(*count))?;
        }
        write!(
            f,
            "  opened {} {} live {} + closed {}",
            grouped(of("opened")),
            if self.accounts_close { "=" } else { "≠" },
            grouped(of("live")),
            grouped(self.closed_total),
        )
    }
}

/// Prints for people, or one JSON object on a line.
pub(super) fn print(json: bool, report: &(impl fmt::Display + Serialize)) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, report)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(out.flush()?)
}
