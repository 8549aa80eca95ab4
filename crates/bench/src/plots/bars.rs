//! Bars, one for each subject, the first on top.

use super::{Picture, REFERENCE, colour, picture};
use crate::metric::{KERNEL_BYTES, USER_BYTES};
use crate::record::{BARE, Cell, Run, Subject};
use crate::stats::Spread;
use kuva::prelude::{BarPlot, Layout, Plot, ReferenceLine};
use std::fmt::Write;

const WIDTH: f64 = 760.0;
/// For title and axis, and for each bar.
const HEIGHT: f64 = 110.0;
const BAR_HEIGHT: f64 = 26.0;

/// What a connection takes at both ends together, in the cell with the most of them, with the bare sockets as a line.
pub(super) fn bytes_per_connection(run: &Run) -> Option<Picture> {
    let total = |cell: &Cell, subject: &Subject| {
        let kernel = median(cell, subject, KERNEL_BYTES.key)?;
        Some(kernel + median(cell, subject, USER_BYTES.key)?)
    };
    let has_totals = |cell: &&Cell| run.subjects.iter().any(|it| total(cell, it).is_some());
    let by_size = |cell: &&Cell| cell.axis.as_ref().map_or(0, |axis| axis.value as u64);
    let cell = run.cells.iter().filter(has_totals).max_by_key(by_size)?;
    let (bare, others): (Vec<&Subject>, Vec<&Subject>) =
        run.subjects.iter().partition(|it| it.family == BARE);
    let values = others.iter().filter_map(|it| Some((*it, total(cell, it)?)));
    let bare = bare.first().and_then(|it| total(cell, it));
    let mut title = format!(
        "Bytes per connection, server and both sockets: {}",
        cell.title
    );
    if let Some(bytes) = bare {
        let _ = write!(title, "; dashed: bare sockets, {bytes:.0}");
    }
    let values: Vec<_> = values.collect();
    Some(bars(run, "bytes-per-connection", &title, &values, 0, bare))
}

/// CPU time by subject, for each cell that is about it.
pub(super) fn costs(run: &Run) -> Vec<Picture> {
    let of_cell = |cell: &Cell| {
        let metric = cell.metrics.first()?;
        if !metric.key.starts_with("cpu_us") {
            return None;
        }
        let values: Vec<_> = run
            .subjects
            .iter()
            .filter_map(|it| Some((it, median(cell, it, &metric.key)?)))
            .collect();
        let title = format!("{}: {}", metric.title, cell.title);
        (!values.is_empty()).then(|| bars(run, &cell.name, &title, &values, metric.decimals, None))
    };
    run.cells.iter().filter_map(of_cell).collect()
}

pub(super) fn median(cell: &Cell, subject: &Subject, metric: &str) -> Option<f64> {
    Some(Spread::of(&cell.values(&subject.name, metric))?.median)
}

fn bars(
    run: &Run,
    file: &str,
    title: &str,
    values: &[(&Subject, f64)],
    decimals: usize,
    dashed: Option<f64>,
) -> Picture {
    let mut plot = BarPlot::new().with_horizontal(true).with_width(0.7);
    // The first category is the lowest.
    for (subject, value) in values.iter().rev() {
        let label = format!("{}  {value:.decimals$}", subject.name);
        plot = plot.with_colored_bar(label, *value, colour(run, subject));
    }
    let plots = vec![Plot::Bar(plot)];
    let mut layout = Layout::auto_from_plots(&plots)
        .with_width(WIDTH)
        .with_height(HEIGHT + BAR_HEIGHT * values.len() as f64);
    if let Some(value) = dashed {
        let line = ReferenceLine::vertical(value).with_color(REFERENCE);
        layout = layout.with_reference_line(line);
    }
    picture(file, title, plots, layout)
}
