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

    /// How many more handshakes may be in flight.
    pub(crate) fn room(&self, in_flight: usize) -> usize {
        self.in_flight_max.saturating_sub(in_flight)
    }

    /// How many more may be opened at `elapsed_ns` of the ramp.
    pub(crate) fn allowance(&self, elapsed_ns: u64, opened: usize, in_flight: usize) -> usize {
        let room = self.room(in_flight);
        if self.spacing_ns == 0.0 {
            return room;
        }
        let due = (elapsed_ns as f64 / self.spacing_ns) as usize + 1;
        room.min(due.saturating_sub(opened))
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
        assert_eq!(
            ramp.allowance(1_000_000_000, 0, 0),
            4,
            "the cap is shared by the threads"
        );
        assert_eq!(ramp.allowance(1_000_000_000, 49, 0), 2);
        let due = ramp.next_due_ns(51, 0).unwrap();
        assert_eq!(ramp.allowance(due - 10, 51, 0), 0);
        assert_eq!(ramp.allowance(due, 51, 0), 1);
        assert_eq!(ramp.next_due_ns(51, 4), None);
    }

    #[test]
    fn without_a_rate_only_the_cap_counts() {
        let ramp = Ramp::new(
            &Workload {
                handshakes_in_flight: 8,
                ..Workload::default()
            },
            1,
        );
        assert_eq!(ramp.allowance(0, 1000, 5), 3);
        assert_eq!(ramp.next_due_ns(1000, 5), None);
    }
}
