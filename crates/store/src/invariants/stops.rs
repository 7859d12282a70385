//! States that only grow, and stops that have a reason.

use super::{Note, Rule};
use crate::{Event, EventKind, Object, Snapshot};
use types::swarm::extension::Stop;
use types::swarm::node::{Availability, NodeState};
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};

/// Of every updated task: neither state is behind what it was.
pub(super) fn check_growth(events: &[Event]) -> Vec<Note> {
    let shrunk = events.iter().filter_map(|event| match (&event.object, &event.old) {
        (Object::Task(new), Some(Object::Task(old)))
            if new.status.state < old.status.state || new.desired_state < old.desired_state =>
        {
            let word = |task: &Task| {
                format!("{}/{}", task.status.state.as_str(), task.desired_state.as_str())
            };
            let detail = format!("{} to {}", word(old), word(new));
            Some(Note::new(Rule::StatesGrow, &new.id, detail))
        }
        _ => None,
    });
    shrunk.collect()
}

/// Of every task that was asked to stop, or removed: the state must bear out the reason given.
pub(super) fn check_reasons(before: &Snapshot, after: &Snapshot, events: &[Event]) -> Vec<Note> {
    let mut notes = Vec::new();
    for event in events {
        match (event.kind, &event.object, &event.old) {
            (EventKind::Updated, Object::Task(new), Some(Object::Task(old)))
                if old.desired_state <= TaskState::Complete
                    && new.desired_state > TaskState::Complete
                    && !new.service_id.as_str().is_empty() =>
            {
                if let Some(detail) = unfounded(before, after, new) {
                    notes.push(Note::new(Rule::StoppedForAReason, &new.id, detail));
                }
            }
            (EventKind::Removed, Object::Task(task), _) if runs_unasked(after, task) => {
                let detail = format!("removed while {}", task.status.state.as_str());
                notes.push(Note::new(Rule::StoppedForAReason, &task.id, detail));
            }
            _ => {}
        }
    }
    notes
}

/// Whether the task was removed while an agent may run it. An attachment runs on none.
fn runs_unasked(after: &Snapshot, task: &Task) -> bool {
    let assigned = task.status.state >= TaskState::Assigned && !task.status.state.is_terminal();
    assigned && !task.is_attachment() && after.nodes().get(task.node_id.as_str()).is_some()
}

/// What is wrong with the reason of this stop; `None` if it holds.
fn unfounded(before: &Snapshot, after: &Snapshot, task: &Task) -> Option<String> {
    if task.status.state.is_terminal() {
        return None; // nothing stops
    }
    let Some(stop) = task.record.stop else { return Some("no reason given".to_owned()) };
    let holds = holds(before, after, task, stop);
    (!holds).then(|| format!("it says {stop:?}, which is not so"))
}

fn holds(before: &Snapshot, after: &Snapshot, task: &Task, stop: Stop) -> bool {
    let service = after.services().get(task.service_id.as_str());
    let node = after.nodes().get(task.node_id.as_str());
    match stop {
        Stop::Ended => task.status.state.is_terminal(),
        Stop::Drained => node.is_some_and(|node| node.spec.availability == Availability::Drain),
        Stop::NodeDown => node.is_some_and(|node| node.status.state != NodeState::Ready),
        Stop::NodeRemoved => node.is_none(),
        Stop::Misfit => service.is_some_and(|service| has_constraints(service)),
        Stop::Updated => service.is_some_and(|service| differs(service, task)),
        Stop::Superseded => has_other(before, after, task, |other| {
            other.record.run > task.record.run && other.status.state == TaskState::Running
                || other.job_iteration == task.job_iteration
                    && other.status.state == TaskState::Complete
                    && service.is_some_and(|service| is_job(service))
        }),
        Stop::MoveFailed => has_other(before, after, task, |other| {
            other.record.run < task.record.run && !other.status.state.is_terminal()
        }),
        Stop::ScaledDown => service.is_some_and(|service| is_surplus(after, service, task)),
        Stop::ServicePaused => service
            .and_then(|service| service.spec.sampan.as_ref())
            .is_some_and(|wishes| wishes.paused),
        Stop::ServiceRemoved => service.is_none(),
        Stop::NewRun => service.is_some_and(|service| {
            service.job_status.as_ref().map(|job| job.job_iteration) != task.job_iteration
        }),
        Stop::Preempted => service.is_some_and(|service| is_outranked(after, service)),
    }
}

/// Whether a task of a higher priority waits for a node, and may preempt.
fn is_outranked(after: &Snapshot, service: &Service) -> bool {
    let placement = |service: &Service| {
        service.spec.sampan.as_ref().and_then(|wishes| wishes.placement.clone()).unwrap_or_default()
    };
    let own = placement(service).priority;
    let mut waiting = after.tasks().iter().filter(|task| {
        task.status.state <= TaskState::Pending && task.desired_state <= TaskState::Complete
    });
    waiting.any(|task| {
        let other = after.services().get(task.service_id.as_str()).map(|other| placement(other));
        other.is_some_and(|other| other.preempt && other.priority > own)
    })
}

fn is_job(service: &Service) -> bool {
    service.spec.mode.replicated_job.is_some() || service.spec.mode.global_job.is_some()
}

fn has_constraints(service: &Service) -> bool {
    let placement = service.spec.task_template.placement.as_ref();
    placement.is_some_and(|placement| {
        !placement.constraints.is_empty() || !placement.platforms.is_empty()
    })
}

/// Whether the task was made from something else than the service says now.
fn differs(service: &Service, task: &Task) -> bool {
    let ports = service.spec.endpoint_spec.iter().flat_map(|endpoint| &endpoint.ports);
    *task.spec != service.spec.task_template
        || !ports.filter(|port| port.publish_mode == "host").eq(&task.record.host_ports)
}

fn has_other(
    before: &Snapshot,
    after: &Snapshot,
    task: &Task,
    is_it: impl Fn(&Task) -> bool,
) -> bool {
    let mut others = before
        .tasks_of_slot(&task.service_id, task.slot)
        .chain(after.tasks_of_slot(&task.service_id, task.slot));
    others.any(|other| other.id != task.id && is_it(other))
}

/// Whether the service asks for fewer slots than it would have with this one.
fn is_surplus(after: &Snapshot, service: &Service, task: &Task) -> bool {
    let mode = &service.spec.mode;
    if mode.global.is_some() || mode.global_job.is_some() {
        return false;
    }
    let wanted = match &mode.replicated_job {
        Some(job) => job.max_concurrent.unwrap_or(1),
        None => mode.replicated.as_ref().and_then(|it| it.replicas).unwrap_or(1),
    };
    let mut slots: Vec<u64> = after
        .tasks_of_service(&service.id)
        .filter(|other| other.desired_state <= TaskState::Complete && other.slot != task.slot)
        .map(|other| other.slot)
        .collect();
    slots.dedup();
    slots.len() as u64 >= wanted
}
