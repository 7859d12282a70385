//! The handle, and how a manager's Raft starts and ends.

use crate::kinds::{Id, Image, LeaderOf, Members, Meta, StoredMembers};
use crate::log::{self, Log, State};
use crate::machine::{self, Machine, View};
use crate::network::{Caller, Links};
use crate::node::{Hearing, Node};
use crate::snapshots::{self, About, Snapshots};
use crate::wire::Request;
use crate::{Archive, Error, Options, Peer, ProposeError, archive, beat, keep, propose, read};
use bytes::Bytes;
use openraft::EntryPayload;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::{Entry, Event, Snapshot, Store, StoreError, Transaction};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::NodeId;

/// Openraft gives up messages after this; ours end earlier. It is also its own heartbeat: a safety net
/// under our beats.
const MESSAGE_TIME: Duration = Duration::from_secs(10);
/// How long the end of a stopping manager waits for its parts.
const END: Duration = Duration::from_secs(5);

/// Who leads, as far as this manager knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leadership {
    pub leader: Option<NodeId>,
    /// `host:port`; empty without a leader.
    pub leader_addr: String,
    /// This manager leads, a majority confirmed it lately, and its snapshot holds all that earlier
    /// leaders wrote.
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

/// One manager's part in the cluster's log. Clones are handles to the same; when the last is dropped,
/// it stops as if it were killed.
#[derive(Clone)]
pub struct Raft {
    node: Arc<Node>,
    life: Arc<Life>,
}

/// Ends the tasks with the last handle.
struct Life {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Raft {
    /// A new cluster of one, whose store begins with `first`.
    pub async fn bootstrap(options: Options, first: Entry) -> Result<Raft, Error> {
        let mut store = Store::default();
        if let Some(refused) = store.apply(&first).refused.into_iter().next() {
            return Err(Error::First(refused.error));
        }
        Raft::found(options, store.snapshot()).await
    }

    /// Goes on from the disk.
    pub async fn open(options: Options) -> Result<Raft, Error> {
        if !has_log(&options.dir)? {
            return Err(Error::Empty(options.dir));
        }
        let log = open_log(&options).await?;
        Raft::start(options, log).await
    }

    /// Starts empty and returns at once; the leader's [`Raft::add`] makes it a member.
    pub async fn join(options: Options) -> Result<Raft, Error> {
        let log = new_log(&options, State::default())?;
        Raft::start(options, log).await
    }

    /// Goes on from the disk as the only manager, with all that is in the log here, confirmed or not.
    /// The managers of before are strangers from then on.
    pub async fn force_new_cluster(options: Options) -> Result<Raft, Error> {
        if !has_log(&options.dir)? {
            return Err(Error::Empty(options.dir));
        }
        let log = open_log(&options).await?;
        let files = Snapshots::new(&options.dir, &options.keys);
        let (state, meta) = Machine::load(&files)?;
        let last = log.last().max(meta.last_log_id).ok_or(Error::Empty(options.dir.clone()))?;
        let failed = |source| Error::Io { action: "write", path: options.dir.clone(), source };
        let state = all_of(&log, state, &meta).map_err(failed)?;
        let lineage = new_lineage();
        let about = About { meta: alone(&options, last), lineage };
        let image = snapshots::pack(&state).map_err(failed)?;
        files.save(&about, &image).map_err(failed)?;
        log.save_state(State { lineage, ..State::default() }).await.map_err(failed)?;
        log.purge(last).await.map_err(failed)?;
        Raft::start(options, log).await
    }

    /// A new cluster of one from what [`Raft::save`] wrote.
    pub async fn restore(options: Options, from: impl Read + Send) -> Result<Raft, Error> {
        let (_, state) = archive::read(from)?;
        Raft::found(options, state).await
    }

    /// A cluster of one that begins with a state.
    async fn found(options: Options, state: Snapshot) -> Result<Raft, Error> {
        let failed = |source| Error::Io { action: "write", path: options.dir.clone(), source };
        prepare(&options)?;
        let first = Id { leader_id: LeaderOf::new(1, options.node.raft_id()), index: 1 };
        let lineage = new_lineage();
        let about = About { meta: alone(&options, first), lineage };
        let image: Image = snapshots::pack(&state).map_err(failed)?;
        let files = Snapshots::new(&options.dir, &options.keys);
        files.save(&about, &image).map_err(failed)?;
        let log = new_log(&options, State { lineage, ..State::default() })?;
        log.purge(first).await.map_err(failed)?;
        Raft::start(options, log).await
    }

