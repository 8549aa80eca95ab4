//! Sets a host right, and back: draws up the changes, applies them, and reverts them from a journal.
//!
//! ```text
//! draw ──> Changes ──> apply: 1 journal (what was, what will be)
//!            │                2 live values   /proc/sys
//!            │                3 files         sysctl.d, limits.d, unit drop-in, notrack.nft
//!            └ shown          4 ruleset       nft -f, in one transaction
//! ```
//!
//! The journal is written before anything is touched, so that a run that was cut short can be reverted too.
//! Only what falls short is changed, and a later run keeps the first run's notion of what was there before.
//! Reverting leaves alone what somebody else has changed since.

mod apply;
mod changes;
mod files;
mod journal;
mod overrides;
mod revert;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

use crate::HostRoot;

pub use apply::apply;
pub use changes::{Changes, FileChange, SettingChange};
pub use revert::{Reverted, revert};

/// Live values after the next boot.
pub const SYSCTL_PATH: &str = "/etc/sysctl.d/90-roadstead.conf";
/// Descriptors of logins.
pub const LIMITS_PATH: &str = "/etc/security/limits.d/90-roadstead.conf";
/// Descriptors of a unit that is installed and allows too few.
pub const UNIT_PATH: &str = "/etc/systemd/system/roadstead.service.d/90-roadstead.conf";
/// The rules that exempt the port from connection tracking; the unit loads them at start.
pub const RULESET_PATH: &str = "/etc/roadstead/notrack.nft";
/// What was there before.
pub const JOURNAL_PATH: &str = "/var/lib/roadstead/tuning.json";
/// What `scripts/tune.sh` keeps for `scripts/untune.sh`.
pub const SCRIPT_STATE_PATH: &str = "/var/lib/roadstead/tune.state";

/// Whether this user may not tune `root`: the running host is root's.
#[must_use]
pub fn needs_root(root: &HostRoot) -> bool {
    root.is_live() && !nix::unistd::geteuid().is_root()
}

/// Why tuning stopped. What was done by then is in the journal, and can be reverted.
#[derive(Debug)]
pub enum TuningError {
    /// A file could not be read, written or removed.
    File {
        /// The file, absolute on the host.
        path: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel refused a live value.
    Setting {
        /// The sysctl.
        name: String,
        /// The value that it refused.
        value: String,
        /// What it said.
        error: io::Error,
    },
    /// The rules against connection tracking could not be loaded or removed.
    Ruleset(String),
    /// The scripts have tuned this host: two journals of the same files would contradict each other.
    TunedByScript,
    /// The journal does not hold what this program writes.
    Journal(String),
}

impl fmt::Display for TuningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(f, "{path}: {error}; run this as root")
            }
            Self::File { path, error } => write!(f, "{path}: {error}"),
            Self::Setting { name, value, error } => {
                write!(f, "{name} cannot be set to '{value}': {error}")
            }
            Self::Ruleset(reason) => write!(f, "the rules against connection tracking: {reason}"),
            Self::TunedByScript => {
                write!(
                    f,
                    "this host was tuned by scripts/tune.sh ({SCRIPT_STATE_PATH}); run scripts/untune.sh first"
                )
            }
            Self::Journal(reason) => {
                write!(
                    f,
                    "{JOURNAL_PATH} is not a journal of this program ({reason}); move it away to start anew"
                )
            }
        }
    }
}

impl std::error::Error for TuningError {}
