//! Curves, one for each subject: latency by percentile, and memory against what there is to hold, on log axes.

use super::bars::median;
use super::{Picture, colour, picture};
use crate::metric::{CPU_PER_MESSAGE, P99};
use crate::record::{BARE, Cell, Metric, Run};
use crate::stats::Spread;
use kuva::prelude::{Layout, LinePlot, Plot, TickFormat};
use roadstead_host::quantity::grouped;
use std::collections::BTreeSet;
use std::sync::Arc;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;

/// The latency distribution of each cell that says anything of it: medians over the rounds.
pub(super) fn latencies(run: &Run) -> Vec<Picture> {
    run.cells
        .iter()
        .filter_map(|cell| latency(run, cell))
        .collect()
}

fn latency(run: &Run, cell: &Cell) -> Option<Picture> {
    let times = |metric: &Metric| metric.key == P99.key;
    if !cell.metrics.iter().any(times) {
        return None;
    }
    let lines = run.subjects.iter().filter_map(|subject| {
        let rounds: Vec<_> = cell.counted(&subject.name).collect();
        let points = rounds.first()?.latency_us.iter().enumerate();
        let points = points.filter_map(|(index, (quantile, _))| {
            let of_rounds = rounds
                .iter()
                .filter_map(|round| round.latency_us.get(index));
            let values: Vec<f64> = of_rounds.map(|(_, us)| *us).collect();
            Some((1.0 / (1.0 - quantile), Spread::of(&values)?.median))
        });
        line(&subject.name, colour(run, subject), points.collect())
    });
    let plots: Vec<Plot> = lines.collect();
    let layout = log_log(&plots)?
        .with_x_label("percentile")
        .with_y_label("µs")
        .with_x_tick_format(TickFormat::Custom(Arc::new(percentile)));
    let title = format!("Latency: {}", cell.title);
    Some(picture(
        &format!("latency-{}", cell.name),
        &title,
        plots,
        layout,
    ))
}

/// `1 / (1 - quantile)` as people write it: 100 is 99 %.
fn percentile(one_in: f64) -> String {
    let nines = one_in.log10().round().max(0.0) as usize;
    let percent = 100.0 - 100.0 / one_in;
    format!("{percent:.*} %", nines.saturating_sub(2))
}

/// 0.05, 20, 1,000,000.
fn number(value: f64) -> String {
    if value >= 1.0 {
        grouped(value.round() as u64)
    } else {
        format!("{}", (value * 1e6).round() / 1e6)
    }
}

/// Memory, and CPU time per message, along each axis.
pub(super) fn along_axes(run: &Run) -> Vec<Picture> {
    let axes: BTreeSet<&str> = run
        .cells
        .iter()
        .filter_map(|cell| Some(cell.axis.as_ref()?.name.as_str()))
        .collect();
    let mut pictures = Vec::new();
    for axis in axes {
        let on_axis = |cell: &&Cell| cell.axis.as_ref().is_some_and(|it| it.name == axis);
        let cells: Vec<&Cell> = run.cells.iter().filter(on_axis).collect();
        let mut metrics: Vec<&Metric> = Vec::new();
        for metric in cells.iter().flat_map(|cell| &cell.metrics) {
            let is_memory = metric.key.ends_with("bytes") || metric.key.ends_with("_mib");
            let is_cost = metric.key == CPU_PER_MESSAGE.key;
            if (is_memory || is_cost) && !metrics.contains(&metric) {
                metrics.push(metric);
            }
        }
        let curves = metrics.iter().filter_map(|it| curve(run, axis, &cells, it));
        pictures.extend(curves);
    }
    pictures
}

fn curve(run: &Run, axis: &str, cells: &[&Cell], metric: &Metric) -> Option<Picture> {
    let subjects = run.subjects.iter().filter(|it| it.family != BARE);
    let lines = subjects.filter_map(|subject| {
        let points = cells.iter().filter_map(|cell| {
            let value = cell.axis.as_ref()?.value;
            Some((value, median(cell, subject, &metric.key)?))
        });
        let mut points: Vec<(f64, f64)> = points.collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        line(&subject.name, colour(run, subject), points)
    });
    let plots: Vec<Plot> = lines.collect();
    let layout = log_log(&plots)?
        .with_x_label(axis)
        .with_y_label(metric.title.as_str());
    let title = format!("{}, against {axis}", metric.title);
    Some(picture(
        &format!("{axis}-{}", metric.key),
        &title,
        plots,
        layout,
    ))
}

/// What a log axis can show of it; `None` if that is no line.
fn line(name: &str, colour: &str, mut points: Vec<(f64, f64)>) -> Option<Plot> {
    points.retain(|(x, y)| *x > 0.0 && *y > 0.0);
    let line = LinePlot::new()
        .with_color(colour)
        .with_legend(name)
        .with_stroke_width(2.0);
    (points.len() > 1).then(|| Plot::Line(line.with_data(points)))
}

/// `None` without a line.
fn log_log(plots: &[Plot]) -> Option<Layout> {
    let layout = Layout::auto_from_plots(plots)
        .with_log_scale()
        .with_tick_format(TickFormat::Custom(Arc::new(number)));
    (!plots.is_empty()).then(|| layout.with_width(WIDTH).with_height(HEIGHT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_written_as_people_write_them() {
        let all = [1.0, 10.0, 100.0, 1_000.0, 10_000.0].map(percentile);
        assert_eq!([0.1, 20.0, 1e6].map(number), ["0.1", "20", "1,000,000"]);
        assert_eq!(all, ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }
}
