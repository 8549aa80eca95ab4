//! What was there before the first change, and what has been put in its place.

use serde::{Deserialize, Serialize};

use super::changes::Changes;
use super::{JOURNAL_PATH, TuningError, files};
use crate::HostRoot;

const VERSION: u32 = 1;

/// The journal, as it is kept on disk.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    version: u32,
    pub(super) settings: Vec<SettingEntry>,
    pub(super) files: Vec<FileEntry>,
    /// Whether a table of ours was loaded into the kernel.
    pub(super) ruleset_loaded: bool,
    /// Directories that were made, the outermost first.
    pub(super) directories: Vec<String>,
}

/// A live value.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingEntry {
    pub(super) name: String,
    /// `None` in a tree that has no live values: only files are changed there.
    pub(super) before: Option<String>,
    pub(super) after: String,
}

/// A file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileEntry {
    pub(super) path: String,
    /// `None` if there was no such file.
    pub(super) before: Option<String>,
    pub(super) after: String,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            version: VERSION,
            settings: vec![],
            files: vec![],
            ruleset_loaded: false,
            directories: vec![],
        }
    }
}

impl Journal {
    /// The journal of an earlier run; `None` if nothing has been changed.
    pub(super) fn read(root: &HostRoot) -> Result<Option<Self>, TuningError> {
        let Some(text) = files::read(root, JOURNAL_PATH)? else {
            return Ok(None);
        };
        let journal: Self =
            serde_json::from_str(&text).map_err(|error| TuningError::Journal(error.to_string()))?;
        if journal.version != VERSION {
            return Err(TuningError::Journal(format!("version {}", journal.version)));
        }
        Ok(Some(journal))
    }

    /// Takes changes in that are about to be made. What was there before the first run stays on record.
    pub(super) fn note(&mut self, changes: &Changes) {
        for change in &changes.settings {
            match self
                .settings
                .iter_mut()
                .find(|entry| entry.name == change.name)
            {
                Some(entry) => entry.after.clone_from(&change.after),
                None => self.settings.push(SettingEntry {
                    name: change.name.to_owned(),
                    before: change.before.clone(),
                    after: change.after.clone(),
                }),
            }
        }
        for change in &changes.files {
            match self
                .files
                .iter_mut()
                .find(|entry| entry.path == change.path)
            {
                Some(entry) => entry.after.clone_from(&change.after),
                None => self.files.push(FileEntry {
                    path: change.path.to_owned(),
                    before: change.before.clone(),
                    after: change.after.clone(),
                }),
            }
        }
        self.ruleset_loaded |= changes.load_ruleset;
    }

    pub(super) fn write(&mut self, root: &HostRoot) -> Result<(), TuningError> {
        let made = files::replace(root, JOURNAL_PATH, &self.text())?;
        if !made.is_empty() {
            self.directories.extend(made);
            files::replace(root, JOURNAL_PATH, &self.text())?;
        }
        Ok(())
    }

    fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers only") + "\n"
    }
}
