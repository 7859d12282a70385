//! Rolling updates and rollbacks: which slots change now.
//!
//! ```text
//!            spec changed                 all slots changed, monitor over
//! (none) ──────────────────► updating ─────────────────────────────────► completed
//!                              │    └─ too many failures: pause ───────► paused ─ until the spec changes
//!                              ▼ too many failures: rollback
//!            by hand ─► rollback_started ──────────────────────────────► rollback_completed
//!                              └─ too many failures ───────────────────► rollback_paused
//! ```
//!
//! Progress is read off the tasks: those made by this update carry its number, so a new leader goes on
//! where the old one stopped.

use crate::action::{Action, Because};
use crate::deployment;
use crate::plan::{Plan, Slot, SlotKey};
use crate::policy::{Bounds, FailureAction, Mode, Order, UpdateRules};
use crate::restart;
use crate::slot::Role;
use crate::task::{
    ended_at, ended_itself, is_dead, is_running, ran_for, settles_at, without_credential,
};
use crate::wait::Wait;
use std::collections::{BTreeMap, BTreeSet};
use types::swarm::node::NodeState;
use types::swarm::service::{Service, ServiceSpec, UpdateStatus};
use types::swarm::task::{Task, TaskState};
use types::{NodeId, TaskId, Timestamp};

/// `UpdateStatus.State`, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateState {
    Updating,
    Paused,
    Completed,
    RollbackStarted,
    RollbackPaused,
    RollbackCompleted,
}

impl UpdateState {
    /// Docker's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            UpdateState::Updating => "updating",
            UpdateState::Paused => "paused",
            UpdateState::Completed => "completed",
            UpdateState::RollbackStarted => "rollback_started",
            UpdateState::RollbackPaused => "rollback_paused",
            UpdateState::RollbackCompleted => "rollback_completed",
        }
    }
    /// `None` if no update was ever started for this spec.
    pub fn of(service: &Service) -> Option<Self> {
        let state = service.update_status.as_ref()?.state.as_str();
        [
            UpdateState::Updating,
            UpdateState::Paused,
            UpdateState::Completed,
            UpdateState::RollbackStarted,
            UpdateState::RollbackPaused,
            UpdateState::RollbackCompleted,
        ]
        .into_iter()
        .find(|known| known.as_str() == state)
    }
}

/// A rollback was asked for and there is nothing to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("service does not have a previous spec")]
pub struct NoPreviousSpec;

/// The service after the user gave it `spec`: the update begins anew, a pause is over. A new registry credential alone
/// replaces nothing, so an update that is under way goes on.
pub fn accept_spec(service: &Service, spec: ServiceSpec) -> Service {
    let goes_on =
        UpdateState::of(service) == Some(UpdateState::Updating) && same_tasks(&service.spec, &spec);
    Service {
        previous_spec: Some(service.spec.clone()),
        spec,
        update_status: service.update_status.clone().filter(|_| goes_on),
        ..service.clone()
    }
}

/// Whether at most the registry's credential is another.
fn same_tasks(one: &ServiceSpec, two: &ServiceSpec) -> bool {
    let bare = |spec: &ServiceSpec| ServiceSpec {
        task_template: without_credential(&spec.task_template),
        ..spec.clone()
    };
    bare(one) == bare(two)
}

/// The service after the user asked for a rollback: both specs change places.
pub fn roll_back(service: &Service, now: Timestamp) -> Result<Service, NoPreviousSpec> {
    let previous = service.previous_spec.clone().ok_or(NoPreviousSpec)?;
    let mut record = service.record.clone().unwrap_or_default();
    record.update += 1;
    let asked = "manually requested rollback";
    deployment::begin_rollback(&mut record, &service.spec, asked, now);
    Ok(Service {
        previous_spec: Some(service.spec.clone()),
        spec: previous,
        update_status: Some(UpdateStatus {
            state: UpdateState::RollbackStarted.as_str().to_owned(),
            started_at: Some(now),
            completed_at: None,
            message: asked.to_owned(),
        }),
        record: Some(record),
        ..service.clone()
    })
}

/// What the updater wants of this decision.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    pub roles: BTreeMap<SlotKey, Role>,
    /// The number of the update in progress.
    pub number: Option<u64>,
    pub paused: bool,
    /// The spec is about to change: leave the slots alone.
    pub rolled_back: bool,
}

