//! `roadstead-bench diff BEFORE AFTER`: what a change did, from two runs of one scenario on one host.
//!
//! Per cell and subject, the ratio of the medians of the cell's first metric with its 99 % bootstrap interval
//! (10,000 draws of the rounds, seeded). An interval that contains 1 is no difference. What changed between the runs
//! for every subject alike, the machine's mood, is in the interval only as far as rounds within a run show it: a
//! subject that the change cannot have touched tells how far to trust the others.

use crate::folder::load;
use crate::record::{Better, Cell, Run};
use crate::stats::{ROUNDS_MIN, Ratio, Spread};
use crate::table::table;
use anyhow::{bail, ensure};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder of the run before the change
    before: PathBuf,
    /// The folder of the run after it
    after: PathBuf,
    /// Every metric, not only each cell's first
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (before, after) = (load(&args.before)?, load(&args.after)?);
    comparable(&before, &after)?;
    println!(
        "{}: {} on {}\n{} ({}) against {} ({}); ratio of medians with its 99 % interval\n",
        before.scenario,
        before.host.processor,
        before.host.name,
        args.after.display(),
        revision(&after),
        args.before.display(),
        revision(&before),
    );
    let mut out = table([
        "cell", "subject", "metric", "before", "after", "ratio", "interval", "",
    ]);
    for cell in &before.cells {
        let Some(other) = after.cells.iter().find(|it| it.name == cell.name) else {
            println!("{}: only in {}", cell.name, args.before.display());
            continue;
        };
        let metrics = if args.all { cell.metrics.len() } else { 1 };
        for metric in cell.metrics.iter().take(metrics) {
            for subject in &before.subjects {
                let decimals = metric.decimals;
                let values = |cell: &Cell| cell.values(&subject.name, &metric.key);
                let (old, new) = (values(cell), values(other));
                let (Some(from), Some(to)) = (Spread::of(&old), Spread::of(&new)) else {
                    continue;
                };
                let ratio = Ratio::of_medians(&old, &new);
                out.add_row([
                    cell.name.clone(),
                    subject.name.clone(),
                    metric.title.clone(),
                    format!("{:.decimals$}", from.median),
                    format!("{:.decimals$}", to.median),
                    ratio.map_or("–".to_owned(), |it| format!("{:.3}", it.ratio)),
                    ratio.map_or("–".to_owned(), |it| {
                        format!("{:.3} – {:.3}", it.low, it.high)
                    }),
                    verdict(metric.better, ratio),
                ]);
            }
        }
    }
    println!("{out}");
    Ok(())
}

/// Refuses what cannot be compared.
fn comparable(before: &Run, after: &Run) -> anyhow::Result<()> {
    ensure!(
        before.scenario == after.scenario,
        "one run is of '{}' and the other of '{}': compare two of the same",
        before.scenario,
        after.scenario
    );
    let facts = |run: &Run| {
        let host = &run.host;
        [
            ("host", host.name.clone()),
            ("processor", host.processor.clone()),
            ("kernel", host.kernel.clone()),
            ("server cores", format!("{:?}", host.server_cores)),
            ("client cores", format!("{:?}", host.client_cores)),
        ]
    };
    for ((what, old), (_, new)) in facts(before).into_iter().zip(facts(after)) {
        if old != new {
            bail!(
                "the runs are of different hosts ({what}: {old}, {new}): \
                 figures of two machines say nothing about a change"
            );
        }
    }
    Ok(())
}

fn revision(run: &Run) -> String {
    let id: String = run.commit.id.chars().take(9).collect();
    let state = match (run.commit.dirty, run.complete) {
        (false, true) => "",
        (true, true) => ", with changes",
        (_, false) => ", incomplete",
    };
    format!("{id}{state}")
}

fn verdict(better: Better, ratio: Option<Ratio>) -> String {
    let word = match ratio {
        None => return format!("fewer than {ROUNDS_MIN} rounds above 0"),
        Some(ratio) if ratio.is_no_difference() => "no difference",
        Some(ratio) => match (better, ratio.ratio < 1.0) {
            (Better::Lower, true) | (Better::Higher, false) => "better",
            (Better::Lower, false) | (Better::Higher, true) => "worse",
        },
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::run;

    #[test]
    fn runs_of_another_scenario_or_host_are_refused() {
        assert!(comparable(&run(), &run()).is_ok());
        let mut other = run();
        other.scenario = "idle".to_owned();
        let error = comparable(&run(), &other).expect_err("another scenario");
        assert!(error.to_string().contains("'idle'"), "{error}");
        let mut other = run();
        other.host.kernel = "6.12.9".to_owned();
        let error = comparable(&run(), &other).expect_err("another kernel");
        assert!(
            error.to_string().contains("kernel: 6.18.44, 6.12.9"),
            "{error}"
        );
    }

    #[test]
    fn a_verdict_follows_the_interval_and_the_metrics_direction() {
        let ratio = |low, ratio, high| Some(Ratio { ratio, low, high });
        assert_eq!(
            verdict(Better::Lower, ratio(0.9, 0.95, 1.02)),
            "no difference"
        );
        assert_eq!(verdict(Better::Lower, ratio(0.8, 0.9, 0.95)), "better");
        assert_eq!(verdict(Better::Higher, ratio(0.8, 0.9, 0.95)), "worse");
        assert_eq!(verdict(Better::Lower, None), "fewer than 3 rounds above 0");
    }
}
