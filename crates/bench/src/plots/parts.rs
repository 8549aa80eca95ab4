//! Where the memory of a connection lies: a bar for each subject, made of the server's own memory and of the
//! kernel's slab caches.

use super::{Picture, picture};
use crate::metric::{KERNEL_ONE_END, USER_BYTES};
use crate::record::{Cell, Round, Run};
use kuva::prelude::{BarPlot, Layout, Plot};
use std::collections::BTreeMap;

const WIDTH: f64 = 760.0;
/// For title, axis and legend, and for each bar.
const HEIGHT: f64 = 260.0;
const BAR_HEIGHT: f64 = 40.0;
/// The server's, then the caches in turn, the last for all that are not told by name.
const COLOURS: [&str; 8] = [
    "#e07b24", "#2f81f7", "#22a7a0", "#6e7ff3", "#c9a227", "#b453c9", "#3fa34d", "#7d8590",
];
const SERVER: &str = "server";
const OTHERS: &str = "other caches";

/// A picture for each cell that tells the server's end of its connections by cache.
pub(super) fn by_part(run: &Run) -> Vec<Picture> {
    let picture = |cell: &Cell| {
        let bars = run.subjects.iter().filter_map(|subject| {
            let round = cell.counted(&subject.name).last()?;
            let values = &round.values;
            let (user, kernel) = (values.get(USER_BYTES.key)?, values.get(KERNEL_ONE_END.key)?);
            Some((round, *user, *kernel))
        });
        let bars: Vec<(&Round, f64, f64)> = bars.collect();
        (!bars.is_empty()).then(|| stacked(&cell.name, &cell.title, &bars))
    };
    run.cells.iter().filter_map(picture).collect()
}

fn stacked(name: &str, title: &str, bars: &[(&Round, f64, f64)]) -> Picture {
    let caches = largest(bars);
    let mut plot = BarPlot::new().with_horizontal(true).with_width(0.7);
    for (round, user, kernel) in bars {
        let told = caches.iter().map(|it| round.caches.get(*it).copied());
        let told: Vec<f64> = told.map(Option::unwrap_or_default).collect();
        let others = (kernel - told.iter().sum::<f64>()).max(0.0);
        let parts = [&[user.max(0.0)], &told[..], &[others]].concat();
        let label = format!("{}  {:.0}", round.subject, user + kernel);
        plot = plot.with_group(label, parts.into_iter().zip(colours(caches.len())));
    }
    let legend = [&[SERVER], &caches[..], &[OTHERS]].concat();
    let plots = vec![Plot::Bar(plot.with_legend(legend).with_stacked())];
    let layout = Layout::auto_from_plots(&plots)
        .with_width(WIDTH)
        .with_height(HEIGHT + BAR_HEIGHT * bars.len() as f64);
    let title = format!("Bytes per connection: {title}");
    picture(&format!("parts-{name}"), &title, plots, layout)
}

/// As many caches as there are colours for, by what they take of all bars together.
fn largest<'a>(bars: &[(&'a Round, f64, f64)]) -> Vec<&'a str> {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, bytes) in bars.iter().flat_map(|(round, ..)| &round.caches) {
        *sums.entry(name).or_default() += bytes;
    }
    let mut sums: Vec<(&str, f64)> = sums.into_iter().collect();
    sums.sort_by(|one, other| other.1.total_cmp(&one.1));
    let names = sums.into_iter().map(|(name, _)| name);
    names.take(COLOURS.len() - 2).collect()
}

fn colours(caches: usize) -> impl Iterator<Item = &'static str> {
    let last = COLOURS[COLOURS.len() - 1];
    COLOURS.into_iter().take(1 + caches).chain([last])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::run;

    #[test]
    fn a_bar_is_made_of_the_server_the_caches_and_the_rest() {
        let mut run = run();
        assert!(by_part(&run).is_empty());
        let round = &mut run.cells[0].rounds[0];
        for (key, bytes) in [(USER_BYTES.key, 33.0), (KERNEL_ONE_END.key, 3_000.0)] {
            round.values.insert(key.to_owned(), bytes);
        }
        for cache in 0..10 {
            round
                .caches
                .insert(format!("cache{cache}"), f64::from(cache * 10));
        }
        run.cells[0].rounds.truncate(1);
        let pictures = by_part(&run);
        let svg = &pictures[0].svg;
        assert!(svg.contains("epoll  3033") && svg.contains("cache9") && svg.contains(OTHERS));
        assert!(
            !svg.contains("cache3"),
            "one of the smallest: there are more than colours"
        );
    }
}
