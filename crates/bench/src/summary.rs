//! The tables of a run, made from its record alone: a table per cell, a row per subject.

use crate::record::{BARE, Better, Cell, EPOLL, Metric, Round, Run, Subject, URING, is_ours};
use crate::stats::Spread;
use crate::table;
use std::fmt::Write;

/// Marks a value of ours that somebody else's beats in every round.
const LOSES: &str = "▼";
/// The same, where rounds of one are within those of the other.
const LOSES_PERHAPS: &str = "▽";

pub(crate) fn markdown(run: &Run, pictures: &[(String, String)]) -> String {
    let mut out = format!("# {}\n\n", run.scenario);
    if !run.complete {
        out.push_str("**Incomplete**: the run was ended before its end.\n\n");
    }
    let first = run.subjects.first().map_or("", |it| &it.name);
    let _ = writeln!(
        out,
        "Medians over interleaved rounds, with (min – max). '× {first}' is the median of the ratios to {first} in the \
         same round; '× best other' compares medians with the best of another kind. {LOSES} marks a \
         value of ours that somebody else's beats, {LOSES_PERHAPS} one that it beats in the median while their rounds overlap; io_uring is \
         also held against epoll."
    );
    for (file, title) in pictures {
        let _ = writeln!(out, "\n![{title}]({file})");
    }
    for cell in &run.cells {
        let _ = writeln!(out, "\n## {}\n\n{}\n", cell.name, cell.title);
        match &cell.not_run {
            Some(why) => {
                let _ = writeln!(out, "Not run: {why}");
            }
            None => {
                let _ = writeln!(out, "{}", table(run, cell));
                out.push_str(&reasons(run, cell));
            }
        }
    }
    out
}

fn table(run: &Run, cell: &Cell) -> String {
    let first = run.subjects.first().map_or("", |it| &it.name);
    let mut header = vec!["subject".to_owned()];
    for (index, metric) in cell.metrics.iter().enumerate() {
        header.push(metric.title.clone());
        if index == 0 {
            header.extend([format!("× {first}"), "× best other".to_owned()]);
        }
    }
    let columns = header.len();
    let mut rows = Vec::new();
    for subject in &run.subjects {
        if let Some(mut row) = row(run, cell, subject, first) {
            row.resize(columns, String::new());
            rows.push(row);
        }
    }
    table::markdown(header, rows)
}

/// `None` for a subject that has no part in the cell.
fn row(run: &Run, cell: &Cell, subject: &Subject, first: &str) -> Option<Vec<String>> {
    let mut row = vec![subject.name.clone()];
    if subject.missing.is_some() {
        row.push("missing".to_owned());
        return Some(row);
    }
    if cell.counted(&subject.name).next().is_none() {
        if cell.rounds_of(&subject.name) == 0 {
            return None;
        }
        row.push("failed".to_owned());
        return Some(row);
    }
    for (index, metric) in cell.metrics.iter().enumerate() {
        let spread = Spread::of(&cell.values(&subject.name, &metric.key));
        let best = best_other(run, cell, subject, metric);
        let Some(spread) = spread else {
            row.extend(vec!["–".to_owned(); if index == 0 { 3 } else { 1 }]);
            continue;
        };
        let mark = match best {
            Some(best) if is_ours(&subject.family) => mark(metric.better, spread, best),
            _ => "",
        };
        let decimals = metric.decimals;
        let mut text = format!("{mark}{:.decimals$}", spread.median);
        if spread.min < spread.max {
            let _ = write!(
                text,
                " ({:.decimals$} – {:.decimals$})",
                spread.min, spread.max
            );
        }
        row.push(text);
        if index == 0 {
            row.push(ratio(against_first(
                cell,
                &subject.name,
                first,
                &metric.key,
            )));
            row.push(ratio(
                best.and_then(|best| quotient(spread.median, best.median)),
            ));
        }
    }
    Some(row)
}

/// Why a row has no numbers, or fewer rounds than the others.
fn reasons(run: &Run, cell: &Cell) -> String {
    let mut out = String::new();
    for subject in &run.subjects {
        let failed = cell.failures(&subject.name);
        if let Some(why) = &subject.missing {
            let _ = writeln!(out, "- {}: missing: {why}", subject.name);
        } else if let Some(why) = failed.first() {
            let (times, rounds) = (failed.len(), cell.rounds_of(&subject.name));
            let _ = writeln!(
                out,
                "- {}: failed in {times} of {rounds} rounds: {why}",
                subject.name
            );
        }
    }
    if !out.is_empty() {
        out.insert(0, '\n');
    }
    out
}

/// How ours stands against the best of the others.
fn mark(better: Better, ours: Spread, theirs: Spread) -> &'static str {
    let apart = ours.min > theirs.max || ours.max < theirs.min;
    match (is_better(better, theirs.median, ours.median), apart) {
        (false, _) => "",
        (true, false) => LOSES_PERHAPS,
        (true, true) => LOSES,
    }
}

/// `None` where a ratio would say nothing: differences may come out at 0 or below.
fn quotient(of: f64, to: f64) -> Option<f64> {
    (of > 0.0 && to > 0.0).then(|| of / to)
}

fn ratio(ratio: Option<f64>) -> String {
    match ratio {
        Some(ratio) => format!("{ratio:.2}"),
        None => "–".to_owned(),
    }
}

