//! How many TCP sockets the network namespace has, from `/proc/net/sockstat` and `sockstat6`.
//!
//! Two short files, where a listing of the sockets themselves would be one line for each of millions.

use serde::Serialize;

use crate::{HostRoot, ReadError};

const SOCKSTAT_PATH: &str = "/proc/net/sockstat";
const SOCKSTAT6_PATH: &str = "/proc/net/sockstat6";

/// TCP sockets of this network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SocketCounts {
    /// IPv4 sockets in use, listeners included.
    pub tcp_in_use: u64,
    /// IPv6 sockets in use, listeners included.
    pub tcp6_in_use: u64,
    /// Sockets that no process holds any more.
    pub tcp_orphaned: u64,
    /// Sockets in TIME_WAIT.
    pub tcp_time_wait: u64,
    /// Sockets allocated, on the whole host and in any state.
    pub tcp_allocated: u64,
    /// Pages that all sockets' buffers take, on the whole host: what `tcp_mem` bounds.
    pub tcp_buffer_pages: u64,
}

impl SocketCounts {
    /// Reads both files; a kernel without IPv6 has no second one.
    pub fn read(root: &HostRoot) -> Result<Self, ReadError> {
        let text = root.read(SOCKSTAT_PATH)?;
        let tcp = |name| {
            field(&text, "TCP:", name).ok_or_else(|| ReadError::garbled(SOCKSTAT_PATH, &text))
        };
        let tcp6_in_use = match root.read(SOCKSTAT6_PATH) {
            Ok(text) => field(&text, "TCP6:", "inuse")
                .ok_or_else(|| ReadError::garbled(SOCKSTAT6_PATH, &text))?,
            Err(ReadError::Missing { .. }) => 0,
            Err(error) => return Err(error),
        };
        Ok(Self {
            tcp_in_use: tcp("inuse")?,
            tcp6_in_use,
            tcp_orphaned: tcp("orphan")?,
            tcp_time_wait: tcp("tw")?,
            tcp_allocated: tcp("alloc")?,
            tcp_buffer_pages: tcp("mem")?,
        })
    }
}

/// The number after `name` in the line that starts with `protocol`.
fn field(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(protocol))?;
    let mut words = line.split_whitespace();
    words.find(|&word| word == name)?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use proptest::prelude::*;

    const SOCKSTAT: &str = "sockets: used 11\nTCP: inuse 5000001 orphan 2 tw 3 alloc 10000004 mem 191\nUDP: inuse 0 mem 0\n";

    #[test]
    fn both_families_are_counted() {
        let tree = Tree::with(&[
            (SOCKSTAT_PATH, SOCKSTAT),
            (SOCKSTAT6_PATH, "TCP6: inuse 7\nUDP6: inuse 0\n"),
        ]);
        let counts = SocketCounts {
            tcp_in_use: 5_000_001,
            tcp6_in_use: 7,
            tcp_orphaned: 2,
            tcp_time_wait: 3,
            tcp_allocated: 10_000_004,
            tcp_buffer_pages: 191,
        };
        assert_eq!(SocketCounts::read(&tree.root()).unwrap(), counts);
    }

    #[test]
    fn a_kernel_without_ipv6_has_none_of_its_sockets() {
        let tree = Tree::with(&[(SOCKSTAT_PATH, SOCKSTAT)]);
        assert_eq!(SocketCounts::read(&tree.root()).unwrap().tcp6_in_use, 0);
    }

    #[test]
    fn a_line_cut_short_is_garbled() {
        let tree = Tree::with(&[(SOCKSTAT_PATH, "TCP: inuse 5 orphan\n")]);
        assert!(matches!(
            SocketCounts::read(&tree.root()),
            Err(ReadError::Garbled { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_content_panics(text in "(TCP:|inuse|mem|[0-9 \n]|\\PC)*") {
            let tree = Tree::with(&[(SOCKSTAT_PATH, &text)]);
            let _ = SocketCounts::read(&tree.root());
        }
    }
}
