//! What the leader works with between two looks at the store, and one round of its decisions. Pure: the state, the
//! time and random bytes come in, transactions go out.
//!
//! ```text
//! events ─► marks ─► networks ─► services (endpoint, reconcile) ─► tasks without a node (scheduler) ─► transactions
//!             ▲                                                                                             │
//!             └───────────────── refused: taken back, marked again ◄── settle ◄── committed or refused ◄────┘
//! ```
//!
//! A new task is given its node before it is written, so that a service's tasks come with one entry. All of this is
//! lost with the leadership; the next leader reads it off the store.

use crate::leader::draft::{Draft, Guard};
use crate::leader::marks::{Marks, Relations, is_unplaced};
use crate::leader::timers::Timers;
use allocator::cluster::Allocator;
use orchestrator::{
    Decision, Defaults, Nodes, Readiness, State, Waiting, readiness, reconcile, reconcile_removed,
};
use scheduler::Scheduler;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::{Change, Event, EventKind, Object, Snapshot, StoreError, Transaction};
use types::swarm::network::ClusterNetwork;
use types::swarm::node::Node;
use types::swarm::service::Service;
use types::swarm::task::Task;
use types::{NetworkId, NodeId, ServiceId, TaskId, Timestamp};

/// Changes that one round may propose. A few hundred tasks of usual size are half a megabyte: more would hold up
/// what waits behind them in the log.
const ROUND_CHANGES: usize = 500;

/// Random bytes for ids.
pub(crate) type Ids<'a> = &'a mut dyn FnMut() -> [u8; 16];

/// The leader's memory.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    marks: Marks,
    relations: Relations,
    pub(crate) scheduler: Scheduler,
    pub(crate) allocator: Allocator,
    timers: Timers,
    /// Tasks that no node suits, with what was said of it.
    pub(crate) refused: BTreeMap<TaskId, String>,
    /// Why services are not at their spec.
    waits: BTreeMap<ServiceId, Vec<Waiting>>,
    /// Services that the allocator has nothing for. Their tasks get no node.
    pub(crate) stuck: BTreeMap<ServiceId, String>,
    /// How often a round's size was halved because the log would not take it.
    halved: u32,
}

/// What one round proposes.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) transactions: Vec<Transaction>,
    /// What each transaction was about, in their order.
    subjects: Vec<Subject>,
}

/// What is to be looked at again if a transaction is refused.
#[derive(Debug, Default)]
pub(crate) struct Subject {
    pub(crate) service: Option<ServiceId>,
    pub(crate) network: Option<NetworkId>,
    pub(crate) tasks: Vec<TaskId>,
    /// Assignments that the scheduler counts on.
    pub(crate) assigned: Vec<(TaskId, NodeId)>,
}

impl Round {
    pub(crate) fn push(&mut self, changes: Vec<Change>, subject: Subject) {
        if !changes.is_empty() {
            self.transactions.push(changes.into());
            self.subjects.push(subject);
        }
    }

    fn push_first(&mut self, changes: Vec<Change>, subject: Subject) {
        self.transactions.insert(0, changes.into());
        self.subjects.insert(0, subject);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }
}

impl Desk {
    /// Everything read off the store: this manager has begun to lead.
    pub(crate) fn new(state: &Snapshot) -> Desk {
        let mut desk = Desk {
            marks: Marks::everything(state),
            relations: Relations::of(state),
            ..Desk::default()
        };
        for cluster in state.clusters().iter() {
            desk.allocator.set_cluster(cluster);
        }
        for network in state.networks().iter() {
            desk.allocator.set_network(network);
        }
        for node in state.nodes().iter() {
            desk.scheduler.set_node(Arc::clone(node));
        }
        for service in state.services().iter() {
            desk.scheduler.set_service(service);
            desk.allocator.set_service(service);
        }
        for volume in state.volumes().iter() {
            desk.scheduler.set_volume(Arc::clone(volume));
        }
        for task in state.tasks().iter() {
            desk.scheduler.set_task(task);
            desk.allocator.set_task(task);
        }
        desk
    }

    /// Takes in what has changed. `state` is the newest.
    pub(crate) fn observe(&mut self, events: &[Event], state: &Snapshot) {
        for event in events {
            self.learn(event);
            self.marks.note(event, &self.relations, state);
        }
    }

