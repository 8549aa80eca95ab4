//! Configuration files in the formats of sysctl.d, limits.d, nftables and iptables.

use std::fmt::Write;

const MADE_BY: &str = "Written by `roadstead doctor`; `roadstead doctor --revert` removes it.";

/// A sysctl.d drop-in with these settings.
pub fn sysctl_conf<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = format!("# {MADE_BY}\n");
    for (name, value) in settings {
        let _ = writeln!(text, "{name} = {value}");
    }
    text
}

/// A limits.d file that lets every login open `nofile` descriptors. `*` does not reach root.
#[must_use]
pub fn limits_conf(nofile: u64) -> String {
    format!(
        "# {MADE_BY}\n\
         # Not above sysctl fs.nr_open: a login that asks for more is refused.\n\
         *    -  nofile  {nofile}\n\
         root -  nofile  {nofile}\n"
    )
}

/// An nftables table of its own that exempts `port` from connection tracking.
///
/// Both hooks take both directions: a server's packets come in for the port and go out from it, and those of
/// a client on the same host the other way round.
#[must_use]
pub fn nftables(port: u16) -> String {
    format!(
        "#!/usr/sbin/nft -f\n\
         # {MADE_BY}\n\
         # The first two lines make loading it again a replacement, in one transaction.\n\
         add table inet roadstead\n\
         delete table inet roadstead\n\
         table inet roadstead {{\n\
         \tchain prerouting {{\n\
         \t\ttype filter hook prerouting priority raw; policy accept;\n\
         \t\ttcp dport {port} notrack\n\
         \t\ttcp sport {port} notrack\n\
         \t}}\n\
         \tchain output {{\n\
         \t\ttype filter hook output priority raw; policy accept;\n\
         \t\ttcp sport {port} notrack\n\
         \t\ttcp dport {port} notrack\n\
         \t}}\n\
         }}\n"
    )
}

/// The same as iptables commands, for hosts without nftables.
#[must_use]
pub fn iptables(port: u16) -> String {
    let mut text = String::new();
    for command in ["iptables", "ip6tables"] {
        for (chain, side) in [
            ("PREROUTING", "dport"),
            ("PREROUTING", "sport"),
            ("OUTPUT", "sport"),
            ("OUTPUT", "dport"),
        ] {
            let _ = writeln!(
                text,
                "{command} -t raw -A {chain} -p tcp --{side} {port} -j NOTRACK"
            );
        }
    }
    text
}
