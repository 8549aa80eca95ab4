//! Where connections come from: enough source addresses that no 4-tuple is used twice.

use crate::Error;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// Connections per loopback source address. Far below the number of ports, because the kernel searches
/// for a free one, and searches long when few are left.
const CONNECTIONS_PER_SOURCE: usize = 4096;
/// The first loopback source address: leaves the ones that servers commonly listen on alone.
const FIRST_LOOPBACK_SOURCE: u32 = u32::from_be_bytes([127, 1, 0, 1]);

/// The source addresses to connect from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sources {
    /// Spread over 127.0.0.0/8 if the server is there, else whatever the kernel takes.
    #[default]
    Auto,
    /// These, in turn.
    List(Vec<IpAddr>),
}

impl Sources {
    /// The addresses to take in turn; empty: the kernel chooses.
    pub(super) fn addresses(&self, server: IpAddr, connections: usize) -> Vec<IpAddr> {
        match (self, server) {
            (Self::List(list), _) => list.clone(),
            (Self::Auto, IpAddr::V4(server)) if server.is_loopback() => {
                let count = connections.div_ceil(CONNECTIONS_PER_SOURCE) as u32;
                (0..count)
                    .map(|index| Ipv4Addr::from(FIRST_LOOPBACK_SOURCE + index).into())
                    .collect()
            }
            (Self::Auto, _) => Vec::new(),
        }
    }
}

/// `127.0.1.1,127.0.2.1-127.0.2.9`: addresses and ranges of them.
impl FromStr for Sources {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut list = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                None => list.push(parse(part)?),
                Some((first, last)) => {
                    let (first, last) = (parse::<Ipv4Addr>(first)?, parse::<Ipv4Addr>(last)?);
                    list.extend(
                        (first.to_bits()..=last.to_bits()).map(|bits| IpAddr::V4(bits.into())),
                    );
                }
            }
        }
        if list.is_empty() {
            return Err(Error::new(
                format!("'{text}' is an empty range"),
                "put the lower address first",
            ));
        }
        Ok(Self::List(list))
    }
}

fn parse<A: FromStr>(text: &str) -> Result<A, Error> {
    let fix = "write addresses and IPv4 ranges like 127.0.1.1,127.0.2.1-127.0.2.9";
    text.trim()
        .parse()
        .map_err(|_| Error::new(format!("'{text}' is no address"), fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_sources_grow_with_the_connections() {
        let server = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(Sources::Auto.addresses(server, 1).len(), 1);
        let many = Sources::Auto.addresses(server, 1_000_000);
        assert_eq!(many.len(), 245);
        assert!(many.iter().all(IpAddr::is_loopback));
        assert!(
            Sources::Auto
                .addresses("192.0.2.1".parse().unwrap(), 1000)
                .is_empty()
        );
    }

    #[test]
    fn a_list_has_addresses_and_ranges() {
        let sources: Sources = "127.0.0.9, 127.0.1.254-127.0.2.1,::1".parse().unwrap();
        let Sources::List(list) = sources else {
            panic!("a list")
        };
        let shown: Vec<String> = list.iter().map(IpAddr::to_string).collect();
        assert_eq!(
            shown,
            [
                "127.0.0.9",
                "127.0.1.254",
                "127.0.1.255",
                "127.0.2.0",
                "127.0.2.1",
                "::1"
            ]
        );
        for wrong in ["", "localhost", "127.0.0.2-127.0.0.1", "1.2.3"] {
            assert!(wrong.parse::<Sources>().is_err(), "{wrong}");
        }
    }
}
