//! What a change gives the leader to look at again. Pure.

use std::collections::{BTreeMap, BTreeSet};
use store::{Event, EventKind, Object, RefKind, Snapshot};
use types::swarm::node::Node;
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};
use types::{NetworkId, ServiceId, TaskId};

/// Work that waits, each object once.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// To be reconciled; a service that is not in the store any more too.
    pub(crate) services: BTreeSet<ServiceId>,
    /// Without a node, not asked for yet.
    pub(crate) tasks: BTreeSet<TaskId>,
    pub(crate) networks: BTreeSet<NetworkId>,
    /// Room was made, or a node changed: tasks that found none may fit now.
    pub(crate) room: bool,
    /// Addresses or ports were given back.
    pub(crate) freed: bool,
}

/// Who depends on whom, by name, and which services have a task on every node.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    dependents: BTreeMap<String, BTreeSet<ServiceId>>,
    names: BTreeMap<ServiceId, String>,
    /// Services that look at all nodes: global ones, and those that may move to emptier nodes.
    everywhere: BTreeSet<ServiceId>,
}

impl Marks {
    /// Everything, as for a leader that has just begun.
    pub(crate) fn everything(state: &Snapshot) -> Marks {
        let mut marks = Marks { room: true, freed: true, ..Marks::default() };
        marks.services.extend(state.services().iter().map(|row| row.id.clone()));
        marks.networks.extend(state.networks().iter().map(|row| row.id.clone()));
        for task in state.tasks().iter() {
            if !task.service_id.as_str().is_empty() {
                marks.services.insert(task.service_id.clone());
            }
            if is_unplaced(task) {
                marks.tasks.insert(task.id.clone());
            }
        }
        marks
    }

    /// Adds what `event` asks for. `state` is the newest, `relations` know the event already.
    pub(crate) fn note(&mut self, event: &Event, relations: &Relations, state: &Snapshot) {
        match (&event.object, &event.old) {
            (Object::Task(task), old) => {
                let old = match old {
                    Some(Object::Task(old)) => Some(old.as_ref()),
                    _ => None,
                };
                self.note_task(task, old, event.kind, relations);
            }
            (Object::Service(service), old) => {
                self.services.insert(service.id.clone());
                self.services.extend(relations.dependents_of(&service.spec.name));
                let endpoint = match old {
                    Some(Object::Service(old)) => old.endpoint != service.endpoint,
                    _ => false,
                };
                self.freed |= endpoint || event.kind == EventKind::Removed;
                self.room = true; // priorities and affinities
            }
            (Object::Node(node), old) => {
                let old = match old {
                    Some(Object::Node(old)) => Some(old.as_ref()),
                    _ => None,
                };
                if event.kind == EventKind::Removed || old.is_none_or(|old| matters(old, node)) {
                    self.room = true;
                    let there = state.tasks_of_node(&node.id).map(|task| task.service_id.clone());
                    self.services.extend(there.filter(|id| !id.as_str().is_empty()));
                    self.services.extend(relations.everywhere.iter().cloned());
                }
            }
            (Object::Network(network), _) => {
                self.networks.insert(network.id.clone());
                if event.kind == EventKind::Removed {
                    self.freed = true;
                    let bare = state.networks().iter().filter(|row| row.subnet.is_empty());
                    self.networks.extend(bare.map(|row| row.id.clone()));
                }
                let users = state.services_referring(RefKind::Network, network.id.as_str());
                self.services.extend(users.map(|service| service.id.clone()));
                self.room = true; // tasks wait for its subnet
                self.freed |= network.spec.ingress;
            }
            (Object::Cluster(cluster), Some(Object::Cluster(old)))
                if old.spec.orchestration != cluster.spec.orchestration
                    || old.spec.dispatcher != cluster.spec.dispatcher =>
            {
                self.services.extend(state.services().iter().map(|row| row.id.clone()));
            }
            (Object::Volume(_), _) => self.room = true,
            _ => {}
        }
    }

    fn note_task(
        &mut self,
        task: &Task,
        old: Option<&Task>,
        kind: EventKind,
        relations: &Relations,
    ) {
        let held =
            |task: &Task| (TaskState::Assigned..=TaskState::Running).contains(&task.status.state);
        let removed = kind == EventKind::Removed;
        self.room |= old.is_some_and(held) && !held(task) || removed && held(task);
        if removed {
            self.tasks.remove(&task.id);
        } else if is_unplaced(task) && old.is_none() {
            self.tasks.insert(task.id.clone());
        }
        let idle = !removed && old.is_some_and(|old| changes_nothing(old, task));
        if idle || task.service_id.as_str().is_empty() {
            return;
        }
        self.services.insert(task.service_id.clone());
        if let Some(name) = relations.names.get(&task.service_id) {
            self.services.extend(relations.dependents_of(name));
        }
    }
}

impl Relations {
    pub(crate) fn of(state: &Snapshot) -> Relations {
        let mut relations = Relations::default();
        for service in state.services().iter() {
            relations.set(service);
        }
        relations
    }

    pub(crate) fn set(&mut self, service: &Service) {
        self.forget(&service.id);
        self.names.insert(service.id.clone(), service.spec.name.clone());
        let wishes = service.spec.sampan.as_ref();
        for name in wishes.into_iter().flat_map(|wishes| wishes.depends_on.keys()) {
            self.dependents.entry(name.clone()).or_default().insert(service.id.clone());
        }
        let mode = &service.spec.mode;
        let moves = wishes.is_some_and(|wishes| wishes.rebalance.is_some());
        if mode.global.is_some() || mode.global_job.is_some() || moves {
            self.everywhere.insert(service.id.clone());
        }
    }

    pub(crate) fn forget(&mut self, service: &ServiceId) {
        self.names.remove(service);
        self.everywhere.remove(service);
        for dependents in self.dependents.values_mut() {
            dependents.remove(service);
        }
        self.dependents.retain(|_, dependents| !dependents.is_empty());
    }

    fn dependents_of(&self, name: &str) -> impl Iterator<Item = ServiceId> + '_ {
        self.dependents.get(name).into_iter().flatten().cloned()
    }
}

/// Whether the task still wants a node.
pub(crate) fn is_unplaced(task: &Task) -> bool {
    task.status.state < TaskState::Assigned && task.desired_state <= TaskState::Complete
}

/// An agent on its way to a running task: the orchestrator decides nothing by these steps. Most reports are
/// of this kind.
fn changes_nothing(old: &Task, new: &Task) -> bool {
    let way = TaskState::Assigned..=TaskState::Starting;
    old.desired_state == new.desired_state
        && old.node_id == new.node_id
        && way.contains(&old.status.state)
        && way.contains(&new.status.state)
}

/// Whether anything changed of a node that a decision reads.
fn matters(old: &Node, new: &Node) -> bool {
    old.spec != new.spec
        || old.status.state != new.status.state
        || old.description != new.description
}
