//! Tasks that shall stop are stopped when nobody sends to them any more. Pure; times are durations.
//!
//! ```text
//! desired beyond running ─► draining in a table ─► every node that is up has applied it ─► SETTLE ─► released: its
//!                                                └ or is late                                       agent hears of it
//! ```
//! Only a task that runs and has a place in a network is held: nobody was ever told to send to another. A new leader
//! asks everybody again.
//!
//! The task's own node is waited for even while it is down: nobody can tell it anything then, and when it comes back it
//! sends to its own tasks by the table that it had, until it follows a new one.
//!
//! A node that is slow holds everything up for as long as it goes on acknowledging something; one that is up and
//! acknowledges nothing at all is late after [`PATIENCE`], and then nobody waits for it until it does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use types::swarm::task::{Task, TaskState};
use types::{NodeId, TaskId};

/// Who is up, acknowledges nothing and is waited for is given up after this. Far above what it takes to see that a node
/// is down: an overloaded one takes seconds for a table, and to give it up too early costs requests. Who cannot apply
/// tables at all costs this once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Connections that were sent there just before the last node followed are on their way, or wait to be accepted: a
/// program that stops accepting on SIGTERM would reset them.
pub(crate) const SETTLE: Duration = Duration::from_millis(200);

/// Who may not be stopped yet.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    waiting: BTreeMap<TaskId, Drain>,
    released: BTreeSet<TaskId>,
    applied: BTreeMap<NodeId, Applied>,
    /// Since when a node is up.
    up: BTreeMap<NodeId, Duration>,
    /// Nodes that were waited for in vain, until they apply something.
    late: BTreeSet<NodeId>,
    /// When to look again, though nothing happens until then.
    deadline: Option<Duration>,
}

/// What a node acknowledged last, and when.
#[derive(Debug, Clone, Copy, Default)]
struct Applied {
    version: u64,
    at: Duration,
}

#[derive(Debug)]
struct Drain {
    /// Where it runs.
    node: NodeId,
    /// The first table in which it drains.
    version: u64,
    since: Duration,
    /// Since when everybody follows that table.
    followed: Option<Duration>,
}

impl Drain {
    /// When a node that has been up `since` is late.
    fn late_at(&self, node: Applied, since: Duration) -> Duration {
        self.since.max(node.at).max(since) + PATIENCE
    }
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

    /// A table was derived: these tasks, and no others, must drain, each on its node.
    pub(crate) fn see(&mut self, draining: BTreeMap<TaskId, NodeId>, version: u64, now: Duration) {
        self.waiting.retain(|task, _| draining.contains_key(task));
        self.released.retain(|task| draining.contains_key(task));
        for (task, node) in draining {
            if !self.released.contains(&task) {
                self.waiting.entry(task).or_insert(Drain {
                    node,
                    version,
                    since: now,
                    followed: None,
                });
            }
        }
    }

    /// A node follows the table of that version.
    pub(crate) fn applied(&mut self, node: &NodeId, version: u64, now: Duration) {
        self.applied.insert(node.clone(), Applied { version, at: now });
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
        let up: BTreeMap<NodeId, Duration> =
            up.map(|node| (node.clone(), self.up.get(node).copied().unwrap_or(now))).collect();
        self.up = up;
        let applied = |node: &NodeId| self.applied.get(node).copied().unwrap_or_default();
        for (node, since) in &self.up {
            let own = applied(node);
            let mut behind = self.waiting.values().filter(|drain| drain.version > own.version);
            if behind.any(|drain| now >= drain.late_at(own, *since)) {
                self.late.insert(node.clone());
            }
        }
        let waited_for = self.up.iter().filter(|(node, _)| !self.late.contains(*node));
        let waited_for: Vec<(Applied, Duration)> =
            waited_for.map(|(node, since)| (applied(node), *since)).collect();
        self.deadline = None;
        for drain in self.waiting.values_mut() {
            let behind = waited_for.iter().filter(|(applied, _)| applied.version < drain.version);
            let late_at = behind.map(|(applied, since)| drain.late_at(*applied, *since)).min();
            let is_followed = late_at.is_none() && self.up.contains_key(&drain.node);
            drain.followed = drain.followed.or(Some(now)).filter(|_| is_followed);
            let next = late_at.or(drain.followed.map(|since| since + SETTLE));
            self.deadline = self.deadline.into_iter().chain(next).min();
        }
        let is_due = |drain: &Drain| drain.followed.is_some_and(|since| now >= since + SETTLE);
        let due = self.waiting.extract_if(.., |_, drain| is_due(drain));
        let due: Vec<TaskId> = due.map(|(task, _)| task).collect();
        self.released.extend(due.iter().cloned());
        due
    }

    /// Nodes that are not waited for.
    pub(crate) fn late(&self) -> &BTreeSet<NodeId> {
        &self.late
    }

    /// When [`Drains::release`] has something to do though nothing happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadline.filter(|_| !self.is_idle())
    }
}

#[cfg(test)]
mod tests;
