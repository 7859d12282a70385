//! Moves tasks to emptier nodes when one joins or returns: only if asked for, start-first, a few at a time.
//!
//! Never a lone task, never one with a volume or a port of its node, never during an update or while a slot
//! is not running.

use crate::plan::{Plan, Slot, SlotKey, down_since};
use crate::policy::{Mode, duration, pending_until};
use crate::slot::Role;
use crate::task::is_running;
use crate::wait::Wait;
use std::collections::BTreeMap;
use std::time::Duration;
use types::NodeId;
use types::swarm::extension::Cause;
use types::swarm::task::{Task, TaskState};

const COOL_DOWN: Duration = Duration::from_secs(300);
/// A difference of one is as even as it gets.
const UNEVEN: usize = 2;

pub(crate) fn choose(
    plan: &mut Plan<'_>,
    slots: &BTreeMap<SlotKey, Slot<'_>>,
) -> BTreeMap<SlotKey, Role> {
    let mut roles = cancelled(slots);
    let Some(wish) = plan.wishes.rebalance.clone() else { return roles };
    if !may_move(plan, slots) || !roles.is_empty() {
        return roles;
    }
    let cool_down = wish.cool_down.map_or(COOL_DOWN, duration);
    let moving = slots.values().filter(|slot| slot.live(TaskState::Running).len() > 1).count();
    let budget = usize::try_from(wish.budget.max(1)).unwrap_or(usize::MAX);
    let mut load = load(plan, slots, cool_down);
    let moves = even_out(&mut load, budget.saturating_sub(moving));
    if moves.is_empty() {
        return roles;
    }
    let last = slots.values().flat_map(|slot| &slot.tasks);
    let last = last.filter(|task| task.record.cause == Cause::Rebalance && !is_starting(task));
    let cooled = last.map(|task| task.meta.created_at).max();
    if let Some(until) = cooled.and_then(|last| pending_until(last, cool_down, plan.now)) {
        plan.wake(until);
        plan.wait_all(Wait::Rebalancing { until });
        return roles;
    }
    roles.extend(moves.into_iter().map(|(key, node)| (key, Role::Move(node))));
    roles
}

fn is_starting(task: &Task) -> bool {
    task.desired_state <= TaskState::Running && task.status.state < TaskState::Running
}

/// Moves whose new task the scheduler refuses.
fn cancelled(slots: &BTreeMap<SlotKey, Slot<'_>>) -> BTreeMap<SlotKey, Role> {
    let refused = |slot: &&Slot<'_>| match slot.live(TaskState::Running).as_slice() {
        [.., _, new] => {
            new.record.cause == Cause::Rebalance
                && new.status.state < TaskState::Assigned
                && !new.status.err.is_empty()
        }
        _ => false,
    };
    slots.values().filter(refused).map(|slot| (slot.key.clone(), Role::CancelMove)).collect()
}

fn may_move(plan: &Plan<'_>, slots: &BTreeMap<SlotKey, Slot<'_>>) -> bool {
    let Mode::Replicated { replicas: 2.. } = plan.mode else { return false };
    let container = plan.state.service.spec.task_template.container_spec.as_ref();
    let stateful = container.is_some_and(|container| !container.mounts.is_empty());
    let steady = |slot: &Slot<'_>| {
        slot.is_running(TaskState::Running)
            && slot
                .live(TaskState::Running)
                .iter()
                .all(|task| plan.place(task).eviction().is_none())
    };
    !stateful && plan.host_ports.is_empty() && slots.values().all(steady)
}

/// The slots on each node that may take part, oldest first. A task that is moving counts where it goes.
fn load(
    plan: &mut Plan<'_>,
    slots: &BTreeMap<SlotKey, Slot<'_>>,
    cool_down: Duration,
) -> BTreeMap<NodeId, Vec<SlotKey>> {
    let mut load = BTreeMap::new();
    for node in plan.state.nodes.iter().filter(|node| plan.takes_tasks(node)).collect::<Vec<_>>() {
        match pending_until(down_since(node), cool_down, plan.now) {
            Some(until) => plan.wake(until),
            None => {
                load.insert(node.id.clone(), Vec::new());
            }
        }
    }
    for slot in slots.values() {
        let live = slot.live(TaskState::Running);
        let Some(newest) = live.last() else { continue };
        if let Some(crowd) = load.get_mut(&newest.node_id) {
            // A slot in motion is no candidate, yet it counts: it goes to the front, which moves last.
            let at = if live.len() == 1 && is_running(newest) { crowd.len() } else { 0 };
            crowd.insert(at, slot.key.clone());
        }
    }
    load
}

/// At most `budget` moves from the fullest node to the emptiest.
fn even_out(load: &mut BTreeMap<NodeId, Vec<SlotKey>>, budget: usize) -> Vec<(SlotKey, NodeId)> {
    let mut moves = Vec::new();
    while moves.len() < budget {
        let full = load.iter().max_by_key(|(node, slots)| (slots.len(), *node));
        let empty = load.iter().min_by_key(|(node, slots)| (slots.len(), *node));
        let (Some((full, most)), Some((empty, least))) = (full, empty) else { break };
        if most.len() < least.len() + UNEVEN {
            break;
        }
        let (full, empty) = (full.clone(), empty.clone());
        let Some(slot) = load.get_mut(&full).and_then(Vec::pop) else { break };
        if let Some(crowd) = load.get_mut(&empty) {
            crowd.insert(0, slot.clone());
        }
        moves.push((slot, empty));
    }
    moves
}
