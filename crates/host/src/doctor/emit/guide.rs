//! The host guide: every rule, for people.

use std::fmt::Write;

use super::drop_ins::{iptables, nftables};
use crate::doctor::rule::{Check, Group, Rule, Weight};
use crate::doctor::rules;
use crate::doctor::target::{Role, Target};
use crate::doctor::tuning::{JOURNAL_PATH, LIMITS_PATH, RULESET_PATH, SYSCTL_PATH, UNIT_PATH};
use crate::quantity::grouped;

/// The guide, with the values for `target`.
#[must_use]
pub fn guide(target: &Target) -> String {
    let mut text = introduction(target);
    let mut group: Option<Group> = None;
    for rule in rules() {
        if group != Some(rule.group) {
            let _ = write!(text, "## {}\n\n", rule.group);
            group = Some(rule.group);
        }
        describe(&mut text, rule, target);
    }
    text.push_str(&notrack(target));
    text
}

fn introduction(target: &Target) -> String {
    let connections = grouped(target.connections);
    format!(
        "<!-- Generated from the doctor's rules by `just generate`; edit crates/host/src/doctor/rules. -->\n\n\
# Host guide

What a Linux host needs to hold {connections} connections on port {port}, why, what breaks without it, and how to
see it. `roadstead doctor` checks a host against the same rules:

| command | what it does |
|---|---|
| `roadstead doctor --connections {connections_short}` | says what falls short, and what the host can hold now; exit 0 if it holds the target, 1 if not |
| `sudo roadstead doctor --apply` | shows the difference, asks, and sets it right |
| `sudo roadstead doctor --revert` | puts back what was there before |
| `sudo scripts/tune.sh`, `sudo scripts/untune.sh` | the same for hosts without the binary |
| `roadstead doctor --emit WHAT` | prints a file to install by other means: `sysctl`, `limits`, `nftables`, `iptables`, `unit`, … |

`--apply` raises the sysctls of this page and keeps them in `{SYSCTL_PATH}`, writes `{LIMITS_PATH}` for logins
and `{UNIT_PATH}` for an installed unit that allows too few descriptors, and exempts the port from connection tracking
with a table of its own, kept in `{RULESET_PATH}`. What was there before is in `{JOURNAL_PATH}`. A value that is already
better is never touched. What it leaves alone, because it needs a decision or a reboot: `kernel.io_uring_disabled`,
overcommit, the TCP hash, control groups, interrupts and queues of cards.

*Required* settings decide whether the host reaches the target. *Advised* ones decide how well it serves, or help other
programs on it.

",
        port = target.port,
        connections_short = target.connections,
    )
}

fn describe(text: &mut String, rule: &Rule, target: &Target) {
    let needed = match rule.check {
        Check::Sysctl(wanted) => format!("`{}` ", wanted(target)),
        Check::Inspect(_) => String::new(),
    };
    let weight = match rule.weight {
        Weight::Required => "required",
        Weight::Advised => "advised",
    };
    let role = match rule.role {
        Some(Role::Client) => ", client only",
        Some(Role::Server) => ", server only",
        None => "",
    };
    let _ = write!(
        text,
        "### {}\n\n{needed}({weight}{role})\n\n- **Why:** {}\n- **Without it:** {}\n- **See:** `{}`\n\n",
        rule.name, rule.why, rule.without, rule.see
    );
}

fn notrack(target: &Target) -> String {
    format!(
        "## The rules against connection tracking\n\n\
         For nftables (`roadstead doctor --emit nftables`):\n\n```\n{}```\n\n\
         For iptables (`roadstead doctor --emit iptables`):\n\n```\n{}```\n",
        nftables(target.port),
        iptables(target.port)
    )
}
