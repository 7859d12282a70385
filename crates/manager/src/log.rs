//! What the manager needs of the replicated log; nothing more. Raft is one, `Memory` another for tests.

use async_trait::async_trait;
use raft::{Leadership, Member, ProposeError, Raft};
use store::{Event, Snapshot, StoreError, Transaction};
use tokio::sync::watch;
use types::NodeId;

/// How each transaction of a proposal ended, in their order.
pub type Results = Vec<Result<(), StoreError>>;

/// The replicated store as this manager has it.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Writes transactions as one entry, from any manager. Answers when they are applied here.
    async fn propose(&self, transactions: Vec<Transaction>) -> Result<Results, ProposeError>;
    /// A state that is not older than this call, on any manager.
    async fn read(&self) -> Result<Snapshot, ProposeError>;
    /// The state as it is here; perhaps old.
    fn snapshot(&self) -> Snapshot;
    /// The store's version here.
    fn changes(&self) -> watch::Receiver<u64>;
    /// What happened here after a version; `None` once that is forgotten.
    fn changed_since(&self, version: u64) -> Option<Vec<Event>>;
    fn leadership(&self) -> watch::Receiver<Leadership>;
    fn members(&self) -> Vec<Member>;
    /// Makes a manager that runs a member.
    async fn add(&self, node: &NodeId, addr: &str) -> Result<(), raft::Error>;
    /// Takes a manager out of the membership; the leader hands over first when it is the one. Refused when the
    /// rest would have no majority.
    async fn remove(&self, node: &NodeId) -> Result<(), raft::Error>;
}

#[async_trait]
impl Log for Raft {
    async fn propose(&self, transactions: Vec<Transaction>) -> Result<Results, ProposeError> {
        Raft::propose(self, transactions).await
    }
    async fn read(&self) -> Result<Snapshot, ProposeError> {
        Raft::read(self).await
    }
    fn snapshot(&self) -> Snapshot {
        Raft::snapshot(self)
    }
    fn changes(&self) -> watch::Receiver<u64> {
        Raft::changes(self)
    }
    fn changed_since(&self, version: u64) -> Option<Vec<Event>> {
        Raft::changed_since(self, version)
    }
    fn leadership(&self) -> watch::Receiver<Leadership> {
        Raft::leadership(self)
    }
    fn members(&self) -> Vec<Member> {
        Raft::members(self)
    }
    async fn add(&self, node: &NodeId, addr: &str) -> Result<(), raft::Error> {
        Raft::add(self, node, addr).await
    }
    async fn remove(&self, node: &NodeId) -> Result<(), raft::Error> {
        Raft::remove(self, node).await
    }
}
