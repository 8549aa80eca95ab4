//! Randomness that can be had again.

use std::hash::{BuildHasher, RandomState};

/// The variable that fixes the seed.
const VARIABLE: &str = "ROADSTEAD_TEST_SEED";

/// Where a test's random choices come from. Says its number when the test fails.
#[derive(Debug)]
pub struct Seed(u64);

impl Seed {
    /// The seed of `ROADSTEAD_TEST_SEED`, or a new one.
    ///
    /// # Panics
    /// When the variable is not a number.
    #[must_use]
    pub fn new() -> Self {
        let given = std::env::var(VARIABLE).ok();
        Self(given.map_or_else(
            || RandomState::new().hash_one(0),
            |text| text.parse().expect("a seed is a decimal u64"),
        ))
    }

    /// A generator for one purpose: the same for the same seed and purpose.
    #[must_use]
    pub fn rng(&self, purpose: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.0 ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

impl Default for Seed {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat the choices of this test: {VARIABLE}={}", self.0);
        }
    }
}
