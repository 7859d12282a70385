//! All nodes, and which of them changed since somebody looked.
//!
//! A node keeps its number ([`NodeIx`]) while it is known; ranks put numbers into the order of ids, so that
//! ties are broken by ids without comparing them.

use crate::node::{Held, NodeInfo};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use types::swarm::node::Node;
use types::swarm::task::{Task, TaskState};
use types::{NodeId, TaskId, Timestamp};

/// How long a failure is held against a node: SwarmKit's five minutes.
pub(crate) const MONITOR_FAILURES: Duration = Duration::from_secs(5 * 60);

/// Between the ranks of nodes that come in the order of their ids.
const RANK_STEP: u64 = 1 << 32;

/// A node's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeIx(pub(crate) u32);

#[derive(Debug, Default)]
pub(crate) struct NodeSet {
    numbers: BTreeMap<NodeId, NodeIx>,
    /// By number; the numbers in `free` are nobody's.
    nodes: Vec<NodeInfo>,
    ids: Vec<NodeId>,
    ranks: Vec<u64>,
    free: Vec<NodeIx>,
    epoch: u64,
    /// Which nodes changed, oldest first, from change number `first` on.
    changes: VecDeque<NodeIx>,
    first: u64,
    /// When failures are forgiven.
    expiries: BTreeSet<(Timestamp, NodeIx)>,
}

