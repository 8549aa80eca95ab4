//! One TCP segment in one IPv4 packet: written from its fields, read back only if it is sound.
//!
//! ```text
//!   0        20        40 (44 with options)
//!   | IPv4   | TCP     | payload
//! ```

use super::address::Endpoint;

/// Bytes of the two headers without options.
const IP_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
/// MSS (4), no-operation (1), window scale (3): what our SYN carries.
const SYN_OPTIONS: usize = 8;
const PROTOCOL_TCP: u8 = 6;
const HOPS: u8 = 64;

/// Bytes of the largest packet, and of the largest payload in one.
pub(super) const PACKET_BYTES: usize = 1500;
pub(super) const PAYLOAD_BYTES: usize = PACKET_BYTES - IP_HEADER - TCP_HEADER;

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;

/// The fields of a segment that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) from: Endpoint,
    pub(super) to: Endpoint,
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    pub(super) flags: u8,
    /// As it is on the wire: not scaled.
    pub(super) window: u16,
}

/// What a SYN says besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SynOptions {
    pub(super) segment_bytes: u16,
    /// `None`: the peer does not scale, and so must we not.
    pub(super) window_shift: Option<u8>,
}

/// Writes a segment into `packet`; returns its length.
pub(super) fn write(
    packet: &mut [u8; PACKET_BYTES],
    header: &Header,
    options: Option<SynOptions>,
    payload: &[u8],
) -> usize {
    let options_bytes = if options.is_some() { SYN_OPTIONS } else { 0 };
    let payload_at = IP_HEADER + TCP_HEADER + options_bytes;
    let length = payload_at + payload.len();
    let (ip, tcp) = packet[..length].split_at_mut(IP_HEADER);
    ip.copy_from_slice(&[0; IP_HEADER]);
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    ip[6] = 0x40; // do not fragment
    ip[8] = HOPS;
    ip[9] = PROTOCOL_TCP;
    ip[12..16].copy_from_slice(&header.from.address.to_be_bytes());
    ip[16..20].copy_from_slice(&header.to.address.to_be_bytes());
    let checksum = !fold(sum(ip, 0));
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());

    tcp[0..2].copy_from_slice(&header.from.port.to_be_bytes());
    tcp[2..4].copy_from_slice(&header.to.port.to_be_bytes());
    tcp[4..8].copy_from_slice(&header.sequence.to_be_bytes());
    tcp[8..12].copy_from_slice(&header.acknowledged.to_be_bytes());
    tcp[12] = (((TCP_HEADER + options_bytes) / 4) << 4) as u8;
    tcp[13] = header.flags;
    tcp[14..16].copy_from_slice(&header.window.to_be_bytes());
    tcp[16..20].copy_from_slice(&[0; 4]);
    if let Some(options) = options {
        let [high, low] = options.segment_bytes.to_be_bytes();
        let shift = options.window_shift.unwrap_or(0);
        tcp[20..28].copy_from_slice(&[2, 4, high, low, 1, 3, 3, shift]);
    }
    tcp[TCP_HEADER + options_bytes..].copy_from_slice(payload);
    let checksum = !fold(sum(tcp, pseudo_header(header.from, header.to, tcp.len())));
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
    length
}

