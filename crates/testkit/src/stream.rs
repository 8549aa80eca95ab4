//! Bytes whose every position is known, so that one that is lost, doubled or swapped is noticed.

/// An endless sequence of bytes, given by its key.
#[derive(Clone, Debug)]
pub struct Stream {
    key: u64,
    position: u64,
}

impl Stream {
    /// The sequence with this key, from its start.
    #[must_use]
    pub const fn new(key: u64) -> Self {
        Self { key, position: 0 }
    }

    /// Bytes taken or checked so far.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The next `len` bytes.
    #[must_use]
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }

    /// Fills with the next bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next();
        }
    }

    /// Makes sure that these are the next bytes.
    ///
    /// # Panics
    /// At the first byte that is another, with its position.
    #[track_caller]
    pub fn check(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let position = self.position;
            let expected = self.next();
            assert_eq!(byte, expected, "byte {position} of the stream is wrong");
        }
    }

    /// The position and the key, mixed as SplitMix64 mixes its state: one byte in 256 repeats.
    fn next(&mut self) -> u8 {
        let mut mixed = self.key ^ self.position.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        self.position += 1;
        (mixed >> 56) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_same_stream_as_the_whole() {
        let whole = Stream::new(7).take(1_000);
        let mut pieces = Stream::new(7);
        let joined: Vec<u8> = [1, 99, 400, 500]
            .into_iter()
            .flat_map(|len| pieces.take(len))
            .collect();
        assert_eq!(whole, joined);
        assert_ne!(whole, Stream::new(8).take(1_000));
    }

    #[test]
    #[should_panic(expected = "byte 3 of the stream is wrong")]
    fn a_lost_byte_is_noticed() {
        let mut bytes = Stream::new(7).take(100);
        bytes.remove(3);
        Stream::new(7).check(&bytes);
    }
}
