//! A cluster of one service without IO: applies decisions, places tasks, plays the agents.

use orchestrator::{
    Action, Decision, Defaults, Nodes, Readiness, State, accept_spec, apply, is_dead,
    note_deployment, reconcile, reconcile_removed,
};
use std::collections::{BTreeMap, BTreeSet};
use types::swarm::extension::NodeRecord;
use types::swarm::node::{Availability, Node, NodeState};
use types::swarm::service::{Service, ServiceSpec};
use types::swarm::task::{Task, TaskState, TaskStatus};
use types::{NodeId, ServiceId, TaskId, Timestamp};

pub(crate) const START: i64 = 1_800_000_000;

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) service: Service,
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) defaults: Defaults,
    pub(crate) dependencies: BTreeMap<String, Readiness>,
    /// Nodes that do not meet the constraints.
    pub(crate) misfits: BTreeSet<NodeId>,
    /// Nothing is placed while the scheduler sleeps.
    pub(crate) scheduler_sleeps: bool,
    /// The service is no more; its tasks are.
    pub(crate) removed: bool,
    minted: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        World {
            now: Timestamp::from_seconds(START),
            service: Service { id: ServiceId::new("web"), ..Service::default() },
            tasks: BTreeMap::new(),
            nodes: BTreeMap::new(),
            defaults: Defaults::default(),
            dependencies: BTreeMap::new(),
            misfits: BTreeSet::new(),
            scheduler_sleeps: false,
            removed: false,
            minted: 0,
        }
    }

    pub(crate) fn add_node(&mut self, name: &str) {
        let mut node = Node { id: NodeId::new(name), ..Node::default() };
        node.status.state = NodeState::Ready;
        node.record = Some(NodeRecord { state_since: self.now, ..NodeRecord::default() });
        self.nodes.insert(node.id.clone(), node);
    }

    pub(crate) fn set_node(&mut self, name: &str, state: &str) {
        let id = NodeId::new(name);
        if state == "removed" {
            self.nodes.remove(&id);
            return;
        }
        if state == "misfit" {
            self.misfits.insert(id);
            return;
        }
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        let before = node.status.state;
        match state {
            "down" => node.status.state = NodeState::Down,
            "ready" => node.status.state = NodeState::Ready,
            "active" => node.spec.availability = Availability::Active,
            "pause" => node.spec.availability = Availability::Pause,
            "drain" => node.spec.availability = Availability::Drain,
            other => panic!("no node state {other}"),
        }
        if node.status.state != before {
            node.record = Some(NodeRecord { state_since: now, ..NodeRecord::default() });
        }
    }

    pub(crate) fn set_spec(&mut self, spec: ServiceSpec, first: bool) {
        let before = (!first).then(|| self.service.spec.clone());
        if first {
            self.service.spec = spec;
        } else {
            self.service = accept_spec(&self.service, spec);
        }
        note_deployment(&mut self.service, before.as_ref(), self.now);
        self.service.meta.version.index += 1;
    }

    pub(crate) fn decide(&self) -> Decision {
        let tasks: Vec<&Task> = self.tasks.values().collect();
        self.decide_on(&tasks)
    }

    pub(crate) fn decide_on(&self, tasks: &[&Task]) -> Decision {
        let nodes: Nodes<'_> = self.nodes.values().collect();
        if self.removed {
            return reconcile_removed(tasks, &nodes, &self.defaults, self.now);
        }
        let fits = |node: &Node| !self.misfits.contains(&node.id);
        let state = State {
            service: &self.service,
            tasks,
            nodes: &nodes,
            defaults: &self.defaults,
            dependencies: &self.dependencies,
            fits: &fits,
        };
        reconcile(&state, self.now)
    }

    /// Commits one action; returns the id of the task that was made.
    pub(crate) fn commit(&mut self, action: &Action) -> Option<TaskId> {
        if let Action::CreateTask(new) = action {
            self.minted += 1;
            let id = TaskId::new(format!("t{:02}", self.minted));
            let tasks: Vec<&Task> = self.tasks.values().collect();
            let task = apply::new_task(&self.service, &tasks, new, id.clone(), self.now);
            self.tasks.insert(id.clone(), task);
            return Some(id);
        }
        if let Some(service) = apply::to_service(&self.service, action) {
            self.service = service;
        }
        match action {
            Action::DeleteTask { task } => drop(self.tasks.remove(task)),
            Action::SetDesired { task, .. } | Action::Orphan { task, .. } => {
                if let Some(after) = apply::to_task(&self.tasks[task], action, self.now) {
                    self.tasks.insert(task.clone(), after);
                }
            }
            _ => {}
        }
        None
    }

    pub(crate) fn report(&mut self, id: &TaskId, state: TaskState, err: &str) {
        let status =
            TaskStatus { timestamp: self.now, state, err: err.to_owned(), ..TaskStatus::default() };
        if let Some(after) = apply::with_status(&self.tasks[id], status, self.now) {
            self.tasks.insert(id.clone(), after);
        }
    }

    /// One round of the scheduler and of every agent in reach. True if anything moved.
    pub(crate) fn agents(&mut self) -> bool {
        let before = self.tasks.clone();
        let ids: Vec<TaskId> = self.tasks.keys().cloned().collect();
        for id in &ids {
            self.place(id);
        }
        for id in &ids {
            self.advance(id);
        }
        before != self.tasks
    }

    fn place(&mut self, id: &TaskId) {
        let task = self.tasks[id].clone();
        if task.status.state >= TaskState::Assigned
            || task.desired_state > TaskState::Complete
            || self.scheduler_sleeps
        {
            return;
        }
        let fits: Vec<&Node> = self
            .nodes
            .values()
            .filter(|node| task.node_id.as_str().is_empty() || task.node_id == node.id)
            .filter(|node| node.spec.availability == Availability::Active)
            .filter(|node| node.status.state == NodeState::Ready)
            .filter(|node| !self.misfits.contains(&node.id))
            .collect();
        let crowd = |node: &Node| {
            let mut there = 0;
            for other in self.tasks.values() {
                there +=
                    usize::from(other.node_id == node.id && !is_dead(other) && other.id != *id);
            }
            there
        };
        let ported = !task.record.host_ports.is_empty();
        let open = fits.iter().filter(|node| !ported || crowd(node) == 0);
        match open.min_by_key(|node| (crowd(node), node.id.clone())).map(|node| node.id.clone()) {
            Some(node) => {
                self.tasks.get_mut(id).unwrap().node_id = node;
                self.report(id, TaskState::Assigned, "");
            }
            None => self.report(id, TaskState::Pending, "no suitable node"),
        }
    }

    /// An image called `broken…` fails at its start, `slow` never gets running, `stubborn` does not stop.
    fn advance(&mut self, id: &TaskId) {
        let task = self.tasks[id].clone();
        let reachable =
            self.nodes.get(&task.node_id).is_some_and(|node| node.status.state == NodeState::Ready);
        let state = task.status.state;
        if !reachable || state < TaskState::Assigned || state.is_terminal() {
            return;
        }
        let image = task.spec.container_spec.as_ref().map_or("", |spec| spec.image.as_str());
        let next = match task.desired_state {
            desired if desired > TaskState::Complete => match image {
                "stubborn" => state,
                _ => TaskState::Shutdown,
            },
            desired if desired < TaskState::Running => TaskState::Ready,
            _ if image.starts_with("broken") => TaskState::Failed,
            _ if image == "slow" => TaskState::Starting,
            _ => TaskState::Running,
        };
        if next > state {
            let err = if next == TaskState::Failed { "task: non-zero exit (1)" } else { "" };
            self.report(id, next, err);
        }
    }
}
