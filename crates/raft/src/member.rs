//! Who belongs to the cluster: adding, removing, handing over the lead. Done by the leader; asked of it
//! by any manager.

use crate::beat::note_removed;
use crate::kinds::Id;
use crate::network::SMALL;
use crate::node::{Answer, Node, lock};
use crate::raft::lease;
use crate::wire::{Reply, Request};
use crate::{Error, Peer, ProposeError, elect};
use openraft::ChangeMembers;
use openraft::error::{ClientWriteError, RaftError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use types::NodeId;

/// How long the leader tries to hand over before it goes on itself.
const HAND_OVER: Duration = Duration::from_secs(4);
/// What a message that was under way may need beyond the lease.
const LET_GO: Duration = Duration::from_millis(30);

impl Node {
    /// Has the leader do it, whoever that is. Each of these can be asked for again without harm.
    pub(crate) async fn by_leader(self: &Arc<Self>, request: Request) -> Result<(), Error> {
        let deadline = Instant::now() + self.tuning.patience;
        let mut why = ProposeError::NoLeader;
        while Instant::now() < deadline {
            if let Some(broken) = self.broken() {
                return Err(broken.into());
            }
            let reply = match self.leader_now() {
                Some((leader, _)) if leader.node_id == self.id => match &request {
                    Request::Add(peer) => self.add_reply(peer).await,
                    Request::Remove(node) => self.remove_reply(node).await,
                    _ => self.transfer_reply().await,
                },
                Some((_, peer)) => {
                    let time = self.tuning.patience;
                    match self.caller.call(&peer, &request, &[], time).await {
                        Ok(reply) => reply,
                        Err(_) => {
                            why = ProposeError::Lost;
                            Reply::NotLeader
                        }
                    }
                }
                None => Reply::NotLeader,
            };
            match reply {
                Reply::Done => return Ok(()),
                Reply::Quorum => return Err(Error::Quorum),
                Reply::NotMember(node) => return Err(Error::NotMember(node)),
                Reply::Removed { by } if note_removed(self, by) || !self.is_member() => {
                    return Err(Error::NotMember(self.me.node.clone()));
                }
                Reply::Unreachable { addr, why } => return Err(Error::Unreachable { addr, why }),
                Reply::AddressTaken { node, addr } => {
                    return Err(Error::AddressTaken { node, addr });
                }
                Reply::Full { node } => return Err(ProposeError::Full { node }.into()),
                Reply::Failed(why) => return Err(Error::Core(why)),
                _ => self.pause().await,
            }
        }
        Err(why.into())
    }

    fn is_member(&self) -> bool {
        self.members_now().get_node(&self.id).is_some()
    }

    pub(crate) async fn add_reply(&self, peer: &Peer) -> Reply {
        let _one = self.changing.lock().await;
        let id = peer.node.raft_id();
        let members = self.members_now();
        let same_address =
            |(other, found): &(&u64, &Peer)| **other != id && found.addr == peer.addr;
        if let Some((_, taken)) = members.nodes().find(same_address) {
            return Reply::AddressTaken { node: taken.node.clone(), addr: peer.addr.clone() };
        }
        let is_voter = members.voter_ids().any(|voter| voter == id);
        if is_voter && members.get_node(&id) == Some(peer) {
            return Reply::Done;
        }
        if let Err(why) = self.probe(peer).await {
            return Reply::Unreachable { addr: peer.addr.clone(), why };
        }
        let node = BTreeMap::from([(id, peer.clone())]);
        // The same node at another address is moved; a new one listens before it votes.
        let listed = match members.get_node(&id) {
            Some(found) if found == peer => Ok(()),
            Some(_) => self.change(ChangeMembers::SetNodes(node), true).await,
            None => self.change(ChangeMembers::AddNodes(node), true).await,
        };
        if let Err(reply) = listed {
            return reply;
        }
        if is_voter {
            return Reply::Done;
        }
        if !self.caught_up(id).await {
            if self.leads() {
                let _ = self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id])), false).await;
            }
            let why = "it did not take over the log in time".to_owned();
            return Reply::Unreachable { addr: peer.addr.clone(), why };
        }
        match self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id])), true).await {
            Ok(()) => Reply::Done,
            Err(reply) => reply,
        }
    }

    /// Whether the manager at that address is there and is who it should be.
    async fn probe(&self, peer: &Peer) -> Result<(), String> {
        let beat = crate::wire::Beat {
            vote: self.metrics().vote,
            stalled_ms: 0,
            last: self.log.last(),
            reachable: Vec::new(),
        };
        match self.caller.call(peer, &Request::Beat(beat), &[], SMALL * 2).await {
            Ok(_) => {
                let answer = Answer { at: std::time::Instant::now(), full: false };
                lock(&self.hearing).answers.insert(peer.node.raft_id(), answer);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Waits until a listener has all that is in the log now.
    async fn caught_up(&self, id: u64) -> bool {
        let wanted = self.log.last().map(|last| last.index);
        let mut metrics = self.raft.metrics();
        let reached = metrics.wait_for(|metrics| {
            let progress = metrics.replication.as_ref();
            let matched = progress.and_then(|of| of.get(&id).copied().flatten());
            progress.is_none() || matched.map(|id| id.index) >= wanted
        });
        let reached = tokio::time::timeout(self.tuning.patience.mul_f64(0.8), reached).await;
        matches!(reached, Ok(Ok(metrics)) if metrics.replication.is_some())
    }

    pub(crate) async fn remove_reply(self: &Arc<Self>, node: &NodeId) -> Reply {
        let id = node.raft_id();
        // Whether the others can spare it holds for the members as they are now, and no longer. This
        // manager changes nothing when it is the one itself.
        let _one = match id == self.id {
            true => None,
            false => Some(self.changing.lock().await),
        };
        let members = self.members_now();
        let Some(peer) = members.get_node(&id).cloned() else {
            return Reply::NotMember(node.clone());
        };
        let voters: BTreeSet<u64> = members.voter_ids().collect();
        if voters.contains(&id) && !self.survives(&voters, id).await {
            return Reply::Quorum;
        }
        if id == self.id {
            // The next leader does it.
            return match self.hand_over().await {
                true => Reply::NotLeader,
                false => Reply::Failed("no other manager took over the lead".to_owned()),
            };
        }
        let ids = BTreeSet::from([id]);
        let change = match voters.contains(&id) {
            true => ChangeMembers::RemoveVoters(ids),
            false => ChangeMembers::RemoveNodes(ids),
        };
        if let Err(reply) = self.change(change, false).await {
            return reply;
        }
        lock(&self.hearing).answers.remove(&id);
        if let Some(by) = *self.metrics().membership_config.log_id() {
            // It finds out by itself if this is lost.
            let _ = self.caller.call(&peer, &Request::Removed { by }, &[], SMALL / 4).await;
        }
        Reply::Done
    }

    /// Gives a young leader the time to hear from the others before it says no.
    async fn survives(&self, voters: &BTreeSet<u64>, leaving: u64) -> bool {
        let deadline = Instant::now() + self.tuning.election * 2;
        loop {
            if elect::survives(voters, leaving, &self.answering()) {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            self.pause().await;
        }
    }

    async fn change(&self, change: ChangeMembers<u64, Peer>, retain: bool) -> Result<(), Reply> {
        match self.raft.change_membership(change, retain).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(Reply::NotLeader),
            Err(error) => Err(Reply::Failed(error.to_string())),
        }
    }

    pub(crate) async fn transfer_reply(self: &Arc<Self>) -> Reply {
        let voters = self.members_now().voter_ids().count();
        if !self.leads() || voters < 2 {
            return Reply::Done;
        }
        match self.hand_over().await {
            true => Reply::Done,
            false => Reply::Failed("no other manager took over the lead".to_owned()),
        }
    }

    /// Lets the follower that is furthest on take the lead. Nothing is proposed meanwhile; proposers wait.
    pub(crate) async fn hand_over(self: &Arc<Self>) -> bool {
        self.paused.send_replace(true);
        let handed = tokio::time::timeout(HAND_OVER, self.try_hand_over()).await;
        self.paused.send_replace(false);
        self.tell_leadership();
        handed.is_ok()
    }

    async fn try_hand_over(self: &Arc<Self>) {
        let mut metrics = self.raft.metrics();
        while self.leads() {
            let last = self.log.last();
            let Some(peer) = self.heir(last) else {
                self.pause().await;
                continue;
            };
            // openraft's voters keep to a leader for a while after its last message: nothing is sent
            // until they have let go, or the heir would unseat this leader without winning.
            tokio::time::sleep(lease(&self.tuning) + LET_GO).await;
            if self.log.last() != last || !self.leads() {
                continue;
            }
            let _ = self.caller.call(&peer, &Request::Stand, &[], SMALL).await;
            let gone = metrics.wait_for(|metrics| metrics.current_leader != Some(self.id));
            let _ = tokio::time::timeout(self.tuning.election, gone).await;
        }
        // So that the next to ask finds the new one.
        let _ = metrics.wait_for(|metrics| metrics.current_leader.is_some()).await;
    }

    /// The voter, heard of lately and not out of space, that has all of the log; else the one that has most.
    fn heir(&self, last: Option<Id>) -> Option<Peer> {
        let members = self.members_now();
        let metrics = self.metrics();
        let answering = self.answering();
        let full: BTreeSet<u64> = {
            let hearing = lock(&self.hearing);
            hearing.answers.iter().filter(|(_, answer)| answer.full).map(|(id, _)| *id).collect()
        };
        let matched = metrics.replication.unwrap_or_default();
        let heirs = members.voter_ids().filter(|id| *id != self.id && answering.contains(id));
        let best =
            heirs.max_by_key(|id| (!full.contains(id), matched.get(id).copied().flatten()))?;
        let has = matched.get(&best).copied().flatten();
        (has >= last).then(|| members.get_node(&best).cloned()).flatten()
    }

    /// The leader asks this manager to take over.
    pub(crate) async fn stand_now(&self) {
        let now = self.situation(self.tuning.election);
        if now.voter && !now.leading && now.floor == elect::Floor::Whole {
            let _ = self.raft.trigger().elect().await;
        }
    }
}
