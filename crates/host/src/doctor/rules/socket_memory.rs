//! Buffers of sockets: what one may have, and what all may have together.

use crate::doctor::rule::{Check, Group, Rule, Weight};
use crate::doctor::wanted::Wanted;

const BUFFER_MAX: u64 = 16 << 20;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "net.core.rmem_max",
        group: Group::SocketMemory,
        weight: Weight::Advised,
        role: None,
        why: "The largest receive buffer that a socket may ask for. Idle connections have none, whatever it says.",
        without: "Programs that set SO_RCVBUF get less than they ask for, silently.",
        see: "sysctl net.core.rmem_max",
        check: Check::Sysctl(|_| Wanted::AtLeast(BUFFER_MAX)),
    },
    Rule {
        name: "net.core.wmem_max",
        group: Group::SocketMemory,
        weight: Weight::Advised,
        role: None,
        why: "The largest send buffer that a socket may ask for. Idle connections have none, whatever it says.",
        without: "Programs that set SO_SNDBUF get less than they ask for, silently.",
        see: "sysctl net.core.wmem_max",
        check: Check::Sysctl(|_| Wanted::AtLeast(BUFFER_MAX)),
    },
    Rule {
        name: "net.ipv4.tcp_rmem",
        group: Group::SocketMemory,
        weight: Weight::Advised,
        role: None,
        why: "Minimum, initial and largest receive buffer of a TCP socket. It bounds a busy connection; an idle \
              one takes no page of it.",
        without: "Busy connections over long paths are slow: the window stays below bandwidth times delay.",
        see: "ss -tm (rb is the buffer's limit)",
        check: Check::Sysctl(|_| Wanted::EachAtLeast([4096, 87_380, BUFFER_MAX])),
    },
    Rule {
        name: "net.ipv4.tcp_wmem",
        group: Group::SocketMemory,
        weight: Weight::Advised,
        role: None,
        why: "Minimum, initial and largest send buffer of a TCP socket. It bounds what a slow peer can pile up in \
              the kernel; an idle connection takes no page of it.",
        without: "Busy connections over long paths are slow, and large replies take more round trips.",
        see: "ss -tm (tb is the buffer's limit)",
        check: Check::Sysctl(|_| Wanted::EachAtLeast([4096, 65_536, BUFFER_MAX])),
    },
    Rule {
        name: "net.ipv4.tcp_mem",
        group: Group::SocketMemory,
        weight: Weight::Required,
        role: None,
        why: "Pages (of 4 KiB) for the buffers of all TCP sockets of the host: no pressure below the first, \
              pressure from the second, refusal at the third. Counted for one busy connection in twenty with a \
              page in each direction; idle connections hold none.",
        without: "Under load the kernel shrinks every window, then drops data and resets: `TCP: out of memory` in \
                  the kernel's log, with gigabytes free.",
        see: "grep ^TCP: /proc/net/sockstat (mem, in pages); dmesg | grep 'out of memory'",
        check: Check::Sysctl(|target| {
            let pages = target.buffer_pages();
            Wanted::EachAtLeast([pages / 2, pages / 4 * 3, pages])
        }),
    },
];
