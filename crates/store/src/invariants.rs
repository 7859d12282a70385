//! What must hold of any state and any step, whoever decided it. Tests, the simulation and a running
//! manager ask the same questions.
//!
//! `check` reads one snapshot, `check_step` what one entry did to it. Both only note; they mend nothing.

mod owners;
mod slots;
mod starts;
mod stops;

use crate::{Event, Snapshot};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use types::Timestamp;
use types::swarm::node::NodeState;
use types::swarm::task::{Task, TaskState};

/// A task may wait this long for a node before it must say why.
const MAY_WAIT_UNEXPLAINED: Duration = Duration::from_secs(60);
/// Ended tasks a slot may hold beyond its limit while the reaper is behind.
const REAPER_SLACK: usize = 16;

/// A sentence that does not hold, and of what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    pub rule: Rule,
    pub object: String,
    pub detail: String,
}

impl Note {
    fn new(rule: Rule, object: impl fmt::Display, detail: impl fmt::Display) -> Note {
        Note { rule, object: object.to_string(), detail: detail.to_string() }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.rule.sentence(), self.object, self.detail)
    }
}

/// The sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    StatesGrow,
    OneLivePerSlot,
    MinimumHealthy,
    OwnedOnce,
    StoppedForAReason,
    PendingExplained,
    HistoryBounded,
    DependenciesMet,
    Converges,
}

impl Rule {
    pub const fn sentence(self) -> &'static str {
        match self {
            Rule::StatesGrow => "a task's states only grow",
            Rule::OneLivePerSlot => "a slot has no more live tasks than its update order allows",
            Rule::MinimumHealthy => "an update keeps its minimum healthy",
            Rule::OwnedOnce => "an address, a VIP, a port or a VNI has one owner",
            Rule::StoppedForAReason => "nothing stops without a committed reason",
            Rule::PendingExplained => "a pending task says why",
            Rule::HistoryBounded => "ended tasks are reaped",
            Rule::DependenciesMet => "nothing starts before what it depends on",
            Rule::Converges => "every service converges once faults stop",
        }
    }
}

/// Everything that does not hold of `state` at `now`. None for a healthy cluster.
pub fn check(state: &Snapshot, now: Timestamp) -> Vec<Note> {
    let mut notes = slots::check_live(state);
    notes.extend(owners::check(state));
    notes.extend(check_pending(state, now));
    notes.extend(check_history(state, REAPER_SLACK));
    notes
}

/// Everything that does not hold of the step from `before` to `after` by `events`.
pub fn check_step(before: &Snapshot, after: &Snapshot, events: &[Event]) -> Vec<Note> {
    let mut notes = stops::check_growth(events);
    notes.extend(stops::check_reasons(before, after, events));
    notes.extend(starts::check(before, after, events));
    notes.extend(slots::check_health(before, after, events));
    notes
}

/// Ended tasks beyond the history limit by more than `slack` in some slot.
pub fn check_history(state: &Snapshot, slack: usize) -> Vec<Note> {
    let limit = state
        .clusters()
        .iter()
        .next()
        .and_then(|cluster| cluster.spec.orchestration.task_history_retention_limit)
        .unwrap_or(5);
    let Ok(limit) = usize::try_from(limit) else { return Vec::new() };
    let mut ended: BTreeMap<(&str, Option<u64>, String), usize> = BTreeMap::new();
    let of_services = state.tasks().iter().filter(|task| !task.service_id.as_str().is_empty());
    for task in of_services.filter(|task| task.status.state.is_terminal()) {
        let run = task.job_iteration.map(|iteration| iteration.index);
        *ended.entry((task.service_id.as_str(), run, slots::slot_of(task))).or_default() += 1;
    }
    let many = ended.into_iter().filter(|(_, count)| *count > limit + slack);
    many.map(|((service, _, slot), count)| {
        Note::new(Rule::HistoryBounded, format!("{service}.{slot}"), format!("{count} ended tasks"))
    })
    .collect()
}

/// Starting or running, as its agent says.
fn is_started(task: &Task) -> bool {
    matches!(task.status.state, TaskState::Starting | TaskState::Running)
}

fn on_ready_node(state: &Snapshot, task: &Task) -> bool {
    let node = state.nodes().get(task.node_id.as_str());
    node.is_some_and(|node| node.status.state == NodeState::Ready)
}

fn check_pending(state: &Snapshot, now: Timestamp) -> Vec<Note> {
    let waits = |task: &&Arc<Task>| {
        task.node_id.as_str().is_empty()
            && task.status.state <= TaskState::Pending
            && task.desired_state <= TaskState::Running
            && now.since(task.meta.created_at) > MAY_WAIT_UNEXPLAINED
            && task.status.err.is_empty()
            && task.status.message.is_empty()
    };
    let waiting = state.tasks().iter().filter(waits);
    waiting
        .map(|task| {
            let seconds = now.since(task.meta.created_at).as_secs();
            let detail = format!("{} for {seconds} s", task.status.state.as_str());
            Note::new(Rule::PendingExplained, &task.id, detail)
        })
        .collect()
}

#[cfg(test)]
mod tests;
