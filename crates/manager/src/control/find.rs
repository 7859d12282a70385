//! Which object a user means: a full id, else a name, else the beginning of one id.

use super::Error;
use errdefs::ErrorKind;
use std::sync::Arc;
use store::{Kind, Record, Snapshot, Table};
use types::swarm::network::ClusterNetwork;
use types::swarm::node::Node;
use types::swarm::secret::{Config, Secret};
use types::swarm::service::Service;
use types::swarm::task::Task;

/// The node of this id, host name or beginning of an id.
pub fn node<'a>(state: &'a Snapshot, key: &str) -> Result<&'a Arc<Node>, Error> {
    if let Some(node) = state.nodes().get(key) {
        return Ok(node);
    }
    let named: Vec<_> =
        state.nodes().iter().filter(|node| node.description.hostname == key).collect();
    only(Kind::Node, key, named, || state.nodes().find_by_prefix(key).collect())
}

pub fn service<'a>(state: &'a Snapshot, key: &str) -> Result<&'a Arc<Service>, Error> {
    in_table(state.services(), key)
}

pub fn secret<'a>(state: &'a Snapshot, key: &str) -> Result<&'a Arc<Secret>, Error> {
    in_table(state.secrets(), key)
}

pub fn config<'a>(state: &'a Snapshot, key: &str) -> Result<&'a Arc<Config>, Error> {
    in_table(state.configs(), key)
}

pub fn network<'a>(state: &'a Snapshot, key: &str) -> Result<&'a Arc<ClusterNetwork>, Error> {
    in_table(state.networks(), key)
}

/// The task of this id, full name (`web.1.<id>`) or beginning of an id.
pub fn task<'a>(state: &'a Snapshot, key: &str) -> Result<&'a Arc<Task>, Error> {
    if let Some(task) = state.tasks().get(key) {
        return Ok(task);
    }
    // A name ends in the id, so that no search by name is needed.
    let named = key.rsplit_once('.').and_then(|(_, id)| state.tasks().get(id));
    let named = named.filter(|task| task_name(state, task) == key);
    only(Kind::Task, key, named.into_iter().collect(), || {
        state.tasks().find_by_prefix(key).collect()
    })
}

/// `web.1.<id>`, or `web.<node>.<id>` for a task of a global service.
pub fn task_name(state: &Snapshot, task: &Task) -> String {
    let service = state.services().get(task.service_id.as_str());
    let service = service.map_or("", |service| service.spec.name.as_str());
    match task.slot {
        0 => format!("{service}.{}.{}", task.node_id, task.id),
        slot => format!("{service}.{slot}.{}", task.id),
    }
}

fn in_table<'a, R: Record>(table: &'a Table<R>, key: &str) -> Result<&'a Arc<R>, Error> {
    if let Some(row) = table.get(key).or_else(|| table.by_name(key)) {
        return Ok(row);
    }
    only(R::KIND, key, Vec::new(), || table.find_by_prefix(key).collect())
}

fn only<'a, R>(
    kind: Kind,
    key: &str,
    named: Vec<&'a Arc<R>>,
    by_prefix: impl FnOnce() -> Vec<&'a Arc<R>>,
) -> Result<&'a Arc<R>, Error> {
    let found = if named.is_empty() { by_prefix() } else { named };
    match found.as_slice() {
        [row] => Ok(row),
        [] => Err(Error::Daemon {
            kind: ErrorKind::NotFound,
            message: format!("{kind} {key} not found"),
        }),
        many => Err(Error::Daemon {
            kind: ErrorKind::InvalidParameter,
            message: format!("{kind} {key} is ambiguous ({} matches found)", many.len()),
        }),
    }
}
