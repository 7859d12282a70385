//! What actions and statuses mean for the objects, so that every shell writes the same.
//!
//! Still pure: ids and time come in. The shell wraps the results in a transaction.

use crate::action::{Action, NewTask, SpecSource};
use crate::deployment;
use std::sync::Arc;
use types::swarm::Meta;
use types::swarm::extension::TaskRecord;
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskSpec, TaskState, TaskStatus};
use types::{TaskId, Timestamp};

/// The task that `CreateTask` asks for. `tasks` are the service's: one template is shared by all tasks made
/// from it. Ids are minted by the caller.
pub fn new_task(
    service: &Service,
    tasks: &[&Task],
    new: &NewTask,
    id: TaskId,
    now: Timestamp,
) -> Task {
    let source = match &new.spec {
        SpecSource::Service => None,
        SpecSource::SameAs(other) => tasks.iter().find(|task| task.id == *other),
    };
    let host_ports = source.map_or(&new.record.host_ports, |task| &task.record.host_ports).clone();
    Task {
        id,
        meta: Meta { created_at: now, updated_at: now, ..Meta::default() },
        spec: source.map_or_else(|| shared_template(service, tasks), |task| Arc::clone(&task.spec)),
        service_id: service.id.clone(),
        slot: new.slot,
        node_id: new.node.clone().unwrap_or_default(),
        status: TaskStatus {
            timestamp: now,
            state: TaskState::New,
            message: "created".to_owned(),
            ..TaskStatus::default()
        },
        desired_state: new.desired,
        spec_version: Some(service.meta.version),
        job_iteration: new.job_iteration,
        record: TaskRecord { host_ports, ..new.record.clone() },
        ..Task::default()
    }
}

fn shared_template(service: &Service, tasks: &[&Task]) -> Arc<TaskSpec> {
    let twin = tasks.iter().rev().find(|task| *task.spec == service.spec.task_template);
    twin.map_or_else(|| Arc::new(service.spec.task_template.clone()), |task| Arc::clone(&task.spec))
}

/// The task after an action that concerns it; `None` if nothing changes. Deleting is the caller's.
pub fn to_task(task: &Task, action: &Action, now: Timestamp) -> Option<Task> {
    match action {
        Action::SetDesired { task: id, desired, stop } if *id == task.id => {
            if *desired <= task.desired_state {
                return None;
            }
            let stop = stop.or(task.record.stop);
            let record = TaskRecord { stop, ..task.record.clone() };
            Some(Task { desired_state: *desired, record, ..task.clone() })
        }
        Action::Orphan { task: id, message } if *id == task.id => {
            let status = TaskStatus {
                timestamp: now,
                state: TaskState::Orphaned,
                message: (*message).to_owned(),
                ..task.status.clone()
            };
            with_status(task, status, now)
        }
        _ => None,
    }
}

/// The service after an action that concerns it; `None` if none does.
pub fn to_service(service: &Service, action: &Action) -> Option<Service> {
    let mut after = service.clone();
    let mut record = service.record.clone().unwrap_or_default();
    match action {
        Action::SetUpdate { number, status, because } => {
            record.update = *number;
            deployment::follow(&mut record, status, because);
            after.update_status = Some(status.clone());
        }
        Action::RollBack { number, status, because } => {
            record.update = *number;
            deployment::follow(&mut record, status, because);
            after.update_status = Some(status.clone());
            after.spec = after.previous_spec.take()?;
        }
        Action::Converged { at } => deployment::converged(&mut record, *at),
        Action::SetJob { status } => after.job_status = Some(status.clone()),
        Action::SetSchedule { last_fire, skipped } => {
            record.last_fire = *last_fire;
            record.skipped = *skipped;
        }
        _ => return None,
    }
    after.record = Some(record);
    Some(after)
}

/// The task after its agent (or the scheduler) reported `status`; `None` for what is old: states only grow.
/// Notes when a manager saw it run and end, since an agent's clock may be anything.
pub fn with_status(task: &Task, status: TaskStatus, now: Timestamp) -> Option<Task> {
    let (old, new) = (task.status.state, status.state);
    if new < old || old.is_terminal() || status == task.status {
        return None;
    }
    let mut record = task.record.clone();
    if new == TaskState::Running && record.running_at.is_zero() {
        record.running_at = now;
    }
    if new.is_terminal() && !old.is_terminal() {
        record.ended_at = now;
    }
    Some(Task { status, record, ..task.clone() })
}
