use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::doctor::Role;

#[test]
fn generated_files_of_the_repository_are_fresh() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (path, text) in generated_files() {
        let found = fs::read_to_string(repository.join(path)).unwrap_or_default();
        assert!(found == text, "{path} is stale: run `just generate`");
    }
}

#[test]
fn the_scripts_are_shell() {
    for text in [tune_script(&Target::default()), untune_script()] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("script.sh");
        fs::write(&path, &text).unwrap();
        let output = Command::new("sh")
            .arg("-n")
            .arg(&path)
            .output()
            .expect("a shell");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn the_script_sets_what_the_rules_want() {
    let text = tune_script(&Target::default());
    for (name, value) in sysctl_settings(&Target::default()) {
        assert!(
            text.lines()
                .any(|l| l.starts_with(&format!("setting {name} "))
                    && l.ends_with(&format!("'{value}'")))
        );
    }
    assert!(!text.contains("ip_local_port_range"), "that is for clients");
    let client = Target {
        role: Role::Client,
        ..Target::default()
    };
    assert!(
        tune_script(&client).contains("setting net.ipv4.ip_local_port_range span '1024 65535'")
    );
}

#[test]
fn the_guide_names_every_rule() {
    let text = guide(&Target::default());
    for rule in crate::doctor::rules() {
        assert!(
            text.contains(&format!("### {}\n", rule.name)),
            "{}",
            rule.name
        );
    }
}

#[test]
fn notrack_covers_both_directions_and_both_families() {
    let table = nftables(4321);
    assert!(
        table.contains("table inet roadstead"),
        "inet is IPv4 and IPv6"
    );
    for hook in ["prerouting", "output"] {
        assert!(table.contains(&format!("hook {hook} priority raw")));
    }
    assert_eq!(table.matches("tcp dport 4321 notrack").count(), 2);
    assert_eq!(table.matches("tcp sport 4321 notrack").count(), 2);
    let commands = iptables(4321);
    assert_eq!(
        commands
            .lines()
            .filter(|line| line.starts_with("ip6tables"))
            .count(),
        4
    );
    assert_eq!(commands.lines().count(), 8);
}