impl NodeSet {
    pub(crate) fn info(&self, ix: NodeIx) -> &NodeInfo {
        &self.nodes[ix.0 as usize]
    }
    pub(crate) fn id(&self, ix: NodeIx) -> &NodeId {
        &self.ids[ix.0 as usize]
    }
    pub(crate) fn number(&self, id: &NodeId) -> Option<NodeIx> {
        self.numbers.get(id).copied()
    }
    pub(crate) fn rank(&self, ix: NodeIx) -> u64 {
        self.ranks[ix.0 as usize]
    }
    /// How many numbers there are; some may be nobody's.
    pub(crate) fn width(&self) -> usize {
        self.nodes.len()
    }
    /// All numbers, nobody's too.
    pub(crate) fn all(&self) -> impl Iterator<Item = NodeIx> + use<> {
        (0..u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)).map(NodeIx)
    }
    /// By id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeId, NodeIx, &NodeInfo)> {
        self.numbers.iter().map(|(id, ix)| (id, *ix, self.info(*ix)))
    }

    /// Adds or updates a node. One that is as it was is no change.
    pub(crate) fn set_node(&mut self, node: Arc<Node>) {
        let ix = self.reserve(&node.id);
        if self.info(ix).node.as_ref().is_some_and(|known| same(known, &node)) {
            return;
        }
        self.describe(ix, Some(node));
    }

    /// Takes a node away. Its tasks stay known until they end or go.
    pub(crate) fn remove_node(&mut self, id: &NodeId) {
        if let Some(ix) = self.number(id) {
            self.describe(ix, None);
            self.vacate(ix);
        }
    }

    /// Takes a task as the store has it: held, ended or failed.
    pub(crate) fn set_task(&mut self, task: &Task) {
        if task.node_id.as_str().is_empty() {
            return;
        }
        if let Some(held) = Held::of(task) {
            let ix = self.reserve(&task.node_id);
            self.hold(ix, &task.id, held);
            return;
        }
        self.release(&task.node_id, &task.id);
        if matches!(task.status.state, TaskState::Failed | TaskState::Rejected) {
            self.fail(task);
        }
    }

    pub(crate) fn hold(&mut self, ix: NodeIx, task: &TaskId, held: Held) {
        if self.nodes[ix.0 as usize].hold(task, held) {
            self.changed(ix);
        }
    }

    pub(crate) fn retire(&mut self, ix: NodeIx, task: &TaskId) {
        self.nodes[ix.0 as usize].retire(task);
        self.changed(ix);
    }

    /// The task holds nothing on the node any more.
    pub(crate) fn release(&mut self, node: &NodeId, task: &TaskId) {
        let Some(ix) = self.number(node) else { return };
        if self.nodes[ix.0 as usize].release(task) {
            self.changed(ix);
            self.vacate(ix);
        }
    }

    /// Forgives failures that are old enough at `now`.
    pub(crate) fn forgive(&mut self, now: Timestamp) {
        while let Some((at, ix)) = self.expiries.first().copied().filter(|(at, _)| *at <= now) {
            self.expiries.pop_first();
            let until = Timestamp(at.0.saturating_sub(window()));
            self.nodes[ix.0 as usize].forgive(until);
            self.changed(ix);
            self.vacate(ix);
        }
    }

    /// The number that the next change will have.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    /// The change with that number; `None` when it is forgotten or has not been.
    pub(crate) fn change(&self, number: u64) -> Option<NodeIx> {
        let at = number.checked_sub(self.first)?;
        self.changes.get(usize::try_from(at).ok()?).copied()
    }

    fn fail(&mut self, task: &Task) {
        let seen = task.record.ended_at;
        let at = if seen.is_zero() { task.status.timestamp } else { seen };
        if at.is_zero() {
            return;
        }
        let ix = self.reserve(&task.node_id);
        if self.nodes[ix.0 as usize].fail(task, at) {
            self.expiries.insert((Timestamp(at.0.saturating_add(window())), ix));
            self.changed(ix);
        }
    }

    fn describe(&mut self, ix: NodeIx, node: Option<Arc<Node>>) {
        self.epoch += 1;
        self.nodes[ix.0 as usize].describe(node, self.epoch);
        self.changed(ix);
    }

    fn changed(&mut self, ix: NodeIx) {
        // Whoever missed more changes than there are nodes looks at all nodes instead.
        if self.changes.len() > 2 * self.nodes.len() + 64 {
            let half = self.changes.len() / 2;
            self.changes.drain(..half);
            self.first += half as u64;
        }
        self.changes.push_back(ix);
    }

    /// The node's number; a new one if it has none.
    fn reserve(&mut self, id: &NodeId) -> NodeIx {
        if let Some(ix) = self.number(id) {
            return ix;
        }
        let rank = self.rank_for(id);
        let ix = match self.free.pop() {
            Some(ix) => ix,
            None => {
                self.nodes.push(NodeInfo::default());
                self.ids.push(id.clone());
                self.ranks.push(0);
                NodeIx(u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX))
            }
        };
        (self.ids[ix.0 as usize], self.ranks[ix.0 as usize]) = (id.clone(), rank);
        self.numbers.insert(id.clone(), ix);
        self.describe(ix, None);
        ix
    }

    /// Gives the number back if nothing is known of the node.
    fn vacate(&mut self, ix: NodeIx) {
        if self.info(ix).is_empty() && self.numbers.remove(&self.ids[ix.0 as usize]).is_some() {
            self.nodes[ix.0 as usize] = NodeInfo::default();
            self.free.push(ix);
        }
    }

    /// A rank between those of the neighbours; ranks are dealt anew when there is no room.
    fn rank_for(&mut self, id: &NodeId) -> u64 {
        let after = (Bound::Excluded(id), Bound::Unbounded);
        let below = self.numbers.range::<NodeId, _>(..id).next_back().map(|(_, ix)| self.rank(*ix));
        let above = self.numbers.range::<NodeId, _>(after).next().map(|(_, ix)| self.rank(*ix));
        let rank = match (below, above) {
            (None, None) => Some(u64::MAX / 2),
            (Some(below), None) => below.checked_add(RANK_STEP),
            (None, Some(above)) => above.checked_sub(RANK_STEP),
            (Some(below), Some(above)) => {
                let middle = below + (above - below) / 2;
                (middle != below).then_some(middle)
            }
        };
        if let Some(rank) = rank {
            return rank;
        }
        let start = u64::MAX / 2 - RANK_STEP * (self.numbers.len() as u64 / 2);
        for (place, ix) in (0u64..).zip(self.numbers.values()) {
            self.ranks[ix.0 as usize] = start + place * RANK_STEP;
        }
        self.rank_for(id)
    }
}

fn window() -> i64 {
    i64::try_from(MONITOR_FAILURES.as_nanos()).unwrap_or(i64::MAX)
}

/// Whether a placement cannot tell the two apart.
fn same(one: &Node, two: &Node) -> bool {
    one.spec == two.spec
        && one.description == two.description
        && one.status.state == two.status.state
        && one.status.addr == two.status.addr
}
