//! When the next connection may be opened.

use super::Workload;

/// One thread's share of the ramp: so many per second, so many handshakes in flight at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ramp {
    spacing_ns: f64,
    in_flight_max: usize,
}

impl Ramp {
    pub(crate) fn new(workload: &Workload, threads: usize) -> Self {
        let spacing_ns = workload
            .ramp_per_second
            .map_or(0.0, |rate| 1e9 / rate * threads as f64);
        Self {
            spacing_ns,
            in_flight_max: workload.handshakes_in_flight.div_ceil(threads),
        }
    }

    /// Whether one more handshake may be in flight.
    pub(crate) fn has_room(&self, in_flight: usize) -> bool {
        in_flight < self.in_flight_max
    }

    /// Whether one more may be opened at `elapsed_ns` of the ramp.
    pub(crate) fn allows(&self, elapsed_ns: u64, opened: usize, in_flight: usize) -> bool {
        let due = self.spacing_ns == 0.0 || opened as f64 * self.spacing_ns <= elapsed_ns as f64;
        due && self.has_room(in_flight)
    }

    /// When the clock allows the next one, in nanoseconds of the ramp; `None`: only an answer does.
    pub(crate) fn next_due_ns(&self, opened: usize, in_flight: usize) -> Option<u64> {
        let paced = self.spacing_ns > 0.0 && in_flight < self.in_flight_max;
        // One more than the product: what is due must not be rounded to just before it.
        paced.then(|| (opened as f64 * self.spacing_ns) as u64 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_keeps_its_rate_and_its_cap() {
        let workload = Workload {
            ramp_per_second: Some(100.0),
            handshakes_in_flight: 8,
            ..Workload::default()
        };
        let ramp = Ramp::new(&workload, 2);
        let second = 1_000_000_000;
        assert!(
            ramp.allows(second, 50, 3),
            "half of the rate for each of two threads"
        );
        assert!(!ramp.allows(second, 51, 3));
        assert!(
            !ramp.allows(second, 0, 4),
            "the cap is shared by the threads"
        );
        let due = ramp.next_due_ns(51, 0).unwrap();
        assert!(!ramp.allows(due - 10, 51, 0) && ramp.allows(due, 51, 0));
        assert_eq!(ramp.next_due_ns(51, 4), None);
    }

    #[test]
    fn without_a_rate_only_the_cap_counts() {
        let workload = Workload {
            handshakes_in_flight: 8,
            ..Workload::default()
        };
        let ramp = Ramp::new(&workload, 1);
        assert!(ramp.allows(0, 1000, 7) && !ramp.allows(0, 1000, 8));
        assert_eq!(ramp.next_due_ns(1000, 5), None);
    }
}