/// Chooses the slots to change now, and moves the update's status on. `closed` are those whose node takes nothing
/// new: they do not change, but what changes there already counts.
pub(crate) fn choose<'a>(
    plan: &mut Plan<'a>,
    slots: &BTreeMap<SlotKey, Slot<'a>>,
    closed: &[Slot<'a>],
    unmet: &[Wait],
) -> Choice {
    let dirty = slots.values().any(|slot| is_slot_dirty(plan, slot));
    let service = plan.state.service;
    let (number, rollback) = match UpdateState::of(service) {
        Some(UpdateState::Paused | UpdateState::RollbackPaused) => {
            if dirty {
                plan.wait_all(Wait::UpdatePaused);
            }
            return Choice { paused: true, ..Choice::default() };
        }
        Some(UpdateState::Updating) => (plan.record.update, false),
        Some(UpdateState::RollbackStarted) => (plan.record.update, true),
        None | Some(UpdateState::Completed | UpdateState::RollbackCompleted) => {
            if !dirty {
                return Choice::default();
            }
            let number = plan.record.update + 1;
            let status = status(UpdateState::Updating, Some(plan.now), "update in progress");
            let because = Because { at: plan.now, ..Because::default() };
            plan.act(Action::SetUpdate { number, status, because });
            (number, false)
        }
    };
    let rules = rules(service, rollback);
    let mut sheet = Sheet::read(plan, slots, number, &rules);
    sheet.in_flight += closed.iter().filter(|slot| goes_on(plan, slot, number)).count() as u64;
    if let Some(choice) = sheet.fail(plan, &rules, number, rollback) {
        return choice;
    }
    if sheet.is_done(plan, rollback, number) {
        return Choice::default();
    }
    if !unmet.is_empty() {
        for reason in unmet {
            plan.wait_all(reason.clone());
        }
        return Choice { number: Some(number), ..Choice::default() };
    }
    let roles = sheet.pick(plan, slots, &rules);
    Choice { roles, number: Some(number), ..Choice::default() }
}

fn status(state: UpdateState, started_at: Option<Timestamp>, message: &str) -> UpdateStatus {
    let (state, message) = (state.as_str().to_owned(), message.to_owned());
    UpdateStatus { state, started_at, completed_at: None, message }
}

/// Whether the slot still holds the old spec.
fn is_slot_dirty(plan: &Plan<'_>, slot: &Slot<'_>) -> bool {
    let target = plan.mode.target();
    let live = slot.live(target);
    if live.is_empty() {
        return slot.last(target).is_some_and(|last| plan.is_dirty(last));
    }
    live.iter().all(|task| plan.is_dirty(task))
}

/// The slots as the updater sees them.
struct Sheet<'a> {
    /// Slots that hold the old spec, in the order in which they are to change.
    candidates: Vec<SlotKey>,
    /// Slots that change in this update, those already changed included.
    total: u64,
    in_flight: u64,
    failed: Vec<&'a Task>,
    /// Both specs are live and the new one finds no room.
    cramped: Vec<SlotKey>,
    unfinished: bool,
    monitor_until: Option<Timestamp>,
    running: u64,
    extra: u64,
}

impl<'a> Sheet<'a> {
    fn read(
        plan: &mut Plan<'a>,
        slots: &BTreeMap<SlotKey, Slot<'a>>,
        number: u64,
        rules: &UpdateRules,
    ) -> Self {
        let mut sheet = Sheet {
            candidates: Vec::new(),
            total: 0,
            in_flight: 0,
            failed: Vec::new(),
            cramped: Vec::new(),
            unfinished: false,
            monitor_until: None,
            running: 0,
            extra: 0,
        };
        let target = plan.mode.target();
        let mut ranked: Vec<(u8, SlotKey)> = Vec::new();
        for slot in slots.values() {
            let running = plan.is_healthy(slot);
            sheet.running += u64::from(running);
            sheet.extra += (slot.live(target).len() as u64).saturating_sub(1);
            let made = made_by(plan, &slot.tasks, number);
            let dirty = is_slot_dirty(plan, slot);
            sheet.total += u64::from(dirty || made.is_some());
            sheet.watch(plan, slot, made, rules);
            if dirty && sheet.may_retry(plan, slot, made) {
                let rank = if made.is_some() { 2 } else { u8::from(running) };
                ranked.push((rank, slot.key.clone()));
            }
        }
        ranked.sort();
        sheet.candidates = ranked.into_iter().map(|(_, key)| key).collect();
        sheet
    }

