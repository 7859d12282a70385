//! The store, moved by the log: what openraft calls the state machine, and what readers see of it.
//!
//! ```text
//! committed entries ─► store.apply ─► published snapshot ─► who proposed here learns the outcome
//!                                                       └─► watchers of version and index
//! ```
//!
//! Everything that decides what an entry does is in the entry: the same log gives the same store on
//! every manager.

use crate::disk;
use crate::kinds::{Batch, Decoded, Id, Image, Kinds, Meta, Origin, RaftEntry, StoredMembers};
use crate::snapshots::{self, About, Snapshots};
use crate::{Error, log::Log};
use openraft::storage::{RaftStateMachine, Snapshot as RaftSnapshot};
use openraft::{
    AnyError, EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder,
    StorageError, StorageIOError,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::{Entry, Event, Since, Snapshot, Store, StoreError};
use tokio::sync::{oneshot, watch};

/// What became of a proposal's transactions, in their order.
pub(crate) type Outcomes = Vec<Result<(), StoreError>>;

/// The state of this manager, as its readers see it.
pub(crate) struct View {
    /// [`types::NodeId::raft_id`] of this manager.
    node: u64,
    /// Drawn at the start: proposals of an earlier life are not ours.
    boot: u64,
    store: Mutex<Store>,
    published: Mutex<Published>,
    version: watch::Sender<u64>,
    applied: watch::Sender<Option<Id>>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Outcomes>>>,
}

/// A state with its place in the log: they move together, or a snapshot would apply entries twice.
#[derive(Clone)]
struct Published {
    state: Snapshot,
    last: Option<Id>,
    members: StoredMembers,
}

#[expect(clippy::result_large_err, reason = "the error is openraft's")]
impl View {
    pub(crate) fn new(node: u64, state: Snapshot, meta: &Meta) -> View {
        let version = state.version();
        View {
            node,
            boot: rand::random(),
            published: Mutex::new(Published {
                state: state.clone(),
                last: meta.last_log_id,
                members: meta.last_membership.clone(),
            }),
            store: Mutex::new(Store::new(state)),
            version: watch::channel(version).0,
            applied: watch::channel(meta.last_log_id).0,
            waiting: Mutex::default(),
        }
    }
    pub(crate) fn snapshot(&self) -> Snapshot {
        lock(&self.published).state.clone()
    }
    pub(crate) fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
    /// The last entry that is in the published snapshot.
    pub(crate) fn applied(&self) -> watch::Receiver<Option<Id>> {
        self.applied.subscribe()
    }
    pub(crate) fn changed_since(&self, version: u64) -> Option<Vec<Event>> {
        match lock(&self.store).changed_since(version) {
            Since::Events(events) => Some(events.into_iter().cloned().collect()),
            Since::Resync => None,
        }
    }
    pub(crate) fn origin(&self, number: u64) -> Origin {
        Origin { node: self.node, boot: self.boot, number }
    }
    /// The outcome of proposal `number`, when it is applied. It closes without one when the state
    /// jumped over it.
    pub(crate) fn expect(&self, number: u64) -> oneshot::Receiver<Outcomes> {
        let (tell, told) = oneshot::channel();
        lock(&self.waiting).insert(number, tell);
        told
    }
    pub(crate) fn forget(&self, number: u64) {
        lock(&self.waiting).remove(&number);
    }

    fn apply(&self, entries: Vec<RaftEntry>) -> Result<Vec<()>, StorageError<u64>> {
        let (mut answers, mut outcomes) = (Vec::new(), Vec::new());
        let mut last = None;
        let mut members = None;
        let published = {
            let mut store = lock(&self.store);
            for entry in entries {
                let id = entry.log_id;
                match entry.payload {
                    EntryPayload::Blank => {}
                    EntryPayload::Membership(found) => {
                        members = Some(StoredMembers::new(Some(id), found));
                    }
                    EntryPayload::Normal(batch) => {
                        outcomes.extend(self.apply_batch(&mut store, id, &batch)?);
                    }
                }
                last = Some(id);
                answers.push(());
            }
            store.snapshot()
        };
        self.publish(published, last, members);
        for (number, outcome) in outcomes {
            if let Some(tell) = lock(&self.waiting).remove(&number) {
                // Who asked may have given up.
                let _ = tell.send(outcome);
            }
        }
        // Last: who sees this index finds its outcome told.
        if last.is_some() {
            self.applied.send_replace(last);
        }
        Ok(answers)
    }

    fn apply_batch(
        &self,
        store: &mut Store,
        id: Id,
        batch: &Batch,
    ) -> Result<Vec<(u64, Outcomes)>, StorageError<u64>> {
        let decoded =
            batch.decode().map_err(|error| StorageIOError::apply(id, AnyError::new(&error)))?;
        Ok(write(store, id, decoded)
            .into_iter()
            .filter(|(from, _)| (from.node, from.boot) == (self.node, self.boot))
            .map(|(from, outcomes)| (from.number, outcomes))
            .collect())
    }

    fn install(&self, state: Snapshot, meta: &Meta) {
        *lock(&self.store) = Store::new(state.clone());
        self.publish(state, meta.last_log_id, Some(meta.last_membership.clone()));
        // Whether they are in the new state is not known.
        lock(&self.waiting).clear();
        self.applied.send_replace(meta.last_log_id);
    }

    fn publish(&self, state: Snapshot, last: Option<Id>, members: Option<StoredMembers>) {
        let version = state.version();
        {
            let mut published = lock(&self.published);
            published.state = state;
            published.last = last.or(published.last);
            if let Some(members) = members {
                published.members = members;
            }
        }
        self.version.send_if_modified(|old| std::mem::replace(old, version) != version);
    }
}

/// Writes a batch to the store, if it counts: the leader that it names is the one that logged it.
pub(crate) fn write(store: &mut Store, id: Id, batch: &Decoded) -> Vec<(Origin, Outcomes)> {
    if (batch.term, batch.leader) != (id.leader_id.term, id.leader_id.node_id) {
        return Vec::new();
    }
    let mut outcomes = Vec::with_capacity(batch.proposals.len());
    for proposal in &batch.proposals {
        let mut of: Outcomes = vec![Ok(()); proposal.transactions.len()];
        let entry = Entry { at: batch.at, transactions: proposal.transactions.clone() };
        for refusal in store.apply(&entry).refused {
            if let Some(outcome) = of.get_mut(refusal.transaction) {
                *outcome = Err(refusal.error);
            }
        }
        outcomes.push((proposal.from, of));
    }
    outcomes
}

/// What openraft drives.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) view: Arc<View>,
    pub(crate) files: Snapshots,
    pub(crate) log: Log,
}

