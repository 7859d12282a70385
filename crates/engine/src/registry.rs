//! All containers by id and by name. The one place where names are given out.

use crate::container::Container;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use types::ContainerId;

#[derive(Default)]
pub(crate) struct Registry(RwLock<Tables>);

#[derive(Default)]
struct Tables {
    by_id: BTreeMap<ContainerId, Arc<Container>>,
    /// A name is taken from before its container is there until after it is gone.
    names: BTreeMap<String, ContainerId>,
}

impl Registry {
    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `name` for `id`, or says in Docker's words who has it.
    pub(crate) fn reserve(&self, name: &str, id: &ContainerId) -> Result<()> {
        let mut tables = self.write();
        match tables.names.get(name) {
            Some(holder) if holder != id => Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
            ))),
            _ => {
                tables.names.insert(name.to_owned(), id.clone());
                Ok(())
            }
        }
    }
    pub(crate) fn release(&self, name: &str) {
        self.write().names.remove(name);
    }
    pub(crate) fn is_taken(&self, name: &str) -> bool {
        self.read().names.contains_key(name)
    }
    pub(crate) fn insert(&self, container: Arc<Container>) {
        self.write().by_id.insert(container.id.clone(), container);
    }
    pub(crate) fn remove(&self, container: &Container) {
        let name = container.name();
        let mut tables = self.write();
        tables.by_id.remove(&container.id);
        if tables.names.get(&name) == Some(&container.id) {
            tables.names.remove(&name);
        }
    }
    /// Every container, by id.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.read().by_id.values().cloned().collect()
    }
    pub(crate) fn get(&self, id: &ContainerId) -> Option<Arc<Container>> {
        self.read().by_id.get(id).cloned()
    }

    /// By full id, then by name, then by an id prefix that only one container has.
    pub(crate) fn find(&self, wanted: &str) -> Result<Arc<Container>> {
        if wanted.is_empty() {
            return Err(Error::invalid("No container name or ID supplied"));
        }
        let tables = self.read();
        if let Some(container) = tables.by_id.get(wanted) {
            return Ok(container.clone());
        }
        let name = wanted.strip_prefix('/').unwrap_or(wanted);
        if let Some(container) = tables.names.get(name).and_then(|id| tables.by_id.get(id)) {
            return Ok(container.clone());
        }
        let from = ContainerId::new(wanted);
        let mut matches =
            tables.by_id.range(from..).take_while(|(id, _)| id.as_str().starts_with(wanted));
        match (matches.next(), matches.next()) {
            (Some((_, container)), None) => Ok(container.clone()),
            (Some(_), Some(_)) => {
                Err(Error::invalid(format!("multiple IDs found with provided prefix: {wanted}")))
            }
            (None, _) => Err(Error::no_such_container(wanted)),
        }
    }
}
