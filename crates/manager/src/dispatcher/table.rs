//! The endpoint table as agents are told it: derived once for all of them, and what changed of it for each. Pure.

use netplan::overlay::rows;
use std::sync::Arc;
use store::{Event, EventKind, Object, Snapshot};
use types::swarm::endpoint::{EndpointTable, EndpointUpdate};
use types::swarm::node::{Node, NodeState};
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};

/// Updates that are kept for sessions that were told the same table before. Most are one table behind.
const RECENT: usize = 8;

/// The newest table.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    newest: Arc<EndpointTable>,
    /// With the version that each goes on from; none for the whole table.
    recent: Vec<(Option<u64>, Arc<EndpointUpdate>)>,
}

impl Tables {
    pub(crate) fn newest(&self) -> &Arc<EndpointTable> {
        &self.newest
    }

    /// Takes in what the store says; whether that is anything new. A table that says the same keeps its version.
    pub(crate) fn derive(&mut self, state: &Snapshot) -> bool {
        let mut table = table(state);
        if self.newest.version != 0 && self.newest.says_the_same(&table) {
            return false;
        }
        // Sessions keep the tables that they were told last: these differ by few rows.
        table.share_with(&self.newest);
        self.newest = Arc::new(table);
        self.recent.clear();
        true
    }

    /// What an agent that was told `told` has to hear.
    pub(crate) fn update(&mut self, told: Option<&EndpointTable>) -> Arc<EndpointUpdate> {
        let from = told.map(|table| table.version);
        if let Some((_, update)) = self.recent.iter().find(|(known, _)| *known == from) {
            return Arc::clone(update);
        }
        let update = Arc::new(match told {
            Some(told) => EndpointUpdate::between(told, &self.newest),
            None => EndpointUpdate::whole(&self.newest),
        });
        self.recent.truncate(RECENT - 1);
        self.recent.insert(0, (from, Arc::clone(&update)));
        update
    }
}

fn table(state: &Snapshot) -> EndpointTable {
    let mut table = rows(
        state.version(),
        state.networks().iter().map(|row| &**row),
        state.nodes().iter().map(|row| &**row),
        state.services().iter().map(|row| &**row),
        state.tasks().iter().map(|row| &**row),
    );
    let port = state.clusters().iter().next().map_or(0, |cluster| cluster.data_path_port);
    table.tunnel_port = u16::try_from(port).unwrap_or(0);
    table
}

/// Whether the event may change the table. Most of what happens does not: a whole table for each would cost too
/// much.
pub(crate) fn concerns(event: &Event) -> bool {
    let made_or_gone = event.kind != EventKind::Updated;
    match (&event.object, &event.old) {
        (Object::Task(new), Some(Object::Task(old))) if !made_or_gone => {
            is_there(new) && differs(old, new) || is_there(old) && !is_there(new)
        }
        (Object::Task(task), _) => is_there(task),
        (Object::Node(new), Some(Object::Node(old))) if !made_or_gone => {
            reached(old) != reached(new)
        }
        (Object::Service(new), Some(Object::Service(old))) if !made_or_gone => {
            known_by(old) != known_by(new)
        }
        (Object::Network(_) | Object::Node(_) | Object::Service(_), _) => true,
        (Object::Cluster(new), Some(Object::Cluster(old))) => {
            old.data_path_port != new.data_path_port
        }
        _ => false,
    }
}

/// Whether the task may have rows.
fn is_there(task: &Task) -> bool {
    !task.networks_attachments.is_empty()
        && (TaskState::Assigned..=TaskState::Running).contains(&task.status.state)
}

fn differs(old: &Task, new: &Task) -> bool {
    let running = |task: &Task| task.status.state == TaskState::Running;
    let stops = |task: &Task| task.desired_state > TaskState::Complete;
    !is_there(old)
        || running(old) != running(new)
        || stops(old) != stops(new)
        || old.node_id != new.node_id
        || old.networks_attachments != new.networks_attachments
}

fn reached(node: &Node) -> (bool, &str, &str, &str) {
    let down = node.status.state == NodeState::Down;
    let said = &node.description;
    (down, &node.status.addr, &said.data_path_addr, &said.wire_key)
}

fn known_by(service: &Service) -> impl PartialEq {
    let (spec, endpoint) = (&service.spec, &service.endpoint);
    let networks = (spec.networks.clone(), spec.task_template.networks.clone());
    // Policies mean services by their labels, and what is outside is written there.
    let labels = spec.labels.clone();
    (spec.name.clone(), labels, networks, endpoint.virtual_ips.clone(), endpoint.ports.clone())
}

#[cfg(test)]
mod tests;
