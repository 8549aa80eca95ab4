//! How busy a connection is, for the `adaptive` watch policy: in two bytes, without a clock per record.
//!
//! Heat counts reads and halves with each second that passes, so a steady rate of *r* reads per second
//! settles at 2 *r*. A connection is promoted when it reaches [`PROMOTE_HEAT`] and demoted when it has
//! cooled to nothing: between eight reads per second and one it stays what it is.

use crate::limits::PROMOTE_HEAT;
use crate::table::Record;

impl Record {
    /// Counts one read in this second; true when the connection is busy.
    pub(super) fn warm(&mut self, second: u8) -> bool {
        self.cool(second);
        self.heat = self.heat.saturating_add(1);
        self.heat >= PROMOTE_HEAT
    }

    /// Lets the seconds since the last count pass; true when the connection is quiet.
    ///
    /// After 256 seconds without a count the difference wraps; whoever is promoted is looked at each
    /// second, and for the others it means at most one early promotion.
    pub(super) fn cool(&mut self, second: u8) -> bool {
        let passed = second.wrapping_sub(self.heat_second);
        self.heat = self.heat.checked_shr(u32::from(passed)).unwrap_or(0);
        self.heat_second = second;
        self.heat == 0
    }
}

#[cfg(test)]
mod tests {
    use crate::limits::PROMOTE_HEAT;
    use crate::table::Table;

    fn table() -> Table {
        let mut table = Table::new(1);
        table
            .insert(std::fs::File::open("/dev/null").expect("opens").into())
            .expect("room");
        table
    }

    /// Whether a steady rate ever promotes, within a minute.
    fn promotes(reads_per_second: u32) -> bool {
        let mut table = table();
        (0..60).any(|second| (0..reads_per_second).any(|_| table[0].warm(second)))
    }

    #[test]
    fn promotes_from_a_steady_eight_or_nine_per_second() {
        assert!(!promotes(u32::from(PROMOTE_HEAT) / 2 - 1));
        assert!(promotes(u32::from(PROMOTE_HEAT) / 2 + 1));
    }

    #[test]
    fn cools_to_quiet_within_nine_seconds_even_from_the_hottest() {
        let mut table = table();
        (0..1_000).for_each(|_| assert!(table[0].warm(250) || table[0].heat < PROMOTE_HEAT));
        let mut quiet = (0..20u8).filter(|after| table[0].cool(250u8.wrapping_add(*after)));
        assert_eq!(quiet.next(), Some(8));
    }
}
