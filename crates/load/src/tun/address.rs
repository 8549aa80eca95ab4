//! Who a connection is on the wire: computed from its index, never stored.
//!
//! ```text
//!  thread t has 10.(16 t).0.0/12 behind a device of its own, so that replies come to the thread that asked
//!
//!  number  =  generation × connections + index
//!  address =  10.(16 t).1.0 + number / PORTS        port = PORT_FIRST + number % PORTS
//!  initial sequence number = keyed hash of (thread, number)
//! ```
//!
//! A connection that is opened again is of the next generation and so has another address or port: what is
//! left of the old one, in the network or in the server's kernel, cannot be mistaken for it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::Ipv4Addr;

/// Devices, and so threads, at most: the /12 networks in 10.0.0.0/8.
pub(super) const THREADS_MAX: usize = 16;
/// Where the server is: the first device's own address.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(super) const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 240, 0, 0);
const PORT_FIRST: u64 = 1024;
const PORTS: u64 = 65_536 - PORT_FIRST;
/// Of a thread's network, the first addresses are left to the device.
const ADDRESS_FIRST: u32 = 256;
const ADDRESSES: u64 = (1 << 20) - 2 * ADDRESS_FIRST as u64;
/// Generations are counted in a byte.
const GENERATIONS: u64 = 256;

/// The most connections one thread can have.
pub(super) const CONNECTIONS_PER_THREAD_MAX: u64 = ADDRESSES * PORTS / GENERATIONS;

/// The address of thread `thread`'s device.
pub(super) fn device_address(thread: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(network(thread) + 1)
}

fn network(thread: usize) -> u32 {
    u32::from_be_bytes([10, 16 * thread as u8, 0, 0])
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) address: u32,
    pub(super) port: u16,
}

/// The addresses of one thread's connections.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    connections: u64,
    first: u32,
    key: RandomState,
}

impl Addresses {
    pub(super) fn new(thread: usize, connections: usize) -> Self {
        Self {
            connections: connections as u64,
            first: network(thread) + ADDRESS_FIRST,
            key: RandomState::new(),
        }
    }

    pub(super) fn endpoint(&self, index: u32, generation: u8) -> Endpoint {
        let number = self.number(index, generation);
        Endpoint {
            address: self.first + (number / PORTS) as u32,
            port: (PORT_FIRST + number % PORTS) as u16,
        }
    }

    /// The connection at this endpoint, if it is one of ours at all.
    pub(super) fn locate(&self, endpoint: Endpoint) -> Option<(u32, u8)> {
        let row = u64::from(endpoint.address.checked_sub(self.first)?);
        let number = row * PORTS + u64::from(endpoint.port).checked_sub(PORT_FIRST)?;
        let generation = u8::try_from(number / self.connections).ok()?;
        Some(((number % self.connections) as u32, generation))
    }

    /// The sequence number of the SYN, from which all others are counted.
    pub(super) fn initial_sequence(&self, index: u32, generation: u8) -> u32 {
        self.key.hash_one(self.number(index, generation)) as u32
    }

    fn number(&self, index: u32, generation: u8) -> u64 {
        u64::from(generation) * self.connections + u64::from(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_generation_of_every_connection_has_an_endpoint_of_its_own() {
        let addresses = Addresses::new(3, 1000);
        let mut seen = HashSet::new();
        for generation in 0..=255 {
            for index in 0..1000 {
                let endpoint = addresses.endpoint(index, generation);
                assert_eq!(addresses.locate(endpoint), Some((index, generation)));
                assert!(seen.insert((endpoint.address, endpoint.port)));
            }
        }
    }

    #[test]
    fn the_largest_crowd_stays_within_its_network() {
        let connections = CONNECTIONS_PER_THREAD_MAX as usize;
        let last = Addresses::new(15, connections).endpoint(connections as u32 - 1, 255);
        assert_eq!(
            last.address & NETMASK.to_bits(),
            device_address(15).to_bits() & NETMASK.to_bits()
        );
        assert!(connections > 5_000_000);
    }

    #[test]
    fn what_is_not_ours_is_nobody() {
        let addresses = Addresses::new(0, 10);
        assert_eq!(
            addresses.locate(Endpoint {
                address: SERVER.to_bits(),
                port: 2000
            }),
            None
        );
        let first = addresses.endpoint(0, 0);
        assert_eq!(addresses.locate(Endpoint { port: 80, ..first }), None);
        assert_eq!(
            addresses.locate(Endpoint {
                address: first.address + 1,
                port: 1024
            }),
            None
        );
    }
}
