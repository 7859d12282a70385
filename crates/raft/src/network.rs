//! Openraft's messages to one other manager, over [`crate::Peers`].

use crate::kinds::{Ballot, Id, Kinds};
use crate::log::Log;
use crate::wire::{self, Appended, Reply, Request};
use crate::{Peer, Peers};
use bytes::Bytes;
use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, Snapshot};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A chunk of a snapshot: small enough for any transport's limits.
pub(crate) const CHUNK: usize = 1 << 20;
/// How long a small message may take, disk flush at the other end included.
pub(crate) const SMALL: Duration = Duration::from_secs(2);
/// What a link must carry in any case: a large message gets the time it needs at this speed.
const SLOWEST_BYTES_PER_SECOND: u64 = 1 << 20;

/// Calls other managers.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) log: Log,
}

impl Caller {
    pub(crate) async fn call(
        &self,
        to: &Peer,
        request: &Request,
        payload: &[Bytes],
        within: Duration,
    ) -> io::Result<Reply> {
        let bytes = wire::encode(self.log.state().lineage, request, payload);
        let time = within + Duration::from_secs(bytes.len() as u64 / SLOWEST_BYTES_PER_SECOND);
        let answer = tokio::time::timeout(time, self.peers.call(to, bytes)).await;
        let answer = answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let (_, reply, _) = wire::decode(&answer).map_err(io::Error::other)?;
        match reply {
            Reply::Stranger => Err(io::Error::other("it belongs to another cluster")),
            Reply::Failed(why) => Err(io::Error::other(why)),
            reply => Ok(reply),
        }
    }
}

/// Makes the links that openraft asks for.
pub(crate) struct Links(pub(crate) Caller);

impl RaftNetworkFactory<Kinds> for Links {
    type Network = Link;

    async fn new_client(&mut self, _target: u64, node: &Peer) -> Link {
        Link { caller: self.0.clone(), to: node.clone() }
    }
}

pub(crate) struct Link {
    caller: Caller,
    to: Peer,
}

type CallError = RPCError<u64, Peer, RaftError<u64>>;

fn unreachable(error: &io::Error) -> Unreachable {
    Unreachable::new(error)
}

fn unexpected() -> io::Error {
    io::Error::other("an answer to another question")
}

impl RaftNetwork<Kinds> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Kinds>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError> {
        let (entries, payload) = wire::pack_entries(&rpc.entries);
        let (vote, prev, commit) = (rpc.vote, rpc.prev_log_id, rpc.leader_commit);
        let request = Request::Append { vote, prev, commit, entries };
        match self.caller.call(&self.to, &request, &payload, SMALL).await {
            Ok(Reply::Append(appended)) => Ok(match appended {
                Appended::Success => AppendEntriesResponse::Success,
                Appended::Partial(upto) => AppendEntriesResponse::PartialSuccess(upto),
                Appended::Conflict => AppendEntriesResponse::Conflict,
                Appended::Higher(vote) => AppendEntriesResponse::HigherVote(vote),
            }),
            Ok(_) => Err(unreachable(&unexpected()).into()),
            Err(error) => Err(unreachable(&error).into()),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallError> {
        let request = Request::Vote { vote: rpc.vote, last: rpc.last_log_id };
        match self.caller.call(&self.to, &request, &[], SMALL).await {
            Ok(Reply::Vote { vote, granted, last }) => Ok(VoteResponse::new(vote, last, granted)),
            Ok(_) => Err(unreachable(&unexpected()).into()),
            Err(error) => Err(unreachable(&error).into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Ballot,
        snapshot: Snapshot<Kinds>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Kinds, Fatal<u64>>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send(vote, &snapshot) => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => Err(unreachable(&error).into()),
            },
        }
    }

    /// A manager that was away is asked again soon: what it lacks keeps changes from being safe.
    fn backoff(&self) -> Backoff {
        let growing = [20, 50, 100].map(Duration::from_millis).into_iter();
        Backoff::new(growing.chain(std::iter::repeat(Duration::from_millis(200))))
    }
}

impl Link {
    /// Sends the chunks in order. The other end says how much it has, so that a lost chunk is sent again
    /// and a half sent snapshot is gone on with.
    async fn send(&self, vote: Ballot, snapshot: &Snapshot<Kinds>) -> io::Result<Ballot> {
        let bytes = &snapshot.snapshot.0;
        let (meta, total) = (&snapshot.meta, bytes.len() as u64);
        let (mut offset, mut failures) = (0, 0);
        loop {
            let end = (offset as usize + CHUNK).min(bytes.len());
            let chunk = bytes.slice(offset as usize..end);
            let request = Request::Chunk { vote, meta: meta.clone(), offset, total };
            // The last one is answered when the whole is installed.
            let time = if end == bytes.len() { SMALL * 15 } else { SMALL };
            match self.caller.call(&self.to, &request, &[chunk], time).await {
                Ok(Reply::Chunk { vote: theirs, .. }) if theirs > vote => return Ok(theirs),
                Ok(Reply::Chunk { vote, have }) if have >= total && end == bytes.len() => {
                    return Ok(vote);
                }
                Ok(Reply::Chunk { have, .. }) => {
                    failures = if have > offset { 0 } else { failures + 1 };
                    offset = have.min(total);
                }
                Ok(_) => return Err(unexpected()),
                Err(error) if failures >= 3 => return Err(error),
                Err(_) => failures += 1,
            }
            if failures > 3 {
                return Err(io::Error::other("a snapshot does not arrive"));
            }
        }
    }
}

/// A snapshot on its way in.
#[derive(Default)]
pub(crate) struct Incoming {
    of: Option<(Ballot, Option<Id>, String)>,
    bytes: Vec<u8>,
}

impl Incoming {
    /// Takes a chunk; answers how many bytes there are now, and the whole once it is complete.
    pub(crate) fn take(
        &mut self,
        of: (Ballot, Option<Id>, String),
        offset: u64,
        total: u64,
        chunk: &[u8],
    ) -> (u64, Option<Bytes>) {
        if self.of.as_ref() != Some(&of) {
            *self = Incoming { of: Some(of), bytes: Vec::new() };
        }
        if offset == self.bytes.len() as u64 {
            self.bytes.extend_from_slice(chunk);
        }
        let have = self.bytes.len() as u64;
        if have < total {
            return (have, None);
        }
        let whole = std::mem::take(self).bytes;
        (have, Some(whole.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_join_in_order_whatever_is_repeated_or_lost() {
        let of = || (Ballot::new(1, 1), None, "a".to_owned());
        let mut incoming = Incoming::default();
        assert_eq!(incoming.take(of(), 0, 6, b"abc"), (3, None));
        assert_eq!(incoming.take(of(), 0, 6, b"abc"), (3, None), "said twice");
        assert_eq!(incoming.take(of(), 5, 6, b"f"), (3, None), "too early");
        assert_eq!(incoming.take(of(), 3, 6, b"def"), (6, Some(Bytes::from_static(b"abcdef"))));
        assert_eq!(incoming.take(of(), 0, 6, b"abc"), (3, None));
        let newer = (Ballot::new(2, 1), None, "b".to_owned());
        assert_eq!(incoming.take(newer, 0, 1, b"x"), (1, Some(Bytes::from_static(b"x"))));
    }
}
