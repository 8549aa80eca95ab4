//! What the tests of the rules share, and what every rule must withstand.

use proptest::prelude::*;

use super::all;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Verdict};
use crate::doctor::rule::{Check, Examination};
use crate::doctor::target::Target;
use crate::doctor::tracking::Tracking;
use crate::root::sysctl_path;
use crate::testing::Tree;
use crate::{HostRoot, Limits};

pub(super) const LIMITS: &str = "/proc/self/limits";
pub(super) const STATUS: &str = "/proc/self/status";

/// A synthetic host with its facts.
pub(super) struct Bench {
    tree: Tree,
    root: HostRoot,
    pub(super) facts: Facts,
}

impl Bench {
    pub(super) fn with(files: &[(&str, &str)]) -> Self {
        let tree = Tree::with(files);
        let root = tree.root();
        let facts = Facts::gather(&root, &Target::default());
        Self { tree, root, facts }
    }

    /// A host on which `path` exists and is not readable for this user.
    pub(super) fn denied(path: &str) -> Self {
        Self::with(&[(path, "")]).and_denied(path)
    }

    pub(super) fn and_file(self, path: &str, text: &str) -> Self {
        self.tree.put(path, text);
        self
    }

    pub(super) fn and_denied(self, path: &str) -> Self {
        let root = self.root.denying(path);
        let limits = Limits::read(&root);
        Self {
            facts: Facts {
                limits,
                ..self.facts
            },
            root,
            tree: self.tree,
        }
    }

    #[track_caller]
    pub(super) fn examine(&self, rule: &str) -> Finding {
        let rule = all()
            .find(|r| r.name == rule)
            .unwrap_or_else(|| panic!("no rule {rule}"));
        rule.examine(&Examination {
            root: &self.root,
            facts: &self.facts,
            target: &Target::default(),
        })
    }
}

#[test]
fn names_are_unique_and_every_word_is_there() {
    let mut names: Vec<&str> = all().map(|rule| rule.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for rule in all() {
        assert!(
            !rule.why.is_empty() && !rule.without.is_empty() && !rule.see.is_empty(),
            "{}",
            rule.name
        );
    }
}

#[test]
fn groups_are_together_and_in_their_order() {
    assert!(all().is_sorted_by_key(|rule| rule.group));
}

/// A value that falls short of what the rule wants.
fn low(value: &str) -> String {
    let one: Vec<String> = value
        .split(' ')
        .map(|part| (part.parse::<u64>().unwrap() + 1).to_string())
        .collect();
    one.join(" ")
}

#[test]
fn every_sysctl_low_enough_missing_garbled_and_denied() {
    for rule in all() {
        let Check::Sysctl(wanted) = rule.check else {
            continue;
        };
        let (name, wanted) = (rule.name, wanted(&Target::default()));
        let path = sysctl_path(name);
        let verdict = |text: &str| Bench::with(&[(&path, text)]).examine(name).verdict;
        assert_eq!(
            verdict(&format!("{}\n", wanted.value())),
            Verdict::Ok,
            "{name}"
        );
        let short = match wanted.comparison() {
            "least" => wanted
                .value()
                .split(' ')
                .map(|_| "0")
                .collect::<Vec<_>>()
                .join("\t"),
            _ => low(&wanted.value()),
        };
        assert_eq!(verdict(&short), Verdict::Raise, "{name} at {short:?}");
        let finding = Bench::with(&[(&path, &short)]).examine(name);
        assert!(
            finding
                .fix
                .unwrap()
                .starts_with(&format!("sysctl -w {name}=")),
            "{name}"
        );
        assert!(
            matches!(Bench::with(&[]).examine(name).verdict, Verdict::Absent(_)),
            "{name}"
        );
        assert!(
            matches!(
                Bench::denied(&path).examine(name).verdict,
                Verdict::Unknown(_)
            ),
            "{name}"
        );
        for text in [
            "",
            "many",
            "-1",
            "1 2 3 4",
            "0x10",
            "99999999999999999999999",
        ] {
            assert!(
                matches!(verdict(text), Verdict::Unknown(_)),
                "{name} {text:?}"
            );
        }
    }
}

#[test]
fn a_sysctl_that_cannot_be_written_is_stuck() {
    let name = "net.core.somaxconn";
    let tree = Tree::with(&[(&sysctl_path(name), "128\n")]);
    tree.make_read_only(&sysctl_path(name));
    let root = tree.root();
    let facts = Facts::gather(&root, &Target::default());
    let examination = Examination {
        root: &root,
        facts: &facts,
        target: &Target::default(),
    };
    let rule = all().find(|rule| rule.name == name).unwrap();
    assert!(matches!(
        rule.examine(&examination).verdict,
        Verdict::Stuck(_)
    ));
}

/// Every file that some rule reads.
const FILES: &[&str] = &[
    LIMITS,
    STATUS,
    "/proc/self/cgroup",
    "/proc/meminfo",
    "/proc/pressure/memory",
    "/proc/net/netstat",
    "/proc/net/softnet_stat",
    "/proc/interrupts",
    "/proc/irq/1/smp_affinity_list",
    "/proc/sys/fs/file-nr",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/io_uring_disabled",
    "/proc/sys/kernel/io_uring_group",
    "/proc/sys/net/netfilter/nf_conntrack_max",
    "/proc/sys/net/netfilter/nf_conntrack_count",
    "/proc/sys/net/ipv4/tcp_ehash_entries",
    "/proc/sys/vm/overcommit_memory",
    "/etc/security/limits.conf",
    "/etc/security/limits.d/10.conf",
    "/etc/systemd/system/roadstead.service",
    "/etc/systemd/system/roadstead.service.d/x.conf",
    "/sys/class/net/eth0/queues/rx-0/rps_cpus",
    "/sys/class/net/eth0/queues/tx-0/xps_cpus",
    "/sys/class/net/eth0/device/vendor",
    "/sys/fs/cgroup/pids.max",
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory.current",
];

/// Text made of words that the parsers look for, so that it gets past their first line.
const TEXT: &str = "(Max open files|Max locked memory|CapEff:|Cpus_allowed_list:|Seccomp:|0::/|MemTotal:|\
    MemAvailable:|some avg10=|TcpExt:|ListenOverflows|LimitNOFILE=|\\* - nofile|unlimited|max|infinity|eth0|\
    [0-9]{1,20}|[-:,. \t\n]|\\PC){0,12}";

proptest! {
    /// No rule panics, whatever the host's files hold, and no target is too large or too small.
    #[test]
    fn no_content_panics(
        texts in proptest::collection::vec(TEXT, FILES.len()),
        sysctl in "([0-9]{1,20}[ \t\n]){0,4}|\\PC{0,20}",
        connections in any::<u64>(),
        tracked in any::<bool>(),
    ) {
        let tree = Tree::with(&[]);
        for (path, text) in FILES.iter().zip(&texts) {
            tree.put(path, text);
        }
        for rule in all() {
            if let Check::Sysctl(_) = rule.check {
                tree.put(&sysctl_path(rule.name), &sysctl);
            }
        }
        let root = tree.root();
        let target = Target { connections, ..Target::default() };
        let tracking = if tracked { Tracking::Tracked } else { Tracking::probe(&root, target.port) };
        let facts = Facts { tracking, ..Facts::gather(&root, &target) };
        let examination = Examination { root: &root, facts: &facts, target: &target };
        for rule in all() {
            let finding = rule.examine(&examination);
            prop_assert!(finding.verdict != Verdict::Raise || finding.fix.is_some(), "{}", rule.name);
        }
    }
}
