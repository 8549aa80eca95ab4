//! What a run shows while it goes on: two live lines on a terminal, a plain line now and then elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use roadstead_host::quantity::grouped;
use roadstead_load::{Observer, Phase, Progress};
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Shows progress on standard error; ends the run when it is told to stop.
pub(super) struct LiveProgress {
    connections: usize,
    stop: Arc<AtomicBool>,
    bar: ProgressBar,
    terminal: bool,
    /// When the last plain line was printed, and what was shown last, for the rates.
    plain_at: Duration,
    last: Option<Progress>,
}

impl LiveProgress {
    pub(super) fn new(connections: usize, stop: Arc<AtomicBool>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style =
            ProgressStyle::with_template("{prefix:>8} {wide_bar:.cyan/black} {elapsed}\n{msg}")
                .expect("a valid template");
        let bar = ProgressBar::with_draw_target(Some(connections as u64), target).with_style(style);
        Self {
            connections,
            stop,
            bar,
            terminal,
            plain_at: Duration::ZERO,
            last: None,
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Connections, rate, errors and p99 so far, in one line.
    fn line(&self, progress: &Progress) -> String {
        let counters = &progress.counters;
        let since = self.last.map_or(Duration::ZERO, |last| last.elapsed);
        let seconds = (progress.elapsed - since).as_secs_f64().max(1e-3);
        let before = self.last.map_or(0, |last| last.counters.messages);
        let rate = (counters.messages - before) as f64 / seconds;
        format!(
            "{} of {} open, {} messages/s, {} errors, p99 {:.1} ms",
            grouped(counters.open),
            grouped(self.connections as u64),
            grouped(rate as u64),
            grouped(counters.errors()),
            progress.p99_ns as f64 / 1e6,
        )
    }
}

impl Observer for LiveProgress {
    fn phase_over(&mut self, phase: Phase, progress: &Progress) {
        if !self.terminal && phase == Phase::Connect {
            eprintln!(
                "{:7.1} s  {phase:?} is over: {}",
                progress.elapsed.as_secs_f64(),
                self.line(progress)
            );
            self.plain_at = progress.elapsed;
            self.last = Some(*progress);
        }
    }

    fn tick(&mut self, phase: Phase, progress: &Progress) -> ControlFlow<()> {
        if self.terminal {
            self.bar.set_position(progress.counters.open);
            self.bar.set_prefix(format!("{phase:?}"));
            self.bar.set_message(self.line(progress));
            self.last = Some(*progress);
        } else if progress.elapsed - self.plain_at >= PLAIN_EVERY {
            eprintln!(
                "{:7.1} s  {phase:?}: {}",
                progress.elapsed.as_secs_f64(),
                self.line(progress)
            );
            self.plain_at = progress.elapsed;
            self.last = Some(*progress);
        }
        if self.stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}
