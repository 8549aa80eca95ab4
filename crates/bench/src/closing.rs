//! `roadstead-bench closing`: what letting go of one connection costs while many others are watched by the same
//! ring, by watch policy. Rounds are interleaved, as everywhere.

use crate::stats::Spread;
use crate::table;
use anyhow::Context;
use roadstead::WatchPolicy;
use roadstead::closing::cost;
use roadstead_host::quantity::{grouped, parse_count};
use serde::Serialize;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Connections beside the one that is let go of
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = parse_count, default_value = "10k,100k,1M")]
    others: Vec<u64>,
    /// Interleaved rounds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Batches of 64 connections that are let go of in a round
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    batches: u32,
    /// Write every round here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Adaptive watches what is quiet as `epoll` does, and closes like it.
const POLICIES: [WatchPolicy; 4] = [
    WatchPolicy::Poll,
    WatchPolicy::PollMulti,
    WatchPolicy::Epoll,
    WatchPolicy::Recv,
];

/// One policy beside so many others.
#[derive(Serialize)]
struct Measured {
    policy: &'static str,
    others: u64,
    /// Microseconds per connection, round by round.
    us_per_close: Vec<f64>,
    /// Why rounds are missing.
    failed: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    roadstead_host::raise_nofile()?;
    let mut all = Vec::new();
    for others in &args.others {
        all.extend(beside(*others, args)?);
    }
    let header = ["others watched".to_owned()].into_iter();
    let header = header.chain(POLICIES.map(|it| format!("{it}, µs")));
    let rows = all.chunks(POLICIES.len()).map(|row| {
        let cells = row.iter().map(Measured::cell);
        std::iter::once(grouped(row[0].others))
            .chain(cells)
            .collect()
    });
    println!("{}", table::markdown(header.collect(), rows.collect()));
    for (it, why) in all.iter().filter_map(|it| Some((it, it.failed.as_ref()?))) {
        println!("\n{} beside {}: {why}", it.policy, grouped(it.others));
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&all)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn beside(others: u64, args: &Args) -> anyhow::Result<Vec<Measured>> {
    let count = usize::try_from(others)?;
    let none = |policy: WatchPolicy| Measured {
        policy: policy.name(),
        others,
        us_per_close: Vec::new(),
        failed: None,
    };
    let mut row = POLICIES.map(none);
    for _ in 0..args.rounds {
        for (policy, measured) in POLICIES.into_iter().zip(&mut row) {
            match cost(policy, count, args.batches as usize) {
                Ok(time) => measured.us_per_close.push(time.as_secs_f64() * 1e6),
                Err(why) => measured.failed = Some(why.to_string()),
            }
        }
    }
    Ok(row.into())
}

impl Measured {
    fn cell(&self) -> String {
        match Spread::of(&self.us_per_close) {
            Some(Spread {
                median, min, max, ..
            }) => format!("{median:.2} ({min:.2} – {max:.2})"),
            None => "failed".to_owned(),
        }
    }
}
