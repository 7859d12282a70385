//! A node's share of the store, as its agent has been told: the whole of it once, then what changed. Pure.
//!
//! A node has the tasks that were assigned to it, until they are deleted: an ended task's container keeps its logs.
//! That a task shall stop its agent hears when it has drained; until then it is told what was before.
//! What a task refers to (its service, secrets, configs, networks, volumes) it has only while the task has not ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::{Event, EventKind, Object, RefKind, Snapshot};
use types::swarm::session::{Assigned, Assignments, Removed, ServiceFacts};
use types::swarm::task::{Task, TaskSpec, TaskState};
use types::{NodeId, TaskId};

/// Whether a task's agent must not hear yet that it shall stop.
pub(crate) type Held<'a> = &'a dyn Fn(&Task) -> bool;

/// Something that tasks refer to. Its order is the order in which an agent gets them: tasks come last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    Network(String),
    Volume(String),
    Secret(String),
    Config(String),
    Service(String),
}

/// What changed since an agent was last told; each thing once, however often it changed.
#[derive(Debug, Default)]
pub struct Touched {
    pub tasks: BTreeSet<TaskId>,
    pub needs: BTreeSet<Need>,
}

impl Touched {
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.needs.is_empty()
    }
}

/// What one agent knows.
#[derive(Debug)]
pub struct Share {
    node: NodeId,
    /// The store's version that the agent is at.
    at: u64,
    tasks: BTreeMap<TaskId, Told>,
    /// How many tasks need it.
    needs: BTreeMap<Need, u32>,
    services: BTreeMap<String, Arc<ServiceFacts>>,
}

/// What the agent was told of a task.
#[derive(Debug)]
struct Told {
    task: Arc<Task>,
    needs: BTreeSet<Need>,
}

impl Share {
    /// Everything that `node` should have.
    pub fn whole(node: &NodeId, state: &Snapshot, held: Held<'_>) -> (Share, Assignments) {
        let mut share = Share {
            node: node.clone(),
            at: state.version(),
            tasks: BTreeMap::new(),
            needs: BTreeMap::new(),
            services: BTreeMap::new(),
        };
        let tasks = state.tasks_of_node(node).map(|task| task.id.clone()).collect();
        let mut touched = Touched { tasks, needs: BTreeSet::new() };
        let told = share.collect(&mut touched, state, held);
        let assignments =
            Assignments { complete: true, from: 0, to: share.at, put: told.0, removed: told.1 };
        (share, assignments)
    }

    /// What an agent that has this share must be told of what was touched; none if nothing.
    pub fn changes(
        &mut self,
        touched: Touched,
        state: &Snapshot,
        held: Held<'_>,
    ) -> Option<Assignments> {
        let mut touched = touched;
        let from = self.at;
        let (put, removed) = self.collect(&mut touched, state, held);
        if put.is_empty() && removed.is_empty() {
            return None;
        }
        self.at = state.version();
        Some(Assignments { complete: false, from, to: self.at, put, removed })
    }

    fn collect(
        &mut self,
        touched: &mut Touched,
        state: &Snapshot,
        held: Held<'_>,
    ) -> (Vec<Assigned>, Vec<Removed>) {
        let mut put_tasks = Vec::new();
        let mut removed = Vec::new();
        let mut dropped = BTreeSet::new();
        for id in &touched.tasks {
            let row = state.tasks().get(id.as_str()).filter(|row| is_assigned(row, &self.node));
            match row {
                Some(row) => {
                    let needs = needs_of(row);
                    let before = self.tasks.get(id);
                    // Who has heard that it shall stop need not be told otherwise.
                    let stops =
                        before.is_some_and(|told| told.task.desired_state > TaskState::Complete);
                    let row = match !stops && held(row) {
                        true => {
                            Arc::new(Task { desired_state: TaskState::Running, ..Task::clone(row) })
                        }
                        false => Arc::clone(row),
                    };
                    let row = with_log_driver(row, before.map(|told| &*told.task), state);
                    if before.is_none_or(|told| is_news(&told.task, &row)) {
                        put_tasks.push(Assigned::Task(Arc::clone(&row)));
                    }
                    let had = before.map(|told| told.needs.clone()).unwrap_or_default();
                    for need in needs.difference(&had) {
                        let count = self.needs.entry(need.clone()).or_default();
                        *count += 1;
                        if *count == 1 {
                            touched.needs.insert(need.clone());
                        }
                    }
                    let ended: Vec<Need> = had.difference(&needs).cloned().collect();
                    self.let_go(ended.iter());
                    dropped.extend(ended);
                    self.tasks.insert(id.clone(), Told { task: row, needs });
                }
                None => {
                    if let Some(told) = self.tasks.remove(id) {
                        removed.push(Removed::Task(id.to_string()));
                        self.let_go(told.needs.iter());
                        dropped.extend(told.needs);
                    }
                }
            }
        }
        let mut put = Vec::new();
        for need in &touched.needs {
            if self.needs.contains_key(need) {
                put.extend(self.object(need, state));
            }
        }
        put.extend(put_tasks);
        for need in dropped {
            if !self.needs.contains_key(&need) {
                removed.push(self.removal(need));
            }
        }
        (put, removed)
    }

