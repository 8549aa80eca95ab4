use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::HostRoot;
use crate::doctor::{Facts, Target};
use crate::root::sysctl_path;
use crate::testing::Tree;

const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";
const KEEPALIVE: &str = "/proc/sys/net/ipv4/tcp_keepalive_time";
const RMEM: &str = "/proc/sys/net/ipv4/tcp_rmem";

/// Every file below `root`, with its text.
fn contents(root: &HostRoot) -> BTreeMap<String, String> {
    fn walk(base: &Path, dir: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(base).unwrap().display().to_string();
            if path.is_dir() {
                found.insert(name, "a directory".into());
                walk(base, &path, found);
            } else {
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let base = root.path("/");
    let mut found = BTreeMap::new();
    walk(&base, &base, &mut found);
    found
}

fn draw(root: &HostRoot) -> Changes {
    let target = Target::default();
    Changes::draw(root, &Facts::gather(root, &target), &target).unwrap()
}

fn host() -> Tree {
    Tree::with(&[
        (SOMAXCONN, "128\n"),
        (KEEPALIVE, "60\n"),
        (RMEM, "4096\t131072\t6291456\n"),
        (
            "/etc/systemd/system/roadstead.service",
            "[Service]\nLimitNOFILE=65536\n",
        ),
        ("/etc/hosts", "127.0.0.1 localhost\n"),
    ])
}

#[test]
fn apply_sets_what_is_low_and_leaves_what_is_better() {
    let tree = host();
    let root = tree.root();
    apply(&root, &draw(&root)).unwrap();
    assert_eq!(root.read(SOMAXCONN).unwrap(), "4096\n");
    assert_eq!(root.read(KEEPALIVE).unwrap(), "60\n", "was better");
    assert_eq!(
        root.read(RMEM).unwrap(),
        "4096 131072 16777216\n",
        "the better parts stay"
    );
    let conf = root.read(SYSCTL_PATH).unwrap();
    assert!(
        conf.contains("net.core.somaxconn = 4096\n") && !conf.contains("keepalive_time"),
        "{conf}"
    );
    assert!(root.read(LIMITS_PATH).unwrap().contains("nofile  6000000"));
    assert!(
        root.read(UNIT_PATH)
            .unwrap()
            .contains("LimitNOFILE=6000000")
    );
    assert!(
        root.read(RULESET_PATH)
            .unwrap()
            .contains("tcp dport 8080 notrack")
    );
}

#[test]
fn apply_twice_is_apply_once() {
    let tree = host();
    let root = tree.root();
    apply(&root, &draw(&root)).unwrap();
    let once = contents(&root);
    let again = draw(&root);
    assert!(again.is_empty(), "{again}");
    apply(&root, &again).unwrap();
    assert_eq!(contents(&root), once);
}

#[test]
fn revert_restores_everything_exactly_and_twice_does_no_more() {
    let tree = host();
    let root = tree.root();
    let before = contents(&root);
    apply(&root, &draw(&root)).unwrap();
    assert_ne!(contents(&root), before);
    let reverted = revert(&root).unwrap().expect("something to revert");
    assert!(reverted.left.is_empty(), "{reverted:?}");
    let mut after = contents(&root);
    // A live value is written with single blanks, which is the same value.
    let rmem = after.get_mut("proc/sys/net/ipv4/tcp_rmem").unwrap();
    assert_eq!(rmem, "4096 131072 6291456\n");
    *rmem = "4096\t131072\t6291456\n".into();
    assert_eq!(after, before);
    assert_eq!(revert(&root).unwrap(), None);
}

#[test]
fn a_second_apply_keeps_the_first_notion_of_before() {
    let tree = host();
    let root = tree.root();
    apply(&root, &draw(&root)).unwrap();
    tree.put(SOMAXCONN, "512\n"); // somebody lowers it
    apply(&root, &draw(&root)).unwrap();
    assert_eq!(root.read(SOMAXCONN).unwrap(), "4096\n");
    revert(&root).unwrap();
    assert_eq!(root.read(SOMAXCONN).unwrap(), "128\n");
}

#[test]
fn what_somebody_else_changed_since_is_left_alone() {
    let tree = host();
    let root = tree.root();
    apply(&root, &draw(&root)).unwrap();
    tree.put(SOMAXCONN, "65535\n");
    tree.put(LIMITS_PATH, "* - nofile 9000000\n");
    let reverted = revert(&root).unwrap().unwrap();
    assert_eq!(reverted.left.len(), 2, "{reverted:?}");
    assert_eq!(root.read(SOMAXCONN).unwrap(), "65535\n");
    assert_eq!(root.read(LIMITS_PATH).unwrap(), "* - nofile 9000000\n");
}

#[test]
fn a_file_that_was_there_comes_back() {
    let tree = host();
    tree.put(SYSCTL_PATH, "# mine\n");
    let root = tree.root();
    apply(&root, &draw(&root)).unwrap();
    assert_ne!(root.read(SYSCTL_PATH).unwrap(), "# mine\n");
    revert(&root).unwrap();
    assert_eq!(root.read(SYSCTL_PATH).unwrap(), "# mine\n");
}

/// A run that dies at any write leaves a journal that reverts it.
#[test]
fn a_run_cut_short_can_be_reverted() {
    for blocked in [SYSCTL_PATH, LIMITS_PATH, UNIT_PATH, RULESET_PATH] {
        let tree = host();
        let root = tree.root();
        let before = contents(&root);
        let changes = draw(&root);
        fs::create_dir_all(root.path(blocked)).unwrap(); // a directory cannot be replaced by a file
        assert!(apply(&root, &changes).is_err(), "{blocked}");
        fs::remove_dir(root.path(blocked)).unwrap();
        revert(&root).unwrap().expect("a journal");
        for (path, text) in before {
            let now = contents(&root)
                .remove(&path)
                .unwrap_or_else(|| panic!("{path} is gone"));
            assert_eq!(words(&now), words(&text), "{path}, cut short at {blocked}");
        }
        assert!(!root.path(SYSCTL_PATH).exists() && !root.path(JOURNAL_PATH).exists());
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn an_image_without_live_values_gets_the_files() {
    let tree = Tree::with(&[("/etc/hosts", "")]);
    let root = tree.root();
    let before = contents(&root);
    apply(&root, &draw(&root)).unwrap();
    let conf = root.read(SYSCTL_PATH).unwrap();
    assert!(
        conf.contains("fs.nr_open = 6000000") && conf.contains("tcp_keepalive_time = 300"),
        "{conf}"
    );
    assert!(!root.path(SOMAXCONN).exists());
    assert!(draw(&root).is_empty());
    revert(&root).unwrap();
    assert_eq!(contents(&root), before);
}

#[test]
fn a_journal_of_somebody_else_stops_everything() {
    for text in [
        "",
        "{}",
        "[1]",
        r#"{"version":9,"settings":[],"files":[],"ruleset_loaded":false,"directories":[]}"#,
    ] {
        let tree = host();
        tree.put(JOURNAL_PATH, text);
        let root = tree.root();
        assert!(
            matches!(revert(&root), Err(TuningError::Journal(_))),
            "{text:?}"
        );
        let facts = Facts::gather(&root, &Target::default());
        assert!(matches!(
            Changes::draw(&root, &facts, &Target::default()),
            Err(TuningError::Journal(_))
        ));
    }
}

#[test]
fn a_host_tuned_by_the_scripts_is_left_to_them() {
    let tree = host();
    tree.put(SCRIPT_STATE_PATH, "");
    let facts = Facts::gather(&tree.root(), &Target::default());
    let drawn = Changes::draw(&tree.root(), &facts, &Target::default());
    assert!(matches!(drawn, Err(TuningError::TunedByScript)));
}

proptest! {
    // Each case syncs some ten files to disk.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever the live values are: applied, none is worse than before; reverted, all are as before.
    #[test]
    fn any_host_survives_apply_and_revert(values in proptest::collection::vec("[0-9]{1,9}", 3 * 32)) {
        let tree = Tree::with(&[]);
        let target = Target::default();
        let sysctls: Vec<_> =
            crate::doctor::rules().filter_map(|rule| Some((rule.name, rule.sysctl(&target)?))).collect();
        let mut before = BTreeMap::new();
        for ((name, wanted), parts) in sysctls.iter().zip(values.chunks(3)) {
            let parts: Vec<String> = parts.iter().map(|v| v.parse::<u64>().unwrap().to_string()).collect();
            let text = parts[..wanted.value().split(' ').count()].join(" ") + "\n";
            tree.put(&sysctl_path(name), &text);
            before.insert(*name, text);
        }
        let root = tree.root();
        apply(&root, &draw(&root)).unwrap();
        for (name, wanted) in sysctls.iter().filter(|(name, _)| !name.ends_with("port_range")) {
            let now = root.read(&sysctl_path(name)).unwrap();
            prop_assert_eq!(wanted.improvement_on(&now), Ok(None), "{} is {}", name, now);
        }
        prop_assert!(draw(&root).is_empty());
        revert(&root).unwrap();
        for (name, text) in before {
            prop_assert_eq!(root.read(&sysctl_path(name)).unwrap(), text, "{}", name);
        }
    }
}
