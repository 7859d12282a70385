//! One wish against all nodes, kept up to date: who fits, who is best, and why the others do not.
//!
//! ```text
//! NodeSet.changes ──► catch_up ──► seat (filters, counts) ──► Tree (best node) and Tally (refusals)
//! ```
//! A change of one node costs that node's filters and O(log nodes) matches. A board that missed more changes
//! than there are nodes looks at all of them.

use crate::census::Census;
use crate::check::{Reject, Volumes, broken_rule, fixed, moving};
use crate::contest::{Key, OUT};
use crate::error::PlacementError;
use crate::filter::Tally;
use crate::node::NodeInfo;
use crate::nodeset::{NodeIx, NodeSet};
use crate::rule::Force;
use crate::tree::{Place, Tree};
use crate::wish::Wish;
use regex_lite::Regex;
use std::sync::Arc;
use types::swarm::node::Node;
use types::swarm::placement::{SpreadWeight, Strategy};

/// What a board knows of one node.
#[derive(Debug, Clone, Copy, Default)]
struct Seat {
    /// The node's epoch that `fixed` and `place` are from.
    epoch: u64,
    /// `None`: no node has this number.
    place: Option<Place>,
    /// Active tasks of the service, as counted in the tree.
    own: u32,
    weight: u64,
    fixed: Option<Reject>,
    verdict: Option<Reject>,
}

#[derive(Debug)]
pub(crate) struct Board {
    wish: Arc<Wish>,
    patterns: Vec<Regex>,
    seats: Vec<Seat>,
    tree: Tree,
    censuses: Vec<Census>,
    tally: Tally,
    /// The number of the first change not yet seen.
    seen: u64,
}

impl Board {
    /// A board over all nodes.
    pub(crate) fn new(
        wish: Arc<Wish>,
        set: &NodeSet,
        volumes: &Volumes,
    ) -> Result<Self, PlacementError> {
        let patterns =
            wish.patterns.iter().map(crate::rule::Pattern::regex).collect::<Result<_, _>>()?;
        let tree = Tree::new(wish.spread.len(), wish.weight != SpreadWeight::None);
        let censuses = wish.rules.iter().map(|_| Census::default()).collect();
        let (seats, tally) = (Vec::with_capacity(set.width()), Tally::default());
        let mut board = Board { wish, patterns, seats, tree, censuses, tally, seen: 0 };
        board.fill(set, volumes);
        Ok(board)
    }

    /// Sees all changes since the last time.
    pub(crate) fn catch_up(&mut self, set: &NodeSet, volumes: &Volumes) {
        let missed = set.end() - self.seen;
        if missed > set.width() as u64 || (missed > 0 && set.change(self.seen).is_none()) {
            self.fill(set, volumes);
            return;
        }
        while let Some(ix) = set.change(self.seen) {
            self.seen += 1;
            let touched = self.enter(ix, set, volumes);
            self.judge(ix, set);
            for other in touched {
                self.judge(other, set);
            }
        }
    }

