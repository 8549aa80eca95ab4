//! The loop over cells, rounds and subjects: A B C A B C …, so that what drifts drifts under all of them.
//!
//! A measurement during which much time was stolen is made again at once; the quietest attempt counts. What fails
//! is recorded with its error, and the run goes on.

use crate::cores::Cores;
use crate::folder::Folder;
use crate::measure::{Measured, measure};
use crate::metric::{BYTES, KERNEL_BYTES, KERNEL_OVER_BARE, MIB, SERVER_MIB, USER_BYTES};
use crate::progress::Progress;
use crate::record::{self, Round, Run};
use crate::scenarios::{Carrier, Cell, Who};
use crate::steal::Ticks;
use crate::subject::{Contenders, Running, Subject};
use crate::tun;
use anyhow::Context;
use roadstead_host::quantity::binary_bytes;
use roadstead_host::{HostRoot, Limits};
use roadstead_load::sockets::Settings;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The share of all cores' time which the hypervisor may give to others before a measurement is made again.
pub(crate) const STEAL_MAX: f64 = 0.05;
/// How often a measurement is made at most.
pub(crate) const ATTEMPTS_MAX: usize = 3;
/// How long a server that answers nothing is waited for at the end: the bare one never closes.
const BARE_GRACE: Duration = Duration::from_millis(50);
/// Rounds at most of what takes minutes each.
const TUN_ROUNDS_MAX: usize = 3;
/// Quantiles that are kept of each latency distribution: 0.5, 0.75, 0.875 …
const QUANTILES: i32 = 16;

/// What a run is made with.
pub(crate) struct Runner<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) contenders: &'a Contenders,
    pub(crate) subjects: &'a [Subject],
    pub(crate) cores: &'a Cores,
    /// Further flags for `roadstead serve`.
    pub(crate) serve: &'a [String],
    pub(crate) interrupted: Arc<AtomicBool>,
}

