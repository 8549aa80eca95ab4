//! The rules themselves, one file per group.

mod backlogs;
mod conntrack;
mod descriptors;
mod io_uring;
mod lifetimes;
mod memory;
mod network_card;
mod service_limits;
mod socket_memory;
#[cfg(test)]
mod tests;

use super::rule::Rule;

/// Every rule, in the order of the report.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    [
        descriptors::RULES,
        backlogs::RULES,
        socket_memory::RULES,
        lifetimes::RULES,
        conntrack::RULES,
        memory::RULES,
        io_uring::RULES,
        network_card::RULES,
    ]
    .into_iter()
    .flatten()
}