    /// Follows the task that the update made in the slot: starting, settling, watched, failed.
    fn watch(
        &mut self,
        plan: &mut Plan<'a>,
        slot: &Slot<'a>,
        made: Option<&'a Task>,
        rules: &UpdateRules,
    ) {
        let Some(task) = made else { return };
        self.failed.extend(failure_of(plan, &slot.tasks, task.record.update, rules));
        let live = !is_dead(task) && task.desired_state <= TaskState::Running;
        if live && !is_running(task) {
            self.in_flight += 1;
            self.unfinished = true;
            if is_cramped(plan, slot, task) {
                self.cramped.push(slot.key.clone());
            }
            return plan.wait(&slot.key, Wait::UpdateTaskStarting { task: task.id.clone() });
        }
        if live || ended_itself(task) {
            if let Some(until) = settles_at(task, rules.delay, plan.now) {
                self.in_flight += 1;
                plan.wake(until);
                plan.wait(&slot.key, Wait::UpdateDelay { until });
            }
            let until = settles_at(task, rules.monitor, plan.now);
            self.monitor_until = self.monitor_until.max(until);
        }
    }

    /// A slot whose new task failed beside the old one is tried again as the restart policy has it.
    fn may_retry(&mut self, plan: &mut Plan<'a>, slot: &Slot<'a>, made: Option<&'a Task>) -> bool {
        let Some(task) = made.filter(|task| is_dead(task) && ended_itself(task)) else {
            self.unfinished = true;
            return true;
        };
        if restart::verdict(&plan.rules, task).is_err() {
            plan.wait(&slot.key, Wait::UpdateTaskFailed { task: task.id.clone() });
            return false;
        }
        self.unfinished = true;
        let quick_ends = restart::successor(&plan.rules, task, plan.now).quick_ends;
        let delay = plan.rules.delay_after(quick_ends);
        match crate::policy::pending_until(ended_at(task), delay, plan.now) {
            None => true,
            Some(until) => {
                plan.wake(until);
                plan.wait(&slot.key, Wait::RestartDelay { until, quick_ends });
                false
            }
        }
    }

    /// Pauses or rolls back when more tasks failed than is borne.
    fn fail(
        &self,
        plan: &mut Plan<'_>,
        rules: &UpdateRules,
        number: u64,
        rollback: bool,
    ) -> Option<Choice> {
        let failed = self.failed.first()?;
        let first: &TaskId = &failed.id;
        let share = self.failed.len() as f64 / self.total.max(1) as f64;
        if rules.failure_action == FailureAction::Continue || share <= rules.max_failure_ratio {
            return None;
        }
        let old = plan.state.service.update_status.as_ref();
        let started = old.and_then(|status| status.started_at).or(Some(plan.now));
        let due = format!("due to failure or early termination of task {first}");
        let words = [&failed.status.err, &failed.status.message];
        let reason = words.into_iter().find(|words| !words.is_empty()).cloned();
        let because = Because { at: plan.now, reason: reason.unwrap_or_default() };
        let back = rules.failure_action == FailureAction::RollBack && !rollback;
        if back && plan.state.service.previous_spec.is_some() {
            let message = format!("update rolled back {due}");
            let status = status(UpdateState::RollbackStarted, started, &message);
            plan.act(Action::RollBack { number: number + 1, status, because });
            return Some(Choice { rolled_back: true, ..Choice::default() });
        }
        let (state, what) = match rollback {
            false => (UpdateState::Paused, "update"),
            true => (UpdateState::RollbackPaused, "rollback"),
        };
        let status = status(state, started, &format!("{what} paused {due}"));
        plan.act(Action::SetUpdate { number, status, because });
        plan.wait_all(Wait::UpdatePaused);
        Some(Choice { paused: true, ..Choice::default() })
    }

