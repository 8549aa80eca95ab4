//! `roadstead-bench headline`: the run that the product is judged by. Millions of connections on one port of this
//! host, opened, held, driven and drained on each engine in turn, every byte of the replies checked.
//!
//! ```text
//!  engine by engine:  roadstead-load tun --fit -- roadstead serve     (load)
//!                       └─ <engine>.json, .hgrm, .txt ── record ──┬─ one table (summary)
//!                                                                 └─ plots
//! ```

mod load;
mod summary;

use crate::cores::Cores;
use crate::folder::{self, Folder};
use crate::metric::{
    CPU_PER_MESSAGE, KERNEL_ONE_END, MESSAGES_PER_SECOND, Metric, P50, P99, P99_9, SERVER_MIB,
    USER_BYTES,
};
use crate::record::{Cell, FORMAT, Host, Round, Run};
use crate::run::interruption;
use crate::steal::Ticks;
use crate::subject::{Subject, repository};
use crate::{host, tun};
use anyhow::{bail, ensure};
use load::Load;
use roadstead::{Config, Engine, WatchPolicy};
use roadstead_host::HostRoot;
use roadstead_host::quantity::{grouped, parse_count};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Connections to hold; fewer, and the summary says so, where the host's memory does not hold as many
    #[arg(long, short, value_name = "N", value_parser = parse_count, default_value = "5M")]
    connections: u64,
    /// Engines, one after the other
    #[arg(
        long,
        value_name = "ENGINE",
        value_delimiter = ',',
        default_value = "uring,epoll"
    )]
    engine: Vec<Engine>,
    /// How the io_uring engine watches idle connections
    #[arg(long, value_name = "POLICY", default_value_t = Config::default().watch)]
    watch: WatchPolicy,
    /// Messages per second over all connections, replies or not
    #[arg(long, value_name = "RATE", default_value = "20k")]
    rate: String,
    /// Traffic before what is measured
    #[arg(long, value_name = "TIME", default_value = "10s")]
    warmup: String,
    /// Measured traffic
    #[arg(long, value_name = "TIME", default_value = "120s")]
    hold: String,
    /// Connections that are reset at once during the hold and come back: 1M, 90%, 1M@10s
    #[arg(long, value_name = "N|SHARE%[@TIME]")]
    stampede: Option<String>,
    /// What the run is called in its folder's name
    #[arg(long, default_value = "headline")]
    name: String,
    /// The folder to make [default: bench-results/DATE-HOST-NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Further flags for `roadstead-load tun`
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    load: Vec<String>,
    /// Further flags for `roadstead serve`
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    serve: Vec<String>,
}

/// What other runs can be compared by; the table has more.
const METRICS: [Metric; 8] = [
    USER_BYTES,
    KERNEL_ONE_END,
    SERVER_MIB,
    CPU_PER_MESSAGE,
    MESSAGES_PER_SECOND,
    P50,
    P99,
    P99_9,
];

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(why) = tun::refused() {
        bail!("{why}: run it as root, or hold sockets instead: `roadstead-bench demo`");
    }
    let subjects: Vec<Subject> = args.engine.iter().map(|it| subject(*it, args)).collect();
    let mut run = new_run(args, &subjects)?;
    let folder = Folder::create(&folder::place(args.out.as_deref(), &run))?;
    folder.save(&run)?;
    let interrupted = interruption()?;
    for subject in &subjects {
        eprintln!("\n{subject}");
        let before = Ticks::read(&HostRoot::live())?;
        let mut round = Round::of(&subject.to_string(), 0);
        let load = Load::new(args, subject, folder.path());
        let measured = load.run(&METRICS, &mut round);
        round.failed = measured.err().map(|error| format!("{error:#}"));
        round.steal = Ticks::read(&HostRoot::live())?.stolen_since(before);
        run.cells
            .iter_mut()
            .for_each(|it| it.rounds.push(round.clone()));
        folder.save(&run)?;
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    run.complete = !interrupted.load(Ordering::Relaxed);
    let place = folder.path().display().to_string();
    folder.finish(&run, summary::markdown)?;
    println!("{}", summary::markdown(&run, &[]));
    println!("kept in {place}");
    ensure!(run.complete, "interrupted: {place} is marked incomplete");
    let failed = run.cells.iter().flat_map(|cell| &cell.rounds);
    ensure!(
        failed.clone().all(|it| it.failed.is_none()),
        "not all went well: see {place}"
    );
    Ok(())
}

fn subject(engine: Engine, args: &Args) -> Subject {
    match engine {
        Engine::Epoll => Subject::Epoll,
        _ => Subject::Uring(args.watch),
    }
}

fn new_run(args: &Args, subjects: &[Subject]) -> anyhow::Result<Run> {
    let cores = Cores::read()?;
    let host = host::host(&cores);
    let all: Vec<usize> = [&host.server_cores[..], &host.client_cores].concat();
    Ok(Run {
        format: FORMAT,
        scenario: args.name.clone(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        began: host::now(),
        complete: false,
        commit: host::commit(&repository()),
        host: Host {
            server_cores: all.clone(),
            client_cores: all,
            ..host
        },
        subjects: subjects.iter().map(Subject::record).collect(),
        notes: vec![
            "The client's `write` to its TUN device runs the kernel's receive path, so part of the server's TCP \
             work is on the tool's account. `<engine>.json` is the load tool's report, `.hgrm` the whole latency \
             distribution, `.txt` what the tool said."
                .to_owned(),
        ],
        cells: vec![Cell {
            name: args.name.clone(),
            title: title(args),
            axis: None,
            metrics: METRICS.iter().map(Metric::record).collect(),
            not_run: None,
            rounds: Vec::new(),
        }],
    })
}

fn title(args: &Args) -> String {
    let (connections, rate) = (grouped(args.connections), &args.rate);
    let stampede = args.stampede.as_ref();
    let stampede = stampede.map_or(String::new(), |who| format!(", {who} reset"));
    format!("{connections} connections, {rate} messages per second{stampede}")
}
