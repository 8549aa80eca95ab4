//! `tune.sh` and `untune.sh`: the same settings for hosts that do not have the binary.

use std::fmt::Write;

use super::drop_ins::{limits_conf, nftables};
use crate::doctor::rules;
use crate::doctor::target::Target;
use crate::doctor::tuning::{
    JOURNAL_PATH, LIMITS_PATH, RULESET_PATH, SCRIPT_STATE_PATH, SYSCTL_PATH,
};
use crate::quantity::grouped;

/// What both scripts start with.
fn head(purpose: &str) -> String {
    format!(
        "#!/bin/sh\n\
         # {purpose}\n\
         # Generated from the doctor's rules by `just generate`; edit crates/host/src/doctor/emit/scripts.rs.\n\
         set -eu\n\
         \n\
         STATE={SCRIPT_STATE_PATH}\n\
         SYSCTL_CONF={SYSCTL_PATH}\n\
         LIMITS_CONF={LIMITS_PATH}\n\
         RULESET={RULESET_PATH}\n\
         \n\
         [ \"$(id -u)\" = 0 ] || {{ echo \"$0: run this as root\" >&2; exit 2; }}\n\
         \n\
         # The value of a sysctl, its parts set apart by single blanks.\n\
         now() {{ tr -s '\\t' ' ' <\"/proc/sys/$(echo \"$1\" | tr . /)\"; }}\n\
         put() {{ echo \"$2\" >\"/proc/sys/$(echo \"$1\" | tr . /)\"; }}\n"
    )
}

const TUNE_FUNCTIONS: &str = include_str!("tune.functions.sh");

const TUNE_END: &str = include_str!("tune.end.sh");

const UNTUNE_BODY: &str = include_str!("untune.body.sh");

/// Sets a host right for `target`.
#[must_use]
pub fn tune_script(target: &Target) -> String {
    let mut text = head(&format!(
        "Sets this host right for {} connections on port {}; untune.sh puts back what was there.",
        grouped(target.connections),
        target.port
    ));
    let _ = write!(
        text,
        "NOFILE={}\nPORT={}\n\n",
        target.descriptors(),
        target.port
    );
    let _ = write!(
        text,
        "if [ -e {JOURNAL_PATH} ]; then\n    \
         echo \"$0: this host was tuned by roadstead doctor; use that, or roadstead doctor --revert first\" >&2\n    \
         exit 2\nfi\n"
    );
    let _ = write!(text, "\n{TUNE_FUNCTIONS}");
    let _ = write!(
        text,
        "\nlimits_conf() {{\n    cat <<'END'\n{}END\n}}\n",
        by_script(&limits_conf(target.descriptors()))
    );
    let _ = write!(
        text,
        "\nnotrack_rules() {{\n    cat <<'END'\n{}END\n}}\n\n",
        by_script(&nftables(target.port))
    );
    for rule in rules().filter(|rule| rule.concerns(target.role)) {
        if let Some(wanted) = rule.sysctl(target) {
            let _ = writeln!(
                text,
                "setting {} {} '{}'",
                rule.name,
                wanted.comparison(),
                wanted.value()
            );
        }
    }
    let _ = write!(text, "\n{TUNE_END}");
    text
}

/// Undoes what the tuning script did.
#[must_use]
pub fn untune_script() -> String {
    head("Puts back what tune.sh changed on this host.") + "\n" + UNTUNE_BODY
}

/// The files are the same but for who removes them.
fn by_script(text: &str) -> String {
    text.replace(
        "Written by `roadstead doctor`; `roadstead doctor --revert` removes it.",
        "Written by tune.sh; untune.sh removes it.",
    )
}
