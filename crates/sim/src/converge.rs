//! Whether every service is at its spec. What its user, or a broken image, keeps from it is not asked for.

use crate::user::{CPUS, ROLE, ZONE, is_job};
use crate::world::World;
use orchestrator::is_dirty;
use std::collections::{BTreeMap, BTreeSet};
use store::Snapshot;
use store::invariants::{Note, Rule, check_history};
use types::swarm::Version;
use types::swarm::extension::DependencyCondition;
use types::swarm::node::{Availability, Node, NodeState, Role};
use types::swarm::service::{PortConfig, Service};
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
        for id in agent.running() {
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
    let (wanted, most) = wanted(state, service);
    let cramped = wanted < most;
    if (update == "updating" || update == "rollback_started") && !cramped {
        return Some(format!("its update is {update}"));
    }
    let running: Vec<&&Task> =
        tasks.iter().filter(|task| is_running(task) && is_ready(state, task)).collect();
    let stale = running.iter().filter(|task| is_dirty(task, service)).count();
    if stale > 0 && !cramped {
        return Some(format!("{stale} tasks run an old spec"));
    }
    let drained = running.iter().filter(|task| !may_stay(state, service, task)).count();
    if drained > 0 {
        return Some(format!("{drained} tasks are on nodes that may not have them"));
    }
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
    matches!(script, "good" | "well" | "slow" | "stubborn" | "job")
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

/// A task of another spec may wait there for its update, which may find no place for the new one.
fn may_stay(state: &Snapshot, service: &Service, task: &Task) -> bool {
    state.nodes().get(task.node_id.as_str()).is_some_and(|node| {
        node.status.state == NodeState::Ready
            && node.spec.availability != Availability::Drain
            && (fits(service, node) || is_dirty(task, service))
    })
}

/// Of the constraints that users here write.
fn fits(service: &Service, node: &Node) -> bool {
    let has = |attribute: &str| match attribute {
        ROLE if node.spec.role == Role::Manager => "manager",
        ROLE => "worker",
        _ => node.spec.labels.get(ZONE).map_or("", String::as_str),
    };
    let placement = service.spec.task_template.placement.as_ref();
    placement.iter().flat_map(|placement| &placement.constraints).all(|text| {
        match (text.split_once("=="), text.split_once("!=")) {
            (Some((attribute, value)), _) => has(attribute) == value,
            (_, Some((attribute, value))) => has(attribute) != value,
            _ => true,
        }
    })
}

/// Ready nodes that fit and take new tasks; and those too that keep what they have.
fn places(state: &Snapshot, service: &Service) -> (u64, u64) {
    let ready =
        |node: &&std::sync::Arc<Node>| node.status.state == NodeState::Ready && fits(service, node);
    let count = |wanted: &[Availability]| {
        let nodes = state.nodes().iter().filter(ready);
        nodes.filter(|node| wanted.contains(&node.spec.availability)).count() as u64
    };
    (count(&[Availability::Active]), count(&[Availability::Active, Availability::Pause]))
}

/// At least and at most so many slots run: a paused node keeps what it has and takes nothing.
fn wanted(state: &Snapshot, service: &Service) -> (u64, u64) {
    let (active, usable) = places(state, service);
    let most = match &service.spec.mode.replicated {
        _ if service.spec.mode.global.is_some() => usable,
        Some(replicated) => replicated.replicas.unwrap_or(1),
        None => 1,
    };
    let least = if service.spec.mode.global.is_some() { active } else { most };
    (if is_free(state, service) { least.min(room(service, active)) } else { 0 }, most)
}

/// For how many there is a place on so many nodes, if nobody else is in the way.
fn room(service: &Service, nodes: u64) -> u64 {
    if nodes == 0 {
        0
    } else if has_host_port(service) {
        nodes
    } else {
        u64::MAX
    }
}

/// Whether nothing but itself decides about it: no scarce thing that others have, no policy that gives up, and
/// what it depends on is in order.
fn is_free(state: &Snapshot, service: &Service) -> bool {
    let mut others = state.services().iter().filter(|other| other.id != service.id);
    let clash = others.any(|other| {
        has_host_port(service) && has_host_port(other)
            || reserves(service) && reserves(other)
            || fixed_port(service).is_some() && fixed_port(service) == fixed_port(other)
    });
    let restart = service.spec.task_template.restart_policy.as_ref();
    let gives_up = restart
        .is_some_and(|policy| policy.max_attempts.is_some() || policy.condition == "on-failure");
    let placement = service.spec.task_template.placement.as_ref();
    let wishes = service.spec.sampan.clone().unwrap_or_default();
    let fussy = placement.is_some_and(|placement| placement.max_replicas > 0)
        || wishes.placement.is_some_and(|beyond| !beyond.constraints.is_empty());
    let full = reserves(service) && {
        let replicas = service.spec.mode.replicated.as_ref().and_then(|it| it.replicas);
        replicas.unwrap_or(0) >= places(state, service).0 * CPUS.unsigned_abs()
    };
    let mut needed = wishes.depends_on.iter();
    !clash
        && !gives_up
        && !fussy
        && !full
        && needed.all(|(name, condition)| will_be(state, name, *condition))
}

/// Whether a dependency will be as it should, since it is itself asked to.
fn will_be(state: &Snapshot, name: &str, condition: DependencyCondition) -> bool {
    let Some(service) = state.services().iter().find(|service| service.spec.name == name) else {
        return false;
    };
    let job = is_job(&service.spec.mode);
    let wishes = service.spec.sampan.clone().unwrap_or_default();
    let update = service.update_status.as_ref().map_or("", |status| status.state.as_str());
    let meets = match condition {
        DependencyCondition::Completed => job,
        DependencyCondition::Healthy => !job,
        DependencyCondition::Started => true,
    };
    let firm = if job {
        is_free(state, service) && places(state, service).0 > 0
    } else {
        {
            let (least, most) = wanted(state, service);
            least == most && least > 0
        }
    };
    meets
        && firm
        && !wishes.paused
        && wishes.schedule.is_none()
        && is_sound(service)
        && !update.ends_with("paused")
}

fn ports(service: &Service) -> impl Iterator<Item = &PortConfig> {
    service.spec.endpoint_spec.iter().flat_map(|spec| &spec.ports)
}

fn has_host_port(service: &Service) -> bool {
    ports(service).any(|port| port.publish_mode == "host")
}

/// A published port of its own number.
fn fixed_port(service: &Service) -> Option<u16> {
    let fixed = |port: &&PortConfig| port.publish_mode != "host" && port.published_port != 0;
    ports(service).find(fixed).map(|port| port.published_port)
}

fn reserves(service: &Service) -> bool {
    service.spec.task_template.resources.is_some()
}

fn job_open(state: &Snapshot, service: &Service, tasks: &[&Task]) -> Option<String> {
    if !is_free(state, service) || places(state, service).0 == 0 {
        return None;
    }
    if has_host_port(service) && service.spec.mode.replicated_job.is_none() {
        return None; // an older run may hold it on a paused node
    }
    let iteration = service.job_status.as_ref().map(|job| job.job_iteration);
    let scheduled = service.spec.sampan.as_ref().is_some_and(|wishes| wishes.schedule.is_some());
    let mut runs: BTreeMap<Option<Version>, u64> = BTreeMap::new();
    for task in tasks.iter().filter(|task| scheduled || task.job_iteration == iteration) {
        *runs.entry(task.job_iteration).or_default() +=
            u64::from(task.status.state == TaskState::Complete);
    }
    let complete = runs.values().copied().max().unwrap_or(0);
    let wanted = match &service.spec.mode.replicated_job {
        Some(job) => job.total_completions.or(job.max_concurrent).unwrap_or(1),
        None => places(state, service).0,
    };
    (complete < wanted).then(|| format!("{complete} of {wanted} runs are complete"))
}
