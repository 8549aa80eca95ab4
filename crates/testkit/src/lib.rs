//! The conformance suite: one set of tests, run over every driver and watch policy.
//!
//! ```text
//!   tests/*.rs      what a server promises, one theme per file
//!       │ on_every_setup!(…)        one #[test] per promise and setup, so that a failure names both
//!       ▼
//!   Setup ──► Harness ◄── Peer      a server under test, and peers that behave badly on purpose
//! ```
//!
//! A test knows [`Setup`], [`Harness`] and [`Peer`] only: no engine, no socket. A further driver is one
//! constant in [`Setup`] and one line in [`on_every_setup!`]; a simulated one brings a [`Peer`] of its own.
//!
//! # Rules
//!
//! - Nothing sleeps: a test reads from a socket with a time limit, or awaits a counter with
//!   [`eventually`].
//! - Random choices come from a [`Seed`], which is printed when a test fails; set
//!   `ROADSTEAD_TEST_SEED` to run with that one again.
//! - Tests of one process run one at a time ([`Harness`] says why).
#![forbid(unsafe_code)]

mod harness;
mod peer;
mod seed;
mod setup;
mod stream;
mod wait;

pub use harness::{Harness, check_books};
pub use peer::{Peer, REPLY_WITHIN};
pub use seed::Seed;
pub use setup::Setup;
pub use stream::Stream;
pub use wait::{SETTLE_WITHIN, eventually};
