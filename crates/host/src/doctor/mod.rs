//! The doctor: says what this host can hold, why, and sets it right.
//!
//! [`rules()`] hold every setting as data: what the target needs, what goes wrong without it, how to see it.
//! [`Facts`] are found out once, then [`examine`] applies the rules and makes a [`Report`].
//! [`tuning`] sets a host right and back; [`emit`] writes scripts, configuration and the guide from the rules.

pub mod emit;
mod ethtool;
mod facts;
mod finding;
mod report;
mod rule;
mod rules;
mod table;
mod target;
mod tracking;
pub mod tuning;
mod uring;
mod wanted;

pub use ethtool::{Card, Drivers, Ring};
pub use facts::Facts;
pub use finding::{Finding, Verdict};
pub use report::{Examined, Report};
pub use rule::{Check, Examination, Group, Rule, Weight};
pub use rules::all as rules;
pub use target::{InvalidRole, Role, Target};
pub use tracking::Tracking;
pub use uring::{OPERATIONS, Operation, UringSupport};
pub use wanted::{NotUnderstood, Wanted};

use crate::HostRoot;

/// Examines the host under `root` for `target`.
#[must_use]
pub fn examine(root: &HostRoot, facts: &Facts, target: &Target) -> Report {
    let examination = Examination {
        root,
        facts,
        target,
    };
    let examined = rules()
        .filter(|rule| rule.concerns(target.role))
        .map(|rule| Examined {
            setting: rule.name,
            group: rule.group,
            weight: rule.weight,
            without: rule.without,
            finding: rule.examine(&examination),
        });
    Report::new(examined.collect(), facts, target)
}
