//! Replicated services: as many slots as replicas.

use crate::plan::{Place, Plan, Slot, SlotKey};
use crate::task::is_dead;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use types::NodeId;
use types::swarm::extension::Stop;

pub(crate) fn key(slot: u64) -> SlotKey {
    SlotKey { slot, node: None }
}

/// Removes the slots beyond `replicas` from `slots`; returns the new slots that are wanted.
pub(crate) fn scale<'a>(
    plan: &mut Plan<'a>,
    slots: &mut BTreeMap<SlotKey, Slot<'a>>,
    replicas: u64,
) -> Vec<Slot<'a>> {
    let have = slots.len() as u64;
    for shed in surplus(plan, slots, have.saturating_sub(replicas)) {
        for task in slots.remove(&shed).into_iter().flat_map(|slot| slot.tasks) {
            plan.remove(task, Stop::ScaledDown);
        }
    }
    let missing = usize::try_from(replicas.saturating_sub(have)).unwrap_or(usize::MAX);
    free_numbers(plan, slots).take(missing).map(|slot| Slot::new(key(slot))).collect()
}

/// The lowest numbers that nothing holds: a slot whose tasks are still being removed is not free.
fn free_numbers(plan: &Plan<'_>, slots: &BTreeMap<SlotKey, Slot<'_>>) -> impl Iterator<Item = u64> {
    let leaving = plan.state.tasks.iter().filter(|task| !is_dead(task)).map(|task| task.slot);
    let taken: BTreeSet<u64> = slots.keys().map(|key| key.slot).chain(leaving).collect();
    (1..).filter(move |slot| !taken.contains(slot))
}

/// Which slots go: first those without a task, then those that do not run, then from the node that has most, the
/// newest.
fn surplus(plan: &Plan<'_>, slots: &BTreeMap<SlotKey, Slot<'_>>, count: u64) -> Vec<SlotKey> {
    if count == 0 {
        return Vec::new();
    }
    let target = plan.mode.target();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let (running, idle): (Vec<_>, Vec<_>) =
        slots.values().partition(|slot| slot.is_running(target) && !evicted(plan, slot));
    let mut shed: Vec<SlotKey> = Vec::new();
    let (starting, empty): (Vec<&Slot<'_>>, Vec<&Slot<'_>>) =
        idle.into_iter().rev().partition(|slot| !slot.live(target).is_empty());
    shed.extend(empty.into_iter().chain(starting).map(|slot| slot.key.clone()));
    shed.truncate(count);
    let mut crowd: BTreeMap<&NodeId, Vec<&Slot<'_>>> = BTreeMap::new();
    for slot in running {
        if let Some(task) = slot.last(target) {
            crowd.entry(&task.node_id).or_default().push(slot);
        }
    }
    for crowded in crowd.values_mut() {
        crowded.sort_by_key(|slot| {
            (slot.last(target).map(|task| task.meta.created_at), slot.key.slot)
        });
    }
    // By number of tasks, then by node: the last is the most crowded.
    let mut order: BTreeSet<(usize, Reverse<&NodeId>)> =
        crowd.iter().map(|(node, slots)| (slots.len(), Reverse(*node))).collect();
    while shed.len() < count {
        let Some((tasks, Reverse(node))) = order.pop_last() else { break };
        let Some(slot) = crowd.get_mut(node).and_then(Vec::pop) else { continue };
        shed.push(slot.key.clone());
        order.insert((tasks - 1, Reverse(node)));
    }
    shed
}

/// Whether its node must not have it, or does not answer: it may run, and nobody is served by it.
fn evicted(plan: &Plan<'_>, slot: &Slot<'_>) -> bool {
    let out = |place: Place| place.eviction().is_some() || matches!(place, Place::Absent { .. });
    slot.live(plan.mode.target()).iter().all(|task| out(plan.place(task)))
}
