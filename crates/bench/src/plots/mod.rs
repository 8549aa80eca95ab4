//! Pictures of a run, as SVG that reads on a light and on a dark page: no background, colours of middling lightness.
//!
//! ```text
//!  bars     bytes per connection beside the bare socket; what a message or a connection costs
//!  parts    where the memory of a connection lies
//!  curves   latency by percentile; memory against connections, and against what is in flight
//! ```

mod bars;
mod curves;
mod parts;

use crate::record::{BARE, EPOLL, Run, Subject, URING};
use kuva::prelude::{Layout, Plot, Theme, render_to_svg};

/// A picture and what it is called.
pub(crate) struct Picture {
    pub(crate) file: String,
    pub(crate) title: String,
    pub(crate) svg: String,
}

/// All pictures that a run has the numbers for.
pub(crate) fn of(run: &Run) -> Vec<Picture> {
    let bytes = bars::bytes_per_connection(run);
    let pictures = bytes.into_iter().chain(bars::costs(run));
    pictures
        .chain(parts::by_part(run))
        .chain(curves::latencies(run))
        .chain(curves::along_axes(run))
        .collect()
}

/// Text and axes: as far from white as from black.
const INK: &str = "#7d8590";
const GRID: &str = "#7d859040";
const REFERENCE: &str = "#d1242f";
/// What fits in a line.
const TITLE_CHARACTERS: usize = 60;
const FONT: &str = "system-ui, sans-serif";
/// Ours in blues, epoll in orange, the others in what is left.
const URING_COLOURS: [&str; 5] = ["#2f81f7", "#1f9fd0", "#6e7ff3", "#22a7a0", "#5a6acf"];
const EPOLL_COLOUR: &str = "#e07b24";
const OTHER_COLOURS: [&str; 9] = [
    "#3fa34d", "#b453c9", "#c9a227", "#d0567f", "#8a9a3b", "#9b6b4a", "#4aa58c", "#a05a5a",
    "#8f7fb8",
];

/// A colour for each subject, the same in every picture of a run.
fn colour(run: &Run, subject: &Subject) -> &'static str {
    let kind = |it: &Subject| match it.family.as_str() {
        EPOLL => 0,
        URING => 1,
        _ => 2,
    };
    let alike = run.subjects.iter().filter(|it| kind(it) == kind(subject));
    let place = alike.take_while(|it| it.name != subject.name).count();
    match kind(subject) {
        0 => EPOLL_COLOUR,
        1 => URING_COLOURS[place % URING_COLOURS.len()],
        _ if subject.family == BARE => INK,
        _ => OTHER_COLOURS[place % OTHER_COLOURS.len()],
    }
}

fn picture(file: &str, title: &str, plots: Vec<Plot>, layout: Layout) -> Picture {
    let theme = Theme {
        background: "none".to_owned(),
        axis_color: INK.to_owned(),
        grid_color: GRID.to_owned(),
        tick_color: INK.to_owned(),
        text_color: INK.to_owned(),
        legend_bg: "none".to_owned(),
        legend_border: "none".to_owned(),
        font_family: Some(FONT.to_owned()),
        ..Theme::light()
    };
    let layout = layout
        .with_theme(theme)
        .with_title(title)
        .with_title_size(15)
        .with_title_wrap(TITLE_CHARACTERS);
    Picture {
        file: format!("{}.svg", file.replace(['/', ' ', '.'], "-")),
        title: title.to_owned(),
        svg: render_to_svg(plots, layout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::run;

    #[test]
    fn a_run_without_the_numbers_for_a_picture_has_none() {
        assert!(of(&run()).is_empty());
    }

    #[test]
    fn every_subject_has_a_colour_of_its_own() {
        let run = run();
        let colours: std::collections::BTreeSet<_> =
            run.subjects.iter().map(|it| colour(&run, it)).collect();
        assert_eq!(colours.len(), run.subjects.len());
    }

    #[test]
    fn pictures_have_no_background_and_name_their_subjects() {
        let mut run = run();
        for cell in &mut run.cells {
            cell.metrics[0].key = "cpu_us_per_message".to_owned();
            cell.metrics[1].key = "p99_us".to_owned();
            for round in &mut cell.rounds {
                let cost = round.values["cost"];
                round.values.insert("cpu_us_per_message".to_owned(), cost);
                round.latency_us = vec![(0.5, cost), (0.75, 2.0 * cost), (0.875, 4.0 * cost)];
            }
        }
        let pictures = of(&run);
        let files: Vec<_> = pictures.iter().map(|it| it.file.as_str()).collect();
        assert_eq!(files, ["echo-50-busy.svg", "latency-echo-50-busy.svg"]);
        for picture in pictures {
            assert!(picture.svg.contains("uring/recv"), "{}", picture.file);
            assert!(!picture.svg.contains("fill=\"white\""), "{}", picture.file);
            assert!(!picture.svg.contains("uws"), "it is missing");
        }
    }
}
