//! How many tasks of a slot live at once, and how many slots an update leaves healthy.

use super::{Note, Rule, is_started, on_ready_node};
use crate::{Event, EventKind, Object, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::ServiceId;
use types::swarm::Version;
use types::swarm::extension::Stop;
use types::swarm::node::{Availability, NodeState};
use types::swarm::service::{Service, UpdateConfig};
use types::swarm::task::{Task, TaskState};

/// A service's slot, in one run of a job.
type Place<'a> = (&'a ServiceId, Option<Version>, String);

/// The number of a replica, or the node of a global service's task.
pub(super) fn slot_of(task: &Task) -> String {
    if task.slot == 0 { task.node_id.to_string() } else { task.slot.to_string() }
}

/// The one that is wanted, and the one that it came beside: whether it may have is asked when it starts, for the
/// order of the service may be another by now.
const MOST_LIVE: usize = 2;

/// More started tasks in one slot than that, but for those of a node that was away while its task was replaced.
pub(super) fn check_live(state: &Snapshot) -> Vec<Note> {
    let mut notes = Vec::new();
    // Runs of a job are apart: a new one does not wait for the old one's tasks to stop.
    let mut slots: BTreeMap<Place<'_>, Vec<&Arc<Task>>> = BTreeMap::new();
    let of_services = state.tasks().iter().filter(|task| !task.service_id.as_str().is_empty());
    for task in of_services.filter(|task| is_started(task) && on_ready_node(state, task)) {
        if task.node_id.as_str().is_empty() {
            continue;
        }
        slots.entry((&task.service_id, task.job_iteration, slot_of(task))).or_default().push(task);
    }
    for ((service, _, slot), tasks) in slots {
        let Some(service) = state.services().get(service.as_str()) else { continue };
        let counted = tasks.iter().filter(|task| !is_left_over(state, task, &tasks)).count();
        if counted > MOST_LIVE {
            let ids: Vec<_> = tasks.iter().map(|task| task.id.as_str()).collect();
            let shown = format!("{}.{slot}", service.spec.name);
            notes.push(Note::new(Rule::OneLivePerSlot, shown, ids.join(", ")));
        }
    }
    notes
}

pub(super) fn is_wanted(task: &Task) -> bool {
    task.desired_state <= TaskState::Complete
}

/// Whether one of the two was on a node that went away and came back after the other was made: then both
/// run until the agent has heard of it.
pub(super) fn was_away(state: &Snapshot, one: &Task, two: &Task) -> bool {
    let (older, newer) =
        if one.meta.created_at <= two.meta.created_at { (one, two) } else { (two, one) };
    returned_after(state, older, newer)
}

pub(super) fn returned_after(state: &Snapshot, older: &Task, newer: &Task) -> bool {
    let node = state.nodes().get(older.node_id.as_str());
    let Some(record) = node.and_then(|node| node.record.as_ref()) else { return false };
    older.desired_state > TaskState::Running && record.state_since >= newer.meta.created_at
        || matches!(older.record.stop, Some(Stop::NodeDown | Stop::NodeRemoved))
}

fn is_left_over(state: &Snapshot, task: &Task, others: &[&Arc<Task>]) -> bool {
    task.desired_state > TaskState::Running
        && others.iter().any(|other| other.id != task.id && returned_after(state, task, other))
}

/// Whether a slot may have its new task beside its old one.
pub(super) fn may_overlap(service: &Service) -> bool {
    let start_first =
        |config: &Option<UpdateConfig>| config.as_ref().is_some_and(|c| c.order == "start-first");
    let wishes = service.spec.sampan.as_ref();
    let previous = service.previous_spec.as_ref();
    start_first(&service.spec.update_config)
        || start_first(&service.spec.rollback_config)
        || previous.is_some_and(|spec| start_first(&spec.update_config))
        || wishes.is_some_and(|wishes| wishes.rebalance.is_some() || wishes.capacity.is_some())
}

/// An entry by which an update stops running tasks must leave what was promised: with a capacity, that many
/// slots running; without, no more slots than `parallelism` changing at once. (Docker's promise goes no
/// further: slots that fail by themselves come on top.)
pub(super) fn check_health(before: &Snapshot, after: &Snapshot, events: &[Event]) -> Vec<Note> {
    let stopped: BTreeSet<&ServiceId> = events.iter().filter_map(stopped_by_update).collect();
    let mut notes = Vec::new();
    for service in stopped.into_iter().filter_map(|id| after.services().get(id.as_str())) {
        let detail = match capacity(service) {
            Some(least) => {
                let least = least.min(possible(after, service));
                let (had, has) = (healthy(before, service), healthy(after, service));
                (has < had && has < least)
                    .then(|| format!("{had} slots ran, {has} are left, at least {least} must"))
            }
            None => {
                let (changing, most) = (changing(after, service), parallelism(service));
                (changing > most).then(|| format!("{changing} slots change at once, {most} may"))
            }
        };
        notes.extend(detail.map(|it| Note::new(Rule::MinimumHealthy, &service.spec.name, it)));
    }
    notes
}

