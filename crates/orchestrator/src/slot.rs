//! One slot: evict what must go, replace what ended, let start what may, keep one task.
//!
//! ```text
//! live tasks   0  →  replaced by policy, or not, with a reason
//!              1  →  stays; if desired `ready`, it starts once nothing holds it
//!              2  →  a start-first change: the older one goes when the newer one runs
//! ```

use crate::action::SpecSource;
use crate::plan::{Creation, Place, Plan, Slot};
use crate::policy::{Order, pending_until};
use crate::restart::{self, Breaker};
use crate::task::{ended_itself, is_dead, is_running};
use crate::wait::Wait;
use types::NodeId;
use types::swarm::Version;
use types::swarm::extension::{Cause, Stop, TaskRecord};
use types::swarm::task::{Task, TaskState};

/// What holds for all slots of one decision.
pub(crate) struct Context {
    pub breaker: Option<Breaker>,
    pub unmet: Vec<Wait>,
    /// The number of the update in progress.
    pub update: Option<u64>,
    pub update_paused: bool,
    pub job_iteration: Option<Version>,
}

/// What the updater and the rebalancer want of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    Keep,
    /// Change its task to the service's spec.
    Update(Order),
    /// The new task finds no room while the old one stays.
    MakeRoom,
    Move(NodeId),
    /// The new task of a move found no room: stay.
    CancelMove,
}

/// Brings one slot a step closer to holding one running task.
pub(crate) fn keep(plan: &mut Plan<'_>, slot: &Slot<'_>, role: &Role, context: &Context) {
    settle_ended(plan, slot);
    let staying = evict(plan, slot);
    match role {
        Role::Update(order) => return update(plan, slot, &staying, *order, context),
        Role::Move(node) => return move_to(plan, slot, &staying, node),
        Role::MakeRoom => {
            for task in &staying {
                if plan.is_dirty(task) {
                    plan.stop(task, Stop::Updated);
                }
            }
            return;
        }
        Role::CancelMove => {
            if let [_, .., newest] = staying.as_slice() {
                plan.stop(newest, Stop::MoveFailed);
            }
            return;
        }
        Role::Keep => {}
    }
    match staying.as_slice() {
        [] => replace(plan, slot, context),
        [only] => promote(plan, slot, &[], only, context),
        [older @ .., newest] => supersede(plan, slot, older, newest, context),
    }
}

/// A task in a slot that never had one.
pub(crate) fn fill(plan: &mut Plan<'_>, slot: &Slot<'_>, context: &Context) {
    let record = TaskRecord { cause: Cause::Wanted, ..TaskRecord::default() };
    start(plan, slot, record, SpecSource::Service, context);
}

/// A slot whose node takes nothing new: what the node was given goes on, nothing is replaced.
pub(crate) fn rest(plan: &mut Plan<'_>, slot: &Slot<'_>, context: &Context) {
    settle_ended(plan, slot);
    let live = slot.live(plan.mode.target());
    match live.as_slice() {
        [] => {}
        [only] if only.status.state < TaskState::Assigned => {}
        [only] => promote(plan, slot, &[], only, context),
        [older @ .., newest] => supersede(plan, slot, older, newest, context),
    }
    let node = slot.key.node.clone().filter(|_| !live.iter().any(|task| is_running(task)));
    if let Some(node) = node {
        plan.wait(&slot.key, Wait::NodePaused { node });
    }
}

/// What ended is not wanted any more: its desired state says so. A job's completed task stays as it is.
pub(crate) fn settle_ended(plan: &mut Plan<'_>, slot: &Slot<'_>) {
    for task in &slot.tasks {
        settle(plan, task);
    }
}

pub(crate) fn settle(plan: &mut Plan<'_>, task: &Task) {
    let (state, target) = (task.status.state, plan.mode.target());
    if state.is_terminal() && state != target && task.desired_state <= target {
        plan.stop(task, Stop::Ended);
    }
}

