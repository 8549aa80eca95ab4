//! What would be changed on a host, and how it is shown before it is done.

use std::fmt;

use super::journal::Journal;
use super::overrides::Overrides;
use super::{
    LIMITS_PATH, RULESET_PATH, SCRIPT_STATE_PATH, SYSCTL_PATH, TuningError, UNIT_PATH, files,
};
use crate::doctor::emit::{limits_conf, nftables, sysctl_conf, unit_drop_in};
use crate::doctor::facts::Facts;
use crate::doctor::finding::Verdict;
use crate::doctor::rule::Examination;
use crate::doctor::rules;
use crate::doctor::target::Target;
use crate::doctor::tracking::Tracking;
use crate::{HostRoot, ReadError};

/// A live value that falls short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// The sysctl.
    pub name: &'static str,
    /// Its value now; `None` in a tree without live values.
    pub before: Option<String>,
    /// The value to set.
    pub after: String,
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// Absolute on the host.
    pub path: &'static str,
    /// Its text now; `None` if there is no such file.
    pub before: Option<String>,
    /// Its text to be.
    pub after: String,
    /// What it takes for the file to count.
    pub takes_effect: &'static str,
}

/// Everything that would be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Live values, in the rules' order.
    pub settings: Vec<SettingChange>,
    /// Files.
    pub files: Vec<FileChange>,
    /// Whether the rules against connection tracking are to be loaded into the kernel.
    pub load_ruleset: bool,
    /// What falls short and is left as it is, with the reason.
    pub left: Vec<String>,
}

impl Changes {
    /// Compares the host with the target. Nothing is changed.
    pub fn draw(root: &HostRoot, facts: &Facts, target: &Target) -> Result<Self, TuningError> {
        if root.path(SCRIPT_STATE_PATH).exists() {
            return Err(TuningError::TunedByScript);
        }
        let journal = Journal::read(root)?.unwrap_or_default();
        let mut changes = Self::default();
        changes.draw_settings(root, target, &journal)?;
        changes.draw_limits(root, facts, target)?;
        changes.draw_ruleset(root, facts, target)?;
        Ok(changes)
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.files.is_empty() && !self.load_ruleset
    }

    fn draw_settings(
        &mut self,
        root: &HostRoot,
        target: &Target,
        journal: &Journal,
    ) -> Result<(), TuningError> {
        let overrides = Overrides::read(root);
        let mut persisted: Vec<(&str, String)> = Vec::new();
        for rule in rules().filter(|rule| rule.concerns(target.role)) {
            let Some(wanted) = rule.sysctl(target) else {
                continue;
            };
            let path = crate::root::sysctl_path(rule.name);
            let (before, improved) = match root.read(&path) {
                Ok(text) => (
                    Some(words(&text)),
                    wanted.improvement_on(&text).unwrap_or(None),
                ),
                Err(ReadError::Missing { .. }) if !root.is_live() => (None, Some(wanted.value())),
                Err(_) => continue, // the report says so
            };
            let earlier = journal
                .settings
                .iter()
                .find(|entry| entry.name == rule.name);
            let refusal = root.write_refusal(&path);
            match (improved, earlier, refusal) {
                (Some(_), _, Some(why)) => self.left.push(format!("{}: {why}", rule.name)),
                (Some(after), earlier, None) => {
                    if let Some((file, value)) = overrides.spoils(rule.name, wanted) {
                        self.left.push(format!(
                            "{file} sets {} back to {value} at the next boot",
                            rule.name
                        ));
                    }
                    persisted.push((rule.name, after.clone()));
                    if before.is_some() || earlier.is_none_or(|entry| entry.after != after) {
                        self.settings.push(SettingChange {
                            name: rule.name,
                            before,
                            after,
                        });
                    }
                }
                // Set by an earlier run: it stays in the file that a later run writes.
                (None, Some(entry), _) => {
                    persisted.push((rule.name, before.unwrap_or_else(|| entry.after.clone())));
                }
                (None, None, _) => {}
            }
        }
        if !persisted.is_empty() {
            let text = sysctl_conf(
                persisted
                    .iter()
                    .map(|(name, value)| (*name, value.as_str())),
            );
            self.file(
                root,
                SYSCTL_PATH,
                text,
                "at the next boot; the live values are set now",
            )?;
        }
        Ok(())
    }

