//! How a deployment stands: one service of it at a time.
//!
//! ```text
//! underway ──► converged                       every slot runs (or is complete) with the wanted spec
//!    │  ▲
//!    ▼  │      a slot ended that often in a row; it may still come right while others are underway
//! failing ───► failed                          the update was paused or rolled back, or nothing is underway any more
//! ```

use std::collections::{BTreeMap, BTreeSet};
use types::Timestamp;
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};

/// Ends in a row of one slot after which it is failing, unless the service gives up sooner. A service that needs another
/// one may well end a few times before that one is there.
const PATIENCE: usize = 4;

/// How a service of a deployment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// What keeps it, as far as the cluster says.
    Underway(String),
    Converged,
    /// Its tasks end again and again: why.
    Failing(String),
    /// It will not come to be: why.
    Failed(String),
}

/// What the deployment asked of a service: the state of its last update is this deployment's only if it asked for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Nothing,
    Update,
    Rollback,
}

/// How many tasks are where they should be, of how many; None for a global service that has no task yet.
pub fn progress(service: &Service, current: &[&Task]) -> (u64, Option<u64>) {
    let mode = &service.spec.mode;
    let is_job = mode.replicated_job.is_some() || mode.global_job.is_some();
    let target = if is_job { TaskState::Complete } else { TaskState::Running };
    let iteration = service.job_status.as_ref().map(|status| status.job_iteration);
    let wanted = |task: &&&Task| {
        task.desired_state <= target && (!is_job || task.job_iteration == iteration)
    };
    let slots = |state: Option<TaskState>| {
        let tasks = current.iter().filter(wanted);
        let tasks = tasks.filter(|task| state.is_none_or(|state| task.status.state == state));
        let slots: BTreeSet<_> = tasks.map(|task| slot(task)).collect();
        slots.len() as u64
    };
    let wished = mode.replicated.as_ref().map(|mode| mode.replicas.unwrap_or(1)).or_else(|| {
        let job = mode.replicated_job.as_ref()?;
        Some(job.total_completions.or(job.max_concurrent).unwrap_or(1))
    });
    let all = slots(None);
    (slots(Some(target)), wished.or((all > 0).then_some(all)))
}

/// Judges a service. `current` are its tasks of the wanted spec, `all` these and the others; `recorded` is what the
/// managers wrote down of why its deployment did not complete, which outlives the tasks.
pub fn judge(
    service: &Service,
    current: &[&Task],
    all: &[&Task],
    recorded: Option<&str>,
    asked: Asked,
) -> Verdict {
    let failure = |all: &[&Task]| recorded.map(str::to_owned).or_else(|| failure(all));
    let status = service.update_status.as_ref().filter(|_| asked != Asked::Nothing);
    let message = status.map_or("", |status| status.message.as_str());
    match status.map_or("", |status| status.state.as_str()) {
        "rollback_completed" if asked == Asked::Rollback => {}
        "rollback_completed" => return Verdict::Failed(with(failure(all), "update rolled back")),
        "rollback_started" => return Verdict::Underway("rolling back".to_owned()),
        "rollback_paused" => return Verdict::Failed(with(failure(all), "rollback paused")),
        "paused" => return Verdict::Failed(with(failure(all), message)),
        _ => {}
    }
    let updating = status.is_some_and(|status| status.state == "updating");
    let scheduled = service.spec.sampan.as_ref().is_some_and(|wish| wish.schedule.is_some());
    let (there, wanted) = progress(service, current);
    if scheduled || (!updating && wanted.is_some_and(|wanted| there >= wanted)) {
        return Verdict::Converged;
    }
    // what failed before this update is not its failure, though the spec may be the same
    let since = status.filter(|_| updating).and_then(|status| status.started_at);
    if let Some(reason) = failing(service, current, since) {
        return Verdict::Failing(reason);
    }
    Verdict::Underway(pending(current).unwrap_or_default())
}

fn slot(task: &Task) -> (u64, &str) {
    (task.slot, if task.slot == 0 { task.node_id.as_str() } else { "" })
}

fn with(reason: Option<String>, what: &str) -> String {
    match reason {
        Some(reason) => format!("{what}: {reason}"),
        None => what.to_owned(),
    }
}

fn failed(task: &Task) -> bool {
    matches!(task.status.state, TaskState::Failed | TaskState::Rejected)
}

/// Why the newest task that failed did so.
fn failure(tasks: &[&Task]) -> Option<String> {
    let newest =
        tasks.iter().filter(|task| failed(task)).max_by_key(|task| task.meta.created_at)?;
    Some(reason(newest))
}

fn reason(task: &Task) -> String {
    let words = [&task.status.err, &task.status.message];
    words.into_iter().find(|words| !words.is_empty()).cloned().unwrap_or_default()
}

/// Why a task waits, such as `no suitable node`.
fn pending(tasks: &[&Task]) -> Option<String> {
    let waits = |task: &&&Task| !task.status.state.is_terminal() && !task.status.err.is_empty();
    tasks.iter().find(waits).map(|task| task.status.err.clone())
}

/// Why a slot ended, if it did so more often than one bears, the last time in a task made since then.
fn failing(service: &Service, current: &[&Task], since: Option<Timestamp>) -> Option<String> {
    let policy = service.spec.task_template.restart_policy.as_ref();
    let bears = match policy.map(|policy| (policy.condition.as_str(), policy.max_attempts)) {
        Some(("none", _)) => 1,
        Some((_, Some(attempts @ 1..))) => PATIENCE.min(attempts as usize + 1),
        _ => PATIENCE,
    };
    let mut slots: BTreeMap<_, Vec<&Task>> = BTreeMap::new();
    for task in current {
        slots.entry(slot(task)).or_default().push(task);
    }
    for mut tasks in slots.into_values() {
        tasks.sort_by_key(|task| std::cmp::Reverse(task.meta.created_at));
        let ended = tasks.iter().skip_while(|task| task.status.state < TaskState::Running);
        let ends: Vec<&&Task> = ended.take_while(|task| failed(task)).collect();
        let newest = ends.first().filter(|newest| since <= Some(newest.meta.created_at));
        if let Some(newest) = newest.filter(|_| ends.len() >= bears) {
            return Some(reason(newest));
        }
    }
    None
}
