//! A rule: one setting, what the target needs of it, and the words that explain it.
//!
//! Rules are data. The report, the tuning, the shell scripts and the host guide are all made from the same
//! table, so that they cannot disagree.

use std::fmt;

use serde::Serialize;

use super::facts::Facts;
use super::finding::Finding;
use super::target::{Role, Target};
use super::wanted::Wanted;
use crate::HostRoot;
use crate::root::sysctl_path;

/// What a setting is about; the order of the report and of the guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Open files.
    Descriptors,
    /// Queues in front of `accept`.
    Backlogs,
    /// Buffers of sockets.
    SocketMemory,
    /// How long dead and closing connections stay.
    Lifetimes,
    /// Connection tracking.
    Conntrack,
    /// Memory of the host and of the process, and the kernel's tables.
    Memory,
    /// The kernel interface.
    IoUring,
    /// Network cards.
    NetworkCard,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptors => "Descriptors",
            Self::Backlogs => "Backlogs",
            Self::SocketMemory => "Socket memory",
            Self::Lifetimes => "Keepalive and closing",
            Self::Conntrack => "Connection tracking",
            Self::Memory => "Memory and tables",
            Self::IoUring => "io_uring",
            Self::NetworkCard => "Network cards",
        })
    }
}

/// How much a setting matters to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Short of it, the target is not reached.
    Required,
    /// Short of it, the target is reached and something is slower, later or harder to see.
    Advised,
}

/// One setting and what is known about it.
pub struct Rule {
    /// The setting's own name, unique among the rules.
    pub name: &'static str,
    /// What it is about.
    pub group: Group,
    /// How much it matters.
    pub weight: Weight,
    /// The role it matters to; `None` for both.
    pub role: Option<Role>,
    /// What the setting does.
    pub why: &'static str,
    /// What goes wrong without it.
    pub without: &'static str,
    /// How to see the value, or the trouble, by hand.
    pub see: &'static str,
    /// How it is judged.
    pub check: Check,
}

/// How a rule comes to its finding.
pub enum Check {
    /// A sysctl with a value that follows from the target.
    Sysctl(fn(&Target) -> Wanted),
    /// Anything else.
    Inspect(fn(&Examination<'_>) -> Finding),
}

/// What a check may look at.
pub struct Examination<'a> {
    /// The host's files.
    pub root: &'a HostRoot,
    /// What was found out with more than files.
    pub facts: &'a Facts,
    /// What the host is to hold.
    pub target: &'a Target,
}

impl Rule {
    /// Whether the rule concerns `role`.
    #[must_use]
    pub fn concerns(&self, role: Role) -> bool {
        self.role.is_none_or(|only| only == role)
    }

    /// What the rule wants of its sysctl; `None` where it is about something else.
    #[must_use]
    pub fn sysctl(&self, target: &Target) -> Option<Wanted> {
        match self.check {
            Check::Sysctl(wanted) => Some(wanted(target)),
            Check::Inspect(_) => None,
        }
    }

    /// Applies the rule to a host.
    #[must_use]
    pub fn examine(&self, examination: &Examination<'_>) -> Finding {
        match self.check {
            Check::Sysctl(wanted) => {
                judge_sysctl(self.name, wanted(examination.target), examination)
            }
            Check::Inspect(inspect) => inspect(examination),
        }
    }
}

fn judge_sysctl(name: &str, wanted: Wanted, examination: &Examination<'_>) -> Finding {
    let path = sysctl_path(name);
    let text = match examination.root.read(&path) {
        Ok(text) => text,
        Err(error) => return Finding::unreadable(&error).needing(wanted),
    };
    let current = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let finding = match wanted.improvement_on(&text) {
        Err(_) => Finding::unknown(format!(
            "{path} holds {:?}",
            text.chars().take(40).collect::<String>()
        )),
        Ok(None) => Finding::ok(current),
        Ok(Some(value)) => match examination.root.write_refusal(&path) {
            Some(why) => Finding::stuck(current, why)
                .fixed_by(format!("on the host itself: sysctl -w {name}='{value}'")),
            None => Finding::raise(current, format!("sysctl -w {name}='{value}'")),
        },
    };
    finding.needing(wanted)
}
