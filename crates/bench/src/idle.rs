//! Bytes per idle connection: kernel objects and resident memory, against a bare accepted socket.

use crate::measure::{Measured, measure};
use crate::subject::Subject;
use crate::table::table;
use anyhow::{Context, ensure};
use roadstead_host::{HostRoot, SlabSnapshot, SlabSource};
use roadstead_load::Workload;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Idle connections
    #[arg(long, default_value_t = 15_000)]
    connections: usize,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    subject: String,
    connections: u64,
    /// Slab objects, both ends of each connection.
    kernel_bytes_both_ends: f64,
    /// What this server's side has over a bare accepted socket.
    kernel_bytes_over_bare: f64,
    /// Growth of the server's resident memory.
    user_bytes: f64,
    /// Slab bytes per connection by cache, both ends.
    caches: BTreeMap<String, f64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let source = SlabSnapshot::read(&HostRoot::live())?.source;
    ensure!(
        source == SlabSource::Slabinfo,
        "kernel objects are counted in /proc/slabinfo, which needs root; run it with sudo"
    );
    // The first run fills the allocator's caches, which are counted as objects in use.
    one(args, Subject::Bare)?;
    let bare = one(args, Subject::Bare)?;
    let mut rows = vec![row(Subject::Bare, &bare, &bare)];
    for subject in Subject::ours() {
        let measured = one(args, subject).with_context(|| format!("{subject}"))?;
        rows.push(row(subject, &measured, &bare));
    }
    if args.json {
        println!("{}", serde_json::to_string(&rows)?);
        return Ok(());
    }
    println!(
        "{} idle connections, bytes per connection",
        args.connections
    );
    let mut table = table([
        "subject",
        "kernel, over a bare socket",
        "kernel, both ends",
        "user (RSS growth)",
    ]);
    for row in &rows {
        table.add_row([
            row.subject.clone(),
            format!("{:.0}", row.kernel_bytes_over_bare),
            format!("{:.0}", row.kernel_bytes_both_ends),
            format!("{:.1}", row.user_bytes),
        ]);
    }
    println!("{table}");
    Ok(())
}

fn one(args: &Args, subject: Subject) -> anyhow::Result<Measured> {
    let server = subject.start(&["--workers".to_owned(), "1".to_owned()])?;
    let workload = Workload {
        connections: args.connections,
        idle: Duration::from_secs(1),
        hold: Duration::from_millis(1),
        ..Workload::default()
    };
    let measured = measure(&server, workload, &mut |_, _| {})?;
    if subject != Subject::Bare {
        server.drain()?;
    }
    Ok(measured)
}

fn row(subject: Subject, measured: &Measured, bare: &Measured) -> Row {
    let both = measured.kernel_bytes_both_ends();
    let per_connection = |bytes: i64| bytes as f64 / measured.connections as f64;
    Row {
        subject: subject.to_string(),
        connections: measured.connections,
        kernel_bytes_both_ends: both,
        kernel_bytes_over_bare: both - bare.kernel_bytes_both_ends(),
        user_bytes: measured.user_bytes,
        caches: measured
            .kernel
            .caches
            .iter()
            .map(|(name, bytes)| (name.clone(), per_connection(*bytes)))
            .filter(|(_, bytes)| bytes.abs() >= 1.0)
            .collect(),
    }
}
