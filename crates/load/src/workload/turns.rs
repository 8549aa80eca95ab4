//! Which connection the n-th message goes to.
//!
//! ```text
//!  message n ──▶ round = n / active, turn = n % active ──▶ slot = turn × step mod active ──▶ connection
//! ```
//!
//! Every active connection has one turn in each round. The step is coprime to their number and near its
//! golden section, so that turns jump about and a server's caches see no convenient order; and slots are
//! spread evenly over all connections. All of it can be computed backwards.

/// The order in which one thread's active connections take their turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns {
    connections: u64,
    active: u64,
    step: u64,
    step_inverse: u64,
}

impl Turns {
    pub(crate) fn new(connections: usize, active: usize) -> Self {
        let active = active as u64;
        let step = step_near(active, 0.618_033_988_75);
        Self {
            connections: connections as u64,
            active,
            step,
            step_inverse: inverse(step, active),
        }
    }

    /// Connections that take turns.
    pub(crate) fn active(&self) -> u64 {
        self.active
    }

    /// The slot whose turn it is at message `number`.
    pub(crate) fn slot(&self, number: u64) -> u64 {
        number % self.active * self.step % self.active
    }

    /// The number of the message which slot `slot` sends in round `round`.
    pub(crate) fn number(&self, slot: u64, round: u64) -> u64 {
        round * self.active + slot * self.step_inverse % self.active
    }

    /// How many of the messages before `number` are slot `slot`'s.
    pub(crate) fn count_before(&self, slot: u64, number: u64) -> u64 {
        let turn = slot * self.step_inverse % self.active;
        (number + self.active - 1 - turn) / self.active
    }

    /// The connection in slot `slot`.
    pub(crate) fn connection(&self, slot: u64) -> usize {
        (slot * self.connections / self.active) as usize
    }

    /// The slot of a connection, if it is an active one.
    pub(crate) fn slot_of(&self, connection: usize) -> Option<u64> {
        if self.active == 0 {
            return None;
        }
        let slot = (connection as u64 * self.active).div_ceil(self.connections);
        (slot < self.active && self.connection(slot) == connection).then_some(slot)
    }
}

/// The number next to `share` of `modulus` that has no divisor in common with it.
fn step_near(modulus: u64, share: f64) -> u64 {
    let from = ((modulus as f64 * share) as u64).max(1);
    (from..from + modulus)
        .find(|&step| greatest_common_divisor(step, modulus) == 1)
        .unwrap_or(1)
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// `value`'s inverse modulo `modulus`, by Euclid.
fn inverse(value: u64, modulus: u64) -> u64 {
    let (mut old, mut new) = (
        (modulus as i64, 0_i64),
        ((value % modulus.max(1)) as i64, 1_i64),
    );
    while new.0 > 0 {
        let quotient = old.0 / new.0;
        (old, new) = (new, (old.0 - quotient * new.0, old.1 - quotient * new.1));
    }
    old.1.rem_euclid(modulus.max(1) as i64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_visits_every_slot_once_and_can_be_computed_backwards() {
        for (connections, active) in [
            (1, 1),
            (2, 1),
            (2, 2),
            (10, 3),
            (1000, 1000),
            (997, 600),
            (5000, 4096),
        ] {
            let turns = Turns::new(connections, active);
            let mut visits = vec![0; active];
            for number in 0..3 * active as u64 {
                let slot = turns.slot(number);
                assert_eq!(turns.count_before(slot, number), visits[slot as usize]);
                visits[slot as usize] += 1;
                assert_eq!(turns.number(slot, number / active as u64), number);
                assert_eq!(turns.slot_of(turns.connection(slot)), Some(slot));
            }
            assert!(
                visits.iter().all(|&count| count == 3),
                "{connections} {active}"
            );
            let found = (0..connections)
                .filter(|&index| turns.slot_of(index).is_some())
                .count();
            assert_eq!(found, active);
        }
    }

    #[test]
    fn no_active_connection_is_no_turn() {
        let turns = Turns::new(7, 0);
        assert!((0..7).all(|index| turns.slot_of(index).is_none()));
    }
}
