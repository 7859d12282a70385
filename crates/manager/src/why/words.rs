//! Why a task, service or node is as it is, in sentences: what the store says, and what the leader's loop knows. Pure.
//!
//! The first sentence says what is so, each one after it is a cause of what stands before.

use super::Why;
use crate::control::{Error, find, service};
use crate::plan::{made, short_name, stopped, waiting};
use errdefs::{Classify, ErrorKind};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Snapshot;
use types::swarm::node::{Availability, Node, NodeState};
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};

/// Different errors of one service that are told; the rest are more of the same.
const ERRORS: usize = 5;
/// Runs of a slot that are told.
const RUNS: usize = 5;

/// Whom a question is about.
#[derive(Debug, Clone)]
pub enum Subject {
    Task(Arc<Task>),
    Service(Arc<Service>),
    Node(Arc<Node>),
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Explanation {
    /// `task`, `service` or `node`.
    pub kind: &'static str,
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub because: Vec<String>,
}

/// The service, node or task that a user means: by name first, then by the beginning of an id. `web.1` is the newest
/// task of its slot.
///
/// # Errors
/// When there is none, or several.
pub fn subject(state: &Snapshot, key: &str) -> Result<Subject, Error> {
    let absent = |err: &Error| err.kind() == ErrorKind::NotFound;
    match find::service(state, key) {
        Ok(service) => return Ok(Subject::Service(Arc::clone(service))),
        Err(err) if !absent(&err) => return Err(err),
        Err(_) => {}
    }
    match find::node(state, key) {
        Ok(node) => return Ok(Subject::Node(Arc::clone(node))),
        Err(err) if !absent(&err) => return Err(err),
        Err(_) => {}
    }
    if let Some(task) = in_slot(state, key) {
        return Ok(Subject::Task(Arc::clone(task)));
    }
    find::task(state, key).map(|task| Subject::Task(Arc::clone(task))).map_err(|err| {
        if !absent(&err) {
            return err;
        }
        Error::Daemon {
            kind: ErrorKind::NotFound,
            message: format!("no service, node or task {key} in the swarm"),
        }
    })
}

fn in_slot<'a>(state: &'a Snapshot, key: &str) -> Option<&'a Arc<Task>> {
    let (service, slot) = key.rsplit_once('.')?;
    let service = state.services().by_name(service)?;
    let slot: u64 = slot.parse().ok()?;
    state.tasks_of_slot(&service.id, slot).max_by_key(|task| (task.record.run, &task.id))
}

impl Subject {
    /// The full id, by which the leader's loop is asked.
    pub fn id(&self) -> &str {
        match self {
            Subject::Task(task) => task.id.as_str(),
            Subject::Service(service) => service.id.as_str(),
            Subject::Node(node) => node.id.as_str(),
        }
    }
}

/// `known` is what the leader's loop answered; `None` when it could not be asked.
pub fn explain(state: &Snapshot, subject: &Subject, known: Option<&Why>) -> Explanation {
    let (kind, name, mut because) = match subject {
        Subject::Task(task) => ("task", short_name(state, task), task_words(state, task, known)),
        Subject::Service(service) => {
            ("service", service.spec.name.clone(), service_words(state, service, known))
        }
        Subject::Node(node) => ("node", node.description.hostname.clone(), node_words(state, node)),
    };
    if known.is_none() && !matches!(subject, Subject::Node(_)) {
        because.push("the leader could not be asked what it waits for".to_owned());
    }
    Explanation { kind, id: subject.id().to_owned(), name, because }
}

fn host(state: &Snapshot, id: &types::NodeId) -> String {
    let node = state.nodes().get(id.as_str());
    let name = node.map(|node| node.description.hostname.clone()).unwrap_or_default();
    if name.is_empty() { id.to_string() } else { name }
}

fn task_words(state: &Snapshot, task: &Task, known: Option<&Why>) -> Vec<String> {
    let status = &task.status;
    let name = short_name(state, task);
    let mut words = Vec::new();
    let place = match task.node_id.as_str() {
        "" => " and has no node".to_owned(),
        _ => format!(" on node {}", host(state, &task.node_id)),
    };
    words.push(format!(
        "{name} is {}{place} since {}; it should be {}",
        status.state.as_str(),
        status.timestamp,
        task.desired_state.as_str()
    ));
    if !status.err.is_empty() {
        words.push(status.err.clone());
    }
    if let Some(node) = state.nodes().get(task.node_id.as_str())
        && node.status.state != NodeState::Ready
        && !status.state.is_terminal()
    {
        words.push(format!("{}: what runs there is not known", node_state(node)));
    }
    if let Some(known) = known {
        let refused = known.refusal.iter().chain(&known.allocation);
        words.extend(refused.filter(|why| **why != status.err).cloned());
        for verdict in &known.verdicts {
            let answer = match &verdict.reason {
                Some(reason) => reason.to_string(),
                None => "could take it".to_owned(),
            };
            words.push(format!("node {}: {answer}", host(state, &verdict.node)));
        }
        let own = known.waits.iter().filter(|wait| match wait.slot {
            0 => wait.node.as_ref().is_none_or(|node| *node == task.node_id),
            slot => slot == task.slot,
        });
        if !task.status.state.is_terminal() {
            words.extend(own.map(waiting));
        }
    }
    if task.desired_state > TaskState::Complete {
        words.push(format!("it was told to stop: {}", stopped(task.record.stop)));
    }
    words.push(format!("it was made at {}: {}", task.meta.created_at, made(task.record.cause)));
    words.extend(before(state, task));
    words
}

