//! The working sheet of one decision: the snapshot sorted into slots, and the actions so far.

use crate::action::{Action, Decision, NewTask, SpecSource};
use crate::policy::{Mode, Order, RestartRules, UpdateRules, duration, extensions, pending_until};
use crate::state::State;
use crate::task::{differs, host_ports, is_dead, is_live};
use crate::wait::{Wait, Waiting};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::swarm::Version;
use types::swarm::extension::{ServiceExtensions, ServiceRecord, Stop, TaskRecord};
use types::swarm::node::{Availability, Node, NodeState};
use types::swarm::service::{PortConfig, UpdateConfig};
use types::swarm::task::{Task, TaskSpec, TaskState};
use types::{NodeId, Timestamp};

/// A place that holds one task at a time: a number, or for global services a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotKey {
    /// 0 for global services.
    pub slot: u64,
    pub node: Option<NodeId>,
}

/// A slot with its tasks, oldest run first. Tasks that are to be removed are not among them.
#[derive(Debug, Clone)]
pub(crate) struct Slot<'a> {
    pub key: SlotKey,
    pub tasks: Vec<&'a Task>,
}

impl<'a> Slot<'a> {
    pub(crate) fn new(key: SlotKey) -> Self {
        Slot { key, tasks: Vec::new() }
    }
    pub(crate) fn live(&self, target: TaskState) -> Vec<&'a Task> {
        self.tasks.iter().copied().filter(|task| is_live(task, target)).collect()
    }
    pub(crate) fn is_running(&self, target: TaskState) -> bool {
        self.tasks
            .iter()
            .any(|task| is_live(task, target) && task.status.state == TaskState::Running)
    }
    /// The task whose end leaves the slot empty: the last that was wanted, else the last made.
    pub(crate) fn last(&self, target: TaskState) -> Option<&'a Task> {
        let wanted = self.tasks.iter().rev().find(|task| task.desired_state <= target);
        wanted.or(self.tasks.last()).copied()
    }
    fn next_run(&self) -> u64 {
        self.tasks.iter().map(|task| task.record.run).max().unwrap_or(0) + 1
    }
}

/// What the node of a task lets it do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// No node yet.
    Open,
    Usable,
    Misfit,
    Drained,
    /// Down for less than the grace.
    Absent {
        until: Timestamp,
    },
    Down,
    Removed,
}

impl Place {
    /// Why a task there must go, if it must.
    pub(crate) fn eviction(&self) -> Option<Stop> {
        match self {
            Place::Open | Place::Usable | Place::Absent { .. } => None,
            Place::Misfit => Some(Stop::Misfit),
            Place::Drained => Some(Stop::Drained),
            Place::Down => Some(Stop::NodeDown),
            Place::Removed => Some(Stop::NodeRemoved),
        }
    }
    /// Nobody there can stop a task or say that it stopped.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Place::Down | Place::Removed)
    }
}