    async fn start(options: Options, log: Log) -> Result<Raft, Error> {
        let Options { dir, node, addr, keys, peers, tuning } = options;
        let me = Peer { node, addr };
        let id = me.node.raft_id();
        let files = Snapshots::new(&dir, &keys);
        let (state, meta) = Machine::load(&files)?;
        let view = Arc::new(View::new(id, state, &meta));
        let caller = Caller { peers, log: log.clone() };
        let machine = Machine { view: view.clone(), files: files.clone(), log: log.clone() };
        let links = Links(caller.clone());
        let config = Arc::new(config(&tuning));
        let raft = openraft::Raft::new(id, config, links, log.clone(), machine);
        let raft = raft.await.map_err(|error| Error::Core(error.to_string()))?;
        let (queue, queued) = mpsc::channel(propose::QUEUE);
        let (reads, asked) = mpsc::channel(propose::QUEUE);
        let stop = CancellationToken::new();
        let node = Arc::new(Node {
            hearing: Mutex::new(Hearing::new(&tuning)),
            leadership: watch::channel(Leadership::default()).0,
            removed: watch::channel(false).0,
            paused: watch::channel(false).0,
            stop: stop.clone(),
            snapshot_entries: tuning.snapshot_entries.into(),
            number: 0.into(),
            unsettled: Mutex::default(),
            seen: Mutex::default(),
            incoming: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            me,
            id,
            tuning,
            keys,
            log,
            files,
            view,
            raft,
            caller,
            queue,
            reads,
        });
        let tasks = TaskTracker::new();
        tasks.spawn(beat::beat(node.clone()));
        tasks.spawn(beat::stand(node.clone()));
        tasks.spawn(propose::batch(node.clone(), queued));
        tasks.spawn(read::answer(node.clone(), asked));
        tasks.spawn(keep::keep(node.clone()));
        tasks.close();
        Ok(Raft { node, life: Arc::new(Life { stop, tasks }) })
    }

    /// Writes a snapshot of the cluster, not older than the call. It holds every secret, in the clear.
    pub async fn save(&self, to: impl Write + Send) -> Result<Archive, Error> {
        let state = self.read().await?;
        let metrics = self.node.metrics();
        let applied = metrics.last_applied;
        let members = self.node.members_now().nodes().map(|(_, peer)| peer.clone()).collect();
        let (index, term) = applied.map_or((0, 0), |id| (id.index, id.leader_id.term));
        let about = Archive::of(&state, index, term, members);
        archive::write(to, &about, &state)?;
        Ok(about)
    }

    /// The other end of [`crate::Peers::call`]; `from` is the peer that the transport made sure of.
    pub async fn handle(&self, from: &NodeId, request: Bytes) -> Bytes {
        self.node.handle(from, request).await
    }

    /// Writes the transactions, in order, each all or not at all. On any manager. Returns one outcome
    /// each, after they are in this manager's snapshot.
    ///
    /// Tried again by itself whenever it is certain that it was not written. After
    /// [`ProposeError::Lost`] look at the state, or propose it again if each transaction carries the
    /// version it was decided on: a second writing is then refused.
    pub async fn propose(
        &self,
        transactions: Vec<Transaction>,
    ) -> Result<Vec<Result<(), StoreError>>, ProposeError> {
        self.node.propose(transactions).await
    }

    /// A snapshot that holds all that was written anywhere before the call. On any manager.
    pub async fn read(&self) -> Result<Snapshot, ProposeError> {
        self.node.read().await
    }

    /// This manager's state as it is now; behind the leader's when it lags.
    pub fn snapshot(&self) -> Snapshot {
        self.node.view.snapshot()
    }

    /// The store's version, whenever it moves.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.node.view.version()
    }

    /// What changed after `version`; `None`: too long ago, read the snapshot instead.
    pub fn changed_since(&self, version: u64) -> Option<Vec<Event>> {
        self.node.view.changed_since(version)
    }

    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.node.leadership.subscribe()
    }

    /// The managers, by id.
    pub fn members(&self) -> Vec<Member> {
        self.node.members()
    }

    /// Becomes true once this manager was removed from the cluster by the others.
    pub fn removed(&self) -> watch::Receiver<bool> {
        self.node.removed.subscribe()
    }

    /// Why this manager's log cannot be written any more: the disk failed. It takes no part until it is
    /// opened again.
    pub fn failed(&self) -> Option<String> {
        self.node.log.failed()
    }

    /// Whether the disk has no room for more of the log.
    pub fn is_full(&self) -> bool {
        self.node.log.is_full()
    }

    /// What is wrong with this manager's log, for who asks after its health. Nothing: it takes its part.
    pub fn trouble(&self) -> Option<String> {
        let log = &self.node.log;
        let dir = log.dir().display();
        match (log.failed(), log.state()) {
            (Some(why), _) => Some(format!(
                "the raft log cannot be written ({why}): this manager takes no part until its daemon is restarted on a disk that works"
            )),
            (None, State { lost: true, cut, .. }) => Some(format!(
                "the raft log in {dir} lost its end{}: this manager neither votes nor leads until it has it back from a leader, or \
                 until all managers are there",
                if cut { " (a file is shorter than it was written)" } else { "" }
            )),
            (None, _) if log.is_full() => Some(format!(
                "no space left on the disk of {dir}: this manager takes no more of the raft log until there is some"
            )),
            (None, _) => None,
        }
    }

    /// From now on a snapshot is taken after so many entries (`Raft.SnapshotInterval`); 0 changes nothing.
    pub fn snapshot_every(&self, entries: u64) {
        if entries > 0 {
            self.node.snapshot_entries.store(entries, Ordering::Relaxed);
        }
    }

    /// Makes a running manager ([`Raft::join`]) a voter; again with another address: moves it. On any
    /// manager.
    pub async fn add(&self, node: &NodeId, addr: &str) -> Result<(), Error> {
        let peer = Peer { node: node.clone(), addr: addr.to_owned() };
        self.node.by_leader(Request::Add(peer)).await
    }

    /// Takes a manager out. Refused when the rest would have no majority. On any manager; the leader
    /// hands over first when it is the one.
    pub async fn remove(&self, node: &NodeId) -> Result<(), Error> {
        self.node.by_leader(Request::Remove(node.clone())).await
    }

    /// Hands the lead to the follower that is furthest on. On any manager; nothing to do for a leader
    /// who is alone.
    pub async fn transfer_leadership(&self) -> Result<(), Error> {
        self.node.by_leader(Request::Transfer).await
    }

    /// Hands over the lead, writes what is under way, and stops. Returns when the directory is free.
    pub async fn shutdown(self) {
        let node = &self.node;
        let others = node.members_now().voter_ids().count() > 1;
        if node.leads() && others {
            node.hand_over().await;
        }
        let _ = node.log.flush().await;
        self.life.stop.cancel();
        let _ = tokio::time::timeout(END, node.raft.shutdown()).await;
        let _ = tokio::time::timeout(END, self.life.tasks.wait()).await;
        node.tell_leadership();
    }

    #[cfg(test)]
    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }
}