/// The earlier runs of its slot, the newest first.
fn before(state: &Snapshot, task: &Task) -> Vec<String> {
    if task.slot == 0 {
        return Vec::new();
    }
    let earlier = state.tasks_of_slot(&task.service_id, task.slot);
    let mut earlier: Vec<&Arc<Task>> =
        earlier.filter(|other| other.record.run < task.record.run).collect();
    earlier.sort_by_key(|other| std::cmp::Reverse(other.record.run));
    let tell = |other: &&Arc<Task>| {
        let why = match other.status.err.as_str() {
            "" => stopped(other.record.stop).to_owned(),
            err => err.to_owned(),
        };
        let id: String = other.id.as_str().chars().take(12).collect();
        let node = host(state, &other.node_id);
        let (word, at) = (other.status.state.as_str(), other.status.timestamp);
        format!("before it, {id} was {word} on node {node} at {at}: {why}")
    };
    earlier.iter().take(RUNS).map(tell).collect()
}

fn service_words(state: &Snapshot, service: &Service, known: Option<&Why>) -> Vec<String> {
    let count = service::count(state, service);
    let mut words = Vec::new();
    words.push(format!(
        "{} runs {} of {} tasks",
        service.spec.name, count.running_tasks, count.desired_tasks
    ));
    if let Some(update) = &service.update_status {
        let started = update.started_at.map(|at| format!(" since {at}")).unwrap_or_default();
        words.push(format!("its last update is {}{started}: {}", update.state, update.message));
    }
    if let Some(known) = known {
        words.extend(known.allocation.clone());
        words.extend(known.waits.iter().map(waiting));
    }
    let mut errors: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let ill = state.tasks_of_service(&service.id).filter(|task| {
        !task.status.err.is_empty()
            && (task.desired_state <= TaskState::Complete || task.status.state.is_terminal())
    });
    let mut ill: Vec<&Arc<Task>> = ill.collect();
    ill.sort_by_key(|task| (std::cmp::Reverse(task.status.timestamp), task.id.clone()));
    for task in ill {
        errors.entry(&task.status.err).or_default().push(short_name(state, task));
    }
    let mut errors: Vec<(&str, Vec<String>)> = errors.into_iter().collect();
    errors.sort_by_key(|(_, tasks)| std::cmp::Reverse(tasks.len()));
    for (error, tasks) in errors.into_iter().take(ERRORS) {
        let some = tasks.first().cloned().unwrap_or_default();
        words.push(match tasks.len() {
            1 => format!("{some}: {error}"),
            many => format!("{many} tasks, {some} the last of them: {error}"),
        });
    }
    words
}

fn node_state(node: &Node) -> String {
    let since = node.record.as_ref().map(|record| record.state_since).unwrap_or_default();
    let since = if since.is_zero() { String::new() } else { format!(" since {since}") };
    let word = match node.status.state {
        NodeState::Unknown => "unknown",
        NodeState::Down => "down",
        NodeState::Ready => "ready",
        NodeState::Disconnected => "disconnected",
    };
    format!("node {} is {word}{since}", node.description.hostname)
}

fn node_words(state: &Snapshot, node: &Node) -> Vec<String> {
    let mut words = vec![node_state(node)];
    if !node.status.message.is_empty() {
        words.push(node.status.message.clone());
    }
    match node.spec.availability {
        Availability::Active => {}
        Availability::Pause => words.push("it is paused: it gets no new tasks".to_owned()),
        Availability::Drain => words.push("it is drained: its tasks run elsewhere".to_owned()),
    }
    if let Some(status) = &node.manager_status {
        let leads = if status.leader { ", and leads" } else { "" };
        words.push(format!("it is a manager, {}{leads}", status.reachability));
    }
    let tasks = || state.tasks_of_node(&node.id);
    let running = tasks().filter(|task| task.status.state == TaskState::Running).count();
    let wanted = tasks().filter(|task| task.desired_state == TaskState::Running).count();
    words.push(format!("it runs {running} tasks and should run {wanted}"));
    let expires = node.record.as_ref().map(|record| record.certificate_expires_at);
    if let Some(at) = expires.filter(|at| !at.is_zero()) {
        words.push(format!("its certificate is good until {at}"));
    }
    words
}

#[cfg(test)]
mod tests;
