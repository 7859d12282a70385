//! How an agent's session goes on, as the store and the membership have it. Pure.

use crate::lease::Periods;
use crate::roles;
use raft::Member;
use store::Snapshot;
use types::NodeId;
use types::swarm::node::Role;
use types::swarm::session::{ManagerAddress, SessionSettings};

/// The settings of a node's session.
pub(crate) fn settings(state: &Snapshot, members: &[Member], node: &NodeId) -> SessionSettings {
    let row = state.nodes().get(node.as_str());
    let role = row.map_or(Role::Worker, |row| roles::role_of(row, members));
    let cluster = state.clusters().iter().next();
    let record = cluster.and_then(|cluster| cluster.record.as_ref());
    let spec = cluster.map(|cluster| cluster.spec.clone()).unwrap_or_default();
    let beat = Periods::of(&spec).beat;
    SessionSettings {
        heartbeat_period: i64::try_from(beat.as_nanos()).unwrap_or(i64::MAX),
        managers: managers(members),
        role,
        trusted_roots: record.map(ca::trusted_roots).unwrap_or_default(),
        signing_root: record
            .and_then(|record| ca::rotation::signing_root(record).ok())
            .map(|digest| digest.to_string())
            .unwrap_or_default(),
    }
}

/// Whom to turn to: the leader first.
pub(crate) fn managers(members: &[Member]) -> Vec<ManagerAddress> {
    let mut members: Vec<&Member> = members.iter().collect();
    members.sort_by_key(|member| (!member.leader, member.node.clone()));
    members
        .into_iter()
        .map(|member| ManagerAddress { node: member.node.clone(), addr: member.addr.clone() })
        .collect()
}
