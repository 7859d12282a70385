//! Whether every service is at its spec. What its user, or a broken image, keeps from it is not asked for.

use crate::user::is_job;
use crate::world::World;
use std::collections::BTreeSet;
use store::Snapshot;
use store::invariants::{Note, Rule, check_history};
use types::swarm::node::{Availability, NodeState};
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};

/// What is still open.
pub(crate) fn open(world: &World) -> Vec<Note> {
    let state = world.store.state();
    let mut notes = Vec::new();
    for service in state.services().iter() {
        if let Some(detail) = service_open(state, service) {
            notes.push(note(&service.spec.name, detail));
        }
    }
    for task in state.tasks().iter() {
        let orphan = state.services().get(task.service_id.as_str()).is_none()
            && (task.node_id.as_str().is_empty() || is_ready(state, task));
        let unstopped = task.desired_state > TaskState::Complete
            && !task.status.state.is_terminal()
            && task.status.state >= TaskState::Assigned
            && is_ready(state, task); // what a lost machine had is orphaned a day later
        if orphan || unstopped {
            notes.push(note(task.id.as_str(), "is left over".to_owned()));
        }
    }
    for (node, agent) in &world.agents {
        for id in &agent.containers {
            let known = state.tasks().get(id.as_str());
            if known.is_none_or(|task| task.status.state.is_terminal()) {
                notes.push(note(id.as_str(), format!("still runs on {node}")));
            }
        }
    }
    notes.extend(check_history(state, 1));
    notes
}

fn note(object: &str, detail: String) -> Note {
    Note { rule: Rule::Converges, object: object.to_owned(), detail }
}

fn service_open(state: &Snapshot, service: &Service) -> Option<String> {
    let tasks: Vec<&Task> = state.tasks_of_service(&service.id).map(|task| &**task).collect();
    if service.spec.sampan.as_ref().is_some_and(|wishes| wishes.paused) {
        let live = tasks.iter().filter(|task| is_live(task) && is_ready(state, task)).count();
        return (live > 0).then(|| format!("paused, and {live} tasks live"));
    }
    let update = service.update_status.as_ref().map_or("", |status| status.state.as_str());
    if update.ends_with("paused") || !is_sound(service) {
        return None;
    }
    if is_job(&service.spec.mode) {
        return job_open(state, service, &tasks);
    }
    let cramped = wanted(state, service).0 < wanted(state, service).1;
    if (update == "updating" || update == "rollback_started") && !cramped {
        return Some(format!("its update is {update}"));
    }
    let running: Vec<&&Task> =
        tasks.iter().filter(|task| is_running(task) && is_ready(state, task)).collect();
    let stale = running.iter().filter(|task| *task.spec != service.spec.task_template).count();
    if stale > 0 && !cramped {
        return Some(format!("{stale} tasks run an old spec"));
    }
    let drained = running.iter().filter(|task| !may_stay(state, task)).count();
    if drained > 0 {
        return Some(format!("{drained} tasks are on nodes that may not have them"));
    }
    let (wanted, most) = wanted(state, service);
    let slots: BTreeSet<(u64, &str)> = running
        .iter()
        .map(|task| (task.slot, if task.slot == 0 { task.node_id.as_str() } else { "" }))
        .collect();
    let has = slots.len() as u64;
    (has < wanted || has > most || running.len() > slots.len())
        .then(|| format!("{} tasks run in {has} slots, {wanted} are wanted", running.len()))
}

fn is_sound(service: &Service) -> bool {
    let image = service.spec.task_template.container_spec.as_ref().map(|c| c.image.as_str());
    let script = image.and_then(|image| image.split(':').next()).unwrap_or_default();
    matches!(script, "good" | "slow" | "job")
}

fn is_live(task: &Task) -> bool {
    task.status.state >= TaskState::Assigned && !task.status.state.is_terminal()
}

fn is_running(task: &Task) -> bool {
    task.status.state == TaskState::Running && task.desired_state == TaskState::Running
}

fn is_ready(state: &Snapshot, task: &Task) -> bool {
    let node = state.nodes().get(task.node_id.as_str());
    node.is_some_and(|node| node.status.state == NodeState::Ready)
}

fn may_stay(state: &Snapshot, task: &Task) -> bool {
    state.nodes().get(task.node_id.as_str()).is_some_and(|node| {
        node.status.state == NodeState::Ready && node.spec.availability != Availability::Drain
    })
}

/// At least and at most: a paused node keeps what it has and takes nothing; a host port is there once a
/// node, and all services here want the same.
fn wanted(state: &Snapshot, service: &Service) -> (u64, u64) {
    let nodes = |wanted: &[Availability]| {
        let ready = state.nodes().iter().filter(|node| node.status.state == NodeState::Ready);
        ready.filter(|node| wanted.contains(&node.spec.availability)).count() as u64
    };
    let active = nodes(&[Availability::Active]);
    let usable = nodes(&[Availability::Active, Availability::Pause]);
    let binds = service.spec.endpoint_spec.as_ref().is_some_and(|spec| !spec.ports.is_empty());
    let others =
        state.services().iter().filter(|other| other.id != service.id).any(|other| {
            other.spec.endpoint_spec.as_ref().is_some_and(|spec| !spec.ports.is_empty())
        });
    let replicas = match &service.spec.mode.replicated {
        _ if service.spec.mode.global.is_some() => {
            return (if binds && others { 0 } else { active }, usable);
        }
        Some(replicated) => replicated.replicas.unwrap_or(1),
        None => 1,
    };
    match (binds, others) {
        (false, _) => (replicas, replicas),
        (true, false) => (replicas.min(active), replicas),
        (true, true) => (0, replicas),
    }
}

fn job_open(state: &Snapshot, service: &Service, tasks: &[&Task]) -> Option<String> {
    let iteration = service.job_status.as_ref().map(|job| job.job_iteration);
    let complete = tasks
        .iter()
        .filter(|task| task.job_iteration == iteration && task.status.state == TaskState::Complete)
        .count() as u64;
    let binds = service.spec.endpoint_spec.as_ref().is_some_and(|spec| !spec.ports.is_empty());
    if binds {
        return None; // its port may be another service's
    }
    let wanted = match &service.spec.mode.replicated_job {
        Some(job) => job.total_completions.or(job.max_concurrent).unwrap_or(1),
        None => state
            .nodes()
            .iter()
            .filter(|node| node.status.state == NodeState::Ready)
            .filter(|node| node.spec.availability == Availability::Active)
            .count() as u64,
    };
    (complete < wanted).then(|| format!("{complete} of {wanted} runs are complete"))
}