impl Machine {
    /// The state of the newest snapshot.
    pub(crate) fn load(files: &Snapshots) -> Result<(Snapshot, Meta), Error> {
        let Some((about, image, _)) = files.load()? else {
            return Ok((Snapshot::default(), Meta::default()));
        };
        let state =
            snapshots::unpack(&image).map_err(|error| Error::NotArchive(error.to_string()))?;
        Ok((state, about.meta))
    }
}

/// A state that is about to be written down.
pub(crate) struct Builder {
    machine: Machine,
}

impl RaftSnapshotBuilder<Kinds> for Builder {
    async fn build_snapshot(&mut self) -> Result<RaftSnapshot<Kinds>, StorageError<u64>> {
        let machine = self.machine.clone();
        let built = tokio::task::spawn_blocking(move || machine.build()).await;
        match built {
            Ok(Ok(snapshot)) => Ok(snapshot),
            Ok(Err(error)) => Err(io_error(ErrorSubject::Snapshot(None), ErrorVerb::Write, &error)),
            // Only when the runtime ends.
            Err(error) => Err(io_error(ErrorSubject::Snapshot(None), ErrorVerb::Write, &error)),
        }
    }
}

impl Machine {
    fn build(&self) -> std::io::Result<RaftSnapshot<Kinds>> {
        let _alone = self.files.alone();
        let published = lock(&self.view.published).clone();
        let meta = meta_of(&published);
        let state = published.state;
        let image = snapshots::pack(&state)?;
        let about = About { meta: meta.clone(), lineage: self.log.state().lineage };
        match self.files.save(&about, &image) {
            Ok(()) => Ok(RaftSnapshot { meta, snapshot: Box::new(image) }),
            // Nothing is lost: the log stays as long as it is.
            Err(error) if disk::is_full(&error) => {
                tracing::warn!(%error, "no room for a snapshot of the raft log");
                let before = self.files.load().ok().flatten();
                let (meta, image) = before.map_or_else(
                    || (Meta::default(), Image::default()),
                    |(about, image, _)| (about.meta, image),
                );
                Ok(RaftSnapshot { meta, snapshot: Box::new(image) })
            }
            Err(error) => Err(error),
        }
    }
}

fn meta_of(published: &Published) -> Meta {
    let last_log_id = published.last;
    let snapshot_id =
        last_log_id.map_or_else(String::new, |id| format!("{}-{}", id.leader_id, id.index));
    Meta { last_log_id, last_membership: published.members.clone(), snapshot_id }
}

impl RaftStateMachine<Kinds> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<Id>, StoredMembers), StorageError<u64>> {
        let published = lock(&self.view.published);
        Ok((published.last, published.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError<u64>>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.view.apply(entries.into_iter().collect())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { machine: self.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Image>, StorageError<u64>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &Meta,
        snapshot: Box<Image>,
    ) -> Result<(), StorageError<u64>> {
        let signature = || ErrorSubject::Snapshot(Some(meta.signature()));
        let machine = self.clone();
        let about = About { meta: meta.clone(), lineage: self.log.state().lineage };
        let work = move || {
            let state = snapshots::unpack(&snapshot).map_err(std::io::Error::other)?;
            let _alone = machine.files.alone();
            machine.files.save(&about, &snapshot)?;
            machine.view.install(state, &about.meta);
            Ok(())
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other);
        let done: Result<(), std::io::Error> = done.flatten();
        done.map_err(|error| io_error(signature(), ErrorVerb::Write, &error))
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<RaftSnapshot<Kinds>>, StorageError<u64>> {
        let files = self.files.clone();
        let load = move || {
            let _alone = files.alone();
            files.load()
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        let loaded = loaded
            .map_err(|error| io_error(ErrorSubject::Snapshot(None), ErrorVerb::Read, &error))?
            .map_err(|error| io_error(ErrorSubject::Snapshot(None), ErrorVerb::Read, &error))?;
        Ok(loaded
            .map(|(about, image, _)| RaftSnapshot { meta: about.meta, snapshot: Box::new(image) }))
    }
}

pub(crate) fn io_error(
    subject: ErrorSubject<u64>,
    verb: ErrorVerb,
    error: &(impl std::error::Error + 'static),
) -> StorageError<u64> {
    StorageError::IO { source: StorageIOError::new(subject, verb, AnyError::new(error)) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
