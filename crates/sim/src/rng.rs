//! The one source of chance: a seed in, the same world out. SplitMix64: small, and good enough to roll dice.

/// Dice.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed ^ 0x5a4d_50a4_0000_0001)
    }
    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// At least `low`, less than `high`; `low` when that leaves nothing.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        if high <= low { low } else { low + self.bits() % (high - low) }
    }
    /// True `percent` times of a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.between(0, 100) < percent
    }
    /// One of them; `None` of nothing.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.between(0, from.len() as u64)).unwrap_or(0);
        from.get(at)
    }
    /// 128 bits, for ids.
    pub fn id(&mut self) -> [u8; 16] {
        let (high, low) = (self.bits(), self.bits());
        ((u128::from(high) << 64) | u128::from(low)).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays_exactly() {
        let (mut one, mut two) = (Rng::new(7), Rng::new(7));
        let rolls: Vec<u64> = (0..5).map(|_| one.between(1, 7)).collect();
        assert_eq!(rolls, (0..5).map(|_| two.between(1, 7)).collect::<Vec<_>>());
        assert!(rolls.iter().all(|roll| (1..7).contains(roll)));
        assert_ne!(Rng::new(7).bits(), Rng::new(8).bits());
    }
}
