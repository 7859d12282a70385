//! What runs on managers alone: Raft and the control plane over it.

use crate::history::History;
use crate::node::{Begin, Shared, certificate, guard};
use async_trait::async_trait;
use bytes::Bytes;
use ca::UnlockKey;
use engine::Error;
use manager::Manager;
use raft::{Keys, KeysError, Peer, Raft, Tuning};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use store::Change;
use types::NodeId;
use types::swarm::node::{Node, NodeState};
use types::swarm::session::{ManagerAddress, PeerIdentity};

pub(crate) struct Plane {
    raft: Raft,
    keys: Keys,
    manager: Manager,
    history: History,
    /// Write the history, follow the cluster's settings for the log.
    keeping: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

impl Plane {
    pub(crate) async fn start(shared: &Arc<Shared>, begin: Begin) -> Result<Plane, Error> {
        let dir = shared.config.dir.join("raft");
        std::fs::create_dir_all(&dir)
            .map_err(|err| Error::caused("failed to make the log's directory", err))?;
        let keys = open_keys(&shared.config.dir, guard(&shared.lock).as_ref())?;
        let options = raft::Options {
            dir,
            node: shared.me().node,
            addr: shared.advertised(),
            keys: keys.clone(),
            peers: Arc::new(Wire { client: shared.client.clone() }),
            tuning: Tuning::default(),
        };
        let raft = match &begin {
            Begin::Found(entry) => Raft::bootstrap(options, entry.clone()).await,
            Begin::Alone => Raft::force_new_cluster(options).await,
            Begin::Restore { archive, .. } => Raft::restore(options, archive.as_ref()).await,
            Begin::Resume => match Raft::open(options.clone()).await {
                Err(raft::Error::Empty(_)) => Raft::join(options).await,
                opened => opened,
            },
        };
        let raft = raft.map_err(Error::from_lower)?;
        if let Begin::Restore { node, .. } = begin {
            let mut changes = manager::left_behind(&raft.snapshot(), crate::node::now());
            changes.push(Change::Create(Node::clone(&node).into()));
            let entry = changes.into();
            let results = raft.propose(vec![entry]).await.map_err(Error::from_lower)?;
            results.into_iter().collect::<Result<(), _>>().map_err(Error::from_lower)?;
        }
        let manager = Manager::start(Arc::new(raft.clone()), shared.me().node);
        let history = History::new(shared.config.dir.join("history"));
        let keeping = vec![
            tokio::spawn(history.clone().keep(manager.control())),
            tokio::spawn(follow_settings(raft.clone())),
        ];
        let keeping = Mutex::new(keeping);
        Ok(Plane { raft, keys, manager, history, keeping })
    }

    /// Makes sure that this manager is one of the log's. Returns at once when it is.
    pub(crate) async fn take_part(&self, shared: &Shared) -> Result<(), Error> {
        let me = shared.me().node;
        if self.raft.members().iter().any(|member| member.node == me && member.voter) {
            return Ok(());
        }
        let mut failed = Error::unavailable("no manager is known");
        let others = guard(&shared.state).managers.clone();
        for manager in others.iter().filter(|manager| manager.node != me) {
            let some = Some(&manager.node).filter(|node| !node.as_str().is_empty());
            match shared.client.join(&manager.addr, some, &shared.advertised()).await {
                Ok(_) => return Ok(()),
                Err(err) => failed = Error::from_lower(err),
            }
        }
        Err(failed)
    }

    pub(crate) fn control(&self) -> manager::control::Control {
        self.manager.control()
    }

    pub(crate) fn history(&self) -> History {
        self.history.clone()
    }

    pub(crate) async fn why(&self, id: &str) -> Option<manager::Why> {
        self.manager.why(id).await
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.raft.leadership().borrow().leader.clone()
    }

    /// Nodes that are not down and said where they listen.
    pub(crate) fn reachable_nodes(&self) -> Vec<NodeId> {
        self.reachable().into_iter().map(|node| node.node).collect()
    }

    /// Those, with where they listen.
    pub(crate) fn reachable(&self) -> Vec<ManagerAddress> {
        let state = self.raft.snapshot();
        let up = state.nodes().iter().filter(|node| {
            node.status.state != NodeState::Down && !node.description.addr.is_empty()
        });
        let address = |node: &Arc<Node>| ManagerAddress {
            node: node.id.clone(),
            addr: node.description.addr.clone(),
        };
        up.map(address).collect()
    }

    pub(crate) fn dispatcher(&self) -> Arc<dyn rpc::Dispatch> {
        self.manager.dispatch()
    }

