//! All findings together, and what they amount to.

use serde::Serialize;

use super::facts::Facts;
use super::finding::Finding;
use super::rule::{Group, Weight};
use super::target::Target;
use crate::capacity::{self, Bound, Plan};
use crate::quantity::grouped;

/// One rule's finding, with what the report says about the rule.
#[derive(Clone, Debug, Serialize)]
pub struct Examined {
    /// The setting's name.
    pub setting: &'static str,
    /// What it is about.
    pub group: Group,
    /// How much it matters.
    pub weight: Weight,
    /// What goes wrong without it.
    pub without: &'static str,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
}

impl Examined {
    /// Whether this keeps the host from its target.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.weight == Weight::Required && self.finding.verdict.is_short()
    }
}

/// The doctor's report on a host.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the host is to hold.
    pub target: Target,
    /// Each rule's finding, in the rules' order.
    pub findings: Vec<Examined>,
    /// How the server would hold the target here; `None` where it does not fit.
    pub plan: Option<Plan>,
    /// What this host can hold now, and which limit binds first.
    pub ceiling: Bound,
    /// Whether the host can hold the target as it is.
    pub holds_target: bool,
}

impl Report {
    pub(super) fn new(findings: Vec<Examined>, facts: &Facts, target: &Target) -> Self {
        let request = target.request(facts);
        let ceiling = capacity::ceiling(&request, &facts.limits);
        let plan = capacity::plan(&request, &facts.limits).ok();
        let blocked = findings.iter().any(Examined::blocks);
        Self {
            target: *target,
            findings,
            holds_target: plan.is_some() && !blocked,
            plan,
            ceiling,
        }
    }

    /// The last line of the report: what the host can hold now, and which limit binds first.
    #[must_use]
    pub fn conclusion(&self) -> String {
        let target = grouped(self.target.connections);
        let holds = format!(
            "This host can hold {} connections now; {} binds first.",
            grouped(self.ceiling.connections),
            self.ceiling.binding
        );
        let blocking: Vec<&str> = self
            .findings
            .iter()
            .filter(|e| e.blocks())
            .map(|e| e.setting)
            .collect();
        match (&self.plan, blocking.as_slice()) {
            (Some(plan), []) => format!(
                "{holds} The target of {target} fits, on {} workers.",
                plan.workers
            ),
            (_, []) => format!("{holds} The target of {target} does not fit."),
            (_, blocking) => format!(
                "{holds} The target of {target} is not safe until this is set: {}.",
                blocking.join(", ")
            ),
        }
    }
}
