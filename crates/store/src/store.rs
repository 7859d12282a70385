//! The store: a snapshot that moves, and the last changes for those who follow it.
//!
//! ```text
//! entry ──► transaction 1 ──► check, write, … ──► all held: version + 1, events
//!       └─► transaction 2 ──► check ✗ ──► what it wrote is undone; refused, the rest goes on
//! ```

use crate::rules;
use crate::{
    Applied, Change, Entry, Event, EventKind, Object, Refusal, Snapshot, StoreError, Transaction,
};
use std::collections::VecDeque;
use std::sync::Arc;
use types::Timestamp;
use types::swarm::task::{Task, TaskState, TaskStatus};
use types::swarm::{Meta, Version};

/// Events kept for followers. One that is further behind than this reads the snapshot again, which is
/// no dearer than reading so many events.
const KEPT_EVENTS: usize = 65_536;

/// The tables and their recent changes. One writer; snapshots go to everyone.
#[derive(Debug, Clone)]
pub struct Store {
    state: Snapshot,
    recent: VecDeque<Event>,
    /// Versions up to this one are no longer in `recent`.
    forgotten: u64,
    kept: usize,
}

/// What happened after a version.
#[derive(Debug, Clone, PartialEq)]
pub enum Since<'a> {
    /// Every change, in order; none when nothing changed.
    Events(Vec<&'a Event>),
    /// Too long ago: read the snapshot instead.
    Resync,
}

impl Default for Store {
    fn default() -> Self {
        Store::new(Snapshot::default())
    }
}

impl Store {
    /// A store that goes on from `state`.
    pub fn new(state: Snapshot) -> Store {
        Store::keeping(state, KEPT_EVENTS)
    }
    /// The same with another bound on the events kept for followers.
    pub fn keeping(state: Snapshot, kept: usize) -> Store {
        Store { forgotten: state.version, state, recent: VecDeque::new(), kept }
    }
    /// The state as it is now. O(1).
    pub fn snapshot(&self) -> Snapshot {
        self.state.clone()
    }
    /// The same without a clone.
    pub fn state(&self) -> &Snapshot {
        &self.state
    }
    pub fn version(&self) -> u64 {
        self.state.version
    }

    /// Writes the entry's transactions, each all or not at all.
    pub fn apply(&mut self, entry: &Entry) -> Applied {
        let mut applied = Applied::default();
        for (place, transaction) in entry.transactions.iter().enumerate() {
            match self.transact(entry.at, transaction) {
                Ok(events) => applied.events.extend(events),
                Err(error) => applied.refused.push(Refusal { transaction: place, error }),
            }
        }
        self.remember(&applied.events);
        applied
    }

    /// What changed after `version`, which came from an earlier snapshot of this store.
    pub fn changed_since(&self, version: u64) -> Since<'_> {
        if version < self.forgotten || version > self.state.version {
            return Since::Resync;
        }
        let from = self.recent.partition_point(|event| event.version <= version);
        Since::Events(self.recent.range(from..).collect())
    }

    fn transact(
        &mut self,
        at: Timestamp,
        transaction: &Transaction,
    ) -> Result<Vec<Event>, StoreError> {
        let mut write = Write { state: &mut self.state, at, events: Vec::new() };
        for change in &transaction.changes {
            if let Err(error) = write.change(change) {
                write.undo();
                return Err(error);
            }
        }
        let events = write.events;
        if !events.is_empty() {
            self.state.version += 1;
        }
        Ok(events)
    }

    fn remember(&mut self, events: &[Event]) {
        self.recent.extend(events.iter().cloned());
        while self.recent.len() > self.kept {
            let Some(event) = self.recent.pop_front() else { break };
            self.forgotten = event.version;
        }
        // A version is told whole or not at all.
        while self.recent.front().is_some_and(|event| event.version <= self.forgotten) {
            self.recent.pop_front();
        }
    }
}

/// One transaction under way.
struct Write<'a> {
    state: &'a mut Snapshot,
    at: Timestamp,
    events: Vec<Event>,
}

impl Write<'_> {
    fn change(&mut self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::Create(object) => {
                rules::check_create(self.state, object)?;
                self.put(object.clone(), self.at);
            }
            Change::Update(object) => {
                rules::check_update(self.state, object)?;
                let created = self
                    .state
                    .object(object.kind(), object.id())
                    .map_or(self.at, |old| old.meta().created_at);
                self.put(object.clone(), created);
            }
            Change::Remove { kind, id, version } => {
                let object = rules::check_remove(self.state, *kind, id, *version)?;
                self.state.remove(*kind, id);
                self.event(EventKind::Removed, object, None);
            }
            Change::Desire { task, state, stop } => {
                let mut row = self.task(task.as_str())?;
                if row.desired_state < *state {
                    let task = Arc::make_mut(&mut row);
                    task.desired_state = *state;
                    task.record.stop = task.record.stop.or(*stop);
                    let created = row.meta.created_at;
                    self.put(Object::Task(row), created);
                }
            }
            Change::Report { task, node, status } => {
                let mut row = self.task(task.as_str())?;
                rules::check_report(&row, node.as_str(), status)?;
                if row.status != *status {
                    seen(Arc::make_mut(&mut row), status, self.at);
                    let created = row.meta.created_at;
                    self.put(Object::Task(row), created);
                }
            }
            Change::Expect { kind, id, version } => {
                rules::check_expect(self.state, *kind, id, *version)?;
            }
        }
        Ok(())
    }

    fn task(&self, id: &str) -> Result<Arc<Task>, StoreError> {
        let row = self.state.tasks.get(id);
        row.cloned().ok_or_else(|| rules::not_found(crate::Kind::Task, id))
    }

    fn put(&mut self, object: Object, created_at: Timestamp) {
        let version = Version { index: self.state.version + 1 };
        let object = object.with_meta(Meta { version, created_at, updated_at: self.at });
        let old = self.state.put(object.clone());
        let kind = if old.is_some() { EventKind::Updated } else { EventKind::Created };
        self.event(kind, object, old);
    }

    fn event(&mut self, kind: EventKind, object: Object, old: Option<Object>) {
        self.events.push(Event { version: self.state.version + 1, kind, object, old });
    }

    /// Takes back what the transaction wrote, last first.
    fn undo(&mut self) {
        for event in self.events.drain(..).rev() {
            match (event.kind, event.old) {
                (EventKind::Removed, _) => {
                    self.state.put(event.object);
                }
                (_, Some(old)) => {
                    self.state.put(old);
                }
                (_, None) => {
                    self.state.remove(event.object.kind(), event.object.id());
                }
            }
        }
    }
}

/// Writes the report, and what the managers' own clock says of it: agents' clocks decide nothing.
fn seen(task: &mut Task, status: &TaskStatus, at: Timestamp) {
    if status.state == TaskState::Running && task.record.running_at.is_zero() {
        task.record.running_at = at;
    }
    if status.state.is_terminal() && task.record.ended_at.is_zero() {
        task.record.ended_at = at;
    }
    task.status = status.clone();
}

#[cfg(test)]
mod tests;
