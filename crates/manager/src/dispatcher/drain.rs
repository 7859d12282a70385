//! Tasks that shall stop are stopped when nobody sends to them any more. Pure; times are durations.
//!
//! ```text
//! desired beyond running ─► draining in a table ─► every node that is up has applied it ─► released: its agent hears
//!                                                └ or PATIENCE has passed                  that it shall stop
//! ```
//! Only a task that runs and has a place in a network is held: nobody was ever told to send to another. A new leader
//! asks everybody again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use types::swarm::task::{Task, TaskState};
use types::{NodeId, TaskId};

/// A node that is up and does not follow delays a stop by so much at most, and the next ones not at all. Twice what it
/// takes to see that a node is down: who is up and this late is overloaded, or cannot apply tables at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Who may not be stopped yet.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    waiting: BTreeMap<TaskId, Drain>,
    released: BTreeSet<TaskId>,
    applied: BTreeMap<NodeId, u64>,
    /// Nodes that were waited for in vain, until they apply something.
    late: BTreeSet<NodeId>,
}

#[derive(Debug)]
struct Drain {
    /// The first table in which it drains.
    version: u64,
    since: Duration,
}

/// Whether nodes must have heard of the task's end before it comes.
pub(crate) fn must_drain(task: &Task) -> bool {
    task.status.state == TaskState::Running
        && task.desired_state > TaskState::Complete
        && !task.networks_attachments.is_empty()
}

impl Drains {
    /// Whether the task's agent must not hear yet that it shall stop.
    pub(crate) fn holds(&self, task: &Task) -> bool {
        must_drain(task) && !self.released.contains(&task.id)
    }

    /// A table was derived: these tasks, and no others, must drain.
    pub(crate) fn see(&mut self, draining: BTreeSet<TaskId>, version: u64, now: Duration) {
        self.waiting.retain(|task, _| draining.contains(task));
        self.released.retain(|task| draining.contains(task));
        for task in draining {
            if !self.released.contains(&task) {
                self.waiting.entry(task).or_insert(Drain { version, since: now });
            }
        }
    }

    /// A node follows the table of that version.
    pub(crate) fn applied(&mut self, node: &NodeId, version: u64) {
        self.applied.insert(node.clone(), version);
        self.late.remove(node);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Releases what nobody is waited for any more. `up` are the nodes that could send.
    pub(crate) fn release<'a>(
        &mut self,
        up: impl Iterator<Item = &'a NodeId>,
        now: Duration,
    ) -> Vec<TaskId> {
        let applied = |node: &'a NodeId| (node, self.applied.get(node).copied().unwrap_or(0));
        let up: Vec<(&NodeId, u64)> = up.map(applied).collect();
        let overdue = self.waiting.values().filter(|drain| now >= drain.since + PATIENCE);
        if let Some(version) = overdue.map(|drain| drain.version).max() {
            let late = up.iter().filter(|(_, applied)| *applied < version);
            self.late.extend(late.map(|(node, _)| (*node).clone()));
        }
        let followed = up.iter().filter(|(node, _)| !self.late.contains(*node));
        let everywhere = followed.map(|(_, applied)| *applied).min().unwrap_or(u64::MAX);
        let is_due = |drain: &Drain| {
            drain.version <= everywhere || now.saturating_sub(drain.since) >= PATIENCE
        };
        let due = self.waiting.extract_if(.., |_, drain| is_due(drain));
        let due: Vec<TaskId> = due.map(|(task, _)| task).collect();
        self.released.extend(due.iter().cloned());
        due
    }

    /// Nodes that are not waited for.
    pub(crate) fn late(&self) -> &BTreeSet<NodeId> {
        &self.late
    }

    /// When the next one is released though not everybody has answered.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.waiting.values().map(|drain| drain.since + PATIENCE).min()
    }
}

#[cfg(test)]
mod tests;