    fn let_go<'a>(&mut self, needs: impl Iterator<Item = &'a Need>) {
        for need in needs {
            if let Some(count) = self.needs.get_mut(need) {
                *count -= 1;
                if *count == 0 {
                    self.needs.remove(need);
                }
            }
        }
    }

    /// The object as agents get it. One that is gone from the store stays with its tasks as it was.
    fn object(&mut self, need: &Need, state: &Snapshot) -> Option<Assigned> {
        match need {
            Need::Network(id) => state.networks().get(id).cloned().map(Assigned::Network),
            Need::Secret(id) => state.secrets().get(id).cloned().map(Assigned::Secret),
            Need::Config(id) => state.configs().get(id).cloned().map(Assigned::Config),
            Need::Volume(source) => {
                let by_id = state.volumes().get(source);
                by_id.or_else(|| state.volumes().by_name(source)).cloned().map(Assigned::Volume)
            }
            Need::Service(id) => {
                let facts = Arc::new(ServiceFacts::of(state.services().get(id)?));
                if self.services.get(id) == Some(&facts) {
                    return None;
                }
                self.services.insert(id.clone(), Arc::clone(&facts));
                Some(Assigned::Service(facts))
            }
        }
    }

    fn removal(&mut self, need: Need) -> Removed {
        match need {
            Need::Network(id) => Removed::Network(id),
            Need::Secret(id) => Removed::Secret(id),
            Need::Config(id) => Removed::Config(id),
            Need::Volume(id) => Removed::Volume(id),
            Need::Service(id) => {
                self.services.remove(&id);
                Removed::Service(id)
            }
        }
    }
}

/// Whose agents an event concerns, and what it touches there.
pub fn route(event: &Event, state: &Snapshot) -> Vec<(NodeId, Touch)> {
    match (&event.object, &event.old) {
        (Object::Task(task), old) => {
            let old = match old {
                Some(Object::Task(old)) => Some(old),
                _ => None,
            };
            let only_reported = event.kind == EventKind::Updated
                && old.is_some_and(|old| {
                    !is_news(old, task) && needs_of(old) == needs_of(task) && was_assigned(old)
                });
            if only_reported || task.node_id.as_str().is_empty() {
                return Vec::new();
            }
            vec![(task.node_id.clone(), Touch::Task(task.id.clone()))]
        }
        (Object::Network(row), _) => {
            let id = row.id.to_string();
            nodes_of(state.tasks_referring(RefKind::Network, &id), Need::Network(id.clone()))
        }
        (Object::Secret(row), _) => {
            let id = row.id.to_string();
            nodes_of(state.tasks_referring(RefKind::Secret, &id), Need::Secret(id.clone()))
        }
        (Object::Config(row), _) => {
            let id = row.id.to_string();
            nodes_of(state.tasks_referring(RefKind::Config, &id), Need::Config(id.clone()))
        }
        (Object::Service(row), Some(Object::Service(old)))
            if ServiceFacts::of(row) != ServiceFacts::of(old) =>
        {
            let id = row.id.to_string();
            nodes_of(state.tasks_of_service(&row.id), Need::Service(id))
        }
        _ => Vec::new(),
    }
}

/// One thing that an event touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touch {
    Task(TaskId),
    Need(Need),
}

fn nodes_of<'a>(tasks: impl Iterator<Item = &'a Arc<Task>>, need: Need) -> Vec<(NodeId, Touch)> {
    let nodes: BTreeSet<&NodeId> =
        tasks.map(|task| &task.node_id).filter(|node| !node.as_str().is_empty()).collect();
    nodes.into_iter().map(|node| (node.clone(), Touch::Need(need.clone()))).collect()
}

fn is_assigned(task: &Task, node: &NodeId) -> bool {
    task.node_id == *node && was_assigned(task) && !task.is_attachment()
}

/// A global service's task has its node before the scheduler has said that it fits.
fn was_assigned(task: &Task) -> bool {
    task.status.state >= TaskState::Assigned
}

/// Whether an agent must hear of the task again: what it reported itself is no news.
fn is_news(told: &Task, task: &Task) -> bool {
    told.desired_state != task.desired_state
        || told.node_id != task.node_id
        || told.networks_attachments != task.networks_attachments
        || told.assigned_generic_resources != task.assigned_generic_resources
        || !(Arc::ptr_eq(&told.spec, &task.spec) || told.spec == task.spec)
}

/// What the cluster says of logs where the service says nothing (`TaskDefaults`). What the agent was told at first stays: its
/// container has it.
fn with_log_driver(task: Arc<Task>, told: Option<&Task>, state: &Snapshot) -> Arc<Task> {
    if task.spec.log_driver.is_some() {
        return task;
    }
    let log_driver = match told {
        Some(told) => told.spec.log_driver.clone(),
        None => {
            let cluster = state.clusters().iter().next();
            cluster.and_then(|cluster| cluster.spec.task_defaults.log_driver.clone())
        }
    };
    if log_driver.is_none() {
        return task;
    }
    let spec = TaskSpec { log_driver, ..TaskSpec::clone(&task.spec) };
    Arc::new(Task { spec: Arc::new(spec), ..Task::clone(&task) })
}

fn needs_of(task: &Task) -> BTreeSet<Need> {
    let mut needs = BTreeSet::new();
    if task.status.state.is_terminal() {
        return needs;
    }
    if !task.service_id.as_str().is_empty() {
        needs.insert(Need::Service(task.service_id.to_string()));
    }
    needs.extend(task.spec.networks.iter().map(|net| Need::Network(net.target.clone())));
    let attached = task.networks_attachments.iter();
    needs.extend(attached.map(|attachment| Need::Network(attachment.network.clone())));
    let Some(container) = &task.spec.container_spec else { return needs };
    needs.extend(container.secrets.iter().map(|secret| Need::Secret(secret.secret_id.clone())));
    needs.extend(container.configs.iter().map(|config| Need::Config(config.config_id.clone())));
    let volumes = container.mounts.iter().filter(|mount| mount.kind == "cluster");
    needs.extend(volumes.map(|mount| Need::Volume(mount.source.clone())));
    needs
}

#[cfg(test)]
mod tests;
