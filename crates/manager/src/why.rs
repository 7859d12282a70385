//! Why something is as it is: the orchestrator's waits and the scheduler's refusals, asked of the leader's loop.

mod words;

pub use words::{Explanation, Subject, explain, subject};

use crate::leader::desk::Desk;
use orchestrator::Waiting;
use scheduler::Verdict;
use store::Snapshot;
use tokio::sync::oneshot;
use types::{ServiceId, TaskId, Timestamp};

/// What the leader knows of a task or a service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Why {
    /// What the service (of the task) waits for, by slot.
    pub waits: Vec<Waiting>,
    /// Why the task has no node, in Docker's words.
    pub refusal: Option<String>,
    /// Each node's answer to a task that has none.
    pub verdicts: Vec<Verdict>,
    /// What the service could not be given: a port, an address.
    pub allocation: Option<String>,
}

/// A question on its way to the loop.
#[derive(Debug)]
pub(crate) struct Question {
    /// A task's or a service's full id.
    pub(crate) id: String,
    pub(crate) reply: oneshot::Sender<Why>,
}

pub(crate) fn answer(question: Question, desk: &mut Desk, state: &Snapshot, now: Timestamp) {
    let Question { id, reply } = question;
    let _ = reply.send(known(&id, desk, state, now)); // nobody waits for it any more
}

fn known(id: &str, desk: &mut Desk, state: &Snapshot, now: Timestamp) -> Why {
    let task = state.tasks().get(id);
    let service = task.map_or_else(|| ServiceId::new(id), |task| task.service_id.clone());
    let placed = task.filter(|task| task.node_id.as_str().is_empty());
    Why {
        waits: desk.waits(&service).to_vec(),
        refusal: desk.refused.get(&TaskId::new(id)).cloned(),
        verdicts: placed.and_then(|task| desk.scheduler.why(task, now).ok()).unwrap_or_default(),
        allocation: desk.stuck.get(&service).cloned(),
    }
}
