//! A network of our own: nothing outside sees it, and it is gone with the last process in it.
//!
//! ```text
//!  host ── unshare ─▶ first network ── sets the hash size ── unshare ─▶ second network: lo, rstd0, rstd1, …
//!            (as root there, by a user namespace if not root here)
//! ```
//!
//! A network takes the size of its table of connections from the one it is made from, at that moment. The
//! first network exists only to have that size set without touching the host's.

use super::sys;
use crate::Error;
use std::io;

/// The kernel's own bounds for `tcp_child_ehash_entries`.
const HASH_ENTRIES_MIN: usize = 1 << 16;
const HASH_ENTRIES_MAX: usize = 1 << 24;
/// Connections that may wait to be accepted, per listener.
const BACKLOG: usize = 65_535;

/// Moves the calling thread, and what it starts from now on, into a network of its own.
pub(super) fn enter(connections: usize) -> Result<(), Error> {
    let root = rustix::process::geteuid().is_root();
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    sys::unshare_network(!root).map_err(|error| {
        let what = format!("cannot make a network namespace ({error})");
        Error::new(what, if root {
            "allow it: CAP_SYS_ADMIN is missing, or a container forbids unshare"
        } else {
            "run as root, or allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)"
        })
    })?;
    if !root {
        become_root_inside(user.as_raw(), group.as_raw()).map_err(|error| {
            Error::new(
                format!("cannot map users of a user namespace ({error})"),
                "run as root",
            )
        })?;
    }
    let entries = connections
        .next_power_of_two()
        .clamp(HASH_ENTRIES_MIN, HASH_ENTRIES_MAX);
    set("net.ipv4.tcp_child_ehash_entries", entries)?;
    sys::unshare_network(false).map_err(|error| {
        Error::new(
            format!("cannot make a second network namespace ({error})"),
            "raise user.max_net_namespaces",
        )
    })?;
    set("net.core.somaxconn", BACKLOG)?;
    set("net.ipv4.tcp_max_syn_backlog", BACKLOG)?;
    sys::bring_up("lo").map_err(|error| {
        Error::new(
            format!("cannot bring up lo ({error})"),
            "allow CAP_NET_ADMIN in the namespace",
        )
    })
}

fn become_root_inside(user: u32, group: u32) -> io::Result<()> {
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

fn set(name: &str, value: usize) -> Result<(), Error> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    std::fs::write(&path, value.to_string()).map_err(|error| {
        let what = format!("cannot set {name} to {value} in the namespace ({error})");
        Error::new(
            what,
            "mount /proc/sys writable, or run outside the container",
        )
    })
}
