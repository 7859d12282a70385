//! Nodes: what a user may change of them, and when one may be removed.

use super::error::{Code, bad_request, precondition};
use super::{Error, find};
use raft::Member;
use std::collections::BTreeMap;
use store::{Change, Kind, Snapshot, StoreError};
use types::swarm::Version;
use types::swarm::extension::NodeRecord;
use types::swarm::node::{Availability, Node, NodeSpec, NodeState, Role};
use types::swarm::task::{TaskState, TaskStatus};
use types::{NodeId, Timestamp};

/// `POST /nodes/{id}/update`, before its words are known to be any: a role left out must not demote a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub role: String,
    pub availability: String,
}

impl Wish {
    fn spec(&self) -> Result<NodeSpec, Error> {
        let role = match self.role.to_ascii_lowercase().as_str() {
            "worker" => Role::Worker,
            "manager" => Role::Manager,
            _ => return Err(bad_request(format!("invalid Role: {:?}", self.role))),
        };
        let availability = match self.availability.to_ascii_lowercase().as_str() {
            "active" => Availability::Active,
            "pause" => Availability::Pause,
            "drain" => Availability::Drain,
            _ => return Err(bad_request(format!("invalid Availability: {:?}", self.availability))),
        };
        Ok(NodeSpec { name: self.name.clone(), labels: self.labels.clone(), role, availability })
    }
}

/// Changes a node. `members` are the managers that vote, and `own` is this one.
pub fn update(
    state: &Snapshot,
    members: &[Member],
    key: &str,
    version: u64,
    wish: &Wish,
) -> Result<Vec<Change>, Error> {
    let spec = wish.spec()?;
    let old = find::node(state, key)?;
    if old.spec.role == Role::Manager && spec.role == Role::Worker {
        check_demotion(state, members, old)?;
    }
    let version = Version { index: version };
    if version != old.meta.version {
        let id = old.id.to_string();
        return Err(StoreError::OutOfSequence { kind: Kind::Node, id }.into());
    }
    let new = Node { spec, ..Node::clone(old) };
    Ok(vec![Change::Update(new.into())])
}

/// The node is about to leave: its tasks go elsewhere, and drain before they stop.
pub fn depart(state: &Snapshot, id: &NodeId) -> Vec<Change> {
    let Some(old) = state.nodes().get(id.as_str()) else { return Vec::new() };
    if old.spec.availability == Availability::Drain {
        return Vec::new();
    }
    let mut new = Node::clone(old);
    new.spec.availability = Availability::Drain;
    vec![Change::Update(new.into())]
}

/// A node that left is down, without waiting for its silence.
pub fn gone(state: &Snapshot, id: &NodeId, now: Timestamp) -> Vec<Change> {
    let row = state.nodes().get(id.as_str());
    let down = row.and_then(|row| down(row, "the node left the swarm", now));
    down.map(|node| Change::Update(node.into())).into_iter().collect()
}

/// The node as it is when it is down; [`None`] if it is already.
pub(crate) fn down(node: &Node, why: &str, now: Timestamp) -> Option<Node> {
    if node.status.state == NodeState::Down {
        return None;
    }
    let mut next = node.clone();
    next.status.state = NodeState::Down;
    next.status.message = why.to_owned();
    let record = next.record.take().unwrap_or_default();
    next.record = Some(NodeRecord { state_since: now, ..record });
    Some(next)
}

/// Whether tasks of the node may still run.
pub fn is_busy(state: &Snapshot, id: &NodeId) -> bool {
    let mut tasks = state.tasks_of_node(id);
    tasks.any(|task| {
        !task.is_attachment()
            && (TaskState::Assigned..=TaskState::Running).contains(&task.status.state)
    })
}

fn check_demotion(state: &Snapshot, members: &[Member], node: &Node) -> Result<(), Error> {
    let managers = state.nodes().iter().filter(|node| node.spec.role == Role::Manager).count();
    if managers == 1 {
        return Err(precondition("attempting to demote the last manager of the swarm"));
    }
    if !members.iter().any(|member| member.node == node.id) {
        let desc = "can't find manager in raft memberlist".to_owned();
        return Err(Error::Refused { code: Code::NotFound, desc });
    }
    let left = members.iter().filter(|member| member.node != node.id);
    let reachable = left.filter(|member| member.reachable).count();
    if reachable < (members.len() - 1) / 2 + 1 {
        return Err(precondition(
            "can't remove member from the raft: this would result in a loss of quorum",
        ));
    }
    Ok(())
}

/// Removes a node that is down (or any worker, by force) with everything that it ran.
pub fn remove(
    state: &Snapshot,
    members: &[Member],
    key: &str,
    force: bool,
    now: Timestamp,
) -> Result<Vec<Change>, Error> {
    let node = find::node(state, key)?;
    let id = &node.id;
    if node.spec.role == Role::Manager && members.iter().any(|member| member.node == *id) {
        return Err(precondition(format!(
            "node {id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal"
        )));
    }
    if !force && node.status.state == NodeState::Ready {
        return Err(precondition(format!("node {id} is not down and can't be removed")));
    }
    // Nobody will ever report of these tasks again.
    let orphans = state.tasks_of_node(id).filter(|task| !task.status.state.is_terminal());
    let mut changes: Vec<Change> = orphans
        .map(|task| {
            if task.is_attachment() {
                // Of no service: nobody would ever delete it.
                let (kind, id) = (Kind::Task, task.id.to_string());
                return Change::Remove { kind, id, version: None };
            }
            let mut task = types::swarm::task::Task::clone(task);
            task.status = TaskStatus {
                timestamp: now,
                state: TaskState::Orphaned,
                message: "Task belonged to a node that has been deleted".to_owned(),
                ..TaskStatus::default()
            };
            Change::Update(task.into())
        })
        .collect();
    changes.push(Change::Remove {
        kind: Kind::Node,
        id: id.to_string(),
        version: Some(node.meta.version),
    });
    Ok(changes)
}
