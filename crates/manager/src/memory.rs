//! A log of one process: the same store and rules without disk and peers, for tests and benchmarks.
//!
//! Leadership is handed round by hand: `lead` makes one node the leader of a new term. Any view may propose while
//! anyone leads, as a follower's proposal is forwarded to Raft's leader.

use crate::clock::Clock;
use crate::log::{Log, Results};
use async_trait::async_trait;
use raft::{Leadership, Member, ProposeError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::invariants::{self, Note};
use store::{Entry, Event, Since, Snapshot, Store, Transaction};
use tokio::sync::watch;
use types::NodeId;

/// One manager's view of a log that lies in memory. Views of one log share everything but their leadership.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
    node: NodeId,
    leadership: watch::Receiver<Leadership>,
}

struct Shared {
    state: Mutex<State>,
    version: watch::Sender<u64>,
    clock: Clock,
}

struct State {
    store: Store,
    term: u64,
    leader: Option<NodeId>,
    managers: Vec<Manager>,
    notes: Vec<Note>,
    entries: u64,
    checked: bool,
    /// Bytes that an entry may have.
    most: usize,
}

struct Manager {
    node: NodeId,
    addr: String,
    voter: bool,
    leadership: watch::Sender<Leadership>,
}

impl Memory {
    /// A log that begins with `first`, whose only manager is `node`. Nobody leads yet.
    pub fn new(node: NodeId, addr: &str, first: &Entry, clock: Clock) -> Memory {
        let mut store = Store::default();
        store.apply(first);
        let version = watch::Sender::new(store.version());
        let state = State {
            store,
            term: 0,
            leader: None,
            managers: Vec::new(),
            notes: Vec::new(),
            entries: 1,
            checked: true,
            most: usize::MAX,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), version, clock });
        shared.view(node, addr, true)
    }

    /// Another manager's view of the same log.
    pub fn join(&self, node: NodeId, addr: &str) -> Memory {
        self.shared.view(node, addr, true)
    }

    /// Makes this view's node the leader of a new term.
    pub fn lead(&self) {
        self.shared.elect(Some(self.node.clone()));
    }

    /// Nobody leads.
    pub fn depose(&self) {
        self.shared.elect(None);
    }

    /// Every sentence that did not hold after some entry, as `store::invariants` has them.
    pub fn notes(&self) -> Vec<Note> {
        self.shared.lock().notes.clone()
    }

    /// Asks no more whether what must hold does: that takes as long as the cluster is large.
    pub fn unchecked(self) -> Memory {
        self.shared.lock().checked = false;
        self
    }

    /// Refuses entries of more bytes than that, when they are printed, from now on: as Raft does.
    pub fn at_most(&self, bytes: usize) {
        self.shared.lock().most = bytes;
    }

    /// Entries written so far.
    pub fn entries(&self) -> u64 {
        self.shared.lock().entries
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(self: &Arc<Self>, node: NodeId, addr: &str, voter: bool) -> Memory {
        let leadership = watch::Sender::new(Leadership::default());
        let receiver = leadership.subscribe();
        let addr = addr.to_owned();
        let mut state = self.lock();
        state.managers.retain(|known| known.node != node);
        state.managers.push(Manager { node: node.clone(), addr, voter, leadership });
        state.announce();
        Memory { shared: Arc::clone(self), node, leadership: receiver }
    }

    fn elect(&self, leader: Option<NodeId>) {
        let mut state = self.lock();
        state.term += 1;
        state.leader = leader;
        state.announce();
    }

    /// Writes one entry and asks whether what must hold still does.
    fn write(&self, state: &mut State, transactions: Vec<Transaction>) -> Results {
        let at = self.clock.now();
        let mut results: Results = transactions.iter().map(|_| Ok(())).collect();
        let before = state.store.snapshot();
        let applied = state.store.apply(&Entry { at, transactions });
        let after = state.store.snapshot();
        if state.checked {
            state.notes.extend(invariants::check_step(&before, &after, &applied.events));
            state.notes.extend(invariants::check(&after, at));
        }
        state.entries += 1;
        for refusal in applied.refused {
            if let Some(result) = results.get_mut(refusal.transaction) {
                *result = Err(refusal.error);
            }
        }
        self.version.send_replace(after.version());
        results
    }
}

impl State {
    fn announce(&self) {
        let leader = self.managers.iter().find(|known| Some(&known.node) == self.leader.as_ref());
        for manager in &self.managers {
            manager.leadership.send_replace(Leadership {
                leader: self.leader.clone(),
                leader_addr: leader.map(|leader| leader.addr.clone()).unwrap_or_default(),
                is_leader: Some(&manager.node) == self.leader.as_ref(),
                term: self.term,
            });
        }
    }
}

#[async_trait]
impl Log for Memory {
    async fn propose(&self, transactions: Vec<Transaction>) -> Result<Results, ProposeError> {
        tokio::task::yield_now().await; // as Raft, it never answers at once
        let mut state = self.shared.lock();
        if state.leader.is_none() {
            return Err(ProposeError::NoLeader);
        }
        if state.most < usize::MAX && format!("{transactions:?}").len() > state.most {
            return Err(ProposeError::TooLarge);
        }
        Ok(self.shared.write(&mut state, transactions))
    }

    async fn read(&self) -> Result<Snapshot, ProposeError> {
        let state = self.shared.lock();
        if state.leader.is_none() {
            return Err(ProposeError::NoLeader);
        }
        Ok(state.store.snapshot())
    }

    fn snapshot(&self) -> Snapshot {
        self.shared.lock().store.snapshot()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    fn changed_since(&self, version: u64) -> Option<Vec<Event>> {
        match self.shared.lock().store.changed_since(version) {
            Since::Events(events) => Some(events.into_iter().cloned().collect()),
            Since::Resync => None,
        }
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    fn members(&self) -> Vec<Member> {
        let state = self.shared.lock();
        let member = |known: &Manager| Member {
            node: known.node.clone(),
            addr: known.addr.clone(),
            voter: known.voter,
            leader: Some(&known.node) == state.leader.as_ref(),
            reachable: true,
        };
        state.managers.iter().map(member).collect()
    }

    async fn add(&self, node: &NodeId, addr: &str) -> Result<(), raft::Error> {
        let mut state = self.shared.lock();
        match state.managers.iter_mut().find(|known| known.node == *node) {
            Some(manager) => manager.voter = true,
            None => {
                let leadership = watch::Sender::new(Leadership::default());
                let (node, addr) = (node.clone(), addr.to_owned());
                state.managers.push(Manager { node, addr, voter: true, leadership });
            }
        }
        state.announce();
        Ok(())
    }

    async fn remove(&self, node: &NodeId) -> Result<(), raft::Error> {
        let led = {
            let mut state = self.shared.lock();
            if state.managers.len() < 2 {
                return Err(raft::Error::Quorum);
            }
            state.managers.retain(|known| known.node != *node);
            state.leader.as_ref() == Some(node)
        };
        if led {
            let next = self.shared.lock().managers.first().map(|known| known.node.clone());
            self.shared.elect(next);
        }
        Ok(())
    }
}
