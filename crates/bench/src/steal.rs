//! Time that the hypervisor gave to others: the share of all cores' time, from `/proc/stat`.

use anyhow::Context;
use roadstead_host::HostRoot;

/// Ticks of all cores since the host started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticks {
    steal: u64,
    total: u64,
}

impl Ticks {
    pub(crate) fn read(root: &HostRoot) -> anyhow::Result<Self> {
        let stat = root.read("/proc/stat")?;
        parse(&stat).context("/proc/stat does not begin with the ticks of all cores")
    }

    /// The share that was stolen since `earlier`, 0 to 1.
    pub(crate) fn stolen_since(self, earlier: Self) -> f64 {
        let total = self.total.saturating_sub(earlier.total);
        let steal = self.steal.saturating_sub(earlier.steal);
        if total == 0 {
            0.0
        } else {
            steal as f64 / total as f64
        }
    }
}

/// `cpu user nice system idle iowait irq softirq steal guest guest_nice`; guests' time is in user's.
fn parse(stat: &str) -> Option<Ticks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map(|word| word.parse().ok())
        .collect::<Option<_>>()?;
    Some(Ticks {
        steal: *ticks.get(7)?,
        total: ticks.iter().sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 0 50 800 10 0 20 20 7 0\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n";

    #[test]
    fn steal_is_the_eighth_of_eight_that_count() {
        let ticks = parse(STAT).expect("ticks");
        assert_eq!((ticks.steal, ticks.total), (20, 1000));
        let later = Ticks {
            steal: 25,
            total: 1100,
        };
        assert_eq!(later.stolen_since(ticks), 0.05);
        assert_eq!(ticks.stolen_since(ticks), 0.0);
    }

    #[test]
    fn what_is_no_statistic_is_refused() {
        for text in [
            "",
            "cpu0 1 2 3 4 5 6 7 8",
            "cpu  1 2 3",
            "cpu  1 2 3 4 5 6 7 x",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
