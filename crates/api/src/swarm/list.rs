//! What the lists of the cluster's objects have in common: SwarmKit's filters.

use engine::Filters;
use std::collections::BTreeMap;

/// `name` is the beginning of a name, `id` of an id.
pub(crate) fn named(filters: &Filters, name: &str, id: &str) -> bool {
    filters.matches("name", |prefix| name.starts_with(prefix))
        && filters.matches("id", |prefix| id.starts_with(prefix))
}

/// All wanted labels are there; `key=` asks for the key alone, as SwarmKit has it.
pub(crate) fn labelled(filters: &Filters, name: &str, labels: &BTreeMap<String, String>) -> bool {
    filters.get(name).all(|wanted| {
        let (key, value) = wanted.split_once('=').unwrap_or((wanted, ""));
        labels.get(key).is_some_and(|have| value.is_empty() || have == value)
    })
}
