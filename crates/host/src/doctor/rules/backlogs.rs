//! Queues in front of `accept`, and the counters that tell when they overflow.

use crate::doctor::finding::Finding;
use crate::doctor::rule::{Check, Examination, Group, Rule, Weight};
use crate::doctor::wanted::Wanted;
use crate::quantity::grouped;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "net.core.somaxconn",
        group: Group::Backlogs,
        weight: Weight::Required,
        role: None,
        why: "The longest accept queue a listener gets, whatever `listen` asks for.",
        without: "A burst of connects overflows the queue: handshakes are dropped and peers wait seconds to retry.",
        see: "ss -lnt (Send-Q of a listener is its queue's limit)",
        check: Check::Sysctl(|_| Wanted::AtLeast(4096)),
    },
    Rule {
        name: "net.ipv4.tcp_max_syn_backlog",
        group: Group::Backlogs,
        weight: Weight::Required,
        role: None,
        why: "Half-open connections that a listener remembers.",
        without: "Under a reconnect storm SYNs are dropped or answered with cookies.",
        see: "nstat -az TcpExtSyncookiesSent",
        check: Check::Sysctl(|_| Wanted::AtLeast(8192)),
    },
    Rule {
        name: "net.core.netdev_max_backlog",
        group: Group::Backlogs,
        weight: Weight::Advised,
        role: None,
        why: "Packets that wait per CPU between the card (or loopback) and the protocol.",
        without: "Packets are dropped in bursts, counted only in softnet_stat.",
        see: "awk '{print $2}' /proc/net/softnet_stat",
        check: Check::Sysctl(|_| Wanted::AtLeast(5000)),
    },
    Rule {
        name: "net.ipv4.tcp_syncookies",
        group: Group::Backlogs,
        weight: Weight::Advised,
        role: None,
        why: "Answers a SYN flood without state, once the backlog is full.",
        without: "A SYN flood keeps real peers out.",
        see: "sysctl net.ipv4.tcp_syncookies",
        check: Check::Sysctl(|_| Wanted::AtLeast(1)),
    },
    Rule {
        name: "listen queue overflows",
        group: Group::Backlogs,
        weight: Weight::Advised,
        role: None,
        why: "ListenOverflows and ListenDrops count, since boot, connections that found an accept queue full.",
        without: "Peers met a full queue: accept faster, raise the backlog, or slow the reconnects.",
        see: "nstat -az TcpExtListenOverflows TcpExtListenDrops",
        check: Check::Inspect(|e| since_boot(e, &["ListenOverflows", "ListenDrops"])),
    },
    Rule {
        name: "SYN cookies sent",
        group: Group::Backlogs,
        weight: Weight::Advised,
        role: None,
        why: "SyncookiesSent counts, since boot, how often the SYN backlog was full.",
        without: "The SYN backlog was full: a storm or an attack; cookies lose some TCP options.",
        see: "nstat -az TcpExtSyncookiesSent",
        check: Check::Inspect(|e| since_boot(e, &["SyncookiesSent"])),
    },
    Rule {
        name: "packets dropped by softnet",
        group: Group::Backlogs,
        weight: Weight::Advised,
        role: None,
        why: "The second column of softnet_stat counts, per CPU and since boot, packets that found \
              netdev_max_backlog used up.",
        without: "Packets were lost before TCP saw them: raise netdev_max_backlog, or spread receive work.",
        see: "cat /proc/net/softnet_stat",
        check: Check::Inspect(softnet_drops),
    },
];

const NETSTAT_PATH: &str = "/proc/net/netstat";
const SOFTNET_PATH: &str = "/proc/net/softnet_stat";

/// Counters that are good at zero. What has been counted is history, so it is shown and never fails a host.
fn since_boot(e: &Examination<'_>, names: &[&str]) -> Finding {
    let text = match e.root.read(NETSTAT_PATH) {
        Ok(text) => text,
        Err(error) => return Finding::unreadable(&error),
    };
    let mut total = 0u64;
    for name in names {
        match counter(&text, name) {
            Some(count) => total = total.saturating_add(count),
            None => return Finding::unknown(format!("{NETSTAT_PATH} has no {name}")),
        }
    }
    counted(total)
}

fn counted(total: u64) -> Finding {
    match total {
        0 => Finding::ok("0 since boot"),
        _ => Finding::tolerable(
            format!("{} since boot", grouped(total)),
            "history; see whether it still rises",
        ),
    }
}

/// Two lines per protocol: names, then values in the same order.
fn counter(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|word| word == name)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

fn softnet_drops(e: &Examination<'_>) -> Finding {
    let text = match e.root.read(SOFTNET_PATH) {
        Ok(text) => text,
        Err(error) => return Finding::unreadable(&error),
    };
    let drops: Option<Vec<u64>> = text
        .lines()
        .map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok())
        .collect();
    match drops {
        Some(drops) if !drops.is_empty() => {
            counted(drops.iter().fold(0, |sum, &n| sum.saturating_add(n)))
        }
        _ => Finding::unknown(format!("{SOFTNET_PATH} is not understood")),
    }
}

#[cfg(test)]
mod tests {
    use super::{NETSTAT_PATH, SOFTNET_PATH};
    use crate::doctor::finding::Verdict;
    use crate::doctor::rules::tests::Bench;

    const RULES: [(&str, &str); 3] = [
        ("listen queue overflows", NETSTAT_PATH),
        ("SYN cookies sent", NETSTAT_PATH),
        ("packets dropped by softnet", SOFTNET_PATH),
    ];

    fn host(overflows: u64, cookies: u64, drops: &str) -> Bench {
        let netstat = format!(
            "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: {cookies} {overflows} {overflows}\n"
        );
        Bench::with(&[
            (NETSTAT_PATH, &netstat),
            (SOFTNET_PATH, &format!("00000abc {drops} 0\n00000abc 0 0\n")),
        ])
    }

    #[test]
    fn zero_is_good_and_history_is_shown() {
        for (rule, _) in RULES {
            assert_eq!(
                host(0, 0, "00000000").examine(rule).verdict,
                Verdict::Ok,
                "{rule}"
            );
            let finding = host(21, 21, "0000002a").examine(rule);
            assert!(matches!(finding.verdict, Verdict::Tolerable(_)), "{rule}");
        }
        assert_eq!(
            host(21, 0, "0").examine(RULES[0].0).current.unwrap(),
            "42 since boot"
        );
        assert_eq!(
            host(0, 0, "0000002a").examine(RULES[2].0).current.unwrap(),
            "42 since boot"
        );
    }

    #[test]
    fn missing_garbled_and_denied() {
        for (rule, path) in RULES {
            assert!(
                matches!(Bench::with(&[]).examine(rule).verdict, Verdict::Absent(_)),
                "{rule}"
            );
            assert!(
                matches!(
                    Bench::denied(path).examine(rule).verdict,
                    Verdict::Unknown(_)
                ),
                "{rule}"
            );
            for text in [
                "",
                "zz",
                "TcpExt: x y\nTcpExt: 1\n",
                "TcpExt: SyncookiesSent\n",
            ] {
                let bench = Bench::with(&[(path, text)]);
                assert!(
                    matches!(bench.examine(rule).verdict, Verdict::Unknown(_)),
                    "{rule} {text:?}"
                );
            }
        }
    }
}