    /// Completes the update when every slot has changed and the last has been watched long enough.
    fn is_done(&self, plan: &mut Plan<'_>, rollback: bool, number: u64) -> bool {
        if self.unfinished {
            return false;
        }
        if let Some(until) = self.monitor_until {
            plan.wake(until);
            plan.wait_all(Wait::UpdateMonitor { until });
            return false;
        }
        let old = plan.state.service.update_status.as_ref();
        let started = old.and_then(|status| status.started_at).or(Some(plan.now));
        let (state, message) = match rollback {
            false => (UpdateState::Completed, "update completed"),
            true => (UpdateState::RollbackCompleted, "rollback completed"),
        };
        let done = UpdateStatus { completed_at: Some(plan.now), ..status(state, started, message) };
        let because = Because { at: plan.now, ..Because::default() };
        plan.act(Action::SetUpdate { number, status: done, because });
        true
    }

    /// As many candidates as parallelism and health allow, each with its order.
    fn pick(
        mut self,
        plan: &mut Plan<'a>,
        slots: &BTreeMap<SlotKey, Slot<'a>>,
        rules: &UpdateRules,
    ) -> BTreeMap<SlotKey, Role> {
        let bounds = bounds(plan, slots.len() as u64);
        let mut roles = self.make_room(plan, bounds);
        let mut free = FreeNodes::of(plan);
        let mut room = rules.parallelism.saturating_sub(self.in_flight);
        let target = plan.mode.target();
        for key in std::mem::take(&mut self.candidates) {
            let Some(slot) = slots.get(&key) else { continue };
            if slot.live(target).is_empty() {
                // Nothing to stop: replaced at once, and watched as part of the update.
                continue;
            }
            if room == 0 {
                let (in_flight, parallelism) = (self.in_flight, rules.parallelism);
                plan.wait(&key, Wait::UpdateParallelism { in_flight, parallelism });
                break;
            }
            let running = plan.is_healthy(slot);
            let Some(order) = self.order(slot, running, target, rules, bounds, &mut free) else {
                let minimum = bounds.map_or(0, |bounds| bounds.minimum);
                plan.wait(&key, Wait::MinimumHealth { running: self.running, minimum });
                break;
            };
            room -= 1;
            self.in_flight += 1;
            roles.insert(key, Role::Update(order));
        }
        roles
    }

    /// Old tasks that stand in the way of new ones go, as far as health allows.
    fn make_room(
        &mut self,
        plan: &mut Plan<'a>,
        bounds: Option<Bounds>,
    ) -> BTreeMap<SlotKey, Role> {
        let mut roles = BTreeMap::new();
        let minimum = bounds.map_or(0, |bounds| bounds.minimum);
        for key in std::mem::take(&mut self.cramped) {
            if self.running <= minimum && bounds.is_some() {
                plan.wait(&key, Wait::MinimumHealth { running: self.running, minimum });
                continue;
            }
            self.running = self.running.saturating_sub(1);
            roles.insert(key, Role::MakeRoom);
        }
        roles
    }

    /// How the next slot may change; `None` while its health is needed.
    fn order(
        &mut self,
        slot: &Slot<'_>,
        running: bool,
        target: TaskState,
        rules: &UpdateRules,
        bounds: Option<Bounds>,
        free: &mut FreeNodes,
    ) -> Option<Order> {
        let Some(bounds) = bounds else {
            let start_first = rules.order == Order::StartFirst && running && free.take();
            return Some(if start_first { Order::StartFirst } else { Order::StopFirst });
        };
        if !running {
            return Some(Order::StopFirst);
        }
        // A second task that an older update left starting makes way: nothing is added.
        if slot.live(target).len() > 1 {
            return Some(Order::StartFirst);
        }
        if self.extra < bounds.over && free.take() {
            self.extra += 1;
            return Some(Order::StartFirst);
        }
        if self.running > bounds.minimum {
            self.running -= 1;
            return Some(Order::StopFirst);
        }
        None
    }
}

