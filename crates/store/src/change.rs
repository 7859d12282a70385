//! What can be written, and what comes of it.

use crate::{Kind, Object, StoreError};
use serde::{Deserialize, Serialize};
use types::swarm::Version;
use types::swarm::extension::Stop;
use types::swarm::task::{TaskState, TaskStatus};
use types::{NodeId, TaskId, Timestamp};

/// One entry of the replicated log: transactions that were decided together. Each of them stands or
/// falls alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// The leader's time when it proposed the entry: `created_at` and `updated_at` come from it.
    pub at: Timestamp,
    pub transactions: Vec<Transaction>,
}

impl Entry {
    /// An entry of one transaction.
    pub fn one(at: Timestamp, changes: Vec<Change>) -> Entry {
        Entry { at, transactions: vec![Transaction { changes }] }
    }
}

/// Changes that are written all or not at all, in their order: a later one sees the earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Transaction {
    pub changes: Vec<Change>,
}

impl From<Vec<Change>> for Transaction {
    fn from(changes: Vec<Change>) -> Transaction {
        Transaction { changes }
    }
}

/// One write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// A new object. Its id must be new, its name free, and what it refers to must be there.
    Create(Object),
    /// Replaces an object whose version is still the one in the given `meta`.
    Update(Object),
    /// Removes an object that nothing refers to. With a version: only if it is still that one.
    Remove { kind: Kind, id: String, version: Option<Version> },
    /// Raises a task's desired state. It only grows, so that no version is needed; a lower one is no
    /// change. `stop` says why, when the task shall not run any more.
    Desire { task: TaskId, state: TaskState, stop: Option<Stop> },
    /// An agent's report. Refused from a node that does not have the task, and when it would go back. The
    /// entry's time is written down as when a manager saw the task run and end.
    Report { task: TaskId, node: NodeId, status: TaskStatus },
    /// Writes nothing: the transaction holds only if the object still has this version (or, with
    /// `None`, still is not there).
    Expect { kind: Kind, id: String, version: Option<Version> },
}

/// What applying one entry did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Applied {
    pub events: Vec<Event>,
    /// The refused transactions, by their place in the entry.
    pub refused: Vec<Refusal>,
}

/// A transaction of which nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub transaction: usize,
    pub error: StoreError,
}

/// One object changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The store's version that this change made.
    pub version: u64,
    pub kind: EventKind,
    /// As it is now; when removed, as it was last.
    pub object: Object,
    /// As it was before an update.
    pub old: Option<Object>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    Created,
    Updated,
    Removed,
}
