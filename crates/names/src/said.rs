//! What was said under keys, and how often.
//!
//! A name may be said by many rows; what each of them said can be taken back, and what nobody says any more is gone. So a change costs what it
//! changes, and comes to the same as saying everything anew. Clones share what they have in common.

use imbl::OrdMap;
use std::borrow::Borrow;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Say,
    /// What was said before.
    TakeBack,
}

/// Values in their order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said<K: Ord, V>(OrdMap<K, Arc<Values<V>>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Values<V> {
    /// How often the key was said, with a value or without.
    known: u32,
    values: Vec<V>,
    /// How often each value was said.
    times: Vec<u32>,
}

impl<K: Ord + Clone, V: Ord + Clone> Said<K, V> {
    /// `value` under `key`; `None` for the key alone.
    pub(crate) fn change(&mut self, change: Change, key: K, value: Option<V>) {
        match (self.0.get_mut(&key), change) {
            (Some(values), Change::Say) => Arc::make_mut(values).say(value),
            (None, Change::Say) => {
                let mut values = Values::default();
                values.say(value);
                self.0.insert(key, Arc::new(values));
            }
            (Some(values), Change::TakeBack) => {
                let values = Arc::make_mut(values);
                values.take_back(value);
                if values.known == 0 {
                    self.0.remove(&key);
                }
            }
            (None, Change::TakeBack) => {}
        }
    }

    /// `None` if nobody says the key.
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&[V]>
    where
        K: Borrow<Q>,
    {
        self.0.get(key).map(|values| values.values.as_slice())
    }
}

impl<V: Ord> Values<V> {
    fn say(&mut self, value: Option<V>) {
        self.known += 1;
        let Some(value) = value else { return };
        match self.values.binary_search(&value) {
            Ok(place) => self.times[place] += 1,
            Err(place) => {
                self.values.insert(place, value);
                self.times.insert(place, 1);
            }
        }
    }

    fn take_back(&mut self, value: Option<V>) {
        self.known = self.known.saturating_sub(1);
        let Some(Ok(place)) = value.map(|value| self.values.binary_search(&value)) else { return };
        self.times[place] -= 1;
        if self.times[place] == 0 {
            self.values.remove(place);
            self.times.remove(place);
        }
    }
}

impl<V> Default for Values<V> {
    fn default() -> Self {
        Values { known: 0, values: Vec::new(), times: Vec::new() }
    }
}

impl<K: Ord, V> Default for Said<K, V> {
    fn default() -> Self {
        Said(OrdMap::default())
    }
}