/// Of the tasks of one slot, oldest run first, those that an update in progress reads: the newest that it made,
/// and one failure. History may not take them.
pub(crate) fn read_of<'a>(plan: &Plan<'_>, tasks: &[&'a Task]) -> Vec<&'a Task> {
    let service = plan.state.service;
    let rollback = match UpdateState::of(service) {
        Some(UpdateState::Updating) => false,
        Some(UpdateState::RollbackStarted) => true,
        _ => return Vec::new(),
    };
    let number = plan.record.update;
    let failure = failure_of(plan, tasks, number, &rules(service, rollback));
    made_by(plan, tasks, number).into_iter().chain(failure).collect()
}

fn rules(service: &Service, rollback: bool) -> UpdateRules {
    let spec = &service.spec;
    let config = if rollback { &spec.rollback_config } else { &spec.update_config };
    UpdateRules::of(config.as_ref())
}

/// The newest task with the service's spec that this update made.
fn made_by<'a>(plan: &Plan<'_>, tasks: &[&'a Task], number: u64) -> Option<&'a Task> {
    let mut newest = tasks.iter().rev().copied();
    newest.find(|task| task.record.update == number && !plan.is_dirty(task))
}

/// Whether the slot's node was given the update's task before it closed, and will yet run it.
fn goes_on(plan: &Plan<'_>, slot: &Slot<'_>, number: u64) -> bool {
    let starts = |task: &Task| {
        let state = task.status.state;
        let node = plan.state.nodes.get(&task.node_id);
        let heard = node.is_some_and(|node| node.status.state == NodeState::Ready);
        state >= TaskState::Assigned && !is_running(task) && heard
    };
    let made = made_by(plan, &slot.tasks, number);
    made.is_some_and(|task| {
        !is_dead(task) && task.desired_state <= TaskState::Running && starts(task)
    })
}

/// The first failure of a slot that counts against this update.
fn failure_of<'a>(
    plan: &Plan<'_>,
    tasks: &[&'a Task],
    number: u64,
    rules: &UpdateRules,
) -> Option<&'a Task> {
    let mut made = tasks.iter().copied();
    made.find(|task| {
        task.record.update == number && !plan.is_dirty(task) && failed_early(task, rules)
    })
}

/// Whether its end counts against the update: before it ran, or soon after.
fn failed_early(task: &Task, rules: &UpdateRules) -> bool {
    ended_itself(task) && (task.record.running_at.is_zero() || ran_for(task) <= rules.monitor)
}

/// Whether the new task has no node because the old one holds what only one can have (moby#36934): a port of
/// the node, or the last place under `max_replicas`.
fn is_cramped(plan: &Plan<'_>, slot: &Slot<'_>, new: &Task) -> bool {
    let refused = new.status.state < TaskState::Assigned && !new.status.err.is_empty();
    refused
        && most_per_node(plan).is_some()
        && slot.live(plan.mode.target()).iter().any(|task| plan.is_dirty(task))
}

/// The bounds of a service that has `capacity`. Where nodes take a number of its tasks only, for a port of theirs
/// or by `max_replicas`, no more can run than that, and only stopping makes room: one fewer may run.
fn bounds(plan: &Plan<'_>, slots: u64) -> Option<Bounds> {
    let replicas = match plan.mode {
        Mode::Replicated { replicas } => replicas,
        _ => slots,
    };
    let mut bounds = Bounds::of(plan.wishes.capacity?, replicas);
    if let Some(each) = most_per_node(plan) {
        let open = plan.state.nodes.iter().filter(|node| plan.takes_tasks(node)).count() as u64;
        let possible = replicas.min(open.saturating_mul(each));
        bounds.minimum = bounds.minimum.min(possible.saturating_sub(1));
    }
    Some(bounds)
}

fn most_per_node(plan: &Plan<'_>) -> Option<u64> {
    let placement = plan.state.service.spec.task_template.placement.as_ref();
    let capped = placement.map(|placement| placement.max_replicas).filter(|most| *most > 0);
    if plan.host_ports.is_empty() { capped } else { Some(1) }
}

/// Nodes where a second task could bind the service's host ports.
struct FreeNodes(Option<usize>);

impl FreeNodes {
    fn of(plan: &Plan<'_>) -> Self {
        if plan.host_ports.is_empty() {
            return FreeNodes(None);
        }
        if plan.mode.is_global() {
            return FreeNodes(Some(0));
        }
        let held: BTreeSet<&NodeId> = plan
            .state
            .tasks
            .iter()
            .filter(|task| !is_dead(task))
            .map(|task| &task.node_id)
            .collect();
        let open = plan.state.nodes.iter().filter(|node| plan.takes_tasks(node));
        FreeNodes(Some(open.filter(|node| !held.contains(&node.id)).count()))
    }
    /// Uses one; always possible when no port limits it.
    fn take(&mut self) -> bool {
        match &mut self.0 {
            None => true,
            Some(0) => false,
            Some(free) => {
                *free -= 1;
                true
            }
        }
    }
}
