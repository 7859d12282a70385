//! The leading manager: takes in, decides, proposes, tells agents.
//!
//! It decides on the state that its log will have: proposals are applied to a copy at once, and Raft's
//! prefix rule lets a later entry in only if the earlier ones are. So no decision is ever stale, and a
//! refused one is a bug. All of this is lost when another manager takes over.

use crate::agent::Seen;
use crate::rng::Rng;
use crate::world::{Happening, Heard, Told, World};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use store::invariants::{Note, Rule};
use store::{Change, Entry, Snapshot, Store, Transaction};
use types::NodeId;
use types::swarm::extension::NodeRecord;
use types::swarm::node::NodeState;
use types::swarm::task::{Task, TaskState};
use types::{TaskId, Timestamp};

/// A node that was silent this long is down.
const SILENCE: u64 = 15_000;
const LOOK_AROUND: u64 = 1_000;
/// Entries on their way at once.
const WINDOW: usize = 4;

/// Which node to tell that a task's state is written down.
type Ack = (String, TaskId, TaskState);

/// What the leader keeps in memory.
pub(crate) struct Leader {
    term: u64,
    /// The store as it will be when everything proposed is committed.
    ahead: Store,
    /// Proposed, oldest first, with whom to tell when they are committed.
    on_the_way: VecDeque<(Entry, Vec<Ack>)>,
    intake: Vec<Transaction>,
    reports: BTreeMap<TaskId, (String, Change, TaskState)>,
    last_heard: BTreeMap<String, u64>,
    sent: BTreeMap<String, (Seen, Vec<(TaskId, TaskState)>)>,
    /// The committed version that all of `sent` is of.
    told_at: Option<u64>,
    decided_at: Option<u64>,
    wake_at: Option<Timestamp>,
    looks_at: u64,
}

impl World {
    /// Another manager takes over, from the committed store alone. Now and then it has only a snapshot's
    /// bytes of it.
    pub(crate) fn elect(&mut self) {
        self.term += 1;
        let half = i64::try_from(self.rng.between(0, 4_000)).unwrap_or(0);
        self.skew_ms = half - 2_000;
        if self.calm {
            self.skew_ms = 0;
        }
        if self.rng.chance(25) {
            let bytes = store::encode(self.store.state());
            match store::decode(&bytes) {
                Ok(state) => self.store = Store::new(state),
                Err(err) => self.note(Note {
                    rule: Rule::Converges,
                    object: "snapshot".to_owned(),
                    detail: err.to_string(),
                }),
            }
        }
        let nodes: Vec<String> =
            self.store.state().nodes().iter().map(|node| node.id.to_string()).collect();
        self.leader = Some(Leader {
            term: self.term,
            ahead: Store::keeping(self.store.snapshot(), 0),
            on_the_way: VecDeque::new(),
            intake: Vec::new(),
            reports: BTreeMap::new(),
            last_heard: nodes.into_iter().map(|node| (node, self.now)).collect(),
            sent: BTreeMap::new(),
            told_at: None,
            decided_at: None,
            wake_at: None,
            looks_at: self.now,
        });
        self.decide.forget();
        self.say(|| format!("manager of term {} leads", self.term));
        self.after(0, Happening::Lead { term: self.term });
    }

    /// The leader is gone. Of what it proposed, a beginning may have been committed.
    pub(crate) fn depose(&mut self) {
        let Some(leader) = self.leader.take() else { return };
        let kept = self.rng.between(0, leader.on_the_way.len() as u64 + 1);
        self.say(|| format!("leader gone, {kept} of {} entries kept", leader.on_the_way.len()));
        for (entry, _) in leader.on_the_way.into_iter().take(usize::try_from(kept).unwrap_or(0)) {
            self.write(&entry);
        }
    }

    /// A user's request, as the API has checked it against the newest state. Lost without a leader.
    pub(crate) fn request(&mut self, make: impl FnOnce(&Snapshot, &mut Rng) -> Vec<Change>) {
        let Some(leader) = self.leader.as_mut() else { return };
        let changes = make(leader.ahead.state(), &mut self.rng);
        if !changes.is_empty() {
            leader.intake.push(changes.into());
        }
        let term = leader.term;
        self.after(0, Happening::Lead { term });
    }

    pub(crate) fn hear(&mut self, message: Heard) {
        let Some(leader) = self.leader.as_mut() else { return };
        match message {
            Heard::Heartbeat { node, seen } => {
                leader.last_heard.insert(node.clone(), self.now);
                if leader.sent.get(&node).is_some_and(|(sent, _)| *sent != seen) {
                    leader.sent.remove(&node);
                    leader.told_at = None;
                }
            }
            Heard::Report { node, task, status } => {
                leader.last_heard.insert(node.clone(), self.now);
                let state = status.state;
                let older = leader.reports.get(&task).is_some_and(|(_, _, known)| *known > state);
                if !older {
                    let change = Change::Report {
                        task: task.clone(),
                        node: NodeId::new(node.clone()),
                        status,
                    };
                    leader.reports.insert(task, (node, change, state));
                }
            }
        }
        let term = leader.term;
        self.after(0, Happening::Lead { term });
    }

