//! What a task's fields say, in one place.

use crate::policy::pending_until;
use std::time::Duration;
use types::Timestamp;
use types::swarm::service::{PortConfig, Service};
use types::swarm::task::{Task, TaskSpec, TaskState};

/// Whether nothing of the task can run any more: it has ended, or it was given up before an agent saw it.
pub fn is_dead(task: &Task) -> bool {
    task.status.state.is_terminal()
        || (task.desired_state > TaskState::Complete && task.status.state < TaskState::Assigned)
}

/// Whether it is wanted and has not ended.
pub(crate) fn is_live(task: &Task, target: TaskState) -> bool {
    task.desired_state <= target && !task.status.state.is_terminal()
}

/// Whether it ended of its own accord.
pub(crate) fn ended_itself(task: &Task) -> bool {
    matches!(task.status.state, TaskState::Complete | TaskState::Failed | TaskState::Rejected)
}

pub(crate) fn is_running(task: &Task) -> bool {
    task.status.state == TaskState::Running
}

/// When it was seen to run, else when it says it does.
pub(crate) fn running_at(task: &Task) -> Timestamp {
    if task.record.running_at.is_zero() && is_running(task) {
        return task.status.timestamp;
    }
    task.record.running_at
}

/// When it was seen to end, else when it says it did.
pub(crate) fn ended_at(task: &Task) -> Timestamp {
    if task.record.ended_at.is_zero() { task.status.timestamp } else { task.record.ended_at }
}

/// How long it ran; zero if it never did.
pub(crate) fn ran_for(task: &Task) -> Duration {
    ended_at(task).since(running_at(task))
}

/// The ports of the node that a task of this service would hold.
pub fn host_ports(service: &Service) -> Vec<PortConfig> {
    let ports = service.spec.endpoint_spec.as_ref().map_or(&[][..], |endpoint| &endpoint.ports);
    ports.iter().filter(|port| port.publish_mode == "host").cloned().collect()
}

/// Whether the task was made from another template or with other host ports than the service's. Ports
/// in the ingress need no new tasks.
pub fn is_dirty(task: &Task, service: &Service) -> bool {
    task.record.host_ports != host_ports(service)
        || differs(&task.spec, &service.spec.task_template)
}

/// Whether tasks of one template must make way for tasks of the other. A registry's credential is for the next pull:
/// a new one replaces nothing.
pub(crate) fn differs(one: &TaskSpec, two: &TaskSpec) -> bool {
    if one == two {
        return false;
    }
    let credential = |spec: &TaskSpec| {
        let container = spec.container_spec.as_ref();
        container.and_then(|container| container.pull_options.clone())
    };
    if credential(one) == credential(two) {
        return true;
    }
    without_credential(one) != without_credential(two)
}

/// What tasks are made from, but for the registry's credential.
pub(crate) fn without_credential(spec: &TaskSpec) -> TaskSpec {
    let mut bare = spec.clone();
    if let Some(container) = &mut bare.container_spec {
        container.pull_options = None;
    }
    bare
}

/// When `wait` after the task's run or end is over, if that is after `now`.
pub(crate) fn settles_at(task: &Task, wait: Duration, now: Timestamp) -> Option<Timestamp> {
    let start = if is_running(task) { running_at(task) } else { ended_at(task) };
    pending_until(start, wait, now)
}
