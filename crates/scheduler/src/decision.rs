//! What the scheduler says: data only, for the leader to commit.

use crate::error::PlacementError;
use crate::filter::{Reason, Tally};
use std::fmt;
use types::swarm::task::GenericResource;
use types::{NodeId, TaskId};

/// One task's lot. The scheduler counts on it from now on; see [`crate::Scheduler::release`].
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Write `node_id`, `assigned_generic_resources`, and the state `assigned`.
    Assign { task: TaskId, node: NodeId, generic_resources: Vec<GenericResource> },
    /// Stop `victims`, all of lower priority, on `node`; the task fits when they have ended, and stays pending
    /// until then.
    Preempt { task: TaskId, node: NodeId, victims: Vec<TaskId> },
    /// Write the refusal's text into the task's status; it stays pending.
    Refuse { task: TaskId, refusal: Refusal },
}

impl Decision {
    pub fn task(&self) -> &TaskId {
        match self {
            Decision::Assign { task, .. }
            | Decision::Preempt { task, .. }
            | Decision::Refuse { task, .. } => task,
        }
    }
}

/// Why a task has no node, in Docker's words.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    NoSuitableNode(Tally),
    /// Enough is being freed there.
    Waiting {
        node: NodeId,
    },
    /// The spec should not have been accepted.
    Invalid(PlacementError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoSuitableNode(tally) => fmt::Display::fmt(tally, f),
            Refusal::Waiting { node } => write!(f, "waiting for tasks to stop on node {node}"),
            Refusal::Invalid(error) => write!(f, "no suitable node ({error})"),
        }
    }
}

/// One node's answer to a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub node: NodeId,
    /// `None`: the task could run there.
    pub reason: Option<Reason>,
    /// In front of the reason in a tally; `None` with it.
    pub filter: Option<crate::Filter>,
    /// Recent failures of the service there, if there are enough to make it the last choice.
    pub failures: usize,
}