    fn learn(&mut self, event: &Event) {
        let removed = event.kind == EventKind::Removed;
        match &event.object {
            Object::Node(node) if removed => self.scheduler.remove_node(&node.id),
            Object::Node(node) => self.scheduler.set_node(Arc::clone(node)),
            Object::Service(service) if removed => {
                self.scheduler.remove_service(&service.id);
                self.relations.forget(&service.id);
                self.allocator.remove_service(&service.id);
                self.stuck.remove(&service.id);
            }
            Object::Service(service) => {
                self.scheduler.set_service(service);
                self.relations.set(service);
                self.allocator.set_service(service);
            }
            Object::Task(task) if removed => {
                self.scheduler.remove_task(task);
                self.allocator.release_task(&task.id);
                self.refused.remove(&task.id);
            }
            Object::Task(task) => {
                self.scheduler.set_task(task);
                self.allocator.set_task(task);
            }
            Object::Volume(volume) if removed => self.scheduler.remove_volume(&volume.id),
            Object::Volume(volume) => self.scheduler.set_volume(Arc::clone(volume)),
            Object::Network(network) if removed => self.allocator.remove_network(&network.id),
            Object::Network(network) => self.allocator.set_network(network),
            Object::Cluster(cluster) => self.allocator.set_cluster(cluster),
            Object::Secret(_) | Object::Config(_) => {}
        }
    }

    /// When to look again though nothing has changed; now, if work is left.
    pub(crate) fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let marks = &self.marks;
        let left =
            !marks.services.is_empty() || !marks.tasks.is_empty() || !marks.networks.is_empty();
        if left { Some(now) } else { self.timers.first() }
    }

    /// Why a service is not at its spec, as of the last look at it.
    pub(crate) fn waits(&self, service: &ServiceId) -> &[Waiting] {
        self.waits.get(service).map_or(&[], Vec::as_slice)
    }

    /// Changes that the next round may propose.
    pub(crate) fn room(&self) -> usize {
        (ROUND_CHANGES >> self.halved).max(1)
    }

    /// The log took the round, or it was too large for it: the next one is larger or smaller.
    pub(crate) fn resize(&mut self, too_large: bool) {
        self.halved = match too_large {
            true => (self.halved + 1).min(ROUND_CHANGES.ilog2() + 1),
            false => self.halved.saturating_sub(1),
        };
    }

    /// What should be written now.
    pub(crate) fn decide(&mut self, state: &Snapshot, now: Timestamp, ids: Ids<'_>) -> Round {
        let mut round = Round::default();
        self.marks.services.extend(self.timers.due(now));
        let mut networks = self.networks(state);
        if std::mem::take(&mut self.marks.freed) {
            self.marks.services.extend(self.stuck.keys().cloned());
        }
        let mut drafts = self.services(state, now, ids);
        self.place(state, now, &mut drafts, &mut round);
        self.write_networks(state, &mut networks, &mut round);
        for draft in drafts {
            let (changes, subject) = draft.finish();
            round.push(changes, subject);
        }
        round
    }

    /// Learns how the round ended. What was refused, or is unknown (`None`), is looked at again.
    pub(crate) fn settle(
        &mut self,
        round: Round,
        results: Option<&[Result<(), StoreError>]>,
        state: &Snapshot,
    ) {
        for (at, subject) in round.subjects.into_iter().enumerate() {
            if results.is_some_and(|results| results.get(at).is_some_and(Result::is_ok)) {
                continue;
            }
            for (task, node) in &subject.assigned {
                self.scheduler.release(task, node);
                self.allocator.release_task(task);
                if let Some(row) = state.tasks().get(task.as_str()) {
                    self.scheduler.set_task(row); // it may be assigned after all
                    self.allocator.set_task(row);
                }
            }
            if let Some(service) = subject.service {
                match state.services().get(service.as_str()) {
                    Some(row) => self.allocator.set_service(row),
                    None => self.allocator.remove_service(&service),
                }
                self.marks.services.insert(service);
            }
            if let Some(network) = subject.network {
                match state.networks().get(network.as_str()) {
                    Some(row) => self.allocator.set_network(row),
                    None => self.allocator.remove_network(&network),
                }
                self.marks.networks.insert(network);
            }
            for row in subject.tasks.iter().filter_map(|task| state.tasks().get(task.as_str())) {
                self.scheduler.set_task(row);
            }
            self.marks.tasks.extend(subject.tasks);
        }
    }

    /// Networks that get their subnet now.
    fn networks(&mut self, state: &Snapshot) -> BTreeMap<NetworkId, ClusterNetwork> {
        let mut given = BTreeMap::new();
        for id in std::mem::take(&mut self.marks.networks) {
            let Some(network) = state.networks().get(id.as_str()) else { continue };
            match self.allocator.allocate_network(network) {
                Ok(Some(row)) => {
                    given.insert(id, row);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(network = %network.spec.name, %error, "network has no subnet");
                }
            }
        }
        given
    }

    /// Networks with what was given out in them, before the tasks that use it.
    fn write_networks(
        &mut self,
        state: &Snapshot,
        given: &mut BTreeMap<NetworkId, ClusterNetwork>,
        round: &mut Round,
    ) {
        for (id, blocks) in self.allocator.changed_blocks() {
            let Some(row) = state.networks().get(id.as_str()) else { continue };
            given.entry(id).or_insert_with(|| ClusterNetwork::clone(row)).blocks = blocks;
        }
        for (id, row) in std::mem::take(given) {
            let subject = Subject { network: Some(id), ..Subject::default() };
            round.push_first(vec![Change::Update(row.into())], subject);
        }
    }

    fn services(&mut self, state: &Snapshot, now: Timestamp, ids: Ids<'_>) -> Vec<Draft> {
        if self.marks.services.is_empty() {
            return Vec::new(); // the nodes need not be looked at
        }
        let nodes: Nodes<'_> = state.nodes().iter().map(|row| -> &Node { row }).collect();
        let defaults = defaults(state);
        let mut drafts: Vec<Draft> = Vec::new();
        let mut count = 0;
        let most = self.room();
        while count < most
            && let Some(id) = self.marks.services.pop_first()
        {
            let tasks: Vec<&Task> = state.tasks_of_service(&id).map(|row| &**row).collect();
            let service = state.services().get(id.as_str()).map(|row| &**row);
            let (decision, endpoint) = match service {
                Some(service) => {
                    let endpoint = self.endpoint(service);
                    let decision = look_at(state, service, &tasks, &nodes, &defaults, now);
                    (decision, endpoint)
                }
                None => (reconcile_removed(&tasks, &nodes, &defaults, now), None),
            };
            self.timers.set(&id, decision.wake_at);
            self.note_waits(&id, &decision);
            let guard = Guard { id: &id, service, endpoint };
            let room = most - count;
            let (draft, complete) = Draft::new(guard, &tasks, decision.actions, room, now, ids);
            count += draft.len();
            if !complete {
                self.marks.services.insert(id); // the rest comes next
            }
            drafts.push(draft);
        }
        drafts
    }

    /// The endpoint, if it has to change. Without one the service's tasks wait.
    fn endpoint(&mut self, service: &Service) -> Option<types::swarm::service::Endpoint> {
        match self.allocator.allocate_endpoint(service) {
            Ok(endpoint) => {
                if self.stuck.remove(&service.id).is_some() {
                    self.marks.room = true;
                }
                (endpoint != service.endpoint).then_some(endpoint)
            }
            Err(error) => {
                self.stuck.insert(service.id.clone(), error.to_string());
                None
            }
        }
    }

    fn note_waits(&mut self, id: &ServiceId, decision: &Decision) {
        if decision.waits.is_empty() {
            self.waits.remove(id);
        } else {
            self.waits.insert(id.clone(), decision.waits.clone());
        }
    }

    /// Tasks that are to be asked for: the new ones, and all that wait when there may be room.
    pub(crate) fn take_unplaced(&mut self, state: &Snapshot) -> Vec<Arc<Task>> {
        let mut ids: BTreeSet<TaskId> = std::mem::take(&mut self.marks.tasks);
        if std::mem::take(&mut self.marks.room) {
            ids.extend(self.refused.keys().cloned());
        }
        let mut unplaced: Vec<Arc<Task>> = ids
            .iter()
            .filter_map(|id| state.tasks().get(id.as_str()))
            .filter(|task| is_unplaced(task))
            .cloned()
            .collect();
        let rest = unplaced.split_off(unplaced.len().min(self.room()));
        self.marks.tasks.extend(rest.iter().map(|task| task.id.clone())); // they come next
        unplaced
    }
}

