//! What keeps a run from starting or finishing, with what to do about it.

use std::fmt;

/// A run that could not be carried out: what happened, and the fix.
///
/// What goes wrong with single connections is no error but a count in the [`Report`](crate::Report).
#[derive(Debug)]
pub struct Error {
    what: String,
    fix: String,
    interrupted: bool,
}

impl Error {
    pub(crate) fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            fix: fix.into(),
            interrupted: false,
        }
    }

    /// The observer ended the run before it had begun.
    pub(crate) fn interrupted() -> Self {
        let what = "interrupted while the server was waited for".to_owned();
        Self {
            what,
            fix: "nothing was opened".to_owned(),
            interrupted: true,
        }
    }

    /// Whether somebody ended the run before any connection was opened.
    pub fn is_interruption(&self) -> bool {
        self.interrupted
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.fix)
    }
}

impl std::error::Error for Error {}
