//! One engine's part: the load tool, which starts the server, and what both leave behind in the run's folder.

use super::Args;
use crate::metric::{MIB, Metric};
use crate::record::Round;
use crate::subject::{Subject, beside, server_binary};
use crate::tun;
use anyhow::{Context, bail};
use roadstead_host::{HostRoot, SlabSnapshot};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What millions of connections need at the most to be closed in order.
const DRAIN_TIMEOUT: &str = "300s";
/// Longer, so that the server's own limit decides.
const SERVER_STOP: &str = "330s";
/// Workers by the hundred take a moment to start.
const SERVER_WAIT: &str = "60s";
/// How long the server may be silent while it drains.
const GRACE: &str = "60s";

/// Kernel memory that was there after all had ended and not before, in MiB.
pub(super) const SLAB_STAYED_MIB: &str = "slab_stayed_mib";

pub(super) struct Load<'a> {
    args: &'a Args,
    subject: &'a Subject,
    folder: &'a Path,
}

impl<'a> Load<'a> {
    pub(super) fn new(args: &'a Args, subject: &'a Subject, folder: &'a Path) -> Self {
        Self {
            args,
            subject,
            folder,
        }
    }

    /// Makes the run; what the tool reports is kept even if it found errors.
    pub(super) fn run(&self, metrics: &[Metric], round: &mut Round) -> anyhow::Result<()> {
        let before = SlabSnapshot::read(&HostRoot::live())?;
        let mut load = Command::new(beside("roadstead-load")?);
        load.args(self.flags()?).stdin(Stdio::null());
        load.stdout(File::create(self.file("txt"))?);
        let status = load.status().context("cannot start roadstead-load")?;
        let after = SlabSnapshot::read(&HostRoot::live())?;
        let Ok(report) = fs::read(self.file("json")) else {
            bail!("roadstead-load ended with {status} and left no report: see what it said above");
        };
        tun::keep(round, metrics, serde_json::from_slice(&report)?);
        let stayed = after.total_bytes as f64 - before.total_bytes as f64;
        round
            .values
            .insert(SLAB_STAYED_MIB.to_owned(), stayed / MIB);
        round.latency_us = curve(&fs::read_to_string(self.file("hgrm"))?);
        if !status.success() {
            bail!("roadstead-load ended with {status}: the errors are in the table");
        }
        Ok(())
    }

    fn file(&self, ending: &str) -> PathBuf {
        let name = self.subject.to_string().replace('/', "-");
        self.folder.join(format!("{name}.{ending}"))
    }

    fn flags(&self) -> anyhow::Result<Vec<String>> {
        let args = self.args;
        let Some((engine, watch)) = self.subject.engine() else {
            bail!("{} is not one of ours", self.subject);
        };
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let connections = args.connections.to_string();
        let (json, hgrm) = (path(self.file("json")), path(self.file("hgrm")));
        let mut flags = words(&[
            "tun",
            "--fit",
            "--end",
            "server",
            "--connections",
            &connections,
        ]);
        flags.extend(words(&[
            "--rate",
            &args.rate,
            "--warmup",
            &args.warmup,
            "--hold",
            &args.hold,
        ]));
        flags.extend(words(&[
            "--server-wait",
            SERVER_WAIT,
            "--server-stop",
            SERVER_STOP,
        ]));
        flags.extend(words(&["--grace", GRACE, "--json", &json, "--hgrm", &hgrm]));
        if let Some(stampede) = &args.stampede {
            flags.extend(words(&["--stampede", stampede]));
        }
        flags.extend_from_slice(&args.load);
        flags.extend(words(&["--", &path(server_binary()?), "serve", "--json"]));
        flags.extend(words(&[
            "--listen",
            "0.0.0.0:8080",
            "--max-connections",
            "{connections}",
        ]));
        flags.extend(words(&[
            "--steering",
            "cpu",
            "--drain-timeout",
            DRAIN_TIMEOUT,
        ]));
        flags.extend(words(&["--engine", engine.name(), "--watch", watch.name()]));
        flags.extend_from_slice(&args.serve);
        Ok(flags)
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Quantiles and microseconds out of HdrHistogram's text: milliseconds, the quantile, and more.
fn curve(hgrm: &str) -> Vec<(f64, f64)> {
    let point = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<f64>);
        let (ms, quantile) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some((quantile, ms * 1e3))
    };
    // The last has no place on an axis of nines.
    let points = hgrm.lines().filter_map(point);
    points.filter(|(quantile, _)| *quantile < 1.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_the_quantiles_below_one() {
        let hgrm = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n\
                    0.125 0.500000000000 10 2.00\n   1.500 0.990000000000 19 100.00\n\
                    2.000 1.000000000000 20 \n#[Mean    = 0.2, StdDeviation   = 0.1]\n";
        assert_eq!(curve(hgrm), [(0.5, 125.0), (0.99, 1500.0)]);
    }
}
