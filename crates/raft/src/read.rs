//! Linearizable reads: the leader's index, asked for many readers at once, then waited for here.
//!
//! ```text
//! readers ─┐
//! readers ─┼─► one round: the leader makes sure that it still leads ─► index ─► all of them
//! readers ─┘   (who asks during a round is in the next one)
//! ```

use crate::ProposeError;
use crate::kinds::Id;
use crate::network::SMALL;
use crate::node::Node;
use crate::wire::{Reply, Request};
use std::sync::Arc;
use std::time::Duration;
use store::Snapshot;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Between attempts while nobody leads.
const PAUSE: Duration = Duration::from_millis(20);

/// One reader.
pub(crate) struct Asked {
    /// May ask another manager; not so when it is itself asked by one.
    pub(crate) forward: bool,
    pub(crate) answer: oneshot::Sender<Option<Option<Id>>>,
}

/// Answers readers, a round at a time.
pub(crate) async fn answer(node: Arc<Node>, mut asked: mpsc::Receiver<Asked>) {
    loop {
        let first = tokio::select! {
            () = node.stop.cancelled() => return,
            first = asked.recv() => first,
        };
        let Some(first) = first else { return };
        let mut readers = vec![first];
        while let Ok(reader) = asked.try_recv() {
            readers.push(reader);
        }
        let index = tokio::select! {
            () = node.stop.cancelled() => return,
            index = round(&node, readers.iter().any(|reader| reader.forward)) => index,
        };
        let here = node.leads();
        for reader in readers {
            // Who is gone needs none.
            let _ = reader.answer.send(index.filter(|_| here || reader.forward));
        }
    }
}

/// The index that a read which begins now must see; `None`: nobody says.
async fn round(node: &Arc<Node>, forward: bool) -> Option<Option<Id>> {
    if node.leads() {
        // Asking the others would renew their trust in this leader, who wants to be rid of it.
        if *node.paused.borrow() {
            return None;
        }
        let found = tokio::time::timeout(SMALL, node.raft.get_read_log_id()).await;
        return Some(found.ok()?.ok()?.0);
    }
    let (_, leader) = node.leader_now().filter(|(of, _)| forward && of.node_id != node.id)?;
    match node.caller.call(&leader, &Request::ReadIndex, &[], SMALL).await {
        Ok(Reply::Index(id)) => Some(id),
        _ => None,
    }
}

impl Node {
    async fn index(&self, forward: bool) -> Option<Option<Id>> {
        let (answer, answered) = oneshot::channel();
        self.reads.send(Asked { forward, answer }).await.ok()?;
        answered.await.ok()?
    }
    /// For another manager.
    pub(crate) async fn read_index(&self) -> Reply {
        match self.leads() {
            true => self.index(false).await.map_or(Reply::NotLeader, Reply::Index),
            false => Reply::NotLeader,
        }
    }
    pub(crate) async fn read(&self) -> Result<Snapshot, ProposeError> {
        let deadline = Instant::now() + self.tuning.patience;
        let read = async {
            loop {
                if let Some(broken) = self.broken() {
                    return Err(broken);
                }
                if let Some(index) = self.index(true).await {
                    self.reach(index).await;
                    return Ok(self.view.snapshot());
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            read = tokio::time::timeout_at(deadline, read) => read.unwrap_or(Err(ProposeError::NoLeader)),
            () = self.stop.cancelled() => Err(ProposeError::ShuttingDown),
        }
    }
    /// Waits until the entry is in this manager's state.
    pub(crate) async fn reach(&self, id: Option<Id>) {
        let index = id.map(|id| id.index);
        let mut applied = self.view.applied();
        // It cannot close: the view is held.
        let _ = applied.wait_for(|applied| applied.map(|id| id.index) >= index).await;
    }
}
