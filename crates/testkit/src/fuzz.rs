//! Generated input: one seed after another, each making the same input on every machine.
//!
//! A target is an ordinary test that calls [`fuzz`]. Run by `cargo test` it tries a few dozen seeds; `cargo xtask fuzz`
//! sets `FUZZ_SECONDS`, and it goes on for that long from another seed. A failure names its seed: `FUZZ_SEED=n` tries it
//! alone.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime};

/// Seeds of one run under `cargo test`: a few seconds for the slowest target.
const FEW: u64 = 50;

/// Calls `try_one` with a fresh [`Dice`] again and again; whatever panics in it is the failure.
///
/// # Panics
/// When `try_one` does; the seed is printed before.
pub fn fuzz(name: &str, try_one: impl Fn(&mut Dice)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("FUZZ_SEED") {
        return try_one(&mut Dice::new(seed));
    }
    let begun = Instant::now();
    let limit = number("FUZZ_SECONDS").map(Duration::from_secs);
    let first = match limit {
        None => 0,
        Some(_) => SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()) << 20,
    };
    let mut tried = 0;
    while limit.map_or(tried < FEW, |limit| begun.elapsed() < limit) {
        let seed = first + tried;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| try_one(&mut Dice::new(seed)))) {
            eprintln!("{name}: again with FUZZ_SEED={seed}");
            resume_unwind(panic);
        }
        tried += 1;
    }
    println!("{name}: {tried} inputs in {:.1} s", begun.elapsed().as_secs_f64());
}

/// Numbers from a seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`; 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % (end.max(1) as u64)) as usize
    }

    /// True once in `in_how_many`.
    pub fn once_in(&mut self, in_how_many: usize) -> bool {
        self.below(in_how_many) == 0
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Up to `most` of `words`, glued together.
    pub fn words(&mut self, words: &[&str], most: usize) -> String {
        let count = self.below(most + 1);
        (0..count).map(|_| *self.pick(words)).collect()
    }

    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        let count = self.below(most + 1);
        (0..count).map(|_| self.number() as u8).collect()
    }

    /// Changes a few bytes: flips, cuts, doubles, moves.
    pub fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(8) {
            if bytes.is_empty() {
                return;
            }
            let (at, length) = (self.below(bytes.len()), 1 + self.below(64));
            let end = (at + length).min(bytes.len());
            match self.below(6) {
                0 => bytes[at] = self.number() as u8,
                1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(at..end)),
                4 => {
                    let copy = bytes[at..end].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, copy);
                }
                _ => bytes[at..end].fill(*self.pick(&[0, 0xff, b'9', b'/'])),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_input_again() {
        let all = |seed| Dice::new(seed).bytes(100);
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
    }
}