pub(crate) struct Plan<'a> {
    pub state: State<'a>,
    pub now: Timestamp,
    pub mode: Mode,
    pub wishes: ServiceExtensions,
    pub rules: RestartRules,
    pub record: ServiceRecord,
    pub host_ports: Vec<PortConfig>,
    pub decision: Decision,
    /// By the address of a shared template: tasks of one version share it, so it is compared once. Nothing
    /// depends on the order of the addresses.
    changed: BTreeMap<usize, bool>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(state: &State<'a>, now: Timestamp) -> Self {
        let spec = &state.service.spec;
        let mode = Mode::of(spec);
        let mut changed = BTreeMap::new();
        for task in state.tasks {
            let shared = address(&task.spec);
            changed.entry(shared).or_insert_with(|| differs(&task.spec, &spec.task_template));
        }
        Plan {
            state: *state,
            now,
            mode,
            wishes: extensions(state.service),
            rules: RestartRules::of(spec, mode),
            record: state.service.record.clone().unwrap_or_default(),
            host_ports: host_ports(state.service),
            decision: Decision::default(),
            changed,
        }
    }

    /// The slots of the tasks that `belongs` accepts and that are not to be removed.
    pub(crate) fn slots(&self, belongs: impl Fn(&Task) -> bool) -> BTreeMap<SlotKey, Slot<'a>> {
        let mut slots = BTreeMap::new();
        for task in self.state.tasks {
            if task.desired_state < TaskState::Remove && belongs(task) {
                let key = self.key(task);
                let slot = slots.entry(key.clone()).or_insert_with(|| Slot::new(key));
                slot.tasks.push(*task);
            }
        }
        for slot in slots.values_mut() {
            slot.tasks.sort_by_key(|task| (task.record.run, &task.id));
        }
        slots
    }

    pub(crate) fn key(&self, task: &Task) -> SlotKey {
        if self.mode.is_global() {
            return SlotKey { slot: 0, node: Some(task.node_id.clone()) };
        }
        SlotKey { slot: task.slot, node: None }
    }

    pub(crate) fn is_dirty(&self, task: &Task) -> bool {
        let changed = self.changed.get(&address(&task.spec)).copied();
        changed.unwrap_or(true) || task.record.host_ports != self.host_ports
    }

    pub(crate) fn place(&self, task: &Task) -> Place {
        if task.node_id.as_str().is_empty() {
            return Place::Open;
        }
        let Some(node) = self.state.nodes.get(&task.node_id) else { return Place::Removed };
        if node.status.state == NodeState::Down {
            let grace = self.wishes.down_grace.map_or(self.state.defaults.down_grace, duration);
            return match pending_until(down_since(node), grace, self.now) {
                Some(until) => Place::Absent { until },
                None => Place::Down,
            };
        }
        if node.spec.availability == Availability::Drain {
            return Place::Drained;
        }
        if (self.state.fits)(node) { Place::Usable } else { Place::Misfit }
    }

    /// Why a task must leave its node. One of another spec than the service's is the updater's to move: its node
    /// need not meet constraints that are newer than itself.
    pub(crate) fn eviction(&self, task: &Task) -> Option<Stop> {
        let stop = self.place(task).eviction();
        stop.filter(|stop| *stop != Stop::Misfit || !self.is_dirty(task))
    }

    /// Whether the slot has a task that runs and may stay.
    pub(crate) fn is_healthy(&self, slot: &Slot<'_>) -> bool {
        slot.live(self.mode.target())
            .into_iter()
            .any(|task| task.status.state == TaskState::Running && self.eviction(task).is_none())
    }

    /// Whether the service wishes that a new task starts while the old one runs.
    pub(crate) fn may_overlap(&self) -> bool {
        let spec = &self.state.service.spec;
        let starts_first = |config: &Option<UpdateConfig>| {
            UpdateRules::of(config.as_ref()).order == Order::StartFirst
        };
        starts_first(&spec.update_config)
            || starts_first(&spec.rollback_config)
            || self.wishes.rebalance.is_some()
            || self.wishes.capacity.is_some()
    }

    /// Whether new tasks may go there.
    pub(crate) fn takes_tasks(&self, node: &Node) -> bool {
        node.status.state == NodeState::Ready
            && node.spec.availability == Availability::Active
            && (self.state.fits)(node)
    }

    pub(crate) fn stop(&mut self, task: &Task, stop: Stop) {
        self.raise(task, TaskState::Shutdown, Some(stop));
    }

    /// The task and its record go: at once if it is dead, else when it has stopped.
    pub(crate) fn remove(&mut self, task: &Task, stop: Stop) {
        if is_dead(task) {
            self.decision.actions.push(Action::DeleteTask { task: task.id.clone() });
        } else {
            self.raise(task, TaskState::Remove, Some(stop));
        }
    }

    pub(crate) fn raise(&mut self, task: &Task, desired: TaskState, stop: Option<Stop>) {
        if task.desired_state < desired {
            let task = task.id.clone();
            self.decision.actions.push(Action::SetDesired { task, desired, stop });
        }
    }

    pub(crate) fn create(&mut self, slot: &Slot<'_>, new: Creation) {
        let record =
            TaskRecord { run: slot.next_run(), host_ports: self.host_ports.clone(), ..new.record };
        self.decision.actions.push(Action::CreateTask(NewTask {
            slot: slot.key.slot,
            node: new.node.or_else(|| slot.key.node.clone()),
            desired: new.desired,
            spec: new.spec,
            job_iteration: new.job_iteration,
            record,
        }));
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.decision.actions.push(action);
    }

    pub(crate) fn wait(&mut self, key: &SlotKey, reason: Wait) {
        let (slot, node) = (key.slot, key.node.clone());
        self.decision.waits.push(Waiting { slot, node, reason });
    }

    pub(crate) fn wait_all(&mut self, reason: Wait) {
        self.decision.waits.push(Waiting { slot: 0, node: None, reason });
    }

    pub(crate) fn wake(&mut self, at: Timestamp) {
        let earliest = self.decision.wake_at.map_or(at, |wake| wake.min(at));
        self.decision.wake_at = Some(earliest);
    }
}

/// What `Plan::create` cannot know by itself.
pub(crate) struct Creation {
    pub desired: TaskState,
    pub node: Option<NodeId>,
    pub spec: SpecSource,
    pub job_iteration: Option<Version>,
    pub record: TaskRecord,
}

fn address(spec: &Arc<TaskSpec>) -> usize {
    Arc::as_ptr(spec) as usize
}

/// "Never", which is long ago, when nobody wrote it down.
pub(crate) fn down_since(node: &Node) -> Timestamp {
    node.record.as_ref().map_or(Timestamp::ZERO, |record| record.state_since)
}