    fn draw_limits(
        &mut self,
        root: &HostRoot,
        facts: &Facts,
        target: &Target,
    ) -> Result<(), TuningError> {
        let nofile = target.descriptors();
        let examination = Examination {
            root,
            facts,
            target,
        };
        let short = |name: &str| {
            let rule = rules()
                .find(|rule| rule.name == name)
                .expect("a rule of this name");
            rule.examine(&examination).verdict == Verdict::Raise
        };
        if short("nofile in limits.d") {
            if let Some(why) = self.login_would_fail(root, facts, nofile) {
                self.left.push(format!("{LIMITS_PATH}: {why}"));
            } else {
                self.file(root, LIMITS_PATH, limits_conf(nofile), "at the next login")?;
            }
        }
        if short("LimitNOFILE of the unit") {
            let effect = "after `systemctl daemon-reload` and a restart of roadstead.service";
            self.file(root, UNIT_PATH, unit_drop_in(nofile), effect)?;
        }
        Ok(())
    }

    /// pam_limits refuses a login whose limit it cannot set.
    fn login_would_fail(&self, root: &HostRoot, facts: &Facts, nofile: u64) -> Option<String> {
        if !root.is_live() {
            return None; // an image: fs.nr_open comes from its sysctl.d, which is read before any login
        }
        let raised = self
            .settings
            .iter()
            .any(|change| change.name == "fs.nr_open");
        if !raised && facts.limits.nr_open.is_some_and(|ceiling| ceiling < nofile) {
            return Some("fs.nr_open stays below it, and logins would be refused".to_owned());
        }
        if !facts.limits.capabilities.sys_resource() {
            return Some("hard limits cannot be raised here (no CAP_SYS_RESOURCE), and logins would be refused".into());
        }
        None
    }

    fn draw_ruleset(
        &mut self,
        root: &HostRoot,
        facts: &Facts,
        target: &Target,
    ) -> Result<(), TuningError> {
        match &facts.tracking {
            Tracking::Untracked | Tracking::NotLoaded if root.is_live() => return Ok(()),
            Tracking::Undetermined(why) if root.is_live() => {
                self.left.push(format!("connection tracking: {why}"));
                return Ok(());
            }
            _ => {}
        }
        self.file(
            root,
            RULESET_PATH,
            nftables(target.port),
            "at each start of roadstead.service",
        )?;
        self.load_ruleset = root.is_live();
        Ok(())
    }

    fn file(
        &mut self,
        root: &HostRoot,
        path: &'static str,
        after: String,
        takes_effect: &'static str,
    ) -> Result<(), TuningError> {
        let before = files::read(root, path)?;
        if before.as_ref() != Some(&after) {
            self.files.push(FileChange {
                path,
                before,
                after,
                takes_effect,
            });
        }
        Ok(())
    }
}

/// A live value with its blanks made uniform, as they are compared and written.
pub(super) fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.settings {
            let before = change.before.as_deref().unwrap_or("(no live value)");
            writeln!(f, "  {}: {before} -> {}", change.name, change.after)?;
        }
        for file in &self.files {
            let action = if file.before.is_some() {
                "rewrite"
            } else {
                "write"
            };
            writeln!(f, "  {action} {} (counts {})", file.path, file.takes_effect)?;
            for line in file.after.lines().filter(|line| !line.starts_with('#')) {
                writeln!(f, "  +   {line}")?;
            }
        }
        if self.load_ruleset {
            writeln!(f, "  load table inet roadstead with nft, now")?;
        }
        for left in &self.left {
            writeln!(f, "  left as it is: {left}")?;
        }
        Ok(())
    }
}