/// Stops live tasks whose node must not have them; returns the others.
fn evict<'a>(plan: &mut Plan<'_>, slot: &Slot<'a>) -> Vec<&'a Task> {
    let mut staying = Vec::new();
    for task in slot.live(plan.mode.target()) {
        let place = plan.place(task);
        if let Place::Absent { until } = place {
            plan.wake(until);
            plan.wait(&slot.key, Wait::NodeGrace { node: task.node_id.clone(), until });
        }
        match plan.eviction(task) {
            Some(stop) => plan.stop(task, stop),
            None => staying.push(task),
        }
    }
    staying
}

/// Replaces what the slot holds by a task of the service's spec.
fn update(
    plan: &mut Plan<'_>,
    slot: &Slot<'_>,
    staying: &[&Task],
    order: Order,
    context: &Context,
) {
    let kept = match order {
        Order::StopFirst => None,
        Order::StartFirst => staying.iter().rev().find(|task| is_running(task)),
    };
    for task in staying {
        if kept.is_none_or(|kept| kept.id != task.id) {
            plan.stop(task, Stop::Updated);
        }
    }
    let retried = slot.tasks.last().filter(|last| !plan.is_dirty(last) && ended_itself(last));
    let before = retried.map(|last| restart::successor(&plan.rules, last, plan.now));
    let record = TaskRecord {
        cause: Cause::Update,
        update: context.update.unwrap_or(0),
        ..before.unwrap_or_default()
    };
    let target = plan.mode.target();
    let waits = predecessor(plan, slot, kept.copied().as_slice()).is_some();
    plan.create(
        slot,
        Creation {
            desired: if waits { TaskState::Ready } else { target },
            node: None,
            spec: SpecSource::Service,
            job_iteration: context.job_iteration,
            record,
        },
    );
}

fn move_to(plan: &mut Plan<'_>, slot: &Slot<'_>, staying: &[&Task], node: &NodeId) {
    let before = slot.last(plan.mode.target()).map(|task| task.record.clone()).unwrap_or_default();
    let record = TaskRecord {
        cause: Cause::Rebalance,
        restarts: before.restarts,
        quick_ends: before.quick_ends,
        recent: before.recent,
        ..TaskRecord::default()
    };
    let waits = predecessor(plan, slot, staying).is_some();
    let desired = if waits { TaskState::Ready } else { plan.mode.target() };
    let (node, spec) = (Some(node.clone()), SpecSource::Service);
    plan.create(slot, Creation { desired, node, spec, job_iteration: None, record });
}

/// Of several live tasks the newest stays, once it runs.
fn supersede(
    plan: &mut Plan<'_>,
    slot: &Slot<'_>,
    older: &[&Task],
    newest: &Task,
    context: &Context,
) {
    // What an older update left starting serves nobody, and holds what the next one may need.
    let stale = context.update.is_some() && plan.is_dirty(newest) && !is_running(newest);
    if stale && older.iter().any(|task| is_running(task)) {
        return plan.stop(newest, Stop::Updated);
    }
    promote(plan, slot, older, newest, context);
    if is_running(newest) {
        for task in older {
            plan.stop(task, Stop::Superseded);
        }
    }
}

/// Replaces what the empty slot held last, if policy allows.
fn replace(plan: &mut Plan<'_>, slot: &Slot<'_>, context: &Context) {
    let Some(last) = slot.last(plan.mode.target()) else { return fill(plan, slot, context) };
    let dirty = plan.is_dirty(last);
    let updating = dirty && context.update.is_some();
    let resumed = last.record.stop == Some(Stop::ServicePaused);
    if updating || resumed {
        let update = context.update.filter(|_| dirty).unwrap_or(0);
        let cause = if updating { Cause::Update } else { Cause::Wanted };
        let record = TaskRecord { cause, update, ..TaskRecord::default() };
        return start(plan, slot, record, SpecSource::Service, context);
    }
    if let Err(reason) = restart::verdict(&plan.rules, last) {
        return plan.wait(&slot.key, reason);
    }
    let spec = if dirty && context.update_paused {
        SpecSource::SameAs(last.id.clone())
    } else {
        SpecSource::Service
    };
    let record = restart::successor(&plan.rules, last, plan.now);
    start(plan, slot, record, spec, context);
}

