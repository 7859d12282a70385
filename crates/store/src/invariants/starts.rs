//! What may start: where nothing else of its slot is still stopping, and after what it depends on.

use super::slots::{is_wanted, may_overlap, may_run, replicas, returned_after, slot_of};
use super::{Note, Rule};
use crate::{Event, EventKind, Kind, Object, Snapshot};
use std::collections::BTreeSet;
use types::swarm::extension::DependencyCondition;
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};

/// A task may be started beside one that is wanted if the order of the service says so, and beside one that is
/// still stopping never.
pub(super) fn check(before: &Snapshot, after: &Snapshot, events: &[Event]) -> Vec<Note> {
    let mut notes = Vec::new();
    for (place, task) in events.iter().enumerate().filter_map(|(at, it)| Some((at, started(it)?))) {
        let later = events.get(place + 1..).unwrap_or_default();
        let Some(service) = after.services().get(task.service_id.as_str()) else { continue };
        notes.extend(unmet([before, after], service).map(|name| {
            let detail = format!("{} starts before {name}", task.id);
            Note::new(Rule::DependenciesMet, &service.spec.name, detail)
        }));
        let slot = slot_of(task);
        let beside = after.tasks_of_slot(&task.service_id, task.slot).find(|other| {
            other.id != task.id
                && other.job_iteration == task.job_iteration
                && slot_of(other) == slot
                && may_run(after, other)
                && !(was_wanted(other, later) && may_overlap(service))
                && !returned_after(after, other, task)
        });
        notes.extend(beside.map(|other| {
            let shown = format!("{}.{slot}", service.spec.name);
            let how = if is_wanted(other) { "wanted" } else { "still stopping" };
            let detail = format!("{} starts beside {}, which is {how}", task.id, other.id);
            Note::new(Rule::OneLivePerSlot, shown, detail)
        }));
    }
    notes
}

/// Whether the task was wanted before the `later` events of the entry: another decision of the same entry may have
/// stopped it since, such as a preemption.
fn was_wanted(task: &Task, later: &[Event]) -> bool {
    let of_task = later.iter().filter(|event| event.object.id() == task.id.as_str());
    let then = of_task.filter_map(|event| event.old.as_ref()).next();
    match then {
        Some(Object::Task(then)) => is_wanted(then),
        _ => is_wanted(task),
    }
}

/// The task that this event lets start.
fn started(event: &Event) -> Option<&Task> {
    let starts =
        |task: &Task| (TaskState::Running..=TaskState::Complete).contains(&task.desired_state);
    match (event.kind, &event.object, &event.old) {
        (EventKind::Created, Object::Task(new), _) if starts(new) => Some(new),
        (EventKind::Updated, Object::Task(new), Some(Object::Task(old)))
            if starts(new) && !starts(old) =>
        {
            Some(new)
        }
        _ => None,
    }
}

/// The first service that this one depends on and that was not nearly as it should be, before the step or after.
fn unmet<'a>(states: [&Snapshot; 2], service: &'a Service) -> Option<&'a String> {
    let mut wanted = service.spec.sampan.iter().flat_map(|wishes| &wishes.depends_on);
    let met = |name: &str, condition| states.iter().any(|state| is_met(state, name, condition));
    wanted.find(|(name, condition)| !met(name, **condition)).map(|(name, _)| name)
}

/// Generous: it counts what runs, whether it shall or not, and one good run as a whole job.
fn is_met(state: &Snapshot, name: &str, condition: DependencyCondition) -> bool {
    let id = state.id_of_name(Kind::Service, name);
    let Some(service) = id.and_then(|id| state.services().get(&id)) else { return false };
    let slots_in = |wanted: TaskState| {
        let tasks = state.tasks_of_service(&service.id);
        let slots: BTreeSet<_> =
            tasks.filter(|task| task.status.state == wanted).map(|task| slot_of(task)).collect();
        slots.len() as u64
    };
    let mode = &service.spec.mode;
    let job = mode.replicated_job.is_some() || mode.global_job.is_some();
    let paused = service.spec.sampan.as_ref().is_some_and(|wishes| wishes.paused);
    let none = |wanted: Option<u64>| paused || wanted == Some(0);
    match condition {
        DependencyCondition::Completed => {
            let total = mode
                .replicated_job
                .as_ref()
                .map(|job| job.total_completions.or(job.max_concurrent).unwrap_or(1));
            job && (slots_in(TaskState::Complete) > 0 || none(total) || total.is_none())
        }
        DependencyCondition::Healthy => {
            !job && replicas(service)
                .is_none_or(|replicas| paused || slots_in(TaskState::Running) >= replicas)
        }
        DependencyCondition::Started => {
            slots_in(TaskState::Running) > 0
                || slots_in(TaskState::Complete) > 0
                || replicas(service).is_none_or(|replicas| none(Some(replicas)))
        }
    }
}
