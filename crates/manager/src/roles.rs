//! Who is a manager: what Raft's membership means for nodes, and what nodes' specs mean for the membership. Pure.
//!
//! ```text
//! promote  spec says manager ─► the node renews its certificate ─► it joins Raft ─► it is one
//! demote   spec says worker  ─► it leaves Raft ─► only then its certificate says worker
//! ```

use raft::Member;
use store::{Change, Snapshot, Transaction};
use types::NodeId;
use types::swarm::node::{ManagerStatus, Node, Role};

/// What the next certificate of a node says: it stays a manager as long as it has a vote.
pub(crate) fn role_of(node: &Node, members: &[Member]) -> Role {
    if members.iter().any(|member| member.node == node.id) { Role::Manager } else { node.spec.role }
}

/// Members that must go: demoted ones, and those whose node was removed. The last one never goes.
pub(crate) fn to_remove(state: &Snapshot, members: &[Member]) -> Vec<NodeId> {
    if members.len() < 2 {
        return Vec::new();
    }
    let stays = |member: &&Member| {
        let row = state.nodes().get(member.node.as_str());
        row.is_some_and(|row| row.spec.role == Role::Manager)
    };
    let mut gone: Vec<NodeId> =
        members.iter().filter(|member| !stays(member)).map(|member| member.node.clone()).collect();
    if gone.len() == members.len() {
        gone.pop();
    }
    gone
}

/// The nodes whose manager status is not what the membership says, as they should be.
pub(crate) fn statuses(state: &Snapshot, members: &[Member]) -> Vec<Node> {
    let mut changed = Vec::new();
    for node in state.nodes().iter() {
        let member = members.iter().find(|member| member.node == node.id);
        let status = member.map(status);
        if status != node.manager_status {
            changed.push(Node { manager_status: status, ..Node::clone(node) });
        }
    }
    changed
}

fn status(member: &Member) -> ManagerStatus {
    let reachability = if member.reachable || member.leader { "reachable" } else { "unreachable" };
    ManagerStatus {
        leader: member.leader,
        reachability: reachability.to_owned(),
        addr: member.addr.clone(),
    }
}

/// The first entry of a new leader: it says who leads, and so takes what an earlier leader decides from now on its
/// ground away (`leader::guard`). Nodes that said they led say so no more.
pub(crate) fn take_over(state: &Snapshot, leader: &NodeId, members: &[Member]) -> Transaction {
    let mut changes: Vec<Change> = Vec::new();
    for node in state.nodes().iter() {
        let member = members.iter().find(|member| member.node == node.id);
        let leads = node.id == *leader;
        let led = node.manager_status.as_ref().is_some_and(|status| status.leader);
        if !leads && !led {
            continue;
        }
        let mut status =
            member.map(status).or_else(|| node.manager_status.clone()).unwrap_or_default();
        status.leader = leads;
        if leads {
            status.reachability = "reachable".to_owned();
        }
        changes.push(Change::Update(
            Node { manager_status: Some(status), ..Node::clone(node) }.into(),
        ));
    }
    changes.into()
}

#[cfg(test)]
mod tests;
