//! What an update of a service would do, without doing it. Pure.
//!
//! ```text
//! copy of the store ◄─ the update ─ the leader's desk decides ─► applied to the copy ─► what tasks did, told as steps
//!                          ▲                                          │
//!                          └── agents that do at once what they are told; then time jumps to the next timer
//! ```
//!
//! The same desk as the leader's decides, so the order is the one that would be taken if every task starts and nothing
//! else happens meanwhile. Times count only what the service asks for: delays, and how long it watches new tasks.

use crate::control::{Error, find, service, service::Update};
use crate::leader::desk::{Desk, Round};
use orchestrator::Waiting;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use store::{Change, Entry, EventKind, Object, Snapshot, Store, StoreError};
use types::container::Nanos;
use types::swarm::extension::{Cause, Stop};
use types::swarm::node::NodeState;
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState, TaskStatus};
use types::{ServiceId, Timestamp};

/// Far more rounds than an update of ten thousand tasks, one at a time, takes.
const ROUNDS: usize = 100_000;
/// Nobody waits longer for an update; a job's schedule may.
const HORIZON: Duration = Duration::from_secs(30 * 24 * 3600);

/// What would happen.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Plan {
    pub service: String,
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    /// What of the spec differs.
    pub changes: Vec<Difference>,
    pub steps: Vec<Step>,
    /// Tasks that go on as they are.
    pub kept: usize,
    /// Why something would not come to its end.
    pub waits: Vec<String>,
}

/// One field of the spec, before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Difference {
    /// Its path, as in `TaskTemplate.ContainerSpec.Image`.
    pub field: String,
    /// `null` when it is not there.
    pub old: Value,
    pub new: Value,
}

/// One task stopped or started.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Step {
    /// Steps of one wave are ordered at once.
    pub wave: usize,
    /// Since the update, if every task starts and stops at once.
    pub after: Nanos,
    pub action: Action,
    /// `web.1`, or `web.<node>` of a global service.
    pub task: String,
    /// The host name; empty when no node suits.
    pub node: String,
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Stop,
    Start,
    /// It would be made, and find no node.
    Wait,
}

/// What `update` would do to the service that `key` names.
///
/// # Errors
/// Those of the update itself.
pub fn plan(state: &Snapshot, key: &str, update: &Update, now: Timestamp) -> Result<Plan, Error> {
    let changes = service::update(state, key, update, now)?;
    let old = find::service(state, key)?;
    let mut world = World::new(state, &old.id, now);
    world.apply(vec![changes])?;
    world.play();
    let new = world.state.services().get(old.id.as_str()).cloned();
    Ok(Plan {
        service: old.spec.name.clone(),
        service_id: old.id.to_string(),
        changes: new.map(|new| differences(old, &new)).unwrap_or_default(),
        kept: world.kept(state),
        waits: world.waits(),
        steps: world.steps,
    })
}

/// The copy in which it happens.
struct World<'a> {
    service: &'a ServiceId,
    store: Store,
    state: Snapshot,
    desk: Desk,
    began: Timestamp,
    now: Timestamp,
    ids: u128,
    wave: usize,
    steps: Vec<Step>,
}

impl<'a> World<'a> {
    fn new(state: &Snapshot, service: &'a ServiceId, now: Timestamp) -> Self {
        let (store, state) = (Store::new(state.clone()), state.clone());
        let desk = Desk::new(&state);
        World { service, store, state, desk, began: now, now, ids: 0, wave: 0, steps: Vec::new() }
    }

    fn play(&mut self) {
        for _ in 0..ROUNDS {
            let base = self.ids;
            let mut made = 0;
            let mut ids = || {
                made += 1;
                (base + made).to_be_bytes()
            };
            let mut round = self.desk.decide(&self.state, self.now, &mut ids);
            self.ids += made;
            if !round.is_empty() {
                self.commit(&mut round);
                continue;
            }
            let reports = self.obey();
            if !reports.is_empty() {
                // An agent's word that the copy refuses changes nothing, and is not said again.
                let _ = self.apply(reports);
                continue;
            }
            if self.settled() || !self.sleep() {
                return;
            }
        }
    }

    /// Takes the time on to the next timer; whether there is one.
    fn sleep(&mut self) -> bool {
        let Some(wake) = self.desk.wake_at(self.now) else { return false };
        self.now = wake.max(self.now.after(Duration::from_millis(1)));
        self.now.since(self.began) <= HORIZON
    }

