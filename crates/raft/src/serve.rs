//! The other end of [`crate::Peers::call`]: answers managers.

use crate::kinds::{Ballot, Id, Image, Meta};
use crate::log::State;
use crate::node::{Node, lock};
use crate::wire::{self, Appended, Reply, Request};
use crate::{beat, disk, elect, propose};
use bytes::Bytes;
use openraft::Snapshot;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use std::sync::Arc;
use std::time::Instant;
use types::NodeId;

impl Node {
    pub(crate) async fn handle(self: &Arc<Self>, from: &NodeId, request: Bytes) -> Bytes {
        let reply = match wire::decode::<Request>(&request) {
            Ok((lineage, request, payload)) => self.reply(from, lineage, request, payload).await,
            Err(error) => Reply::Failed(error.to_string()),
        };
        wire::encode(self.log.state().lineage, &reply, &[])
    }

    async fn reply(
        self: &Arc<Self>,
        from: &NodeId,
        lineage: u64,
        request: Request,
        payload: Bytes,
    ) -> Reply {
        if let Some(refusal) = self.refuse(from, lineage, &request).await {
            return refusal;
        }
        match request {
            Request::Append { vote, prev, commit, entries } => {
                match wire::unpack_entries(&entries, payload) {
                    Ok(entries) => {
                        self.append(AppendEntriesRequest {
                            vote,
                            prev_log_id: prev,
                            leader_commit: commit,
                            entries,
                        })
                        .await
                    }
                    Err(error) => Reply::Failed(error.to_string()),
                }
            }
            Request::Vote { vote, last } => self.vote(vote, last).await,
            Request::Poll { last } => {
                let now = self.situation(self.tuning.election);
                let ours = self.log.last();
                Reply::Poll {
                    agrees: elect::supports(&now, ours, last),
                    quiet: now.leader_gone(),
                    last: ours,
                    term: self.metrics().vote.leader_id.term,
                }
            }
            Request::Beat(beat) => beat::hear(self, &beat).await,
            Request::Stand => {
                self.stand_now().await;
                Reply::Done
            }
            Request::Chunk { vote, meta, offset, total } => {
                self.chunk(vote, meta, offset, total, &payload).await
            }
            Request::Propose { leader, from, floor, .. } => {
                propose::verdict_reply(self, self.accept(leader, from, floor, payload).await)
            }
            Request::ReadIndex => self.read_index().await,
            Request::Add(peer) => self.add_reply(&peer).await,
            Request::Remove(node) => self.remove_reply(&node).await,
            Request::Transfer => self.transfer_reply().await,
            Request::Removed { by } => {
                beat::note_removed(self, by);
                Reply::Done
            }
        }
    }

    /// Strangers, liars, and those who were taken out get no answer to their question.
    async fn refuse(&self, from: &NodeId, lineage: u64, request: &Request) -> Option<Reply> {
        let (says, leading) = match request {
            Request::Append { vote, .. } | Request::Chunk { vote, .. } => (Some(vote), true),
            Request::Beat(beat) => (Some(&beat.vote), true),
            Request::Vote { vote, .. } => (Some(vote), false),
            _ => (None, false),
        };
        if says.is_some_and(|vote| vote.leader_id.node_id != from.raft_id()) {
            return Some(Reply::Failed(format!("node {from} speaks for another")));
        }
        let state = self.log.state();
        if state.lineage == 0 && lineage != 0 && leading {
            // Ours from now on: the first leader that turns to an empty manager has been asked to.
            let state = State { lineage, ..state };
            if let Err(error) = self.log.save_state(state).await {
                return Some(Reply::Failed(error.to_string()));
            }
        } else if state.lineage != lineage || lineage == 0 {
            return Some(Reply::Stranger);
        }
        if leading || self.members_now().get_node(&from.raft_id()).is_some() {
            return None;
        }
        let by = *self.metrics().membership_config.log_id();
        let removed = by.map_or(Reply::NotLeader, |by| Reply::Removed { by });
        // Only who hears the leader, or is it, knows that it is not the one who lags.
        let leads = self.leads();
        let knows = leads || self.leadership.borrow().leader.is_some();
        match request {
            Request::Vote { .. }
            | Request::Poll { .. }
            | Request::Propose { .. }
            | Request::ReadIndex => knows.then_some(removed),
            // The leader knows its members; nobody else has a say in these.
            Request::Add(_) | Request::Remove(_) | Request::Transfer => {
                Some(if leads { removed } else { Reply::NotLeader })
            }
            Request::Stand => Some(removed),
            Request::Append { .. }
            | Request::Beat(_)
            | Request::Chunk { .. }
            | Request::Removed { .. } => None,
        }
    }

