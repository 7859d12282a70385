//! A blob as pieces of one size, and which of them are there.

/// Small, so that a source gives several nodes different ones soon; large, so that a question costs nothing beside it.
pub(crate) const PIECE: u64 = 1 << 20;

/// How many pieces `size` bytes are.
pub(crate) fn count(size: u64) -> u32 {
    u32::try_from(size.div_ceil(PIECE)).unwrap_or(u32::MAX)
}

/// Where piece `n` of `size` bytes begins, and how long it is.
pub(crate) fn span(n: u32, size: u64) -> (u64, u64) {
    let at = u64::from(n) * PIECE;
    (at, PIECE.min(size.saturating_sub(at)))
}

/// Which pieces are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pieces {
    bits: Vec<u8>,
    count: u32,
    held: u32,
}

impl Pieces {
    pub(crate) fn none(count: u32) -> Self {
        Pieces { bits: vec![0; count.div_ceil(8) as usize], count, held: 0 }
    }
    pub(crate) fn all(count: u32) -> Self {
        let mut pieces = Pieces::none(count);
        (0..count).for_each(|n| pieces.add(n));
        pieces
    }
    pub(crate) fn count(&self) -> u32 {
        self.count
    }
    /// How many are there.
    pub(crate) fn held(&self) -> u32 {
        self.held
    }
    pub(crate) fn is_complete(&self) -> bool {
        self.held == self.count
    }
    pub(crate) fn has(&self, n: u32) -> bool {
        n < self.count && self.bits[n as usize / 8] >> (n % 8) & 1 == 1
    }
    pub(crate) fn add(&mut self, n: u32) {
        if n < self.count && !self.has(n) {
            self.bits[n as usize / 8] |= 1 << (n % 8);
            self.held += 1;
        }
    }
    pub(crate) fn to_hex(&self) -> String {
        hex::encode(&self.bits)
    }
    /// `None` when it is not of `count` pieces.
    pub(crate) fn from_hex(text: &str, count: u32) -> Option<Self> {
        let bits =
            hex::decode(text).ok().filter(|bits| bits.len() == count.div_ceil(8) as usize)?;
        let mut pieces = Pieces::none(count);
        let set = |n: &u32| bits[*n as usize / 8] >> (n % 8) & 1 == 1;
        (0..count).filter(set).for_each(|n| pieces.add(n));
        Some(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_blob_and_travel_as_text() {
        let size = 9 * PIECE + 5;
        assert_eq!(count(size), 10);
        assert_eq!(span(9, size), (9 * PIECE, 5));
        assert_eq!((0..10).map(|n| span(n, size).1).sum::<u64>(), size);
        assert_eq!((count(0), count(1), count(PIECE)), (0, 1, 1));
        assert!(Pieces::all(0).is_complete());

        let mut some = Pieces::none(10);
        [0, 9, 9, 10].into_iter().for_each(|n| some.add(n));
        assert_eq!((some.held(), some.has(9), some.has(8), some.has(10)), (2, true, false, false));
        assert_eq!(Pieces::from_hex(&some.to_hex(), 10), Some(some.clone()));
        assert_eq!(Pieces::from_hex(&some.to_hex(), 17), None);
        assert!(Pieces::from_hex("ffff", 10).is_some_and(|pieces| pieces.is_complete()));
    }
}
