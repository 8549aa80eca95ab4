use super::{Card, Drivers, Ring, mask_of};
use crate::doctor::finding::Verdict;
use crate::doctor::rules::tests::{Bench, STATUS};

const RULES: [&str; 3] = [
    "receive queues",
    "transmit queues (XPS)",
    "interrupt affinity",
];
const RPS: &str = "/sys/class/net/eth0/queues/rx-0/rps_cpus";
const XPS: [&str; 2] = [
    "/sys/class/net/eth0/queues/tx-0/xps_cpus",
    "/sys/class/net/eth0/queues/tx-1/xps_cpus",
];

fn card(rps: &str, xps: &str, affinities: [&str; 2]) -> Bench {
    let table = "     CPU0 CPU1\n 24: 1 2 PCI-MSI eth0-rx-0\n 25: 3 4 PCI-MSI eth0-rx-1\n 26: 0 0 PCI-MSI nvme\n";
    Bench::with(&[
        (STATUS, "Cpus_allowed_list:\t0-1\n"),
        ("/sys/class/net/lo/mtu", "65536\n"),
        ("/sys/class/net/eth0/device/vendor", "0x1af4\n"),
        (RPS, rps),
        (XPS[0], xps),
        (XPS[1], xps),
        ("/proc/interrupts", table),
        ("/proc/irq/24/smp_affinity_list", affinities[0]),
        ("/proc/irq/25/smp_affinity_list", affinities[1]),
    ])
}

#[test]
fn a_card_that_serves_one_core_only() {
    let bench = card("00000000\n", "0\n", ["0\n", "0\n"]);
    for rule in RULES {
        let finding = bench.examine(rule);
        assert_eq!(finding.verdict, Verdict::Raise, "{rule}");
        assert!(
            finding.current.unwrap().starts_with("eth0: ") && finding.fix.is_some(),
            "{rule}"
        );
    }
}

#[test]
fn a_card_that_reaches_every_core() {
    let bench = card("3\n", "3\n", ["0\n", "1\n"]);
    for rule in RULES {
        assert_eq!(bench.examine(rule).verdict, Verdict::Ok, "{rule}");
    }
}

#[test]
fn loopback_is_no_card() {
    let bench = Bench::with(&[
        ("/sys/class/net/lo/mtu", "65536\n"),
        ("/proc/interrupts", "CPU0\n"),
    ]);
    for rule in RULES {
        assert!(
            matches!(bench.examine(rule).verdict, Verdict::Absent(_)),
            "{rule}"
        );
    }
}

#[test]
fn missing_garbled_and_denied() {
    for rule in RULES {
        assert!(
            matches!(Bench::with(&[]).examine(rule).verdict, Verdict::Absent(_)),
            "{rule}"
        );
    }
    let garbled = card("every", "every", ["0", "1"]);
    for (rule, path) in [(RULES[0], RPS), (RULES[1], XPS[0])] {
        assert!(
            matches!(garbled.examine(rule).verdict, Verdict::Unknown(_)),
            "{rule}"
        );
        let denied = card("0", "0", ["0", "1"]).and_denied(path);
        assert!(
            matches!(denied.examine(rule).verdict, Verdict::Unknown(_)),
            "{rule}"
        );
    }
    let denied = card("0", "0", ["0", "0"]).and_denied("/proc/irq/24/smp_affinity_list");
    assert!(matches!(
        denied.examine(RULES[2]).verdict,
        Verdict::Unknown(_)
    ));
    let garbled = card("0", "0", ["somewhere", "somewhere"]);
    assert_eq!(
        garbled.examine(RULES[2]).verdict,
        Verdict::Ok,
        "not a single core, so no complaint"
    );
}

fn driven(slots: u64, off: &[&'static str]) -> Bench {
    let mut bench = card("3", "3", ["0", "1"]);
    bench.facts.drivers = Drivers::Asked(vec![Card {
        name: "eth0".to_owned(),
        receive_ring: Some(Ring {
            slots,
            slots_max: 4096,
        }),
        offloads_off: Some(off.to_vec()),
    }]);
    bench
}

#[test]
fn what_drivers_tell() {
    assert_eq!(
        driven(1024, &[]).examine("receive ring").verdict,
        Verdict::Ok
    );
    assert_eq!(driven(1024, &[]).examine("offloads").verdict, Verdict::Ok);
    let short = driven(256, &["tso", "gro"]);
    assert_eq!(
        short.examine("receive ring").fix.unwrap(),
        "ethtool -G eth0 rx 4096"
    );
    assert_eq!(
        short.examine("offloads").fix.unwrap(),
        "ethtool -K eth0 tso on gro on"
    );
    for rule in ["receive ring", "offloads"] {
        assert_eq!(short.examine(rule).verdict, Verdict::Raise, "{rule}");
        let unasked = card("3", "3", ["0", "1"]).examine(rule);
        assert!(matches!(unasked.verdict, Verdict::Unknown(_)), "{rule}");
        let mut silent = driven(256, &[]);
        silent.facts.drivers = Drivers::Asked(vec![Card {
            name: "eth0".into(),
            receive_ring: None,
            offloads_off: None,
        }]);
        assert_eq!(
            silent.examine(rule).verdict,
            Verdict::Ok,
            "{rule}: such as virtio"
        );
        silent.facts.drivers = Drivers::Asked(vec![]);
        assert!(
            matches!(silent.examine(rule).verdict, Verdict::Unknown(_)),
            "{rule}"
        );
        assert!(
            matches!(Bench::with(&[]).examine(rule).verdict, Verdict::Absent(_)),
            "{rule}"
        );
    }
}

#[test]
fn irqbalance_is_named() {
    let bench = card("3", "3", ["0", "1"]);
    assert_eq!(
        bench.examine(RULES[2]).current.unwrap(),
        "eth0: 2 interrupts"
    );
    let balanced = bench.and_file("/proc/42/comm", "irqbalance\n");
    assert_eq!(
        balanced.examine(RULES[2]).current.unwrap(),
        "eth0: 2 interrupts, irqbalance runs"
    );
}

#[test]
fn masks_are_in_words_of_32() {
    assert_eq!(mask_of(2), "3");
    assert_eq!(mask_of(32), "ffffffff");
    assert_eq!(mask_of(33), "1,ffffffff");
    assert_eq!(mask_of(64), "ffffffff,ffffffff");
}