/// The cluster's defaults, and how long a node that is down keeps its tasks.
fn defaults(state: &Snapshot) -> Defaults {
    let Some(cluster) = state.clusters().iter().next() else { return Defaults::default() };
    let down_grace = crate::lease::Periods::of(&cluster.spec).down_grace;
    Defaults { down_grace, ..Defaults::of(&cluster.spec) }
}

fn look_at(
    state: &Snapshot,
    service: &Service,
    tasks: &[&Task],
    nodes: &Nodes<'_>,
    defaults: &Defaults,
    now: Timestamp,
) -> Decision {
    let dependencies = dependencies(state, service, nodes);
    let fits = |node: &Node| scheduler::suits(&service.spec.task_template, node);
    let dependencies = &dependencies;
    reconcile(&State { service, tasks, nodes, defaults, dependencies, fits: &fits }, now)
}

fn dependencies(
    state: &Snapshot,
    service: &Service,
    nodes: &Nodes<'_>,
) -> BTreeMap<String, Readiness> {
    let wishes = service.spec.sampan.as_ref();
    let names = wishes.into_iter().flat_map(|wishes| wishes.depends_on.keys());
    names
        .filter_map(|name| {
            let other = state.services().by_name(name)?;
            let tasks: Vec<&Task> = state.tasks_of_service(&other.id).map(|row| &**row).collect();
            Some((name.clone(), readiness(other, &tasks, nodes)))
        })
        .collect()
}
