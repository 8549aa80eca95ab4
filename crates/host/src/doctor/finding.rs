//! What a rule finds: the value, the verdict, and the fix.

use std::fmt;

use serde::Serialize;

use crate::ReadError;

/// Whether a setting is good enough, and what can be done if not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "because")]
pub enum Verdict {
    /// Enough for the target.
    Ok,
    /// Too low, and `doctor --apply` or the fix beside it sets it right.
    Raise,
    /// Too low, and it does not matter: the reason.
    Tolerable(String),
    /// Too low, and not to be changed from here: the reason.
    Stuck(String),
    /// The host does not have the setting, and the target does not need it: the reason.
    Absent(String),
    /// Not known: the reason.
    Unknown(String),
}

impl Verdict {
    /// Whether the target suffers.
    #[must_use]
    pub fn is_short(&self) -> bool {
        matches!(self, Self::Raise | Self::Stuck(_))
    }

    /// The verdict in a word or two.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Raise => "raise",
            Self::Tolerable(_) => "tolerable",
            Self::Stuck(_) => "cannot be raised here",
            Self::Absent(_) => "not here",
            Self::Unknown(_) => "not known",
        }
    }

    /// The reason that goes with the verdict.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Ok | Self::Raise => None,
            Self::Tolerable(why) | Self::Stuck(why) | Self::Absent(why) | Self::Unknown(why) => {
                Some(why)
            }
        }
    }
}

/// What one rule says about this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The value in force.
    pub current: Option<String>,
    /// The value that the target needs.
    pub needed: Option<String>,
    /// What to think of it.
    pub verdict: Verdict,
    /// The command or the edit that sets it right.
    pub fix: Option<String>,
}

impl Finding {
    /// Enough for the target.
    pub(crate) fn ok(current: impl fmt::Display) -> Self {
        Self {
            current: Some(current.to_string()),
            needed: None,
            verdict: Verdict::Ok,
            fix: None,
        }
    }

    /// Too low, with the fix.
    pub(crate) fn raise(current: impl fmt::Display, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            ..Self::ok(current).with_verdict(Verdict::Raise)
        }
    }

    /// Too low, and why that cannot be changed from here.
    pub(crate) fn stuck(current: impl fmt::Display, why: impl Into<String>) -> Self {
        Self::ok(current).with_verdict(Verdict::Stuck(why.into()))
    }

    /// Too low, and why that does not matter.
    pub(crate) fn tolerable(current: impl fmt::Display, why: impl Into<String>) -> Self {
        Self::ok(current).with_verdict(Verdict::Tolerable(why.into()))
    }

    /// The host has no such thing, and why that is fine.
    pub(crate) fn absent(why: impl Into<String>) -> Self {
        Self {
            current: None,
            ..Self::ok("")
        }
        .with_verdict(Verdict::Absent(why.into()))
    }

    /// The value cannot be told.
    pub(crate) fn unknown(why: impl fmt::Display) -> Self {
        Self {
            current: None,
            ..Self::ok("")
        }
        .with_verdict(Verdict::Unknown(why.to_string()))
    }

    /// A file that is missing is a setting that is not here; any other failure leaves it unknown.
    pub(crate) fn unreadable(error: &ReadError) -> Self {
        match error {
            ReadError::Missing { .. } => Self::absent(error.to_string()),
            _ => Self::unknown(error),
        }
    }

    pub(crate) fn needing(self, needed: impl fmt::Display) -> Self {
        Self {
            needed: Some(needed.to_string()),
            ..self
        }
    }

    pub(crate) fn fixed_by(self, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            ..self
        }
    }

    fn with_verdict(self, verdict: Verdict) -> Self {
        Self { verdict, ..self }
    }
}
