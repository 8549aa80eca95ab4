//! Puts back what was there before.

use super::apply::{nft, write_setting};
use super::changes::words;
use super::journal::{FileEntry, Journal, SettingEntry};
use super::{JOURNAL_PATH, TuningError, files};
use crate::HostRoot;
use crate::root::sysctl_path;

/// What reverting did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reverted {
    /// Settings and files that are as they were before.
    pub restored: Vec<String>,
    /// What somebody else has changed since, and was therefore left alone.
    pub left: Vec<String>,
}

/// Restores every value and file of the journal; `None` if there is nothing to revert.
pub fn revert(root: &HostRoot) -> Result<Option<Reverted>, TuningError> {
    let Some(journal) = Journal::read(root)? else {
        return Ok(None);
    };
    let mut reverted = Reverted::default();
    if journal.ruleset_loaded && root.is_live() {
        remove_ruleset(&mut reverted)?;
    }
    for entry in journal.files.iter().rev() {
        restore_file(root, entry, &mut reverted)?;
    }
    for entry in journal.settings.iter().rev() {
        restore_setting(root, entry, &mut reverted)?;
    }
    // The journal goes last: cut short before this, the same journal can be reverted again.
    files::remove(root, JOURNAL_PATH)?;
    files::remove_empty_directories(root, journal.directories.iter().rev());
    Ok(Some(reverted))
}

fn remove_ruleset(reverted: &mut Reverted) -> Result<(), TuningError> {
    // Adding first makes removing succeed where the table is gone already.
    nft(&["add table inet roadstead; delete table inet roadstead"])?;
    reverted.restored.push("table inet roadstead".to_owned());
    Ok(())
}

fn restore_file(
    root: &HostRoot,
    entry: &FileEntry,
    reverted: &mut Reverted,
) -> Result<(), TuningError> {
    let now = files::read(root, &entry.path)?;
    if now.as_ref() != Some(&entry.after) && now != entry.before {
        reverted
            .left
            .push(format!("{} was changed since", entry.path));
        return Ok(());
    }
    match &entry.before {
        Some(text) => files::replace(root, &entry.path, text).map(drop)?,
        None => files::remove(root, &entry.path)?,
    }
    reverted.restored.push(entry.path.clone());
    Ok(())
}

fn restore_setting(
    root: &HostRoot,
    entry: &SettingEntry,
    reverted: &mut Reverted,
) -> Result<(), TuningError> {
    let Some(before) = &entry.before else {
        return Ok(());
    };
    let now = match root.read(&sysctl_path(&entry.name)) {
        Ok(text) => words(&text),
        Err(error) => {
            reverted.left.push(format!("{}: {error}", entry.name));
            return Ok(());
        }
    };
    if now != entry.after && now != *before {
        reverted
            .left
            .push(format!("{} was changed since, to {now}", entry.name));
        return Ok(());
    }
    if now != *before {
        write_setting(root, &entry.name, before)?;
    }
    reverted.restored.push(format!("{} = {before}", entry.name));
    Ok(())
}
