//! Connection tracking: 256 to 320 bytes and a table entry per connection, for nothing.

use crate::ReadError;
use crate::doctor::finding::Finding;
use crate::doctor::rule::{Check, Examination, Group, Rule, Weight};
use crate::doctor::tracking::Tracking;
use crate::quantity::{binary_bytes, grouped};

/// An nf_conn object with its extensions, in the slab.
const ENTRY_BYTES: u64 = 320;

const MAX: &str = "net.netfilter.nf_conntrack_max";
const COUNT: &str = "net.netfilter.nf_conntrack_count";

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "conntrack of the port",
        group: Group::Conntrack,
        weight: Weight::Advised,
        role: None,
        why: "Whether the kernel tracks connections to the port. A server's own port needs no tracking: the \
              NOTRACK rules, in the raw hooks of both directions, exempt it. Probed with eight loopback connections.",
        without: "Each connection costs up to 320 B more and a hash lookup per packet, and the table can run full.",
        see: "conntrack -C; nft list table inet roadstead",
        check: Check::Inspect(port_tracking),
    },
    Rule {
        name: MAX,
        group: Group::Conntrack,
        weight: Weight::Required,
        role: None,
        why: "Connections that the kernel tracks at most. It matters only where the port is tracked.",
        without: "Past it new connections are dropped: `nf_conntrack: table full` in the kernel's log.",
        see: "sysctl net.netfilter.nf_conntrack_max net.netfilter.nf_conntrack_count",
        check: Check::Inspect(table_size),
    },
];

/// The commands that exempt `port`, in nftables and in iptables, IPv4 and IPv6.
fn notrack_fix(port: u16) -> String {
    format!(
        "roadstead doctor --apply, or: nft -f (roadstead doctor --emit nftables --port {port}); \
         with iptables and ip6tables: -t raw -A PREROUTING -p tcp --dport {port} -j NOTRACK and \
         -t raw -A OUTPUT -p tcp --sport {port} -j NOTRACK"
    )
}

fn port_tracking(e: &Examination<'_>) -> Finding {
    let port = e.target.port;
    match &e.facts.tracking {
        Tracking::NotLoaded => Finding::ok("no conntrack loaded"),
        Tracking::Untracked => Finding::ok(format!("port {port} is not tracked")),
        Tracking::Tracked => {
            let bytes = binary_bytes(e.target.connections.saturating_mul(ENTRY_BYTES));
            Finding::raise(
                format!("port {port} is tracked ({bytes} at the target)"),
                notrack_fix(port),
            )
        }
        Tracking::Undetermined(why) => Finding::unknown(why).fixed_by(notrack_fix(port)),
    }
    .needing("not tracked")
}

fn table_size(e: &Examination<'_>) -> Finding {
    let max: u64 = match e.root.sysctl(MAX) {
        Ok(max) => max,
        Err(ReadError::Missing { .. }) => return Finding::absent("conntrack is not loaded"),
        Err(error) => return Finding::unknown(error),
    };
    let count = match e.root.sysctl::<u64>(COUNT) {
        Ok(count) => count,
        Err(error) => return Finding::unknown(error),
    };
    let current = format!("{} ({} used)", grouped(max), grouped(count));
    let needed = e.target.connections.saturating_add(count);
    let finding = match &e.facts.tracking {
        _ if max >= needed => Finding::ok(current),
        Tracking::NotLoaded | Tracking::Untracked => {
            Finding::tolerable(current, "the port is not tracked")
        }
        Tracking::Undetermined(_) => Finding::tolerable(
            current,
            "enough only if the port is not tracked, which is not known",
        )
        .fixed_by(notrack_fix(e.target.port)),
        Tracking::Tracked => Finding::raise(current, notrack_fix(e.target.port)),
    };
    finding.needing(format!("≥ {}, where tracked", grouped(needed)))
}

#[cfg(test)]
mod tests {
    use crate::doctor::finding::Verdict;
    use crate::doctor::rules::tests::Bench;
    use crate::doctor::tracking::Tracking;

    const PORT_RULE: &str = "conntrack of the port";
    const MAX_PATH: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
    const COUNT_PATH: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

    fn host(max: &str, count: &str, tracking: Tracking) -> Bench {
        let mut bench = Bench::with(&[(MAX_PATH, max), (COUNT_PATH, count)]);
        bench.facts.tracking = tracking;
        bench
    }

    #[test]
    fn a_tracked_port_is_to_be_exempted_with_the_commands() {
        let finding = host("262144", "12", Tracking::Tracked).examine(PORT_RULE);
        assert_eq!(finding.verdict, Verdict::Raise);
        let fix = finding.fix.unwrap();
        assert!(
            fix.contains("nftables") && fix.contains("ip6tables") && fix.contains("--dport 8080"),
            "{fix}"
        );
        for tracking in [Tracking::Untracked, Tracking::NotLoaded] {
            assert_eq!(
                host("262144", "12", tracking).examine(PORT_RULE).verdict,
                Verdict::Ok
            );
        }
        let unsure = host("262144", "12", Tracking::Undetermined("busy".into())).examine(PORT_RULE);
        assert!(matches!(unsure.verdict, Verdict::Unknown(_)));
    }

    #[test]
    fn the_table_matters_where_the_port_is_tracked() {
        let rule = super::MAX;
        assert_eq!(
            host("262144", "0", Tracking::Tracked).examine(rule).verdict,
            Verdict::Raise
        );
        assert_eq!(
            host("5000000", "0", Tracking::Tracked)
                .examine(rule)
                .verdict,
            Verdict::Ok
        );
        assert_eq!(
            host("5000000", "1", Tracking::Tracked)
                .examine(rule)
                .verdict,
            Verdict::Raise
        );
        for tracking in [Tracking::Untracked, Tracking::Undetermined("busy".into())] {
            let finding = host("262144", "0", tracking).examine(rule);
            assert!(matches!(finding.verdict, Verdict::Tolerable(_)));
        }
    }

    #[test]
    fn missing_garbled_and_denied() {
        let rule = super::MAX;
        assert!(matches!(
            Bench::with(&[]).examine(rule).verdict,
            Verdict::Absent(_)
        ));
        assert!(matches!(
            host("many", "0", Tracking::Tracked).examine(rule).verdict,
            Verdict::Unknown(_)
        ));
        assert!(matches!(
            host("1", "few", Tracking::Tracked).examine(rule).verdict,
            Verdict::Unknown(_)
        ));
        assert!(matches!(
            Bench::denied(MAX_PATH).examine(rule).verdict,
            Verdict::Unknown(_)
        ));
    }
}
