//! Deletes tasks that nobody needs any more: what was to be removed and is dead, and history beyond the limit.
//!
//! It keeps a slot's last task, which is what the restart policy reads, and what an update in progress reads of
//! the slot: two tasks at most, or an update that never ends would keep its failures for ever.

use crate::action::Action;
use crate::plan::Plan;
use crate::reconcile::sorted;
use crate::task::is_dead;
use crate::update;
use std::collections::{BTreeMap, BTreeSet};
use types::TaskId;
use types::swarm::task::{Task, TaskState};

pub(crate) fn reap(plan: &mut Plan<'_>) {
    let mut doomed: Vec<&Task> = Vec::new();
    let leaving = |task: &&Task| task.desired_state == TaskState::Remove && is_dead(task);
    doomed.extend(sorted(plan.state.tasks).into_iter().filter(leaving));
    if let Ok(limit) = usize::try_from(plan.state.defaults.history_limit) {
        doomed.extend(beyond(plan, limit));
    }
    let mut deleted: BTreeSet<TaskId> = BTreeSet::new();
    for action in &plan.decision.actions {
        if let Action::DeleteTask { task } = action {
            deleted.insert(task.clone());
        }
    }
    for task in doomed {
        if deleted.insert(task.id.clone()) {
            plan.act(Action::DeleteTask { task: task.id.clone() });
        }
    }
}

/// The oldest dead tasks of slots that hold more than `limit` tasks, the living included.
fn beyond<'a>(plan: &Plan<'a>, limit: usize) -> Vec<&'a Task> {
    let mut slots: BTreeMap<_, Vec<&'a Task>> = BTreeMap::new();
    for task in sorted(plan.state.tasks) {
        if task.desired_state < TaskState::Remove {
            let run = task.job_iteration.map(|version| version.index);
            slots.entry((run, plan.key(task))).or_default().push(task);
        }
    }
    let mut doomed = Vec::new();
    for tasks in slots.values() {
        let surplus = tasks.len().saturating_sub(limit);
        let Some((_last, older)) = tasks.split_last() else { continue };
        let read = update::read_of(plan, tasks);
        let idle = |task: &&Task| is_history(plan, task) && read.iter().all(|it| it.id != task.id);
        doomed.extend(older.iter().copied().filter(idle).take(surplus));
    }
    doomed
}

fn is_history(plan: &Plan<'_>, task: &Task) -> bool {
    let done = plan.mode.is_job() && task.status.state == TaskState::Complete;
    let wanted = task.desired_state <= plan.mode.target();
    is_dead(task) && !wanted && !done
}