fn stopped_by_update(event: &Event) -> Option<&ServiceId> {
    match (event.kind, &event.object, &event.old) {
        (EventKind::Updated, Object::Task(new), Some(Object::Task(old)))
            if old.desired_state <= TaskState::Running
                && new.desired_state > TaskState::Running
                && old.status.state == TaskState::Running
                && new.record.stop == Some(Stop::Updated) =>
        {
            Some(&new.service_id)
        }
        _ => None,
    }
}

/// Of replicated services; the others have no such number.
pub(super) fn replicas(service: &Service) -> Option<u64> {
    let mode = &service.spec.mode;
    if mode.global.is_some() || mode.replicated_job.is_some() || mode.global_job.is_some() {
        return None;
    }
    Some(mode.replicated.as_ref().and_then(|replicated| replicated.replicas).unwrap_or(1))
}

/// Slots with a task that runs and shall.
fn healthy(state: &Snapshot, service: &Service) -> u64 {
    let runs = |task: &&Arc<Task>| {
        task.status.state == TaskState::Running && task.desired_state == TaskState::Running
    };
    let slots: BTreeSet<u64> =
        state.tasks_of_service(&service.id).filter(runs).map(|task| task.slot).collect();
    slots.len() as u64
}

/// The least number of slots that must run, if the service sets one.
fn capacity(service: &Service) -> Option<u64> {
    let capacity = service.spec.sampan.as_ref()?.capacity?;
    let replicas = replicas(service)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a number of replicas"
    )]
    let least = (replicas as f64 * capacity.minimum_health.clamp(0.0, 1.0)).ceil() as u64;
    Some(least)
}

/// Where nodes take a number of its tasks only, no more can run, and one may always stop to make room. Which nodes
/// meet constraints is not asked here.
fn possible(state: &Snapshot, service: &Service) -> u64 {
    let ports = service.spec.endpoint_spec.iter().flat_map(|endpoint| &endpoint.ports);
    let binds = ports.filter(|port| port.publish_mode == "host").count() > 0;
    let placement = service.spec.task_template.placement.clone().unwrap_or_default();
    let each = if binds { 1 } else { placement.max_replicas };
    if each == 0 {
        return u64::MAX;
    }
    if !placement.constraints.is_empty() || !placement.platforms.is_empty() {
        return 0;
    }
    let open = state.nodes().iter().filter(|node| {
        node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
    });
    let most = open.count() as u64 * each;
    replicas(service).map_or(most, |replicas| replicas.min(most)).saturating_sub(1)
}

/// Slots whose old task the update in progress has stopped and whose new one does not run yet. A node that
/// is down holds nothing up, nor one that takes nothing new. A slot whose last old task failed by itself is not
/// one of them, though what an earlier update stopped there may still be stopping.
fn changing(state: &Snapshot, service: &Service) -> u64 {
    let number = service.record.as_ref().map_or(0, |record| record.update);
    let mut slots: BTreeMap<String, Vec<&Task>> = BTreeMap::new();
    for task in state.tasks_of_service(&service.id) {
        slots.entry(slot_of(task)).or_default().push(task);
    }
    let starts = |task: &Task| {
        let made = task.record.update == number && task.desired_state <= TaskState::Running;
        let may_start = task.node_id.as_str().is_empty() || on_open_node(state, task);
        made && may_start && task.status.state < TaskState::Running
    };
    let stops = |task: &Task| task.record.stop == Some(Stop::Updated) && may_run(state, task);
    let changes = |tasks: &&Vec<&Task>| {
        let old: Vec<&&Task> = tasks.iter().filter(|task| task.record.update < number).collect();
        let last = old.iter().max_by_key(|task| task.record.run);
        let failed = last.is_some_and(|last| last.record.stop == Some(Stop::Ended));
        !failed && old.iter().any(|task| stops(task)) && tasks.iter().any(|task| starts(task))
    };
    slots.values().filter(changes).count() as u64
}

/// Whether the task may yet run on the node it has, or is meant for.
fn on_open_node(state: &Snapshot, task: &Task) -> bool {
    let node = state.nodes().get(task.node_id.as_str());
    let open = node.is_some_and(|node| node.spec.availability == Availability::Active);
    on_ready_node(state, task) && (open || task.status.state >= TaskState::Assigned)
}

/// An agent that can be heard may run it.
pub(super) fn may_run(state: &Snapshot, task: &Task) -> bool {
    let given = task.status.state >= TaskState::Assigned && !task.status.state.is_terminal();
    given && on_ready_node(state, task)
}

fn parallelism(service: &Service) -> u64 {
    let rollback =
        service.update_status.as_ref().is_some_and(|status| status.state.starts_with("rollback"));
    let spec = &service.spec;
    let config = if rollback { &spec.rollback_config } else { &spec.update_config };
    match config.as_ref().map_or(1, |config| config.parallelism) {
        0 => u64::MAX,
        most => most,
    }
}