    async fn append(&self, request: AppendEntriesRequest<crate::kinds::Kinds>) -> Reply {
        if request.vote >= self.metrics().vote {
            lock(&self.hearing).heard = Instant::now();
        }
        let bytes: usize = request.entries.iter().map(|entry| wire_size(entry) + 256).sum();
        if bytes > 0
            && let Err(error) = self.log.reserve(bytes as u64).await
        {
            return match disk::is_full(&error) {
                true => Reply::Full { node: self.me.node.clone() },
                false => Reply::Failed(error.to_string()),
            };
        }
        match self.raft.append_entries(request).await {
            Ok(AppendEntriesResponse::Success) => Reply::Append(Appended::Success),
            Ok(AppendEntriesResponse::PartialSuccess(upto)) => {
                Reply::Append(Appended::Partial(upto))
            }
            Ok(AppendEntriesResponse::Conflict) => Reply::Append(Appended::Conflict),
            Ok(AppendEntriesResponse::HigherVote(vote)) => Reply::Append(Appended::Higher(vote)),
            Err(error) => Reply::Failed(error.to_string()),
        }
    }

    async fn vote(&self, vote: Ballot, last: Option<Id>) -> Reply {
        if !self.floor().allows(last) {
            // It may have voted already, or promised entries that it has no more.
            return Reply::Failed("the end of this manager's raft log is lost".to_owned());
        }
        match self.raft.vote(VoteRequest::new(vote, last)).await {
            Ok(answer) => Reply::Vote {
                vote: answer.vote,
                granted: answer.vote_granted,
                last: answer.last_log_id,
            },
            Err(error) => Reply::Failed(error.to_string()),
        }
    }

    async fn chunk(
        &self,
        vote: Ballot,
        meta: Meta,
        offset: u64,
        total: u64,
        chunk: &[u8],
    ) -> Reply {
        let ours = self.metrics().vote;
        if vote < ours {
            return Reply::Chunk { vote: ours, have: 0 };
        }
        lock(&self.hearing).heard = Instant::now();
        let of = (vote, meta.last_log_id, meta.snapshot_id.clone());
        let (have, whole) = lock(&self.incoming).take(of, offset, total, chunk);
        let Some(whole) = whole else { return Reply::Chunk { vote, have } };
        // Once openraft has it, a failure would end this manager: make sure of the room before.
        if let Err(error) = self.files.claim(whole.len() as u64) {
            return match disk::is_full(&error) {
                true => Reply::Full { node: self.me.node.clone() },
                false => Reply::Failed(error.to_string()),
            };
        }
        let snapshot = Snapshot { meta, snapshot: Box::new(Image(whole)) };
        match self.raft.install_full_snapshot(vote, snapshot).await {
            Ok(answer) => Reply::Chunk { vote: answer.vote, have },
            Err(error) => Reply::Failed(error.to_string()),
        }
    }
}

fn wire_size(entry: &crate::kinds::RaftEntry) -> usize {
    match &entry.payload {
        openraft::EntryPayload::Normal(batch) => batch.bytes().len(),
        openraft::EntryPayload::Blank => 0,
        openraft::EntryPayload::Membership(members) => members.nodes().count() * 256,
    }
}
