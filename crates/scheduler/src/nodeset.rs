//! All nodes, and which of them changed since somebody looked.
//!
//! A node keeps its number ([`NodeIx`]) while it is known; ranks put numbers into the order of ids, so that
//! ties are broken by ids without comparing them.

use crate::log::Log;
use crate::node::{Held, Hold, Load, NodeInfo, is_active};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use types::swarm::node::Node;
use types::swarm::task::{Task, TaskState};
use types::{NodeId, ServiceId, TaskId, Timestamp};

/// How long a failure is held against a node: SwarmKit's five minutes.
pub(crate) const MONITOR_FAILURES: Duration = Duration::from_secs(5 * 60);

/// Between the ranks of nodes that come in the order of their ids.
const RANK_STEP: u64 = 1 << 32;

/// A node's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeIx(pub(crate) u32);

/// The active tasks of a service.
#[derive(Debug)]
struct Running {
    nodes: BTreeMap<NodeIx, u32>,
    /// What one of them holds, for others to share.
    hold: Arc<Hold>,
}

/// A node changed: its description, or its tasks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Changed {
    pub(crate) node: NodeIx,
    /// Whose count of tasks changed with it; see [`fingerprint`].
    pub(crate) of: u32,
}

/// Nobody's count changed.
const NOBODY: u32 = 0;

#[derive(Debug, Default)]
pub(crate) struct NodeSet {
    numbers: BTreeMap<NodeId, NodeIx>,
    /// By number; the numbers in `free` are nobody's.
    nodes: Vec<NodeInfo>,
    /// What `nodes` say, again.
    loads: Vec<Load>,
    ids: Vec<NodeId>,
    ranks: Vec<u64>,
    free: Vec<NodeIx>,
    /// Services with active tasks.
    services: HashMap<ServiceId, Running>,
    changes: Log<Changed>,
    /// Nodes whose description changed.
    descriptions: Log<NodeIx>,
    /// When failures are forgiven.
    expiries: BTreeSet<(Timestamp, NodeIx)>,
}

/// A short number for a service: equal for equal ids. Two that share one are only asked more often.
pub(crate) fn fingerprint(service: &ServiceId) -> u32 {
    // FNV-1a: a few bytes, no key needed.
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    service.as_str().bytes().fold(0x811c_9dc5, mix).max(NOBODY + 1)
}

impl NodeSet {
    pub(crate) fn info(&self, ix: NodeIx) -> &NodeInfo {
        &self.nodes[ix.0 as usize]
    }
    pub(crate) fn load(&self, ix: NodeIx) -> Load {
        self.loads[ix.0 as usize]
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
    /// Active tasks of a service on a node.
    pub(crate) fn own(&self, service: &ServiceId, ix: NodeIx) -> u32 {
        self.services.get(service).and_then(|of| of.nodes.get(&ix)).copied().unwrap_or(0)
    }
    /// The nodes that have active tasks of a service, and how many.
    pub(crate) fn counts(&self, service: &ServiceId) -> impl Iterator<Item = (NodeIx, u32)> + '_ {
        let of = self.services.get(service).into_iter();
        of.flat_map(|of| &of.nodes).map(|(ix, count)| (*ix, *count))
    }
    pub(crate) fn changes(&self) -> &Log<Changed> {
        &self.changes
    }
    pub(crate) fn descriptions(&self) -> &Log<NodeIx> {
        &self.descriptions
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
        if let Some(hold) = Hold::of(task) {
            let ix = self.reserve(&task.node_id);
            self.assign(ix, &task.id, hold, is_active(task));
            return;
        }
        self.release(&task.node_id, &task.id);
        if matches!(task.status.state, TaskState::Failed | TaskState::Rejected) {
            self.fail(task);
        }
    }

    /// Adds a task to a node, or replaces what it held.
    pub(crate) fn assign(&mut self, ix: NodeIx, task: &TaskId, hold: Hold, active: bool) {
        let hold = self.shared(hold);
        self.hold(ix, task, Held { hold, active });
    }

    fn hold(&mut self, ix: NodeIx, task: &TaskId, held: Held) {
        let node = &mut self.nodes[ix.0 as usize];
        if node.tasks().get(task) == Some(&held) {
            return;
        }
        let before = node.hold(task, held.clone());
        self.counted(ix, before, Some(held));
    }

    /// The task is to be stopped: it holds what it holds but counts no more.
    pub(crate) fn retire(&mut self, ix: NodeIx, task: &TaskId) {
        if let Some(held) = self.info(ix).tasks().get(task).cloned() {
            self.hold(ix, task, Held { active: false, ..held });
        }
    }

    /// The task holds nothing on the node any more.
    pub(crate) fn release(&mut self, node: &NodeId, task: &TaskId) {
        let Some(ix) = self.number(node) else { return };
        if let Some(held) = self.nodes[ix.0 as usize].release(task) {
            self.counted(ix, Some(held), None);
            self.vacate(ix);
        }
    }

    /// Forgives failures that are old enough at `now`.
    pub(crate) fn forgive(&mut self, now: Timestamp) {
        while let Some((at, ix)) = self.expiries.first().copied().filter(|(at, _)| *at <= now) {
            self.expiries.pop_first();
            let until = Timestamp(at.0.saturating_sub(window()));
            self.nodes[ix.0 as usize].forgive(until);
            self.changed(ix, NOBODY);
            self.vacate(ix);
        }
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
            self.changed(ix, NOBODY);
        }
    }

    fn describe(&mut self, ix: NodeIx, node: Option<Arc<Node>>) {
        self.nodes[ix.0 as usize].describe(node);
        let keep = self.keep();
        self.descriptions.push(ix, keep);
        self.changed(ix, NOBODY);
    }

    /// The same amounts, shared with the service's other tasks: a manager that starts reads a million tasks.
    fn shared(&self, hold: Hold) -> Arc<Hold> {
        let known = self.services.get(&hold.service).map(|of| &of.hold);
        known.filter(|known| ***known == hold).cloned().unwrap_or_else(|| Arc::new(hold))
    }

    /// A task came, went or changed: counts it for its service.
    fn counted(&mut self, ix: NodeIx, before: Option<Held>, after: Option<Held>) {
        let active = |held: Option<Held>| held.filter(|held| held.active).map(|held| held.hold);
        let (was, is) = (active(before), active(after));
        let of = was.as_ref().or(is.as_ref()).map_or(NOBODY, |hold| fingerprint(&hold.service));
        if let Some(hold) = &is {
            let new = || Running { nodes: BTreeMap::new(), hold: Arc::clone(hold) };
            let of = self.services.entry(hold.service.clone()).or_insert_with(new);
            *of.nodes.entry(ix).or_default() += 1;
        }
        if let Some(hold) = was {
            self.uncount(ix, &hold.service);
        }
        self.changed(ix, of);
    }

    fn uncount(&mut self, ix: NodeIx, service: &ServiceId) {
        let Some(of) = self.services.get_mut(service) else { return };
        match of.nodes.get_mut(&ix) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                of.nodes.remove(&ix);
            }
        }
        if of.nodes.is_empty() {
            self.services.remove(service);
        }
    }

    fn changed(&mut self, node: NodeIx, of: u32) {
        self.loads[node.0 as usize] = self.nodes[node.0 as usize].load();
        let keep = self.keep();
        self.changes.push(Changed { node, of }, keep);
    }

    /// Whoever missed more changes than there are nodes looks at all nodes instead.
    fn keep(&self) -> usize {
        2 * self.nodes.len() + 64
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
                self.loads.push(Load::default());
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
