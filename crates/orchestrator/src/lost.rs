//! Tasks whose node will not speak again: orphaned at once if it was removed, after a day if it is down.

use crate::action::Action;
use crate::plan::{Plan, down_since};
use crate::policy::pending_until;
use crate::reconcile::sorted;
use types::swarm::node::NodeState;
use types::swarm::task::{Task, TaskState};

/// SwarmKit's words.
const NODE_DELETED: &str = "Task belonged to a node that has been deleted";
const NODE_SILENT: &str = "Task belonged to a node that has been down for too long";

pub(crate) fn orphan(plan: &mut Plan<'_>) {
    for task in sorted(plan.state.tasks) {
        let state = task.status.state;
        if state < TaskState::Assigned || state.is_terminal() {
            continue;
        }
        if let Some(message) = given_up(plan, task) {
            plan.act(Action::Orphan { task: task.id.clone(), message });
        }
    }
}

fn given_up(plan: &mut Plan<'_>, task: &Task) -> Option<&'static str> {
    let Some(node) = plan.state.nodes.get(&task.node_id) else { return Some(NODE_DELETED) };
    if node.status.state != NodeState::Down || down_since(node).is_zero() {
        return None;
    }
    let until = pending_until(down_since(node), plan.state.defaults.orphan_after, plan.now);
    if let Some(until) = until {
        plan.wake(until);
        return None;
    }
    Some(NODE_SILENT)
}