    pub(crate) fn services(&self) -> rpc::Services {
        rpc::Services {
            trust: Some(self.manager.trust()),
            dispatch: Some(self.manager.dispatch()),
            consensus: Some(Arc::new(Consensus { raft: self.raft.clone() })),
            membership: Some(self.manager.membership()),
            http: None,
        }
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    pub(crate) fn leads(&self) -> bool {
        self.raft.leadership().borrow().is_leader
    }

    /// The leader first.
    pub(crate) fn managers(&self) -> Vec<ManagerAddress> {
        let mut members = self.raft.members();
        members.sort_by_key(|member| !member.leader);
        let address =
            |member: raft::Member| ManagerAddress { node: member.node, addr: member.addr };
        members.into_iter().map(address).collect()
    }

    /// Resolves when the store has another unlock key than this node's disk.
    pub(crate) async fn lock_changed(&self, shared: &Shared) {
        let mut changes = self.raft.changes();
        let is_held =
            || wanted_lock(&self.raft) == guard(&shared.lock).as_ref().map(UnlockKey::to_text);
        while !is_loaded(&self.raft) || is_held() {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Locks this node's disk as the store says.
    pub(crate) fn apply_lock(&self, shared: &Shared) -> Result<(), Error> {
        let wanted = wanted_lock(&self.raft);
        let mut lock = guard(&shared.lock);
        if wanted == lock.as_ref().map(UnlockKey::to_text) || !is_loaded(&self.raft) {
            return Ok(());
        }
        let key = wanted.as_deref().map(UnlockKey::parse).transpose().map_err(certificate)?;
        // Two files, and a kill between them must leave a pair that one key opens: open keys open with any.
        self.keys.rotate_unlock("").map_err(keys_error)?;
        let identity = guard(&shared.identity);
        let dir = crate::node::certificates(&shared.config.dir);
        identity.save(&dir, key.as_ref()).map_err(certificate)?;
        self.keys.rotate_unlock(wanted.as_deref().unwrap_or_default()).map_err(keys_error)?;
        *lock = key;
        Ok(())
    }

    /// Takes this manager out of the log before it goes, as far as the others can spare it.
    pub(crate) async fn go(&self, shared: &Shared) {
        let me = shared.me().node;
        if self.raft.members().len() > 1
            && let Err(err) = self.raft.remove(&me).await
        {
            tracing::warn!("this manager leaves without being taken out of the log: {err}");
        }
    }

    pub(crate) async fn stop(&self) {
        let keeping = std::mem::take(&mut *guard(&self.keeping));
        for keeping in keeping {
            keeping.abort();
            // Cancelled, which is what was asked for.
            let _ = keeping.await;
        }
        self.manager.stop().await;
        self.raft.clone().shutdown().await;
    }

    /// Removes the log of a node that is a manager no more.
    pub(crate) fn forget(dir: &Path) -> Result<(), Error> {
        for gone in
            [std::fs::remove_dir_all(dir.join("raft")), std::fs::remove_file(keys_path(dir))]
        {
            match gone {
                Err(err) if err.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::caused(
                        "failed to remove the log of a manager that is none",
                        err,
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Has the log do what the cluster's spec says of it.
async fn follow_settings(raft: Raft) {
    let mut changes = raft.changes();
    loop {
        if let Some(cluster) = raft.snapshot().clusters().iter().next() {
            raft.snapshot_every(cluster.spec.raft.snapshot_interval);
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Before the first snapshot arrives there is no cluster object, and nothing to learn from it.
fn is_loaded(raft: &Raft) -> bool {
    raft.snapshot().clusters().iter().next().is_some()
}

/// The unlock key that the cluster has; none when managers do not lock themselves.
fn wanted_lock(raft: &Raft) -> Option<String> {
    let snapshot = raft.snapshot();
    let record = snapshot.clusters().iter().next()?.record.as_ref()?;
    Some(record.unlock_key.clone()).filter(|key| !key.is_empty())
}

fn keys_path(dir: &Path) -> PathBuf {
    dir.join("raft.keys")
}

fn open_keys(dir: &Path, lock: Option<&UnlockKey>) -> Result<Keys, Error> {
    let (path, lock) = (keys_path(dir), lock.map(UnlockKey::to_text).unwrap_or_default());
    if !path.exists() {
        return Keys::create(&path, &lock).map_err(keys_error);
    }
    let keys = Keys::load(&path, &lock).map_err(keys_error)?;
    // Left open by a kill while the lock was changed.
    if !lock.is_empty() {
        keys.rotate_unlock(&lock).map_err(keys_error)?;
    }
    Ok(keys)
}

fn keys_error(err: KeysError) -> Error {
    Error::from_lower(raft::Error::from(err))
}

/// Raft's requests over the port.
struct Wire {
    client: rpc::Client,
}

#[async_trait]
impl raft::Peers for Wire {
    async fn call(&self, to: &Peer, request: Bytes) -> io::Result<Bytes> {
        Ok(self.client.consensus(&to.addr, &to.node, request).await?)
    }
}

/// The other end of [`Wire`].
struct Consensus {
    raft: Raft,
}

#[async_trait]
impl rpc::Consensus for Consensus {
    async fn call(&self, from: PeerIdentity, request: Bytes) -> Result<Bytes, rpc::Error> {
        Ok(self.raft.handle(&from.node, request).await)
    }
}