/// How long voters keep to a leader after its last message, and how long a vote may take. Shorter than
/// the silence that starts an election, so that no election is refused for it; and not by much, for on a
/// busy machine votes take their time.
pub(crate) fn lease(tuning: &crate::Tuning) -> Duration {
    (tuning.election * 19 / 20).max(Duration::from_millis(2))
}

fn config(tuning: &crate::Tuning) -> openraft::Config {
    let lease = lease(tuning).as_millis() as u64;
    openraft::Config {
        cluster_name: "sampan".to_owned(),
        heartbeat_interval: MESSAGE_TIME.as_millis() as u64,
        election_timeout_min: lease - 1,
        election_timeout_max: lease,
        install_snapshot_timeout: MESSAGE_TIME.as_millis() as u64,
        // When to stand and when to take a snapshot is decided here.
        enable_elect: false,
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: tuning.kept_entries,
        replication_lag_threshold: tuning.snapshot_entries + tuning.kept_entries,
        max_payload_entries: 256,
        ..openraft::Config::default()
    }
}

fn new_lineage() -> u64 {
    rand::random::<u64>().max(1)
}

fn alone(options: &Options, last: Id) -> Meta {
    let id = options.node.raft_id();
    let me = Peer { node: options.node.clone(), addr: options.addr.clone() };
    let members = Members::new(vec![BTreeSet::from([id])], BTreeMap::from([(id, me)]));
    let last_membership = StoredMembers::new(Some(last), members);
    let snapshot_id = format!("{}-{}", last.leader_id, last.index);
    Meta { last_log_id: Some(last), last_membership, snapshot_id }
}

/// The state with every entry of the log in it.
fn all_of(log: &Log, state: Snapshot, meta: &Meta) -> std::io::Result<Snapshot> {
    let mut store = Store::new(state);
    let mut next = meta.last_log_id.map_or(0, |id| id.index + 1);
    loop {
        let entries = log.entries(next..u64::MAX, 8 << 20)?;
        for entry in &entries {
            if let EntryPayload::Normal(batch) = &entry.payload {
                let batch = batch.decode().map_err(std::io::Error::other)?;
                machine::write(&mut store, entry.log_id, batch);
            }
        }
        match entries.last() {
            Some(last) => next = last.log_id.index + 1,
            None => return Ok(store.snapshot()),
        }
    }
}

fn has_log(dir: &Path) -> Result<bool, Error> {
    let failed = |source| Error::Io { action: "read", path: dir.to_owned(), source };
    log::exists(dir).map_err(failed)
}

fn prepare(options: &Options) -> Result<(), Error> {
    let failed = |source| Error::Io { action: "make", path: options.dir.clone(), source };
    fs::create_dir_all(&options.dir).map_err(failed)?;
    match has_log(&options.dir)? {
        true => Err(Error::NotEmpty(options.dir.clone())),
        false => Ok(()),
    }
}

fn new_log(options: &Options, state: State) -> Result<Log, Error> {
    prepare(options)?;
    Log::create(&options.dir, &options.keys, options.tuning.segment_bytes, state)
}

async fn open_log(options: &Options) -> Result<Log, Error> {
    let (dir, keys) = (options.dir.clone(), options.keys.clone());
    let segment_bytes = options.tuning.segment_bytes;
    // It may wait for a predecessor to finish.
    tokio::task::spawn_blocking(move || Log::open(&dir, &keys, segment_bytes))
        .await
        .map_err(|error| Error::Core(error.to_string()))?
}

#[cfg(test)]
mod tests;
