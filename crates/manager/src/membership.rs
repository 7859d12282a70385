//! Managers that come and go: the membership service of the cluster's port, and the loop that makes the membership
//! what the nodes' specs say.

use crate::certificates::plain;
use crate::dispatcher::Dispatcher;
use crate::leader::guard;
use crate::log::Log;
use crate::roles;
use async_trait::async_trait;
use ca::rotation;
use rpc::Code;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Change, Snapshot, Transaction};
use tokio::time::Instant;
use types::NodeId;
use types::swarm::cluster::Cluster;
use types::swarm::node::Role;
use types::swarm::session::{ManagerAddress, PeerIdentity};

/// How long a lost manager may look reachable beyond what Raft takes to notice.
const LOOK_AROUND: Duration = Duration::from_millis(500);
/// A removal that fails is tried again no later than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The membership service.
#[derive(Clone)]
pub struct Membership {
    log: Arc<dyn Log>,
}

impl Membership {
    pub(crate) fn new(log: Arc<dyn Log>) -> Membership {
        Membership { log }
    }
}

#[async_trait]
impl rpc::Membership for Membership {
    async fn join(
        &self,
        from: PeerIdentity,
        addr: String,
    ) -> Result<Vec<ManagerAddress>, rpc::Error> {
        let unavailable = |message: String| rpc::Error::unavailable(plain(&message));
        let state = self.log.read().await.map_err(|error| unavailable(error.to_string()))?;
        let row = state.nodes().get(from.node.as_str());
        if row.is_none_or(|row| row.spec.role != Role::Manager) {
            let message = format!("node {} is no manager", from.node);
            return Err(rpc::Error::new(Code::PermissionDenied, message));
        }
        self.log
            .add(&from.node, &addr)
            .await
            .map_err(|error| unavailable(errdefs::chain(&error)))?;
        Ok(crate::dispatcher::managers(&self.log.members()))
    }

    async fn leave(&self, from: PeerIdentity) -> Result<(), rpc::Error> {
        match self.log.remove(&from.node).await {
            Ok(()) | Err(raft::Error::NotMember(_)) => Ok(()),
            Err(error) => {
                Err(rpc::Error::new(Code::FailedPrecondition, plain(&errdefs::chain(&error))))
            }
        }
    }
}

/// A manager that could not be removed.
struct KeptOn {
    why: String,
    pause: Duration,
    again: Instant,
}

impl KeptOn {
    fn new() -> KeptOn {
        KeptOn { why: String::new(), pause: LOOK_AROUND, again: Instant::now() }
    }

    /// Puts the next attempt off, for longer each time; whether the reason is a new one.
    fn note(&mut self, why: String, now: Instant) -> bool {
        self.again = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let new = self.why != why;
        self.why = why;
        new
    }
}

/// Keeps members, manager statuses and the root's rotation as they should be. Never returns.
pub(crate) async fn keep(log: Arc<dyn Log>, node: NodeId, dispatcher: Dispatcher) {
    let mut before = Vec::new();
    let mut kept_on = BTreeMap::<NodeId, KeptOn>::new();
    loop {
        let (state, members) = (log.snapshot(), log.members());
        let gone = roles::to_remove(&state, &members);
        kept_on.retain(|node, _| gone.contains(node));
        for gone in gone {
            if kept_on.get(&gone).is_some_and(|kept| Instant::now() < kept.again) {
                continue;
            }
            let Err(error) = log.remove(&gone).await else { continue };
            let kept = kept_on.entry(gone.clone()).or_insert_with(KeptOn::new);
            if kept.note(error.to_string(), Instant::now()) {
                tracing::warn!(node = %gone, %error, "manager not removed");
            }
        }
        if members != before {
            dispatcher.touch_settings();
            before.clone_from(&members);
        }
        let transactions = guard(changes(&state, &log.members()), &node, &state);
        if !transactions.is_empty()
            && let Err(error) = log.propose(transactions).await
        {
            tracing::debug!(%error, "the managers' statuses were not written");
        }
        tokio::time::sleep(LOOK_AROUND).await;
    }
}

/// What should be written of members and trust. The one about this manager's own node comes last: it breaks the guard
/// of what would follow.
fn changes(state: &Snapshot, members: &[raft::Member]) -> Vec<Transaction> {
    let mut transactions: Vec<Transaction> = rotated(state)
        .map(|cluster| vec![Change::Update(cluster.into())].into())
        .into_iter()
        .collect();
    let mut rows = roles::statuses(state, members);
    rows.sort_by_key(|row| row.manager_status.as_ref().is_some_and(|status| status.leader));
    transactions.extend(rows.into_iter().map(|row| vec![Change::Update(row.into())].into()));
    transactions
}

/// The cluster once its new root has signed every node's certificate.
fn rotated(state: &Snapshot) -> Option<Cluster> {
    let cluster = state.clusters().iter().next()?;
    let record = cluster.record.as_ref().filter(|record| record.next_root.is_some())?;
    let nodes = state.nodes().iter().map(|node| &**node);
    if !rotation::behind(record, nodes).ok()?.is_empty() {
        return None;
    }
    let record = rotation::finish(record).ok()?;
    Some(Cluster {
        record: Some(record),
        root_rotation_in_progress: false,
        ..Cluster::clone(cluster)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_that_fails_is_put_off_and_said_once_for_each_reason() {
        let now = Instant::now();
        let mut kept = KeptOn::new();
        assert!(kept.note("no quorum".to_owned(), now));
        assert_eq!(kept.again, now + LOOK_AROUND);
        for _ in 0..8 {
            assert!(!kept.note("no quorum".to_owned(), now));
        }
        assert_eq!(kept.again, now + LONGEST_PAUSE);
        assert!(kept.note("no leader".to_owned(), now));
    }
}