    /// One turn of the loop.
    pub(crate) fn lead(&mut self, term: u64) {
        let now = self.clock();
        let at = self.now;
        let Some(leader) = self.leader.as_mut().filter(|leader| leader.term == term) else {
            return;
        };
        if at >= leader.looks_at {
            leader.looks_at = at + LOOK_AROUND;
            self.after(LOOK_AROUND, Happening::Lead { term });
        }
        let Some(leader) = self.leader.as_mut() else { return };
        if leader.on_the_way.len() >= WINDOW {
            return;
        }
        let (mut transactions, acks) = leader.take_in(at, now);
        if !transactions.is_empty() {
            leader.ahead.apply(&Entry { at: now, transactions: transactions.clone() });
        }
        let due = leader.wake_at.is_some_and(|wake| wake <= now);
        if due || leader.decided_at != Some(leader.ahead.version()) {
            let decided = self.decide.decide(leader.ahead.state(), now, &mut self.rng);
            leader.wake_at = decided.wake_at;
            leader.decided_at = Some(leader.ahead.version());
            if !decided.transactions.is_empty() {
                leader.decided_at = None; // look again at what came of it
                let entry = Entry { at: now, transactions: decided.transactions };
                let applied = leader.ahead.apply(&entry);
                if let Some(refusal) = applied.refused.first() {
                    let detail = refusal.error.to_string();
                    let object = format!("{:?}", entry.transactions.get(refusal.transaction));
                    self.note(Note { rule: Rule::Converges, object, detail });
                    return;
                }
                transactions.extend(entry.transactions);
            }
        }
        self.propose(Entry { at: now, transactions }, acks);
        self.tell_agents();
    }

    fn propose(&mut self, entry: Entry, acks: Vec<Ack>) {
        if entry.transactions.is_empty() {
            return;
        }
        let delay = self.rng.between(1, 50);
        let Some(leader) = self.leader.as_mut() else { return };
        leader.on_the_way.push_back((entry, acks));
        let term = leader.term;
        self.after(delay, Happening::Commit { term });
    }

    pub(crate) fn commit(&mut self, term: u64) {
        let Some(leader) = self.leader.as_mut().filter(|leader| leader.term == term) else {
            return;
        };
        let Some((entry, acks)) = leader.on_the_way.pop_front() else { return };
        self.write(&entry);
        for (node, task, state) in acks {
            self.send_down(&node, &Told::Ack { task, state });
        }
        self.tell_agents();
        self.after(0, Happening::Lead { term });
    }

    /// Sends each node its whole assignment when it is another than the last one sent.
    fn tell_agents(&mut self) {
        let version = self.store.version();
        let Some(leader) = self.leader.as_mut().filter(|it| it.told_at != Some(version)) else {
            return;
        };
        leader.told_at = Some(version);
        let state = self.store.snapshot();
        let mut messages = Vec::new();
        for node in state.nodes().iter().filter(|node| node.status.state == NodeState::Ready) {
            let tasks: Vec<Arc<Task>> =
                state.tasks_of_node(&node.id).filter(|task| is_assigned(task)).cloned().collect();
            let set: Vec<_> = tasks.iter().map(|t| (t.id.clone(), t.desired_state)).collect();
            let known = leader.sent.get(node.id.as_str()).is_some_and(|(_, sent)| *sent == set);
            if !known {
                let seen = (leader.term, state.version());
                leader.sent.insert(node.id.to_string(), (seen, set));
                messages.push((node.id.to_string(), Told::Assign { seen, tasks }));
            }
        }
        for (node, message) in messages {
            self.send_down(&node, &message);
        }
    }
}

fn is_assigned(task: &Task) -> bool {
    task.status.state >= TaskState::Assigned && !task.status.state.is_terminal()
}

impl Leader {
    /// What came from users and agents, and what their silence says. Reports are acknowledged even when
    /// they are refused: repeating them would not help.
    fn take_in(&mut self, at: u64, now: Timestamp) -> (Vec<Transaction>, Vec<Ack>) {
        let mut transactions = std::mem::take(&mut self.intake);
        let mut acks = Vec::new();
        for (task, (node, change, state)) in std::mem::take(&mut self.reports) {
            transactions.push(vec![change].into());
            acks.push((node, task, state));
        }
        for node in self.ahead.state().nodes().iter() {
            let Some(heard) = self.last_heard.get(node.id.as_str()) else { continue };
            let silent = at.saturating_sub(*heard) > SILENCE;
            let state = match (silent, node.status.state) {
                (true, NodeState::Ready | NodeState::Unknown) => NodeState::Down,
                (false, NodeState::Down | NodeState::Unknown) if *heard == at => NodeState::Ready,
                _ => continue,
            };
            let mut row = node.as_ref().clone();
            row.status.state = state;
            row.record =
                Some(NodeRecord { state_since: now, ..row.record.clone().unwrap_or_default() });
            transactions.push(vec![Change::Update(row.into())].into());
        }
        (transactions, acks)
    }
}
