//! One line that says how far a long run is.

use indicatif::{ProgressBar, ProgressStyle};
use roadstead_load::Phase;

/// The line; gone when the run is over.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// So many measurements are to be made.
    pub(crate) fn new(measurements: usize) -> Self {
        let bar = ProgressBar::new(measurements as u64);
        let template = "{prefix:<36} {msg:<18} {wide_bar} {pos}/{len}, {eta} left";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        Self { bar }
    }

    pub(crate) fn begin(&self, cell: &str, subject: &str) {
        self.bar.set_prefix(format!("{cell}  {subject}"));
        self.bar.set_message("start");
    }

    /// Tells the phase, and how many connections are open.
    pub(crate) fn phase(&self, phase: Phase, so_far: &roadstead_load::Progress) {
        let phase = format!("{phase:?}").to_lowercase();
        self.bar
            .set_message(format!("{phase} {}", so_far.counters.open));
        self.bar.tick();
    }

    pub(crate) fn step(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