    fn commit(&mut self, round: &mut Round) {
        let round = std::mem::take(round);
        let entry = Entry { at: self.now, transactions: round.transactions.clone() };
        let applied = self.store.apply(&entry);
        let mut results = vec![Ok(()); entry.transactions.len()];
        for refusal in applied.refused {
            results[refusal.transaction] = Err(refusal.error);
        }
        self.take_in(&applied.events);
        self.desk.settle(round, Some(&results), &self.state);
    }

    fn apply(&mut self, transactions: Vec<Vec<Change>>) -> Result<(), StoreError> {
        let transactions = transactions.into_iter().map(Into::into).collect();
        let applied = self.store.apply(&Entry { at: self.now, transactions });
        self.take_in(&applied.events);
        applied.refused.into_iter().next().map_or(Ok(()), |refusal| Err(refusal.error))
    }

    fn take_in(&mut self, events: &[store::Event]) {
        self.state = self.store.snapshot();
        self.desk.observe(events, &self.state);
        let before = self.steps.len();
        for event in events {
            let step = match (&event.object, &event.old) {
                (Object::Task(task), old) if task.service_id == *self.service => {
                    let old = match old {
                        Some(Object::Task(old)) => Some(&**old),
                        _ => None,
                    };
                    (event.kind != EventKind::Removed).then(|| self.step(old, task)).flatten()
                }
                _ => None,
            };
            self.steps.extend(step);
        }
        if self.steps.len() > before {
            self.wave += 1;
        }
    }

    /// What happened to a task, if it is worth telling.
    fn step(&self, old: Option<&Task>, task: &Task) -> Option<Step> {
        let wanted = |task: &Task| task.desired_state <= TaskState::Complete;
        let starts =
            |task: &Task| matches!(task.desired_state, TaskState::Running | TaskState::Complete);
        let placed = !task.node_id.as_str().is_empty();
        let lives = task.status.state <= TaskState::Running;
        let (action, why) = match old {
            Some(old) if wanted(old) && !wanted(task) && lives => {
                (Action::Stop, stopped(task.record.stop))
            }
            Some(old) if starts(task) && placed => {
                let began = starts(old) && !old.node_id.as_str().is_empty();
                (!began).then(|| (Action::Start, made(task.record.cause)))?
            }
            None if starts(task) && placed => (Action::Start, made(task.record.cause)),
            None if !placed => (Action::Wait, made(task.record.cause)),
            _ => return None,
        };
        let node = self.state.nodes().get(task.node_id.as_str());
        let node = node.map(|node| node.description.hostname.clone()).unwrap_or_default();
        Some(Step {
            wave: self.wave,
            after: nanos(self.now.since(self.began)),
            action,
            task: short_name(&self.state, task),
            node,
            why: why.to_owned(),
        })
    }

    /// What agents report of the service's tasks, once they have done what is wanted of them.
    fn obey(&self) -> Vec<Vec<Change>> {
        let tasks = self.state.tasks_of_service(self.service);
        tasks.filter_map(|task| Some(vec![self.report(task)?])).collect()
    }

    fn report(&self, task: &Task) -> Option<Change> {
        let node = self.state.nodes().get(task.node_id.as_str())?;
        if node.status.state != NodeState::Ready {
            return None;
        }
        let now = task.status.state;
        let next = match task.desired_state {
            TaskState::Ready if now < TaskState::Ready => TaskState::Ready,
            TaskState::Running if now < TaskState::Running => TaskState::Running,
            TaskState::Complete if now < TaskState::Complete => TaskState::Complete,
            desired if desired > TaskState::Complete && now <= TaskState::Running => {
                TaskState::Shutdown
            }
            _ => return None,
        };
        let status = TaskStatus { timestamp: self.now, state: next, ..task.status.clone() };
        Some(Change::Report { task: task.id.clone(), node: task.node_id.clone(), status })
    }

    /// Nothing more of the service is under way, or to come within a time that somebody waits for.
    fn settled(&self) -> bool {
        let Some(service) = self.state.services().get(self.service.as_str()) else { return true };
        let updating = service
            .update_status
            .as_ref()
            .is_some_and(|status| matches!(status.state.as_str(), "updating" | "rollback_started"));
        let starting = self.state.tasks_of_service(self.service).any(|task| {
            task.desired_state == TaskState::Ready && !task.node_id.as_str().is_empty()
        });
        !updating && !starting
    }