    /// Where the next task goes.
    pub(crate) fn best(&self) -> Option<NodeIx> {
        self.tree.best()
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Why the node is refused; `None` if it is not, or is no node.
    pub(crate) fn verdict(&self, ix: NodeIx) -> Option<Reject> {
        self.seats.get(ix.0 as usize).and_then(|seat| seat.verdict)
    }

    /// Whether nothing but a lack of room keeps the task off the node.
    pub(crate) fn open(&self, ix: NodeIx, info: &NodeInfo) -> bool {
        let wish = &self.wish;
        let full = wish.max_replicas > 0 && u64::from(info.own(&wish.service)) >= wish.max_replicas;
        self.seats[ix.0 as usize].fixed.is_none() && !full && self.broken(ix).is_none()
    }

    /// How many nodes it keeps: the measure of its memory.
    pub(crate) fn size(&self) -> usize {
        self.seats.len()
    }

    /// Looks at every node. Descriptions that did not change are not read again.
    fn fill(&mut self, set: &NodeSet, volumes: &Volumes) {
        self.tree.unsettle();
        // All are counted before any is judged: rules look at the others.
        for ix in set.all() {
            self.enter(ix, set, volumes);
        }
        for ix in set.all() {
            self.judge(ix, set);
        }
        self.tree.settle(set);
        self.seen = set.end();
    }

    /// Takes the node's description and counts. Returns other nodes whose verdict may differ now.
    fn enter(&mut self, ix: NodeIx, set: &NodeSet, volumes: &Volumes) -> Vec<NodeIx> {
        let info = set.info(ix);
        if self.seats.len() <= ix.0 as usize {
            self.seats.resize(ix.0 as usize + 1, Seat::default());
        }
        if self.seats[ix.0 as usize].epoch != info.epoch {
            self.reseat(ix, set, volumes);
        }
        let own = info.own(&self.wish.service);
        let seat = &mut self.seats[ix.0 as usize];
        if let Some(place) = seat.place.filter(|_| seat.own != own) {
            self.tree.add(place.branch, i64::from(own) - i64::from(seat.own), 0);
            seat.own = own;
        }
        let mut touched = Vec::new();
        for (rule, census) in self.wish.rules.iter().zip(&mut self.censuses) {
            touched.extend(census.count(rule, ix, info.node.as_deref(), info.own(&rule.service)));
        }
        touched
    }

    /// Gives the node the seat that its description asks for.
    fn reseat(&mut self, ix: NodeIx, set: &NodeSet, volumes: &Volumes) {
        let info = set.info(ix);
        let Seat { place, own, weight, verdict, .. } = self.seats[ix.0 as usize];
        if let Some(place) = place {
            self.tree.add(place.branch, -i64::from(own), -signed(weight));
            self.tree.leave(place, set);
        }
        if let Some(reject) = verdict {
            self.tally.sub(reject.filter);
        }
        let mut seat = Seat { epoch: info.epoch, ..Seat::default() };
        if let Some(node) = &info.node {
            seat.fixed = fixed(&self.wish, &self.patterns, volumes, node);
            seat.weight = if seat.fixed.is_none() { self.weight(node) } else { 0 };
            let leaf = self.tree.leaf(self.wish.spread.iter().map(|over| over.of(node)));
            seat.place = Some(self.tree.enter(leaf, ix, set));
            self.tree.add(leaf, 0, signed(seat.weight));
        }
        self.seats[ix.0 as usize] = seat;
    }

    /// Filters the node and sets its key.
    fn judge(&mut self, ix: NodeIx, set: &NodeSet) {
        let Some(place) = self.seats[ix.0 as usize].place else { return };
        let info = set.info(ix);
        let verdict = self.refuses(ix, info);
        let before = std::mem::replace(&mut self.seats[ix.0 as usize].verdict, verdict);
        if let Some(reject) = before {
            self.tally.sub(reject.filter);
        }
        if let Some(reject) = verdict {
            self.tally.add(reject.filter);
        }
        let key = if verdict.is_some() { OUT } else { self.key(ix, info) };
        self.tree.set(place, key, set);
    }

    /// The first filter that refuses, in SwarmKit's order.
    fn refuses(&self, ix: NodeIx, info: &NodeInfo) -> Option<Reject> {
        let fixed = self.seats[ix.0 as usize].fixed;
        // Without a fixed refusal the first of the others counts; with one, only what comes before it.
        let moving = moving(&self.wish, info);
        match fixed {
            None => moving.or_else(|| self.broken(ix)),
            Some(reject) => Some(moving.filter(|of| of.filter < reject.filter).unwrap_or(reject)),
        }
    }

    /// The first rule that does not hold on the node.
    fn broken(&self, ix: NodeIx) -> Option<Reject> {
        let rules = self.wish.rules.iter().zip(&self.censuses).enumerate();
        let mut broken = rules.filter(|(_, (rule, census))| {
            rule.force != Force::Preference && !census.holds(rule, ix)
        });
        broken.next().map(|(which, (rule, _))| broken_rule(&self.wish, which, rule))
    }

    /// Failures, preferences, tasks of the service, load: the first that differs decides.
    fn key(&self, ix: NodeIx, info: &NodeInfo) -> Key {
        let penalty = info.penalty(&self.wish.service, self.wish.version);
        let rules = self.wish.rules.iter().zip(&self.censuses);
        let missed = rules
            .filter(|(rule, census)| rule.force == Force::Preference && !census.holds(rule, ix))
            .count();
        let (own, load) = match self.wish.strategy {
            Strategy::Spread => (info.own(&self.wish.service), info.active),
            Strategy::Binpack => (0, left(info)),
        };
        let small = |number: usize| Key::from(u16::try_from(number).unwrap_or(u16::MAX - 1));
        small(penalty) << 112 | small(missed) << 96 | Key::from(own) << 64 | Key::from(load)
    }

    fn weight(&self, node: &Node) -> u64 {
        let resources = &node.description.resources;
        match self.wish.weight {
            SpreadWeight::None => 0,
            SpreadWeight::Nodes => 1,
            SpreadWeight::Cpu => u64::try_from(resources.nano_cpus).unwrap_or(0),
            SpreadWeight::Memory => u64::try_from(resources.memory_bytes).unwrap_or(0),
        }
    }
}

fn signed(weight: u64) -> i64 {
    i64::try_from(weight).unwrap_or(i64::MAX)
}

/// How much of the node is left, in millionths of the scarcer of CPUs and memory; among nodes that reserve
/// nothing, those with more tasks have less left.
fn left(info: &NodeInfo) -> u64 {
    let Some(node) = &info.node else { return u64::MAX };
    let all = &node.description.resources;
    let share = |free: i64, all: i64| match all {
        0 => 1_000_000,
        all => u64::try_from(i128::from(free.max(0)) * 1_000_000 / i128::from(all)).unwrap_or(0),
    };
    let scarcer =
        share(info.free_cpus, all.nano_cpus).min(share(info.free_memory, all.memory_bytes));
    (scarcer << 32) + (u64::from(u32::MAX) - info.active.min(u64::from(u32::MAX)))
}
