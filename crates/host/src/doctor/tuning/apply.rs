//! Makes the changes.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::process::Command;

use super::changes::Changes;
use super::journal::Journal;
use super::{RULESET_PATH, TuningError, files};
use crate::HostRoot;
use crate::root::sysctl_path;

/// Makes `changes`, after noting down what is there now.
pub fn apply(root: &HostRoot, changes: &Changes) -> Result<(), TuningError> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut journal = Journal::read(root)?.unwrap_or_default();
    journal.note(changes);
    journal.write(root)?;
    for change in &changes.settings {
        if change.before.is_some() {
            write_setting(root, change.name, &change.after)?;
        }
    }
    for file in &changes.files {
        let made = files::replace(root, file.path, &file.after)?;
        if !made.is_empty() {
            journal.directories.extend(made);
            journal.write(root)?;
        }
    }
    if changes.load_ruleset && root.is_live() {
        nft(&["-f", RULESET_PATH])?;
    }
    Ok(())
}

/// Writes a live value, which the kernel takes whole or refuses.
pub(super) fn write_setting(root: &HostRoot, name: &str, value: &str) -> Result<(), TuningError> {
    let path = root.path(&sysctl_path(name));
    let write = || -> io::Result<()> {
        // A file of a synthetic tree keeps the tail of a longer value unless it is truncated; sysctls do not mind.
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(path)?
            .write_all(format!("{value}\n").as_bytes())
    };
    write().map_err(|error| TuningError::Setting {
        name: name.to_owned(),
        value: value.to_owned(),
        error,
    })
}

/// Runs nft, and turns what it says into the error.
pub(super) fn nft(arguments: &[&str]) -> Result<(), TuningError> {
    let output = Command::new("nft").args(arguments).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => TuningError::Ruleset(
            "nft is not installed (Debian: nftables); the iptables commands are `roadstead doctor --emit iptables`"
                .to_owned(),
        ),
        _ => TuningError::Ruleset(format!("nft: {error}")),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(TuningError::Ruleset(format!(
        "nft {}: {}",
        arguments.join(" "),
        said.trim()
    )))
}
