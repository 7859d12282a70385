//! How far a service is: what `docker service ls` shows and `--detach=false` waits for.

use crate::policy::Mode;
use crate::task::is_dirty;
use crate::update::UpdateState;
use std::collections::BTreeSet;
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};

/// Counts of slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub running: u64,
    pub desired: u64,
    pub completed: u64,
    /// Nothing is left to do: all run with the service's spec and no update is under way, or, for a job,
    /// all are complete.
    pub converged: bool,
}

/// Counts the service's tasks. For global services the desired number is that of the wanted tasks.
pub fn progress(service: &Service, tasks: &[&Task]) -> Progress {
    let mode = Mode::of(&service.spec);
    let target = mode.target();
    let index = service.job_status.as_ref().map(|status| status.job_iteration.index);
    let current =
        |task: &&&Task| !mode.is_job() || task.job_iteration.map(|version| version.index) == index;
    let slot = |task: &Task| {
        (task.slot, if mode.is_global() { task.node_id.as_str() } else { "" }.to_owned())
    };
    let mine: Vec<&&Task> = tasks.iter().filter(current).collect();
    let count = |keep: &dyn Fn(&Task) -> bool| {
        let slots: BTreeSet<_> =
            mine.iter().filter(|task| keep(task)).map(|task| slot(task)).collect();
        slots.len() as u64
    };
    let runs =
        |task: &Task| task.desired_state <= target && task.status.state == TaskState::Running;
    let running = count(&runs);
    let completed = count(&|task| mode.is_job() && task.status.state == TaskState::Complete);
    let wanted = count(&|task| task.desired_state <= target);
    let desired = match mode {
        Mode::Replicated { replicas } => replicas,
        Mode::ReplicatedJob { total, .. } => total,
        Mode::Global | Mode::GlobalJob => wanted,
    };
    let paused = service.spec.sampan.as_ref().is_some_and(|wish| wish.paused);
    let desired = if paused { 0 } else { desired };
    let moving = matches!(
        UpdateState::of(service),
        Some(UpdateState::Updating | UpdateState::RollbackStarted)
    );
    let clean = count(&|task| runs(task) && !is_dirty(task, service));
    let converged = match mode.is_job() {
        true => completed >= desired && (index.is_some() || paused),
        false => clean >= desired && running <= desired && !moving,
    };
    Progress { running, desired, completed, converged }
}
