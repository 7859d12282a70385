//! Who is best among many, when one of them changes: a winner tree in an array.
//!
//! ```text
//!         2            best() reads the top: O(1)
//!      2     4         set() replays the matches of one member: O(log members)
//!     0 2   4 5        members keep their place for ever, so nothing is moved or sorted
//! ```
//! Knows nothing of nodes. Ties go to the member with the lower rank, which the caller looks up.

/// No member.
const NOBODY: u32 = u32::MAX;

/// Lower is better.
pub(crate) trait Key: Copy + Ord {
    /// The key of a member that cannot win.
    const OUT: Self;
}

impl Key for u64 {
    const OUT: Self = u64::MAX;
}

impl Key for u128 {
    const OUT: Self = u128::MAX;
}

/// Members by position, each with a key.
#[derive(Debug, Clone)]
pub(crate) struct Contest<K> {
    keys: Vec<K>,
    /// From index 1: the winner of `2i` and `2i+1`; members are the leaves after `winners`.
    winners: Vec<u32>,
}

impl<K: Key> Contest<K> {
    /// So many members, all out.
    pub(crate) fn of(members: usize) -> Self {
        Contest { keys: vec![K::OUT; members], winners: vec![NOBODY; width(members)] }
    }

    /// Adds members that are out, until there are so many.
    pub(crate) fn widen(&mut self, members: usize, rank: impl Fn(u32) -> u64) {
        if members > self.keys.len() {
            self.keys.resize(members, K::OUT);
            if width(members) > self.winners.len() {
                self.replay(rank);
            }
        }
    }

    /// Like [`Contest::set`], but [`Contest::replay`] must follow before anything else is asked.
    pub(crate) fn put(&mut self, position: u32, key: K) {
        self.keys[position as usize] = key;
    }

    /// Plays all matches anew: O(members).
    pub(crate) fn replay(&mut self, rank: impl Fn(u32) -> u64) {
        let width = width(self.keys.len());
        self.winners.clear();
        self.winners.resize(width, NOBODY);
        for at in (1..width).rev() {
            self.winners[at] = self.winner(2 * at, &rank);
        }
    }

    /// Sets a key; whether somebody else may be best now.
    pub(crate) fn set(&mut self, position: u32, key: K, rank: impl Fn(u32) -> u64) -> bool {
        if self.keys[position as usize] == key {
            return false;
        }
        self.keys[position as usize] = key;
        let mut at = (self.winners.len() + position as usize) / 2;
        while at > 0 {
            let winner = self.winner(2 * at, &rank);
            // Somebody else won here before and still does: nothing changes above.
            if winner == self.winners[at] && winner != position {
                return false;
            }
            self.winners[at] = winner;
            at /= 2;
        }
        true
    }

    /// The member with the lowest key.
    pub(crate) fn best(&self) -> Option<u32> {
        self.winners.get(1).copied().filter(|winner| *winner != NOBODY)
    }

    fn winner(&self, left: usize, rank: &impl Fn(u32) -> u64) -> u32 {
        let (one, two) = (self.at(left), self.at(left + 1));
        let (first, second) = (self.key(one), self.key(two));
        if first == K::OUT && second == K::OUT {
            return NOBODY;
        }
        let keeps = first < second || (first == second && rank(one) <= rank(two));
        if keeps { one } else { two }
    }

    fn at(&self, index: usize) -> u32 {
        match index.checked_sub(self.winners.len()) {
            Some(member) => u32::try_from(member).unwrap_or(NOBODY),
            None => self.winners[index],
        }
    }

    fn key(&self, member: u32) -> K {
        self.keys.get(member as usize).copied().unwrap_or(K::OUT)
    }
}

/// Leaves of the tree for so many members.
fn width(members: usize) -> usize {
    members.next_power_of_two().max(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    proptest! {
        /// After any changes the winner is the one that a scan finds, ties to the lower rank.
        #[test]
        fn the_winner_is_the_least(changes in prop::collection::vec((0u32..40, any::<Option<u8>>()), 1..200)) {
            let mut contest: Contest<u64> = Contest::of(0);
            let mut keys = Vec::new();
            let rank = |position: u32| u64::from(1000 - position);
            for (position, key) in changes {
                if keys.len() <= position as usize {
                    keys.resize(position as usize + 1, None);
                    contest.widen(keys.len(), rank);
                }
                contest.set(position, key.map_or(u64::OUT, u64::from), rank);
                keys[position as usize] = key;
                let least = (0u32..).zip(&keys).filter_map(|(at, key)| Some(((*key)?, rank(at), at))).min();
                prop_assert_eq!(contest.best(), least.map(|(_, _, at)| at));
            }
        }
    }
}
