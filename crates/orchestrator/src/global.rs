//! Global services: one slot for each node that takes it.

use crate::plan::{Plan, Slot, SlotKey};
use crate::slot;
use crate::task::is_live;
use std::collections::BTreeMap;
use types::NodeId;
use types::swarm::extension::Stop;
use types::swarm::node::Availability;

pub(crate) fn key(node: &NodeId) -> SlotKey {
    SlotKey { slot: 0, node: Some(node.clone()) }
}

/// Leaves in `slots` those whose node takes tasks; returns the new slots that are wanted, and the closed ones,
/// whose node keeps what it has and takes nothing new: paused, or out of reach. A task on a node that is down
/// stays: no other node can have it, and the agent goes on without managers.
pub(crate) fn spread<'a>(
    plan: &mut Plan<'a>,
    slots: &mut BTreeMap<SlotKey, Slot<'a>>,
) -> (Vec<Slot<'a>>, Vec<Slot<'a>>) {
    let (mut new, mut closed, mut open) = (Vec::new(), Vec::new(), BTreeMap::new());
    for node in plan.state.nodes.iter() {
        let key = key(&node.id);
        let held = slots.remove(&key);
        let stays = node.spec.availability != Availability::Drain && (plan.state.fits)(node);
        match held {
            None if plan.takes_tasks(node) => new.push(Slot::new(key)),
            Some(slot) if plan.takes_tasks(node) => {
                open.insert(key, slot);
            }
            Some(slot) if stays => closed.push(slot),
            Some(slot) => leave(plan, &slot),
            None => {}
        }
    }
    for slot in std::mem::replace(slots, open).values() {
        leave(plan, slot);
    }
    (new, closed)
}

/// The node is drained, does not fit, or is no more: there is no other place for this slot.
fn leave(plan: &mut Plan<'_>, slot: &Slot<'_>) {
    for task in &slot.tasks {
        match plan.place(task).eviction() {
            Some(Stop::NodeRemoved) => plan.remove(task, Stop::NodeRemoved),
            Some(stop) if is_live(task, plan.mode.target()) => plan.stop(task, stop),
            _ => slot::settle(plan, task),
        }
    }
}
