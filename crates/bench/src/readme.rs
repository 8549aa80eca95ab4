//! The head of a run's folder: how it was made, where, and what must be known before it is quoted.

use crate::record::Run;
use crate::runner::{ATTEMPTS_MAX, STEAL_MAX};
use crate::stats::Spread;
use roadstead_host::quantity::binary_bytes;
use std::fmt::Write;

pub(crate) fn markdown(run: &Run) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line(&format!("# {}\n", run.scenario));
    if !run.complete {
        line("**Incomplete**: the run was ended before its end.\n");
    }
    line(&format!("- **Command**: `{}`", run.command));
    line(&format!("- **Began**: {}", run.began));
    let dirty = if run.commit.dirty {
        ", with uncommitted changes"
    } else {
        ""
    };
    line(&format!("- **Commit**: `{}`{dirty}", run.commit.id));
    let host = &run.host;
    line(&format!(
        "- **Host**: {}: {} cores ({}), {}, Linux {}, {} descriptors per process",
        host.name,
        host.cores,
        host.processor,
        binary_bytes(host.memory_bytes),
        host.kernel,
        host.nofile_hard
    ));
    line(&format!(
        "- **Cores**: server {:?}, client {:?}",
        host.server_cores, host.client_cores
    ));
    line(&steal(run));
    line("\n| subject | version | |\n|---|---|---|");
    for subject in &run.subjects {
        let version = subject.version.as_deref().unwrap_or("–");
        let missing = subject.missing.as_ref();
        let missing = missing.map_or(String::new(), |why| format!("missing: {why}"));
        line(&format!("| {} | {version} | {missing} |", subject.name));
    }
    let _ = write!(out, "{}", failures(run));
    for note in &run.notes {
        let _ = writeln!(out, "\n{note}");
    }
    out.push_str(
        "\n`summary.md` has the tables, `raw.json` every round with the load tool's report.\n",
    );
    out
}

fn steal(run: &Run) -> String {
    let rounds = run.cells.iter().flat_map(|cell| &cell.rounds);
    let shares: Vec<f64> = rounds.clone().map(|round| round.steal).collect();
    let Some(spread) = Spread::of(&shares) else {
        return "- **Steal**: nothing was measured".to_owned();
    };
    let repeated = rounds.clone().filter(|round| round.discarded).count();
    let kept = rounds.filter(|round| !round.discarded && round.steal > STEAL_MAX);
    format!(
        "- **Steal**: {:.1} % of all cores' time ({:.1} – {:.1}); above {:.0} % a measurement of seconds is repeated, up to \
         {} times, and the quietest one counts: {repeated} were discarded, {} count in spite of it",
        spread.median * 100.0,
        spread.min * 100.0,
        spread.max * 100.0,
        STEAL_MAX * 100.0,
        ATTEMPTS_MAX - 1,
        kept.count()
    )
}

fn failures(run: &Run) -> String {
    let mut out = String::new();
    for cell in &run.cells {
        if let Some(why) = &cell.not_run {
            let _ = writeln!(out, "- not run: {}: {why}", cell.name);
        }
        for subject in &run.subjects {
            if let Some(why) = cell.failures(&subject.name).first() {
                let _ = writeln!(out, "- failed: {}, {}: {why}", cell.name, subject.name);
            }
        }
    }
    if !out.is_empty() {
        out.insert(0, '\n');
    }
    out
}
