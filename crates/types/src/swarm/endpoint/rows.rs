//! The rows of one kind, in the order of their keys.
//!
//! A row that did not change is the same one in every table that has it: to copy a table, to compare it with the one before and to
//! keep one for each agent costs pointers. Wire and disk know nothing of that: they have a list.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::sync::Arc;

/// What tells a row from others of its kind.
pub trait Keyed {
    type Key;

    fn order(&self, key: &Self::Key) -> Ordering;
    /// By their keys.
    fn order_of(&self, other: &Self) -> Ordering;
}

/// More changes than this at once are sorted in together; fewer find their places one by one.
const FEW: usize = 64;

#[derive(Debug)]
pub struct Rows<R>(Arc<Vec<Arc<R>>>);

impl<R> Rows<R> {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &R> + Clone {
        self.0.iter().map(|row| &**row)
    }

    /// As they are shared.
    pub fn shared(&self) -> &[Arc<R>] {
        &self.0
    }

    /// Whether they are the very same rows: then nothing has to be compared.
    pub fn is_same(&self, other: &Rows<R>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Appends a row, wherever its place would be.
    pub fn push(&mut self, row: R) {
        Arc::make_mut(&mut self.0).push(Arc::new(row));
    }

    pub fn clear(&mut self) {
        *self = Rows::default();
    }

    pub fn retain(&mut self, keep: impl Fn(&R) -> bool) {
        Arc::make_mut(&mut self.0).retain(|row| keep(row));
    }

    /// The rows that `self` has and `before` has not, as they are shared, and those that `before` alone has. Knows them by
    /// where they are in memory: a row that was made again is both.
    pub fn changes<'a>(&'a self, before: &'a Rows<R>) -> (Vec<&'a Arc<R>>, Vec<&'a Arc<R>>) {
        if self.is_same(before) {
            return (Vec::new(), Vec::new());
        }
        let same = |(new, old): &(&Arc<R>, &Arc<R>)| Arc::ptr_eq(new, old);
        let (new, old) = (self.shared(), before.shared());
        let begin = new.iter().zip(old).take_while(same).count();
        let (new, old) = (&new[begin..], &old[begin..]);
        let end = new.iter().rev().zip(old.iter().rev()).take_while(same).count();
        let (new, old) = (&new[..new.len() - end], &old[..old.len() - end]);
        if new.len() == old.len() {
            return new.iter().zip(old).filter(|pair| !same(pair)).unzip();
        }
        let places = |rows: &[Arc<R>]| {
            let mut places: Vec<*const R> = rows.iter().map(Arc::as_ptr).collect();
            places.sort_unstable();
            places
        };
        let (known, kept) = (places(old), places(new));
        let lacks = |in_: &[*const R], row: &&Arc<R>| in_.binary_search(&Arc::as_ptr(row)).is_err();
        (
            new.iter().filter(|row| lacks(&known, row)).collect(),
            old.iter().filter(|row| lacks(&kept, row)).collect(),
        )
    }
}

impl<R: Clone> Rows<R> {
    /// To change rows in place; those that are shared become this one's own.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut R> {
        Arc::make_mut(&mut self.0).iter_mut().map(Arc::make_mut)
    }
}

impl<R: Keyed> Rows<R> {
    pub fn get(&self, key: &R::Key) -> Option<&R> {
        self.find(key).ok().map(|index| &*self.0[index])
    }

    /// Puts the row at its place, in that of another of the same key.
    pub fn put(&mut self, row: Arc<R>) {
        let place = self.0.binary_search_by(|other| other.order_of(&row));
        let rows = Arc::make_mut(&mut self.0);
        match place {
            Ok(index) => rows[index] = row,
            Err(index) => rows.insert(index, row),
        }
    }

    pub fn remove(&mut self, key: &R::Key) {
        if let Ok(index) = self.find(key) {
            Arc::make_mut(&mut self.0).remove(index);
        }
    }

    /// Puts all of them.
    pub fn merge(&mut self, put: &Rows<R>) {
        if put.len() <= FEW {
            put.shared().iter().for_each(|row| self.put(Arc::clone(row)));
            return;
        }
        let rows = Arc::make_mut(&mut self.0);
        // Of the same key the last one counts: it comes first after this.
        let both = put.shared().iter().rev().cloned().chain(rows.drain(..).rev());
        let mut all: Vec<Arc<R>> = both.collect();
        all.sort_by(|one, two| one.order_of(two));
        all.dedup_by(|next, kept| next.order_of(kept).is_eq());
        *rows = all;
    }

    /// Has a row that says what one of `before` says be that one.
    pub fn share_with(&mut self, before: &Rows<R>)
    where
        R: PartialEq,
    {
        if *self == *before {
            self.0 = Arc::clone(&before.0);
            return;
        }
        let mut old = before.shared().iter().peekable();
        for row in Arc::make_mut(&mut self.0) {
            while old.next_if(|old| old.order_of(row).is_lt()).is_some() {}
            if let Some(old) = old.next_if(|old| *old == row) {
                *row = Arc::clone(old);
            }
        }
    }

    fn find(&self, key: &R::Key) -> Result<usize, usize> {
        self.0.binary_search_by(|row| row.order(key))
    }
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Rows(Arc::default())
    }
}

impl<R> Clone for Rows<R> {
    fn clone(&self) -> Self {
        Rows(Arc::clone(&self.0))
    }
}

impl<R: PartialEq> PartialEq for Rows<R> {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, two): (&Arc<R>, &Arc<R>)| Arc::ptr_eq(one, two) || one == two;
        self.is_same(other)
            || self.len() == other.len() && self.0.iter().zip(other.0.iter()).all(same)
    }
}

impl<R: Eq> Eq for Rows<R> {}

impl<R> std::ops::Index<usize> for Rows<R> {
    type Output = R;

    fn index(&self, index: usize) -> &R {
        &self.0[index]
    }
}

impl<R: Clone> std::ops::IndexMut<usize> for Rows<R> {
    fn index_mut(&mut self, index: usize) -> &mut R {
        Arc::make_mut(&mut Arc::make_mut(&mut self.0)[index])
    }
}

impl<R> From<Vec<R>> for Rows<R> {
    fn from(rows: Vec<R>) -> Self {
        rows.into_iter().collect()
    }
}

impl<R> FromIterator<R> for Rows<R> {
    fn from_iter<I: IntoIterator<Item = R>>(rows: I) -> Self {
        Rows(Arc::new(rows.into_iter().map(Arc::new).collect()))
    }
}

impl<R> FromIterator<Arc<R>> for Rows<R> {
    fn from_iter<I: IntoIterator<Item = Arc<R>>>(rows: I) -> Self {
        Rows(Arc::new(rows.into_iter().collect()))
    }
}

impl<R> Extend<R> for Rows<R> {
    fn extend<I: IntoIterator<Item = R>>(&mut self, rows: I) {
        Arc::make_mut(&mut self.0).extend(rows.into_iter().map(Arc::new));
    }
}

impl<'a, R> IntoIterator for &'a Rows<R> {
    type Item = &'a R;
    type IntoIter = std::iter::Map<std::slice::Iter<'a, Arc<R>>, fn(&'a Arc<R>) -> &'a R>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|row| &**row)
    }
}

impl<R: Serialize> Serialize for Rows<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de, R: Deserialize<'de>> Deserialize<'de> for Rows<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<R>::deserialize(deserializer).map(Rows::from)
    }
}
