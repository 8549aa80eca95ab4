//! `roadstead-bench run`: scenarios over subjects, into a folder of their own.

use crate::cores::Cores;
use crate::folder::{self, Folder};
use crate::record::{self, FORMAT, Run};
use crate::runner::Runner;
use crate::scenarios::{self, Cell, Scale, Scenario};
use crate::subject::{Contenders, Subject, repository};
use crate::{host, summary};
use anyhow::{Context, bail, ensure};
use clap::builder::PossibleValuesParser;
use roadstead_host::raise_nofile;
use signal_hook::consts::SIGINT;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure: names of scenarios, or all
    #[arg(required = true, value_parser = PossibleValuesParser::new(names()))]
    scenarios: Vec<String>,
    /// Who is measured: epoll, uring/POLICY, bare, contenders by name, or ours, contenders, all; the first is
    /// what ratios refer to
    #[arg(long, value_delimiter = ',', default_value = "all")]
    subjects: Vec<String>,
    /// Interleaved rounds [default: 3 for memory, 5 for the rest]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Seconds of traffic before what is measured: `adaptive` takes two to tell who is busy
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    warmup: f64,
    /// Measured seconds of traffic
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
    /// Only cells with this in their name, such as echo/1000
    #[arg(long, value_name = "TEXT")]
    cells: Option<String>,
    /// Connections of a cell at most: for a look at how it goes
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    connections_max: usize,
    /// What the run is called in its folder's name [default: its scenarios]
    #[arg(long)]
    name: Option<String>,
    /// The folder to make [default: bench-results/DATE-HOST-NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where contenders are [default: crates/contenders/target/release of this repository]
    #[arg(long, value_name = "DIR")]
    contenders: Option<PathBuf>,
    /// Further flags for `roadstead serve`
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    serve: Vec<String>,
}

fn names() -> Vec<&'static str> {
    let all = scenarios::ALL.iter().map(|scenario| scenario.name);
    all.chain(["all"]).collect()
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.rounds != Some(0), "--rounds must be at least 1");
    raise_nofile()?;
    let contenders = Contenders::find(args.contenders.as_deref())?;
    let subjects = subjects(args, &contenders)?;
    let cores = Cores::read()?;
    let cells = cells(args, &cores)?;
    let mut run = new_run(args, &contenders, &subjects, &cores);
    let folder = Folder::create(&folder::place(args.out.as_deref(), &run))?;
    folder.save(&run)?;
    let interrupted = interruption()?;
    let runner = Runner {
        folder: &folder,
        contenders: &contenders,
        subjects: &subjects,
        cores: &cores,
        serve: &args.serve,
        interrupted,
    };
    let result = runner.run(&cells, &mut run);
    let place = folder.path().display().to_string();
    folder.finish(&run, summary::markdown)?;
    result?;
    println!("{}", summary::markdown(&run, &[]));
    println!("kept in {place}");
    ensure!(run.complete, "interrupted: {place} is marked incomplete");
    Ok(())
}

/// Raised by the first Ctrl-C, which keeps what was measured; the second ends the process.
pub(crate) fn interruption() -> anyhow::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&interrupted))?;
    signal_hook::flag::register(SIGINT, Arc::clone(&interrupted))?;
    Ok(interrupted)
}

fn subjects(args: &Args, contenders: &Contenders) -> anyhow::Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for name in &args.subjects {
        let others = contenders.names().into_iter().map(Subject::Contender);
        let named: Vec<Subject> = match name.as_str() {
            "ours" => Subject::ours(),
            "contenders" => others.collect(),
            "all" => Subject::ours().into_iter().chain(others).collect(),
            name => vec![name.parse().map_err(anyhow::Error::msg)?],
        };
        for subject in named {
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        }
    }
    if subjects.is_empty() {
        bail!("no subject: no contender is built; see scripts/contenders.sh");
    }
    if !subjects.contains(&Subject::Bare) {
        subjects.push(Subject::Bare);
    }
    Ok(subjects)
}

/// The wanted cells, each with its rounds.
fn cells(args: &Args, cores: &Cores) -> anyhow::Result<Vec<(Cell, usize)>> {
    let scale = Scale {
        warmup: seconds(args.warmup, "--warmup")?,
        hold: seconds(args.seconds, "--seconds")?,
        connections_max: args.connections_max.max(1),
        client_threads: cores.client().len(),
    };
    let wanted = |scenario: &&Scenario| {
        let names = &args.scenarios;
        names
            .iter()
            .any(|name| name == scenario.name || name == "all")
    };
    let mut cells = Vec::new();
    for scenario in scenarios::ALL.iter().filter(wanted) {
        let rounds = args.rounds.unwrap_or(scenario.rounds);
        cells.extend(
            scenario
                .cells(&scale)
                .into_iter()
                .map(|cell| (cell, rounds)),
        );
    }
    if let Some(text) = &args.cells {
        cells.retain(|(cell, _)| cell.name.contains(text));
        ensure!(!cells.is_empty(), "no cell has '{text}' in its name");
    }
    Ok(cells)
}

fn seconds(seconds: f64, flag: &str) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{flag} {seconds}"))
}

fn new_run(args: &Args, contenders: &Contenders, subjects: &[Subject], cores: &Cores) -> Run {
    let subject = |subject: &Subject| match subject {
        Subject::Contender(name) => record::Subject {
            version: contenders.version(name).map(str::to_owned),
            missing: contenders.missing(name),
            ..subject.record()
        },
        _ => subject.record(),
    };
    Run {
        format: FORMAT,
        scenario: args
            .name
            .clone()
            .unwrap_or_else(|| args.scenarios.join("+")),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        began: host::now(),
        complete: false,
        commit: host::commit(&repository()),
        host: host::host(cores),
        subjects: subjects.iter().map(subject).collect(),
        notes: notes(),
        cells: Vec::new(),
    }
}

fn notes() -> Vec<String> {
    if nix::unistd::geteuid().is_root() {
        return Vec::new();
    }
    vec![
        "Kernel objects were not counted: `/proc/slabinfo` needs root. Run it with sudo for kernel bytes."
            .to_owned(),
    ]
}
