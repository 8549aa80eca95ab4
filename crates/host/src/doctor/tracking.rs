//! Whether the kernel tracks connections to a port: found out by opening a few.
//!
//! That the module is loaded says little: tracking starts only when some rule needs it, and NOTRACK rules may
//! exempt the port. Eight loopback connections to the port either raise the count of tracked connections by
//! eight, or they do not. That needs no privilege and believes no configuration.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use serde::Serialize;

use crate::{HostRoot, ReadError};

const COUNT: &str = "net.netfilter.nf_conntrack_count";
const PROBES: u64 = 8;

/// Whether connections to the port are tracked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "because")]
pub enum Tracking {
    /// The kernel has no connection tracking loaded.
    NotLoaded,
    /// It is loaded, and leaves the port alone.
    Untracked,
    /// Each connection takes an entry.
    Tracked,
    /// Not found out: the reason.
    Undetermined(String),
}

impl Tracking {
    /// Opens connections to `port` over loopback and looks at the count of tracked ones.
    #[must_use]
    pub fn probe(root: &HostRoot, port: u16) -> Self {
        match root.sysctl::<u64>(COUNT) {
            Err(ReadError::Missing { .. }) => Self::NotLoaded,
            Err(error) => Self::Undetermined(error.to_string()),
            Ok(_) if !root.is_live() => {
                Self::Undetermined("a directory tree has no traffic to probe".into())
            }
            Ok(before) => match open_probes(port) {
                Ok(_open) => match root.sysctl::<u64>(COUNT) {
                    // Other traffic may add entries, and expiry take some: half of ours is proof enough.
                    Ok(after) if after >= before + PROBES / 2 => Self::Tracked,
                    Ok(_) => Self::Untracked,
                    Err(error) => Self::Undetermined(error.to_string()),
                },
                Err(error) => Self::Undetermined(format!(
                    "port {port} cannot be probed ({error}): run this while the server is stopped"
                )),
            },
        }
    }
}

/// Both ends of the connections, which close when dropped.
fn open_probes(port: u16) -> io::Result<Vec<(TcpStream, TcpStream)>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let address = listener.local_addr()?;
    (0..PROBES)
        .map(|_| {
            let client = TcpStream::connect(address)?;
            Ok((client, listener.accept()?.0))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn a_kernel_without_the_module_tracks_nothing() {
        assert_eq!(
            Tracking::probe(&Tree::with(&[]).root(), 8080),
            Tracking::NotLoaded
        );
    }

    #[test]
    fn a_tree_is_not_probed_and_a_garbled_count_is_no_proof() {
        for count in ["7", "seven"] {
            let tree = Tree::with(&[("/proc/sys/net/netfilter/nf_conntrack_count", count)]);
            assert!(
                matches!(
                    Tracking::probe(&tree.root(), 8080),
                    Tracking::Undetermined(_)
                ),
                "{count}"
            );
        }
    }

    #[test]
    fn a_port_in_use_is_not_taken_for_an_answer() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(
            open_probes(port).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
    }

    #[test]
    fn the_probe_holds_both_ends_open() {
        assert_eq!(open_probes(0).unwrap().len() as u64, PROBES);
    }
}
