//! What must hold of any state and any step, whoever decided it. Tests, the simulation and a running
//! manager ask the same questions.
//!
//! `check` reads one snapshot, `check_step` what one entry did to it. Both only note; they mend nothing.

mod slots;
mod stops;

use crate::{Event, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use types::Timestamp;
use types::swarm::node::NodeState;
use types::swarm::task::{Task, TaskState};

/// A task may wait this long for a node before it must say why.
const MAY_WAIT_UNEXPLAINED: Duration = Duration::from_secs(60);
/// Ended tasks a slot may hold beyond its limit while the reaper is behind.
const REAPER_SLACK: usize = 16;

/// A sentence that does not hold, and of what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    pub rule: Rule,
    pub object: String,
    pub detail: String,
}

impl Note {
    fn new(rule: Rule, object: impl fmt::Display, detail: impl fmt::Display) -> Note {
        Note { rule, object: object.to_string(), detail: detail.to_string() }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.rule.sentence(), self.object, self.detail)
    }
}

/// The sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    StatesGrow,
    OneLivePerSlot,
    MinimumHealthy,
    OwnedOnce,
    StoppedForAReason,
    PendingExplained,
    HistoryBounded,
    Converges,
}

impl Rule {
    pub const fn sentence(self) -> &'static str {
        match self {
            Rule::StatesGrow => "a task's states only grow",
            Rule::OneLivePerSlot => "a slot has no more live tasks than its update order allows",
            Rule::MinimumHealthy => "an update keeps its minimum healthy",
            Rule::OwnedOnce => "an address, a VIP or a host port has one owner",
            Rule::StoppedForAReason => "nothing stops without a committed reason",
            Rule::PendingExplained => "a pending task says why",
            Rule::HistoryBounded => "ended tasks are reaped",
            Rule::Converges => "every service converges once faults stop",
        }
    }
}

/// Everything that does not hold of `state` at `now`. None for a healthy cluster.
pub fn check(state: &Snapshot, now: Timestamp) -> Vec<Note> {
    let mut notes = slots::check_live(state);
    notes.extend(check_owners(state));
    notes.extend(check_pending(state, now));
    notes.extend(check_history(state, REAPER_SLACK));
    notes
}

/// Everything that does not hold of the step from `before` to `after` by `events`.
pub fn check_step(before: &Snapshot, after: &Snapshot, events: &[Event]) -> Vec<Note> {
    let mut notes = stops::check_growth(events);
    notes.extend(stops::check_reasons(before, after, events));
    notes.extend(slots::check_starts(after, events));
    notes.extend(slots::check_health(before, after, events));
    notes
}

/// Ended tasks beyond the history limit by more than `slack` in some slot.
pub fn check_history(state: &Snapshot, slack: usize) -> Vec<Note> {
    let limit = state
        .clusters()
        .iter()
        .next()
        .and_then(|cluster| cluster.spec.orchestration.task_history_retention_limit)
        .unwrap_or(5);
    let Ok(limit) = usize::try_from(limit) else { return Vec::new() };
    let mut ended: BTreeMap<(String, String), usize> = BTreeMap::new();
    let of_services = state.tasks().iter().filter(|task| !task.service_id.as_str().is_empty());
    for task in of_services.filter(|task| task.status.state.is_terminal()) {
        *ended.entry((task.service_id.to_string(), slots::slot_of(task))).or_default() += 1;
    }
    let many = ended.into_iter().filter(|(_, count)| *count > limit + slack);
    many.map(|((service, slot), count)| {
        Note::new(Rule::HistoryBounded, format!("{service}.{slot}"), format!("{count} ended tasks"))
    })
    .collect()
}

/// Addresses and VIPs per network; host ports per node. A task owns its address until it has ended, its
/// ports from its start on.
fn check_owners(state: &Snapshot) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut addresses = BTreeSet::new();
    let mut own = |network: &str, address: &str, owner: &str| {
        let address = address.split('/').next().unwrap_or(address).to_owned();
        let shown = format!("{address} in network {network}");
        if !address.is_empty() && !addresses.insert((network.to_owned(), address)) {
            notes.push(Note::new(Rule::OwnedOnce, shown, owner));
        }
    };
    for service in state.services().iter() {
        for vip in &service.endpoint.virtual_ips {
            own(&vip.network_id, &vip.addr, service.id.as_str());
        }
    }
    for task in state.tasks().iter().filter(|task| !task.status.state.is_terminal()) {
        for attachment in &task.networks_attachments {
            for address in &attachment.addresses {
                own(&attachment.network, address, task.id.as_str());
            }
        }
    }
    let mut published = BTreeSet::new();
    for service in state.services().iter() {
        for port in service.endpoint.ports.iter().filter(|port| port.publish_mode != "host") {
            let taken = !published.insert((port.protocol.clone(), port.published_port));
            if taken && port.published_port != 0 {
                let shown = format!("published port {}/{}", port.published_port, port.protocol);
                notes.push(Note::new(Rule::OwnedOnce, shown, &service.id));
            }
        }
    }
    notes.extend(check_host_ports(state));
    notes
}

fn check_host_ports(state: &Snapshot) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut owners: BTreeMap<(String, String, u16), &Arc<Task>> = BTreeMap::new();
    for task in state.tasks().iter().filter(|task| is_started(task) && on_ready_node(state, task)) {
        for port in task.record.host_ports.iter().filter(|port| port.published_port != 0) {
            let protocol = if port.protocol.is_empty() { "tcp" } else { &port.protocol };
            let key = (task.node_id.to_string(), protocol.to_owned(), port.published_port);
            if let Some(first) = owners.insert(key, task)
                && !slots::was_away(state, first, task)
            {
                let shown = format!("port {}/{protocol} of {}", port.published_port, task.node_id);
                notes.push(Note::new(
                    Rule::OwnedOnce,
                    shown,
                    format!("{} and {}", first.id, task.id),
                ));
            }
        }
    }
    notes
}

/// Starting or running, as its agent says.
fn is_started(task: &Task) -> bool {
    matches!(task.status.state, TaskState::Starting | TaskState::Running)
}

fn on_ready_node(state: &Snapshot, task: &Task) -> bool {
    let node = state.nodes().get(task.node_id.as_str());
    node.is_some_and(|node| node.status.state == NodeState::Ready)
}

fn check_pending(state: &Snapshot, now: Timestamp) -> Vec<Note> {
    let waits = |task: &&Arc<Task>| {
        task.node_id.as_str().is_empty()
            && task.status.state <= TaskState::Pending
            && task.desired_state <= TaskState::Running
            && now.since(task.meta.created_at) > MAY_WAIT_UNEXPLAINED
            && task.status.err.is_empty()
            && task.status.message.is_empty()
    };
    let waiting = state.tasks().iter().filter(waits);
    waiting
        .map(|task| {
            let seconds = now.since(task.meta.created_at).as_secs();
            let detail = format!("{} for {seconds} s", task.status.state.as_str());
            Note::new(Rule::PendingExplained, &task.id, detail)
        })
        .collect()
}
