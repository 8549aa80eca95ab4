//! Packets in and out through a TUN device, and, if asked for, the faults of a bad network on the way.

use super::address::{NETMASK, device_address};
use super::segment::PACKET_BYTES;
use super::sys::{self, InterfaceSetup};
use crate::Error;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use serde::Serialize;
use std::io;

/// Packets that may wait for a thread in its device: past that, the kernel drops them and sends them again.
const QUEUE_PACKETS: i32 = 32_768;

/// How bad the network between client and server is, in both directions; each a share from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Faults {
    /// Packets that are not delivered.
    pub drop: f64,
    /// Packets that are delivered twice.
    pub duplicate: f64,
    /// Packets that are delivered after the one that follows them.
    pub reorder: f64,
    /// The same seed makes the same decisions for the same sequence of packets.
    pub seed: u64,
}

impl Faults {
    pub(super) fn is_none(&self) -> bool {
        self.drop == 0.0 && self.duplicate == 0.0 && self.reorder == 0.0
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let shares = [self.drop, self.duplicate, self.reorder];
        if shares.iter().all(|share| (0.0..=0.5).contains(share)) {
            return Ok(());
        }
        let what = format!("a network that damages {shares:?} of its packets");
        Err(Error::new(
            what,
            "keep --drop, --duplicate and --reorder between 0% and 50% each",
        ))
    }
}

/// Opens thread `thread`'s device and gives it its network.
pub(super) fn open_device(thread: usize) -> Result<OwnedFd, Error> {
    let name = format!("rstd{thread}");
    let device = sys::open_tun(&name).map_err(|error| {
        let fix = match error.kind() {
            io::ErrorKind::NotFound => {
                "load the tun module (modprobe tun), or make it: mknod /dev/net/tun c 10 200"
            }
            io::ErrorKind::PermissionDenied => {
                "run as root, or let users open it: chmod 666 /dev/net/tun"
            }
            _ => "see what the error names",
        };
        Error::new(
            format!("cannot open a device through /dev/net/tun ({error})"),
            fix,
        )
    })?;
    let setup = InterfaceSetup {
        address: device_address(thread),
        netmask: NETMASK,
        packet_bytes: PACKET_BYTES as i32,
    };
    // For all but root the queue is the kernel's 500 packets: more of them are lost and sent again.
    let queued = match sys::set_queue(&name, QUEUE_PACKETS) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    };
    queued
        .and_then(|()| sys::configure(&name, &setup))
        .map_err(|error| {
            Error::new(
                format!("cannot configure {name} ({error})"),
                "allow CAP_NET_ADMIN in the namespace",
            )
        })?;
    Ok(device)
}

/// One thread's packets.
pub(super) struct Wire {
    device: OwnedFd,
    faults: Option<Box<FaultyWire>>,
    /// Packets the device would not take: sent again like lost ones.
    pub(super) refused: u64,
}

struct FaultyWire {
    faults: Faults,
    state: u64,
    /// A packet that waits for its successor, each way.
    held_out: Option<Vec<u8>>,
    held_in: Option<Vec<u8>>,
    /// Received packets that come before the device's next.
    ready_in: Vec<Vec<u8>>,
}

impl Wire {
    pub(super) fn new(device: OwnedFd, faults: Faults, thread: usize) -> Self {
        let faults = (!faults.is_none()).then(|| {
            Box::new(FaultyWire {
                faults,
                state: (faults.seed ^ (thread as u64) << 56)
                    .wrapping_mul(2)
                    .wrapping_add(1),
                held_out: None,
                held_in: None,
                ready_in: Vec::new(),
            })
        });
        Self {
            device,
            faults,
            refused: 0,
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    pub(super) fn send(&mut self, packet: &[u8]) {
        let Some(faults) = &mut self.faults else {
            return self.write(packet);
        };
        if faults.strikes(faults.faults.drop) {
            return;
        }
        let twice = faults.strikes(faults.faults.duplicate);
        if faults.held_out.is_none() && faults.strikes(faults.faults.reorder) {
            faults.held_out = Some(packet.to_vec());
            return;
        }
        let held = faults.held_out.take();
        self.write(packet);
        if twice {
            self.write(packet);
        }
        if let Some(held) = held {
            self.write(&held);
        }
    }

    fn write(&mut self, packet: &[u8]) {
        if rustix::io::write(&self.device, packet).is_err() {
            self.refused += 1;
        }
    }

    /// The next packet, if one has come.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            if let Some(packet) = self
                .faults
                .as_mut()
                .and_then(|faults| faults.ready_in.pop())
            {
                buffer[..packet.len()].copy_from_slice(&packet);
                return Ok(Some(packet.len()));
            }
            let length = match rustix::io::read(&self.device, &mut *buffer) {
                Ok(length) => length,
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let Some(faults) = &mut self.faults else {
                return Ok(Some(length));
            };
            if faults.strikes(faults.faults.drop) {
                continue;
            }
            if faults.held_in.is_none() && faults.strikes(faults.faults.reorder) {
                faults.held_in = Some(buffer[..length].to_vec());
                continue;
            }
            faults.ready_in.extend(faults.held_in.take());
            if faults.strikes(faults.faults.duplicate) {
                faults.ready_in.push(buffer[..length].to_vec());
            }
            return Ok(Some(length));
        }
    }

    /// Lets go of what was held back to be overtaken: nothing will overtake it now. True if there is
    /// something to receive again.
    pub(super) fn release(&mut self) -> bool {
        let Some(faults) = &mut self.faults else {
            return false;
        };
        faults.ready_in.extend(faults.held_in.take());
        let (held, ready) = (faults.held_out.take(), !faults.ready_in.is_empty());
        if let Some(held) = held {
            self.write(&held);
        }
        ready
    }
}

impl FaultyWire {
    /// Decides once.
    fn strikes(&mut self, share: f64) -> bool {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let chance =
            (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64;
        chance < share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_strike_as_often_as_asked_and_alike_for_one_seed() {
        let decide = |seed| {
            let null = rustix::fs::open(
                "/dev/null",
                rustix::fs::OFlags::RDWR,
                rustix::fs::Mode::empty(),
            );
            let faults = Faults {
                drop: 0.01,
                seed,
                ..Faults::default()
            };
            let mut wire = Wire::new(null.expect("/dev/null"), faults, 0);
            let faults = wire.faults.as_mut().expect("faults");
            (0..100_000)
                .map(|_| faults.strikes(0.01))
                .collect::<Vec<bool>>()
        };
        let first = decide(7);
        let count = first.iter().filter(|&&struck| struck).count();
        assert!((800..1200).contains(&count), "{count}");
        assert_eq!(first, decide(7));
        assert_ne!(first, decide(8));
    }
}
