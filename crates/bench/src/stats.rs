//! What several rounds come to: the middle and the outermost, and how sure a ratio of two middles is.

/// The middle value of several rounds, and the outermost ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` for no values.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut values = values.to_vec();
        let median = median(&mut values)?;
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Self { median, min, max })
    }
}

/// Sorts the values; `None` for none.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// Draws that an interval is made from.
const RESAMPLES: usize = 10_000;
/// What every interval is drawn with, so that the same rounds give the same interval.
const SEED: u64 = 0x0526_0AD5;
/// Rounds from which an interval can be drawn at all: of two there are three different draws.
pub(crate) const ROUNDS_MIN: usize = 3;
/// What the interval is to cover: of a dozen cells, none should differ by chance.
const CONFIDENCE: f64 = 0.99;

/// How much larger one median is than another, and between which bounds that ratio lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) ratio: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Ratio {
    /// `after`'s median over `before`'s, with the 99 % percentile bootstrap interval: both sets of rounds are drawn
    /// anew, each from itself, 10,000 times. `None` for too few rounds, or for values that are not above 0.
    pub(crate) fn of_medians(before: &[f64], after: &[f64]) -> Option<Self> {
        let enough = before.len().min(after.len()) >= ROUNDS_MIN;
        let positive = before.iter().chain(after).all(|value| *value > 0.0);
        if !enough || !positive {
            return None;
        }
        let ratio = median(&mut after.to_vec())? / median(&mut before.to_vec())?;
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut draw = |from: &[f64]| {
            let mut drawn: Vec<f64> = from
                .iter()
                .map(|_| from[random.usize(..from.len())])
                .collect();
            median(&mut drawn)
        };
        let mut ratios = Vec::with_capacity(RESAMPLES);
        for _ in 0..RESAMPLES {
            ratios.push(draw(after)? / draw(before)?);
        }
        ratios.sort_by(f64::total_cmp);
        let at = |share: f64| ratios[((RESAMPLES - 1) as f64 * share).round() as usize];
        let outside = (1.0 - CONFIDENCE) / 2.0;
        Some(Self {
            ratio,
            low: at(outside),
            high: at(1.0 - outside),
        })
    }

    /// Whether the rounds leave open which of the two is larger.
    pub(crate) fn is_no_difference(self) -> bool {
        self.low <= 1.0 && 1.0 <= self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_values() {
        assert!(Spread::of(&[]).is_none());
        let odd = Spread::of(&[3.0, 1.0, 2.0]).expect("values");
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of(&[4.0, 1.0]).expect("values").median, 2.5);
    }

    #[test]
    fn rounds_that_overlap_are_no_difference() {
        let before = [5.0, 5.2, 4.9, 5.1, 5.3];
        let after = [5.1, 4.9, 5.2, 5.0, 5.4];
        let ratio = Ratio::of_medians(&before, &after).expect("enough rounds");
        assert!(ratio.is_no_difference(), "{ratio:?}");
        assert!(ratio.low <= ratio.ratio && ratio.ratio <= ratio.high);
    }

    #[test]
    fn rounds_far_apart_are_a_difference_within_what_they_can_say() {
        let before = [10.0, 10.2, 9.8, 10.1, 9.9];
        let after = before.map(|value| value * 0.8);
        let ratio = Ratio::of_medians(&before, &after).expect("enough rounds");
        assert!((ratio.ratio - 0.8).abs() < 1e-12);
        // No draw leaves what the rounds span: 7.84 / 10.2 to 8.16 / 9.8.
        assert!(0.768 < ratio.low && ratio.high < 0.833, "{ratio:?}");
        assert!(!ratio.is_no_difference());
    }

    #[test]
    fn the_interval_of_the_same_rounds_is_the_same() {
        let (before, after) = ([1.0, 2.0, 3.0], [2.0, 3.0, 5.0]);
        let first = Ratio::of_medians(&before, &after);
        assert_eq!(first, Ratio::of_medians(&before, &after));
        // With three rounds each, one draw in 27 is the outermost value thrice: the bounds are the outermost ratios.
        let first = first.expect("enough rounds");
        assert_eq!((first.low, first.high), (2.0 / 3.0, 5.0));
    }

    #[test]
    fn too_few_rounds_have_no_interval() {
        assert_eq!(Ratio::of_medians(&[1.0, 2.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(Ratio::of_medians(&[0.0; 3], &[1.0; 3]), None);
    }
}