/// A segment that was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub(super) header: Header,
    pub(super) payload: &'a [u8],
    options: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Reads a packet; `None` if it is no TCP over IPv4, is cut short, or has a wrong checksum.
    pub(super) fn read(packet: &'a [u8]) -> Option<Self> {
        if packet.len() < IP_HEADER || packet[0] != 0x45 || packet[9] != PROTOCOL_TCP {
            return None;
        }
        let length = usize::from(u16_at(packet, 2));
        let tcp = packet.get(IP_HEADER..length)?;
        if tcp.len() < TCP_HEADER || fold(sum(&packet[..IP_HEADER], 0)) != 0xFFFF {
            return None;
        }
        let header = Header {
            from: Endpoint {
                address: u32_at(packet, 12),
                port: u16_at(tcp, 0),
            },
            to: Endpoint {
                address: u32_at(packet, 16),
                port: u16_at(tcp, 2),
            },
            sequence: u32_at(tcp, 4),
            acknowledged: u32_at(tcp, 8),
            flags: tcp[13],
            window: u16_at(tcp, 14),
        };
        if fold(sum(tcp, pseudo_header(header.from, header.to, tcp.len()))) != 0xFFFF {
            return None;
        }
        let payload_at = usize::from(tcp[12] >> 4) * 4;
        let options = tcp.get(TCP_HEADER..payload_at)?;
        Some(Self {
            header,
            payload: &tcp[payload_at..],
            options,
        })
    }

    pub(super) fn has(&self, flags: u8) -> bool {
        self.header.flags & flags == flags
    }

    /// How far the peer scales its window, if it does.
    pub(super) fn window_shift(&self) -> Option<u8> {
        let mut rest = self.options;
        loop {
            match *rest {
                [] | [0, ..] => return None,
                [1, ..] => rest = &rest[1..],
                [3, 3, shift, ..] => return Some(shift.min(14)),
                [_, length, ..] if length >= 2 => rest = rest.get(usize::from(length)..)?,
                _ => return None,
            }
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// What a TCP checksum covers besides the segment.
fn pseudo_header(from: Endpoint, to: Endpoint, tcp_bytes: usize) -> u64 {
    u64::from(from.address) + u64::from(to.address) + u64::from(PROTOCOL_TCP) + tcp_bytes as u64
}

/// Adds up 32-bit words in network order: folded in the end, that is the sum of 16-bit words.
fn sum(bytes: &[u8], initial: u64) -> u64 {
    let mut words = bytes.chunks_exact(4);
    let mut total = initial;
    for word in &mut words {
        total += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut last = [0; 4];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    total + u64::from(u32::from_be_bytes(last))
}

/// A sum in ones' complement of 16 bits.
fn fold(mut total: u64) -> u16 {
    while total > 0xFFFF {
        total = (total & 0xFFFF) + (total >> 16);
    }
    total as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        from: Endpoint {
            address: 0x0A10_0100,
            port: 1024,
        },
        to: Endpoint {
            address: 0x0A00_0001,
            port: 8080,
        },
        sequence: 0xFFFF_FFF0,
        acknowledged: 77,
        flags: ACK | PSH,
        window: 4096,
    };

    #[test]
    fn what_is_written_is_read_back() {
        for length in [0, 1, 2, 3, 63, 64, PAYLOAD_BYTES] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8 ^ 0xA5).collect();
            let mut packet = [0xEE; PACKET_BYTES];
            let bytes = write(&mut packet, &HEADER, None, &payload);
            let segment = Segment::read(&packet[..bytes]).expect("sound");
            assert_eq!((segment.header, segment.payload), (HEADER, &payload[..]));
            assert_eq!(segment.window_shift(), None);
        }
    }

    #[test]
    fn a_syn_carries_its_options() {
        let mut packet = [0; PACKET_BYTES];
        let header = Header {
            flags: SYN,
            ..HEADER
        };
        let options = SynOptions {
            segment_bytes: 1460,
            window_shift: Some(8),
        };
        let bytes = write(&mut packet, &header, Some(options), &[]);
        let segment = Segment::read(&packet[..bytes]).expect("sound");
        assert_eq!(segment.window_shift(), Some(8));
        assert!(segment.payload.is_empty());
    }

    #[test]
    fn a_known_packet_has_its_known_checksums() {
        // The IPv4 header of RFC 1071's usual example: its checksum is 0xB861.
        let bytes = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x00, 0x00, 0xC0, 0xA8,
            0x00, 0x01, 0xC0, 0xA8, 0x00, 0xC7,
        ];
        assert_eq!(!fold(sum(&bytes, 0)), 0xB861);
    }

    #[test]
    fn no_single_changed_byte_goes_unnoticed() {
        let mut packet = [0; PACKET_BYTES];
        let bytes = write(&mut packet, &HEADER, None, b"sixteen bytes...");
        for at in 0..bytes {
            let mut damaged = packet;
            damaged[at] ^= 0x10;
            assert!(
                Segment::read(&damaged[..bytes]).is_none_or(|segment| {
                    // The length may claim less than there is, never a sound segment of it.
                    segment.header == HEADER && segment.payload == b"sixteen bytes..."
                }),
                "byte {at}"
            );
        }
    }

    #[test]
    fn no_packet_panics() {
        let mut state = 1_u64;
        for round in 0..20_000 {
            let mut packet = [0; 60];
            for byte in &mut packet {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(round);
                *byte = (state >> 56) as u8;
            }
            packet[0] = 0x45;
            packet[9] = PROTOCOL_TCP;
            let options = packet;
            let _ = Segment::read(&packet[..(round % 61) as usize]);
            let garbled = Segment {
                header: HEADER,
                payload: &[],
                options: &options,
            };
            let _ = garbled.window_shift();
        }
    }
}
