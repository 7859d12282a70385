//! What changed, in order, for whoever comes back to look: entries have numbers that never repeat, and old ones
//! are forgotten.

use std::collections::VecDeque;

/// Entries from number `first` on, oldest first.
#[derive(Debug)]
pub(crate) struct Log<T> {
    entries: VecDeque<T>,
    first: u64,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Log { entries: VecDeque::new(), first: 0 }
    }
}

impl<T: Copy> Log<T> {
    /// Adds an entry. The older half is forgotten when there are more than `keep`.
    pub(crate) fn push(&mut self, entry: T, keep: usize) {
        if self.entries.len() > keep {
            let half = self.entries.len() / 2;
            self.entries.drain(..half);
            self.first += half as u64;
        }
        self.entries.push_back(entry);
    }

    /// The number that the next entry will have.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The entry with that number; `None` when it is forgotten or has not been.
    pub(crate) fn get(&self, number: u64) -> Option<T> {
        let at = number.checked_sub(self.first)?;
        self.entries.get(usize::try_from(at).ok()?).copied()
    }

    /// Whether somebody who saw all before `number` can go on from there.
    pub(crate) fn reaches(&self, number: u64) -> bool {
        number >= self.first
    }
}
