//! How long dead and closing connections stay, and the ports of a client.

use crate::doctor::rule::{Check, Group, Rule, Weight};
use crate::doctor::target::Role;
use crate::doctor::wanted::Wanted;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "net.ipv4.tcp_keepalive_time",
        group: Group::Lifetimes,
        weight: Weight::Advised,
        role: None,
        why: "Seconds of silence before the first keepalive probe. Roadstead sets 300/30/3 and TCP_USER_TIMEOUT on \
              its own sockets (the latter has no sysctl); this is for everything else.",
        without: "A peer that vanished behind a NAT is held for two hours.",
        see: "ss -to (timer:keepalive)",
        check: Check::Sysctl(|_| Wanted::AtMost(300)),
    },
    Rule {
        name: "net.ipv4.tcp_keepalive_intvl",
        group: Group::Lifetimes,
        weight: Weight::Advised,
        role: None,
        why: "Seconds between keepalive probes that are not answered.",
        without: "A dead peer is held for eleven minutes more.",
        see: "sysctl net.ipv4.tcp_keepalive_intvl",
        check: Check::Sysctl(|_| Wanted::AtMost(30)),
    },
    Rule {
        name: "net.ipv4.tcp_keepalive_probes",
        group: Group::Lifetimes,
        weight: Weight::Advised,
        role: None,
        why: "Unanswered keepalive probes before the connection is given up.",
        without: "A dead peer is held for nine probes instead of three.",
        see: "sysctl net.ipv4.tcp_keepalive_probes",
        check: Check::Sysctl(|_| Wanted::AtMost(3)),
    },
    Rule {
        name: "net.ipv4.tcp_fin_timeout",
        group: Group::Lifetimes,
        weight: Weight::Advised,
        role: None,
        why: "Seconds that an orphaned connection waits for the peer's FIN.",
        without: "After a mass disconnect half-closed sockets keep their memory for a minute.",
        see: "ss -tn state fin-wait-2 | wc -l",
        check: Check::Sysctl(|_| Wanted::AtMost(30)),
    },
    Rule {
        name: "net.ipv4.tcp_max_orphans",
        group: Group::Lifetimes,
        weight: Weight::Advised,
        role: None,
        why: "Closed sockets whose last bytes are still on the way. A drain of the whole fleet makes many at once.",
        without: "Past it connections are reset instead of closed: `too many orphaned sockets` in the kernel's log.",
        see: "grep ^TCP: /proc/net/sockstat (orphan)",
        check: Check::Sysctl(|target| Wanted::AtLeast((target.connections / 20).max(65_536))),
    },
    Rule {
        name: "net.ipv4.tcp_max_tw_buckets",
        group: Group::Lifetimes,
        weight: Weight::Advised,
        role: None,
        why: "Connections in TIME_WAIT, about 256 B each. A server that closes first has one for each close of the \
              last minute.",
        without: "TIME_WAIT is cut short: `time wait bucket table overflow` in the kernel's log.",
        see: "grep ^TCP: /proc/net/sockstat (tw)",
        check: Check::Sysctl(|target| Wanted::AtLeast((target.connections / 10).max(262_144))),
    },
    Rule {
        name: "net.ipv4.ip_local_port_range",
        group: Group::Lifetimes,
        weight: Weight::Required,
        role: Some(Role::Client),
        why: "Ports for outgoing connections, per pair of addresses and server port. 64,512 of them hold five \
              million connections from 78 source addresses; the default's 28,232 need 178.",
        without: "connect fails with EADDRNOTAVAIL at 28,232 connections per source address.",
        see: "ss -s; sysctl net.ipv4.ip_local_port_range",
        check: Check::Sysctl(|_| Wanted::Spanning(1024, 65_535)),
    },
];