    fn kept(&self, before: &Snapshot) -> usize {
        let lives = |task: &&std::sync::Arc<Task>| {
            task.desired_state == TaskState::Running && task.status.state == TaskState::Running
        };
        let now = self.state.tasks_of_service(self.service).filter(lives);
        now.filter(|task| before.tasks().get(task.id.as_str()).as_ref().is_some_and(lives)).count()
    }

    /// What still waits in the end: refusals of the scheduler, and what the orchestrator says.
    fn waits(&self) -> Vec<String> {
        let waits = self.desk.waits(self.service).iter().map(waiting);
        let tasks = self.state.tasks_of_service(self.service);
        let refused = tasks.filter_map(|task| {
            let why = self.desk.refused.get(&task.id)?;
            Some(format!("{}: {why}", short_name(&self.state, task)))
        });
        let stuck = self.desk.stuck.get(self.service).cloned();
        waits.chain(refused).chain(stuck).collect()
    }
}

/// A wait of the orchestrator as one sentence.
pub(crate) fn waiting(wait: &Waiting) -> String {
    match (wait.slot, &wait.node) {
        (0, None) => wait.reason.to_string(),
        (0, Some(node)) => format!("on node {node}: {}", wait.reason),
        (slot, _) => format!("slot {slot}: {}", wait.reason),
    }
}

/// `web.1`, or `web.<node's id>` for a task of a global service.
pub(crate) fn short_name(state: &Snapshot, task: &Task) -> String {
    let name = find::task_name(state, task);
    name.strip_suffix(&format!(".{}", task.id)).unwrap_or(&name).to_owned()
}

/// Why a task was made.
pub(crate) fn made(cause: Cause) -> &'static str {
    match cause {
        Cause::Wanted => "the service asks for it",
        Cause::Restart => "the one before it ended, and the restart policy replaces it",
        Cause::Update => "an update or rollback of the service",
        Cause::Evicted => "its predecessor's node was drained, went down or does not fit any more",
        Cause::Rebalance => "moved to an emptier node",
    }
}

/// Why a task was told to stop.
pub(crate) fn stopped(stop: Option<Stop>) -> &'static str {
    match stop {
        None => "a manager asked for it",
        Some(Stop::Ended) => "it had ended by itself",
        Some(Stop::Drained) => "its node was drained",
        Some(Stop::NodeDown) => "its node was down for too long",
        Some(Stop::NodeRemoved) => "its node was removed",
        Some(Stop::Misfit) => "its node does not meet the service's constraints any more",
        Some(Stop::Updated) => "an update or rollback replaces it",
        Some(Stop::Superseded) => "the task that replaces it runs",
        Some(Stop::MoveFailed) => "there was no room for it to take the old one's place",
        Some(Stop::ScaledDown) => "the service was scaled down",
        Some(Stop::ServicePaused) => "the service was paused",
        Some(Stop::ServiceRemoved) => "the service was removed",
        Some(Stop::NewRun) => "a newer run of the job began",
        Some(Stop::Preempted) => "a task of a higher priority takes its place",
    }
}

fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

/// The fields in which two specs differ; credentials are none of anybody's business.
fn differences(old: &Service, new: &Service) -> Vec<Difference> {
    let tree = |service: &Service| {
        let mut spec = service.spec.clone();
        if let Some(container) = &mut spec.task_template.container_spec {
            container.pull_options = None;
        }
        let mut leaves = BTreeMap::new();
        flatten(String::new(), serde_json::to_value(spec).unwrap_or_default(), &mut leaves);
        leaves
    };
    let (old, new) = (tree(old), tree(new));
    let fields = old.keys().chain(new.keys().filter(|field| !old.contains_key(*field)));
    let value = |of: &BTreeMap<String, Value>, field| of.get(field).cloned().unwrap_or_default();
    fields
        .map(|field| Difference {
            field: field.clone(),
            old: value(&old, field),
            new: value(&new, field),
        })
        .filter(|difference| difference.old != difference.new)
        .collect()
}

/// Objects by their fields; lists stay whole.
fn flatten(path: String, value: Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(format!("{path}{dot}{name}"), value, leaves);
            }
        }
        leaf => {
            leaves.insert(path, leaf);
        }
    }
}

#[cfg(test)]
mod tests;