impl Runner<'_> {
    /// Measures every cell, the rounds of which it was asked for, and keeps all in `run`.
    pub(crate) fn run(&self, cells: &[(Cell, usize)], run: &mut Run) -> anyhow::Result<()> {
        let there = cells.iter().filter(|(cell, _)| not_run(cell).is_none());
        let steps =
            there.map(|(cell, wanted)| rounds(cell, *wanted) * self.taking_part(cell).len());
        let progress = Progress::new(steps.sum());
        for (cell, wanted) in cells {
            let mut kept = record(cell);
            kept.not_run = not_run(cell);
            let skipped = kept.not_run.is_some();
            run.cells.push(kept);
            if skipped {
                continue;
            }
            if cell.who == Who::ServersAndBare && cell.carrier == Carrier::Sockets {
                // It fills the allocator's caches, which are counted as objects in use.
                let _ = self.attempt(cell, &Subject::Bare, 0, &progress)?;
            }
            for round in 0..rounds(cell, *wanted) {
                for subject in self.taking_part(cell) {
                    let measured = self.measure(cell, subject, round, &progress)?;
                    if self.interrupted.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    let kept = run.cells.last_mut().context("a cell")?;
                    kept.rounds.extend(measured);
                    progress.step();
                }
                if let Some(kept) = run.cells.last_mut() {
                    hold_against_bare(&mut kept.rounds, round);
                }
                self.folder.save(run)?;
            }
        }
        run.complete = true;
        Ok(())
    }

    fn taking_part(&self, cell: &Cell) -> Vec<&Subject> {
        let there = self.subjects.iter().filter(|subject| match subject {
            Subject::Epoll | Subject::Uring(_) => true,
            _ if cell.carrier == Carrier::Tun => false,
            Subject::Bare => cell.who == Who::ServersAndBare,
            Subject::Contender(name) => self.contenders.missing(name).is_none(),
        });
        there.collect()
    }

    /// Measures until little enough time was stolen; all but the quietest attempt are marked as discarded.
    fn measure(
        &self,
        cell: &Cell,
        subject: &Subject,
        round: usize,
        progress: &Progress,
    ) -> anyhow::Result<Vec<Round>> {
        let mut attempts: Vec<Round> = Vec::new();
        while attempts.len() < ATTEMPTS_MAX && !self.interrupted.load(Ordering::Relaxed) {
            let attempt = self.attempt(cell, subject, round, progress)?;
            let over = attempt.steal <= STEAL_MAX || attempt.failed.is_some();
            attempts.push(attempt);
            if over {
                break;
            }
        }
        discard_all_but_quietest(&mut attempts);
        Ok(attempts)
    }

    fn attempt(
        &self,
        cell: &Cell,
        subject: &Subject,
        round: usize,
        progress: &Progress,
    ) -> anyhow::Result<Round> {
        progress.begin(&cell.name, &subject.to_string());
        let before = Ticks::read(&HostRoot::live())?;
        let mut kept = Round::of(&subject.to_string(), round);
        let measured = match cell.carrier {
            Carrier::Sockets => self
                .one(cell, subject, progress)
                .and_then(|measured| keep(&mut kept, cell, &measured)),
            Carrier::Tun => tun::measure(cell, subject, self.serve, &mut kept),
        };
        kept.failed = measured.err().map(|error| format!("{error:#}"));
        kept.steal = Ticks::read(&HostRoot::live())?.stolen_since(before);
        Ok(kept)
    }

    fn one(&self, cell: &Cell, subject: &Subject, progress: &Progress) -> anyhow::Result<Measured> {
        self.cores.enter_first()?;
        let server = self.start(cell, subject);
        self.cores.enter_others()?;
        let mut server = server?;
        let mut settings = Settings::new(server.address());
        settings.workload = cell.workload.clone();
        settings.laggards = cell.laggards;
        settings.server_pid = Some(server.pid());
        if *subject == Subject::Bare {
            settings.workload.grace = BARE_GRACE;
        }
        let measured = measure(&server, &settings, &mut |phase, so_far| {
            progress.phase(phase, so_far);
            if self.interrupted.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let measured = measured.map_err(|error| match server.killed().as_str() {
            "" => error,
            complaint => error.context(format!("{subject} says: {complaint}")),
        })?;
        match subject {
            Subject::Epoll | Subject::Uring(_) => _ = server.drain()?,
            Subject::Bare | Subject::Contender(_) => server.end()?,
        }
        Ok(measured)
    }

    fn start(&self, cell: &Cell, subject: &Subject) -> anyhow::Result<Running> {
        if let Subject::Contender(name) = subject {
            return self.contenders.start(name, cell.service());
        }
        let flags = ["--workers", "1", "--service", cell.service()].map(str::to_owned);
        subject.start(&[&flags, self.serve].concat())
    }
}

/// The rounds of a cell, if so many are wanted.
fn rounds(cell: &Cell, wanted: usize) -> usize {
    match cell.carrier {
        Carrier::Sockets => wanted,
        Carrier::Tun => wanted.min(TUN_ROUNDS_MAX),
    }
}

/// Why nobody can be put to a cell on this host; `None` if somebody can.
fn not_run(cell: &Cell) -> Option<String> {
    if cell.carrier == Carrier::Tun
        && let Some(why) = tun::refused()
    {
        return Some(why);
    }
    let memory = Limits::read(&HostRoot::live()).memory?;
    let (needed, available) = (cell.memory_bytes(), memory.available_bytes);
    (needed > available).then(|| {
        let (needed, available) = (binary_bytes(needed), binary_bytes(available));
        format!("it may take {needed} of memory, and {available} are available")
    })
}

fn record(cell: &Cell) -> record::Cell {
    record::Cell {
        name: cell.name.clone(),
        title: cell.title.clone(),
        axis: cell.axis.clone(),
        metrics: cell.metrics.iter().map(|metric| metric.record()).collect(),
        not_run: None,
        rounds: Vec::new(),
    }
}

fn keep(round: &mut Round, cell: &Cell, measured: &Measured) -> anyhow::Result<()> {
    for metric in cell.metrics {
        if let Some(value) = (metric.of)(measured) {
            round.values.insert(metric.key.to_owned(), value);
        }
    }
    let caches = measured.caches().filter(|(_, bytes)| bytes.abs() >= 1.0);
    round.caches = caches
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .collect();
    let latency = &measured.report.latency_ns;
    if !latency.is_empty() {
        let quantiles = (1..=QUANTILES).map(|halvings| 1.0 - 0.5_f64.powi(halvings));
        let point = |quantile| (quantile, latency.value_at_quantile(quantile) as f64 / 1e3);
        round.latency_us = quantiles.map(point).collect();
    }
    round.report = serde_json::to_value(&measured.report)?;
    Ok(())
}

fn discard_all_but_quietest(attempts: &mut [Round]) {
    let quietest = attempts
        .iter()
        .enumerate()
        .filter(|(_, attempt)| attempt.failed.is_none())
        .min_by(|(_, a), (_, b)| a.steal.total_cmp(&b.steal))
        .map(|(index, _)| index);
    for (index, attempt) in attempts.iter_mut().enumerate() {
        attempt.discarded = quietest.is_some_and(|quietest| index != quietest);
    }
}

/// Once a round is over: what each subject's kernel memory has over the bare server's, and the sum with its own.
fn hold_against_bare(rounds: &mut [Round], round: usize) {
    let counts = |it: &&Round| it.round == round && !it.discarded && it.failed.is_none();
    let bare = rounds
        .iter()
        .filter(counts)
        .find(|it| it.subject == Subject::Bare.to_string());
    let Some(bare) = bare.and_then(|it| it.values.get(KERNEL_BYTES.key)).copied() else {
        return;
    };
    for it in rounds.iter_mut().filter(|it| it.round == round) {
        let kernel = it.values.get(KERNEL_BYTES.key);
        let user = it.values.get(USER_BYTES.key);
        if let (Some(kernel), Some(user)) = (kernel.copied(), user.copied()) {
            let over_bare = kernel - bare;
            it.values.insert(KERNEL_OVER_BARE.key.to_owned(), over_bare);
            it.values.insert(BYTES.key.to_owned(), user + over_bare);
            // A socket is the same at both ends; what a server has over the bare one's is at its own.
            let server = user + over_bare + bare / 2.0;
            let connections = it.report["established"].as_f64().unwrap_or_default();
            it.values
                .insert(SERVER_MIB.key.to_owned(), server * connections / MIB);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(subject: &str, steal: f64, values: &[(&str, f64)]) -> Round {
        let values = values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), *value));
        Round {
            steal,
            values: values.collect(),
            ..Round::of(subject, 0)
        }
    }

    #[test]
    fn of_several_attempts_the_quietest_that_worked_counts() {
        let mut attempts = [
            round("epoll", 0.2, &[]),
            round("epoll", 0.07, &[]),
            round("epoll", 0.0, &[]),
        ];
        attempts[2].failed = Some("lost".to_owned());
        discard_all_but_quietest(&mut attempts);
        assert_eq!(attempts.map(|it| it.discarded), [true, false, true]);
        let mut failed = [round("epoll", 0.2, &[])];
        failed[0].failed = Some("lost".to_owned());
        discard_all_but_quietest(&mut failed);
        assert!(!failed[0].discarded, "a failure is told");
    }

    #[test]
    fn kernel_memory_is_held_against_the_bare_server_of_the_round() {
        let memory = |subject, kernel, user| {
            let values = [(KERNEL_BYTES.key, kernel), (USER_BYTES.key, user)];
            round(subject, 0.0, &values)
        };
        let mut rounds = [memory("bare", 5000.0, 0.0), memory("epoll", 5230.0, 32.0)];
        hold_against_bare(&mut rounds, 0);
        assert_eq!(rounds[1].values[KERNEL_OVER_BARE.key], 230.0);
        assert_eq!(rounds[1].values[BYTES.key], 262.0);
    }
}
