//! The handle.

use crate::{Error, Options, ProposeError};
use bytes::Bytes;
use std::io::{Read, Write};
use store::{Entry, Event, Snapshot, StoreError, Transaction};
use tokio::sync::watch;
use types::NodeId;

/// Who leads, as far as this manager knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leadership {
    pub leader: Option<NodeId>,
    /// `host:port`; empty without a leader.
    pub leader_addr: String,
    /// This manager leads, and a majority confirmed it lately.
    pub is_leader: bool,
    pub term: u64,
}

/// A manager of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub node: NodeId,
    pub addr: String,
    pub voter: bool,
    pub leader: bool,
    /// As the leader sees it; on a follower, what the leader last told it.
    pub reachable: bool,
}

/// What a saved snapshot says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The store's version.
    pub version: u64,
    /// The last log entry in it.
    pub index: u64,
    pub term: u64,
    /// The managers at that time.
    pub members: Vec<crate::Peer>,
    /// Objects by kind.
    pub objects: Vec<(store::Kind, usize)>,
}

/// One manager's part in the cluster's log. Clones are handles to the same.
#[derive(Clone)]
pub struct Raft {
    leadership: watch::Receiver<Leadership>,
    changes: watch::Receiver<u64>,
}

impl Raft {
    /// A new cluster of one, whose store begins with `first`.
    pub async fn bootstrap(options: Options, first: Entry) -> Result<Raft, Error> {
        let _ = (options, first);
        Err(Error::Core("not made yet".to_owned()))
    }
    /// Goes on from the disk.
    pub async fn open(options: Options) -> Result<Raft, Error> {
        Raft::bootstrap(options, Entry::default()).await
    }
    /// Starts empty and returns at once; the leader's [`Raft::add`] makes it a member.
    pub async fn join(options: Options) -> Result<Raft, Error> {
        Raft::bootstrap(options, Entry::default()).await
    }
    /// Goes on from the disk as the only manager, with all that is in the log here, confirmed or not.
    pub async fn force_new_cluster(options: Options) -> Result<Raft, Error> {
        Raft::bootstrap(options, Entry::default()).await
    }
    /// A new cluster of one from what [`Raft::save`] wrote.
    pub async fn restore(options: Options, from: impl Read + Send) -> Result<Raft, Error> {
        drop(from);
        Raft::bootstrap(options, Entry::default()).await
    }
    /// Writes a snapshot of the cluster, not older than the call. It holds every secret, in the clear.
    pub async fn save(&self, to: impl Write + Send) -> Result<Archive, Error> {
        drop(to);
        Err(Error::Core("not made yet".to_owned()))
    }
    /// The other end of [`crate::Peers::call`]; `from` is the peer that the transport made sure of.
    pub async fn handle(&self, from: &NodeId, request: Bytes) -> Bytes {
        let _ = from;
        request
    }
    /// Writes the transactions, in order, each all or not at all. On any manager. Returns one outcome
    /// each, after they are in this manager's snapshot.
    pub async fn propose(
        &self,
        transactions: Vec<Transaction>,
    ) -> Result<Vec<Result<(), StoreError>>, ProposeError> {
        drop(transactions);
        Err(ProposeError::NoLeader)
    }
    /// A snapshot that holds all that was written anywhere before the call. On any manager.
    pub async fn read(&self) -> Result<Snapshot, ProposeError> {
        Err(ProposeError::NoLeader)
    }
    /// This manager's state as it is now; behind the leader's when it lags.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::default()
    }
    /// The store's version, whenever it moves.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
    /// What changed after `version`; `None`: too long ago, read the snapshot instead.
    pub fn changed_since(&self, version: u64) -> Option<Vec<Event>> {
        let _ = version;
        None
    }
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }
    /// The managers, by id.
    pub fn members(&self) -> Vec<Member> {
        Vec::new()
    }
    /// Becomes true once this manager was removed from the cluster by the others.
    pub fn removed(&self) -> watch::Receiver<bool> {
        watch::channel(false).1
    }
    /// Makes a running manager ([`Raft::join`]) a voter; again with another address: moves it. On any
    /// manager.
    pub async fn add(&self, node: &NodeId, addr: &str) -> Result<(), Error> {
        let _ = (node, addr);
        Err(Error::Core("not made yet".to_owned()))
    }
    /// Takes a manager out. Refused when the rest would have no majority. On any manager; the leader
    /// hands over first when it is the one.
    pub async fn remove(&self, node: &NodeId) -> Result<(), Error> {
        let _ = node;
        Err(Error::Core("not made yet".to_owned()))
    }
    /// Hands the lead to the follower that is furthest on. Nothing to do for who does not lead.
    pub async fn transfer_leadership(&self) -> Result<(), Error> {
        Err(Error::Core("not made yet".to_owned()))
    }
    /// Writes all that is under way, hands over the lead, and stops.
    pub async fn shutdown(self) {}
}

/// Reads what a saved snapshot says of itself, and checks it whole.
pub fn inspect(from: impl Read) -> Result<Archive, Error> {
    drop(from);
    Err(Error::NotArchive("not made yet".to_owned()))
}