/// Creates a task that starts at once if nothing holds it, else is made ready meanwhile.
fn start(
    plan: &mut Plan<'_>,
    slot: &Slot<'_>,
    record: TaskRecord,
    spec: SpecSource,
    context: &Context,
) {
    let created = plan.now;
    let held = holds(plan, slot, &[], &record, created, context);
    let desired = if held.is_empty() { plan.mode.target() } else { TaskState::Ready };
    for reason in held {
        plan.wait(&slot.key, reason);
    }
    let job_iteration = context.job_iteration;
    plan.create(slot, Creation { desired, node: None, spec, job_iteration, record });
}

/// Lets a task start that was made ready, beside those it supersedes.
fn promote(plan: &mut Plan<'_>, slot: &Slot<'_>, older: &[&Task], task: &Task, context: &Context) {
    let target = plan.mode.target();
    if task.desired_state >= target {
        return;
    }
    let created = task.meta.created_at;
    let beside: Vec<&Task> = older.iter().copied().chain([task]).collect();
    let held = holds(plan, slot, &beside, &task.record, created, context);
    match held.is_empty() {
        true if older.is_empty() || plan.may_overlap() => plan.raise(task, target, None),
        true => one_alone(plan, older, task),
        false => held.into_iter().for_each(|reason| plan.wait(&slot.key, reason)),
    }
}

/// The new task was made to start beside the old one, and the user has changed the order since: the old one stops
/// first. If it was a move, which is not wished any more, the old one stays.
fn one_alone(plan: &mut Plan<'_>, older: &[&Task], new: &Task) {
    if older.iter().any(|task| !plan.is_dirty(task)) {
        return plan.stop(new, Stop::MoveFailed);
    }
    for task in older {
        plan.stop(task, Stop::Updated);
    }
}

/// Everything that keeps a new task of the slot from starting; `beside` may run meanwhile.
fn holds(
    plan: &mut Plan<'_>,
    slot: &Slot<'_>,
    beside: &[&Task],
    record: &TaskRecord,
    created: types::Timestamp,
    context: &Context,
) -> Vec<Wait> {
    let mut held = Vec::new();
    if let Some(old) = predecessor(plan, slot, beside) {
        if let Place::Absent { until } = plan.place(old) {
            plan.wake(until); // nobody says that it stopped
        }
        held.push(Wait::OldTaskStopping { task: old.id.clone() });
    }
    if record.cause == Cause::Restart {
        let delay = plan.rules.delay_after(record.quick_ends);
        if let Some(until) = pending_until(created, delay, plan.now) {
            plan.wake(until);
            held.push(Wait::RestartDelay { until, quick_ends: record.quick_ends });
        }
        if let Some(breaker) = context.breaker.as_ref().filter(|open| open.probe != slot.key) {
            held.push(Wait::BreakerOpen { quick_ends: breaker.quick_ends });
        }
    }
    held.extend(context.unmet.iter().cloned());
    held
}

/// A task of the slot, none of `beside`, that may still run and whose node can say when it has stopped.
fn predecessor<'a>(plan: &Plan<'_>, slot: &Slot<'a>, beside: &[&Task]) -> Option<&'a Task> {
    let is_other = |other: &&&Task| beside.iter().all(|task| task.id != other.id);
    slot.tasks.iter().filter(is_other).find(|other| may_run(plan, other)).copied()
}

fn may_run(plan: &Plan<'_>, task: &Task) -> bool {
    let never_seen = task.status.state < TaskState::Assigned;
    !is_dead(task) && !never_seen && !plan.place(task).is_lost()
}