/// The median of the ratios within each round.
fn against_first(cell: &Cell, subject: &str, first: &str, metric: &str) -> Option<f64> {
    let value = |round: &Round| round.values.get(metric).copied();
    let ratios = cell.counted(subject).filter_map(|mine| {
        let theirs = cell.counted(first).find(|it| it.round == mine.round)?;
        quotient(value(mine)?, value(theirs)?)
    });
    Some(Spread::of(&ratios.collect::<Vec<_>>())?.median)
}

/// The best median among subjects of another kind. The bare server is no rival, and epoll, which is there for
/// comparison, is not held against io_uring.
fn best_other(run: &Run, cell: &Cell, subject: &Subject, metric: &Metric) -> Option<Spread> {
    if subject.family == BARE {
        return None;
    }
    let rivals = run.subjects.iter().filter(|it| {
        let own = it.family == subject.family || it.family == BARE;
        let for_comparison = subject.family == EPOLL && it.family == URING;
        !own && !for_comparison
    });
    let spreads = rivals.filter_map(|it| Spread::of(&cell.values(&it.name, &metric.key)));
    spreads.reduce(|best, other| {
        if is_better(metric.better, other.median, best.median) {
            other
        } else {
            best
        }
    })
}

fn is_better(better: Better, this: f64, than: f64) -> bool {
    match better {
        Better::Lower => this < than,
        Better::Higher => this > than,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::record::{Axis, Commit, FORMAT, Host};
    use std::collections::BTreeMap;

    /// A run of four subjects, one of which is missing and one of which failed.
    pub(crate) fn run() -> Run {
        let subject = |name: &str, family: &str, missing: Option<&str>| Subject {
            name: name.to_owned(),
            version: Some("1.0".to_owned()),
            missing: missing.map(str::to_owned),
            family: family.to_owned(),
        };
        let metric = |key: &str, better| Metric {
            key: key.to_owned(),
            title: key.to_owned(),
            better,
            decimals: 1,
        };
        let round = |subject: &str, round, cost: f64, rate: f64| Round {
            values: BTreeMap::from([("cost".to_owned(), cost), ("rate".to_owned(), rate)]),
            ..Round::of(subject, round)
        };
        let mut failed = round("broken", 0, 0.0, 0.0);
        failed.failed = Some("it closed the connection".to_owned());
        let mut discarded = round("epoll", 2, 99.0, 1.0);
        discarded.discarded = true;
        Run {
            format: FORMAT,
            scenario: "echo".to_owned(),
            command: "roadstead-bench run echo".to_owned(),
            began: "2026-11-28T23:34:23Z".to_owned(),
            complete: true,
            commit: Commit {
                id: "40b696f".to_owned(),
                dirty: false,
            },
            host: Host {
                name: "2core-24g".to_owned(),
                kernel: "6.18.44".to_owned(),
                processor: "AMD EPYC".to_owned(),
                cores: 2,
                server_cores: vec![0],
                client_cores: vec![1],
                memory_bytes: 24 << 30,
                nofile_hard: 20_000,
            },
            subjects: vec![
                subject("epoll", EPOLL, None),
                subject("uring/poll", URING, None),
                subject("uring/recv", URING, None),
                subject("fast", "fast", None),
                subject("uws", "uws", Some("no C++ compiler")),
                subject("broken", "broken", None),
            ],
            notes: Vec::new(),
            cells: vec![Cell {
                name: "echo/50-busy".to_owned(),
                title: "50 busy connections".to_owned(),
                axis: Some(Axis {
                    name: "busy connections".to_owned(),
                    value: 50.0,
                }),
                metrics: vec![
                    metric("cost", Better::Lower),
                    metric("rate", Better::Higher),
                ],
                not_run: None,
                rounds: vec![
                    round("epoll", 0, 10.0, 100.0),
                    round("uring/poll", 0, 12.0, 80.0),
                    round("uring/recv", 0, 8.0, 130.0),
                    round("fast", 0, 9.0, 120.0),
                    failed,
                    round("epoll", 1, 20.0, 50.0),
                    round("uring/poll", 1, 24.0, 40.0),
                    round("uring/recv", 1, 16.0, 65.0),
                    round("fast", 1, 18.0, 60.0),
                    discarded,
                ],
            }],
        }
    }

    #[test]
    fn a_summary_names_who_wins_who_is_missing_and_who_failed() {
        let text = markdown(&run(), &[("cpu.svg".to_owned(), "CPU".to_owned())]);
        let rows: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            rows,
            [
                "| subject | cost | × epoll | × best other | rate |",
                "|------------|--------------------:|--------:|-------------:|---------------------:|",
                "| epoll | ▽15.0 (10.0 – 20.0) | 1.00 | 1.11 | ▽75.0 (50.0 – 100.0) |",
                "| uring/poll | ▽18.0 (12.0 – 24.0) | 1.20 | 1.33 | ▽60.0 (40.0 – 80.0) |",
                "| uring/recv | 12.0 (8.0 – 16.0) | 0.80 | 0.89 | 97.5 (65.0 – 130.0) |",
                "| fast | 13.5 (9.0 – 18.0) | 0.90 | 1.12 | 90.0 (60.0 – 120.0) |",
                "| uws | missing | | | |",
                "| broken | failed | | | |",
            ]
        );
        assert!(text.contains("- uws: missing: no C++ compiler\n"));
        assert!(text.contains("- broken: failed in 1 of 1 rounds: it closed the connection\n"));
        assert!(text.contains("![CPU](cpu.svg)"));
        assert!(!text.contains("Incomplete"));
    }

    #[test]
    fn an_interrupted_run_says_so() {
        let mut run = run();
        run.complete = false;
        assert!(markdown(&run, &[]).contains("Incomplete"));
    }
}
