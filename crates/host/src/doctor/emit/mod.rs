//! What is written from the rules: configuration files, shell scripts, the systemd unit and the host guide.

mod drop_ins;
mod guide;
mod scripts;
#[cfg(test)]
mod tests;
mod unit;

pub use drop_ins::{iptables, limits_conf, nftables, sysctl_conf};
pub use guide::guide;
pub use scripts::{tune_script, untune_script};
pub use unit::{unit, unit_drop_in};

use super::target::Target;

/// The files of the repository that are generated, each with its path and its text. They are made for the
/// default target, and a test fails when they differ.
#[must_use]
pub fn generated_files() -> Vec<(&'static str, String)> {
    let target = Target::default();
    vec![
        ("scripts/tune.sh", tune_script(&target)),
        ("scripts/untune.sh", untune_script()),
        ("docs/host-guide.md", guide(&target)),
        ("packaging/roadstead.service", unit(&target)),
    ]
}

/// The values of every sysctl rule that concerns the target's role, where nothing is known of the host.
#[must_use]
pub fn sysctl_settings(target: &Target) -> Vec<(&'static str, String)> {
    super::rules()
        .filter(|rule| rule.concerns(target.role))
        .filter_map(|rule| Some((rule.name, rule.sysctl(target)?.value())))
        .collect()
}
