//! One kind of objects: rows by id and by name. A clone shares everything and costs nothing.

use crate::Record;
use imbl::OrdMap;
use std::borrow::Borrow;
use std::ops::Bound;
use std::sync::Arc;

/// Rows in the order of their ids.
#[derive(Debug, Clone)]
pub struct Table<R: Record> {
    rows: OrdMap<R::Id, Arc<R>>,
    /// Lower-cased names, as SwarmKit compares them.
    names: OrdMap<Box<str>, R::Id>,
}

impl<R: Record> Default for Table<R> {
    fn default() -> Self {
        Table { rows: OrdMap::new(), names: OrdMap::new() }
    }
}

impl<R: Record> Table<R> {
    pub fn len(&self) -> usize {
        self.rows.len()
    }
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
    /// The row of this full id.
    pub fn get(&self, id: &str) -> Option<&Arc<R>> {
        self.rows.get(id)
    }
    /// All rows by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<R>> {
        self.rows.values()
    }
    /// The row of this name, whatever its case.
    pub fn by_name(&self, name: &str) -> Option<&Arc<R>> {
        self.rows.get(self.names.get(name.to_lowercase().as_str())?)
    }
    /// What a user may mean by `key`: a full id, else a name, else the beginning of exactly one id.
    pub fn resolve(&self, key: &str) -> Option<&Arc<R>> {
        if let Some(row) = self.get(key).or_else(|| self.by_name(key)) {
            return Some(row);
        }
        let id = {
            let mut matches = self.find_by_prefix(key);
            let first = matches.next()?.id().clone();
            if matches.next().is_some() {
                return None;
            }
            first
        };
        self.get(id.borrow())
    }
    /// Rows whose ids begin with `prefix`; none for an empty one.
    pub fn find_by_prefix<'a, 'p>(
        &'a self,
        prefix: &'p str,
    ) -> impl Iterator<Item = &'a Arc<R>> + use<'a, 'p, R> {
        let bounds = (Bound::Included(prefix), Bound::<&str>::Unbounded);
        self.rows
            .range::<_, str>(bounds)
            .take_while(move |(id, _)| {
                let id: &str = (*id).borrow();
                !prefix.is_empty() && id.starts_with(prefix)
            })
            .map(|(_, row)| row)
    }

    /// Writes a row and answers the one it replaced. Checks nothing.
    pub(crate) fn put(&mut self, row: Arc<R>) -> Option<Arc<R>> {
        let old = self.rows.insert(row.id().clone(), row.clone());
        let old_name = old.as_ref().and_then(|old| old.unique_name());
        if old_name != row.unique_name() {
            if let Some(name) = old_name {
                self.names.remove(name.to_lowercase().as_str());
            }
            if let Some(name) = row.unique_name() {
                self.names.insert(name.to_lowercase().into(), row.id().clone());
            }
        }
        old
    }
    /// Removes a row and answers it.
    pub(crate) fn remove(&mut self, id: &str) -> Option<Arc<R>> {
        let old = self.rows.remove(id)?;
        if let Some(name) = old.unique_name() {
            self.names.remove(name.to_lowercase().as_str());
        }
        Some(old)
    }
}
