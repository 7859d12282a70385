//! The table of contents: one service, all its parts.

use crate::action::Decision;
use crate::plan::{Plan, Slot, SlotKey};
use crate::policy::Mode;
use crate::rebalance;
use crate::restart;
use crate::slot::{self, Context, Role};
use crate::state::{Nodes, State};
use crate::task::is_live;
use crate::update::{self, Choice};
use crate::wait::Wait;
use crate::{depend, deployment, global, job, lost, reaper, replicated};
use std::collections::BTreeMap;
use types::Timestamp;
use types::swarm::extension::Stop;
use types::swarm::task::Task;

/// What to do about one service now. Applying the actions and calling again, at the same `now`, ends after a
/// few rounds with no actions.
pub fn reconcile(state: &State<'_>, now: Timestamp) -> Decision {
    let mut plan = Plan::new(state, now);
    lost::orphan(&mut plan);
    if plan.wishes.paused {
        pause(&mut plan);
    } else if plan.mode.is_job() {
        job::run(&mut plan);
    } else {
        serve(&mut plan);
    }
    reaper::reap(&mut plan);
    deployment::watch(&mut plan);
    plan.decision
}

/// What to do about the tasks of a service that was removed.
pub fn reconcile_removed(
    tasks: &[&Task],
    nodes: &Nodes<'_>,
    defaults: &crate::policy::Defaults,
    now: Timestamp,
) -> Decision {
    let service = types::swarm::service::Service::default();
    let dependencies = BTreeMap::new();
    let fits = |_: &types::swarm::node::Node| true;
    let state = State {
        service: &service,
        tasks,
        nodes,
        defaults,
        dependencies: &dependencies,
        fits: &fits,
    };
    let mut plan = Plan::new(&state, now);
    lost::orphan(&mut plan);
    for task in sorted(tasks) {
        plan.remove(task, Stop::ServiceRemoved);
    }
    plan.decision
}

/// Stopped, not deleted: slots and their history stay, unless they are scaled away.
fn pause(plan: &mut Plan<'_>) {
    plan.wait_all(Wait::ServicePaused);
    let target = plan.mode.target();
    let mut slots = plan.slots(|_| true);
    if let Mode::Replicated { replicas } = plan.mode {
        replicated::scale(plan, &mut slots, replicas);
    }
    for task in slots.values().flat_map(|slot| &slot.tasks) {
        if is_live(task, target) {
            plan.stop(task, Stop::ServicePaused);
        }
    }
}

pub(crate) fn sorted<'a>(tasks: &[&'a Task]) -> Vec<&'a Task> {
    let mut sorted = tasks.to_vec();
    sorted.sort_by_key(|task| (task.slot, &task.node_id, task.record.run, &task.id));
    sorted
}

/// Services that go on for ever: the slots that are wanted, each with its role.
fn serve(plan: &mut Plan<'_>) {
    let mut slots = plan.slots(|_| true);
    let (new, closed) = match plan.mode {
        Mode::Replicated { replicas } => {
            (replicated::scale(plan, &mut slots, replicas), Vec::new())
        }
        _ => global::spread(plan, &mut slots),
    };
    let unmet = depend::unmet(&plan.state);
    let choice = update::choose(plan, &slots, &closed, &unmet);
    if choice.rolled_back {
        return;
    }
    let steady = new.is_empty() && unmet.is_empty();
    let roles = roles(plan, &slots, steady, &choice);
    let context = Context {
        breaker: restart::breaker(plan, &slots),
        unmet,
        update: choice.number,
        update_paused: choice.paused,
        job_iteration: None,
    };
    for slot in slots.values() {
        slot::keep(plan, slot, roles.get(&slot.key).unwrap_or(&Role::Keep), &context);
    }
    for slot in &new {
        slot::fill(plan, slot, &context);
    }
    for slot in &closed {
        slot::rest(plan, slot, &context);
    }
}

/// The updater's roles, or else the rebalancer's, which adds nothing while the service lacks something.
fn roles(
    plan: &mut Plan<'_>,
    slots: &BTreeMap<SlotKey, Slot<'_>>,
    steady: bool,
    choice: &Choice,
) -> BTreeMap<SlotKey, Role> {
    if choice.number.is_some() || choice.paused || !steady {
        return choice.roles.clone();
    }
    rebalance::choose(plan, slots)
}
