//! One wish against all nodes, kept up to date: who fits, who is best, and why the others do not.
//!
//! ```text
//! Ground.moves ───┐
//! NodeSet.changes ┴─► catch_up ──► verdict (filters, counts) ──► Tree (best node) and Tally (refusals)
//! ```
//! A change of one node costs that node's filters and O(log nodes) matches. A board that missed more changes
//! than there are nodes is made anew.

use crate::census::Census;
use crate::check::{Reject, broken_rule, moving};
use crate::contest::Key;
use crate::filter::Tally;
use crate::ground::Ground;
use crate::node::{Load, NodeInfo};
use crate::nodeset::{Changed, NodeIx, NodeSet, fingerprint};
use crate::rule::Force;
use crate::tree::Tree;
use crate::wish::Wish;
use std::sync::Arc;
use types::swarm::placement::Strategy;

/// What a board knows of one node.
#[derive(Debug, Clone, Copy, Default)]
struct Seat {
    /// Active tasks of the service, as counted in the tree.
    own: u32,
    verdict: Option<Reject>,
}

#[derive(Debug)]
pub(crate) struct Board {
    wish: Arc<Wish>,
    fingerprint: u32,
    seats: Vec<Seat>,
    tree: Tree,
    censuses: Vec<Census>,
    tally: Tally,
    /// The numbers of the first change and the first move not yet seen.
    seen: u64,
    moved: u64,
}

impl Board {
    /// A board over all nodes.
    pub(crate) fn new(wish: Arc<Wish>, ground: &Ground, set: &NodeSet) -> Self {
        let mut board = Board {
            fingerprint: fingerprint(&wish.service),
            seats: vec![Seat::default(); set.width()],
            tree: Tree::new(ground),
            censuses: wish.rules.iter().map(|_| Census::default()).collect(),
            tally: Tally::default(),
            seen: set.changes().end(),
            moved: ground.moves().end(),
            wish,
        };
        board.fill(ground, set);
        board
    }

    /// Sees all changes since the last time. `ground` has seen all descriptions.
    pub(crate) fn catch_up(&mut self, ground: &Ground, set: &NodeSet) {
        let missed = set.changes().end() - self.seen;
        let lost = !set.changes().reaches(self.seen) || !ground.moves().reaches(self.moved);
        if lost || missed > set.width() as u64 {
            *self = Board::new(Arc::clone(&self.wish), ground, set);
            return;
        }
        if self.moved != ground.moves().end() {
            self.relocate(ground, set);
        }
        while let Some(changed) = set.changes().get(self.seen) {
            self.seen += 1;
            self.see(changed, ground, set);
        }
    }

    /// Where the next task goes.
    pub(crate) fn best(&self, ground: &Ground) -> Option<NodeIx> {
        self.tree.best(ground)
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Why the node is refused; `None` if it is not, or is no node.
    pub(crate) fn verdict(&self, ix: NodeIx) -> Option<Reject> {
        self.seats.get(ix.0 as usize).and_then(|seat| seat.verdict)
    }

    /// Whether nothing but a lack of room keeps the task off the node.
    pub(crate) fn open(&self, ix: NodeIx, ground: &Ground) -> bool {
        let (wish, own) = (&self.wish, u64::from(self.seats[ix.0 as usize].own));
        let full = wish.max_replicas > 0 && own >= wish.max_replicas;
        ground.stand(ix).fixed.is_none() && !full && self.broken(ix).is_none()
    }

    /// How many nodes it keeps: the measure of its memory.
    pub(crate) fn size(&self) -> usize {
        self.seats.len()
    }

    /// Looks at every node for the first time.
    fn fill(&mut self, ground: &Ground, set: &NodeSet) {
        for (ix, own) in set.counts(&self.wish.service) {
            self.seats[ix.0 as usize].own = own;
            if let Some(place) = ground.stand(ix).place {
                self.tree.count(place.branch, i64::from(own), ground);
            }
        }
        // All are counted before any is judged: rules look at the others.
        if !self.censuses.is_empty() {
            for ix in set.all() {
                self.census(ix, set);
            }
        }
        for ix in set.all() {
            let stand = ground.stand(ix);
            let Some(place) = stand.place else { continue };
            let (verdict, key) = self.judged(ix, stand.fixed, set);
            self.seats[ix.0 as usize].verdict = verdict;
            if let Some(reject) = verdict {
                self.tally.add(reject.filter);
            }
            self.tree.put(place, key);
        }
        self.tree.settle(ground, set);
    }

    /// Follows the nodes that the ground has moved: all leave, then all take their new places.
    fn relocate(&mut self, ground: &Ground, set: &NodeSet) {
        self.seats.resize(set.width(), Seat::default());
        self.tree.widen(ground, set);
        let first = self.moved;
        while let Some(moved) = ground.moves().get(self.moved) {
            self.moved += 1;
            // Of several moves of a node only the first is from a place where it was counted here.
            let seat = std::mem::take(&mut self.seats[moved.node.0 as usize]);
            if let Some(reject) = seat.verdict {
                self.tally.sub(reject.filter);
            }
            if let Some(place) = moved.from {
                self.tree.count(place.branch, -i64::from(seat.own), ground);
                self.tree.set(place, Key::OUT, ground, set);
                self.tree.rise(place.branch, ground);
            }
        }
        for moved in (first..self.moved).filter_map(|number| ground.moves().get(number)) {
            self.recount(moved.node, ground, set);
            self.judge(moved.node, ground, set);
            if let Some(place) = ground.stand(moved.node).place {
                self.tree.rise(place.branch, ground);
            }
        }
    }

    fn see(&mut self, changed: Changed, ground: &Ground, set: &NodeSet) {
        let ix = changed.node;
        if changed.of == self.fingerprint {
            self.recount(ix, ground, set);
        }
        let touched = self.census(ix, set);
        self.judge(ix, ground, set);
        for other in touched {
            self.judge(other, ground, set);
        }
    }

    /// Counts the service's tasks on the node anew.
    fn recount(&mut self, ix: NodeIx, ground: &Ground, set: &NodeSet) {
        let own = set.own(&self.wish.service, ix);
        let before = std::mem::replace(&mut self.seats[ix.0 as usize].own, own);
        if let Some(place) = ground.stand(ix).place.filter(|_| own != before) {
            self.tree.count(place.branch, i64::from(own) - i64::from(before), ground);
            self.tree.rise(place.branch, ground);
        }
    }

    /// Counts for the rules. Returns other nodes whose verdict may differ now.
    fn census(&mut self, ix: NodeIx, set: &NodeSet) -> Vec<NodeIx> {
        let mut touched = Vec::new();
        for (rule, census) in self.wish.rules.iter().zip(&mut self.censuses) {
            let node = set.info(ix).node.as_deref();
            touched.extend(census.count(rule, ix, node, set.own(&rule.service, ix)));
        }
        touched
    }

    /// Filters the node and sets its key.
    fn judge(&mut self, ix: NodeIx, ground: &Ground, set: &NodeSet) {
        let stand = ground.stand(ix);
        let Some(place) = stand.place else { return };
        let (verdict, key) = self.judged(ix, stand.fixed, set);
        let before = std::mem::replace(&mut self.seats[ix.0 as usize].verdict, verdict);
        if before != verdict {
            if let Some(reject) = before {
                self.tally.sub(reject.filter);
            }
            if let Some(reject) = verdict {
                self.tally.add(reject.filter);
            }
        }
        self.tree.set(place, key, ground, set);
    }

    fn judged(&self, ix: NodeIx, fixed: Option<Reject>, set: &NodeSet) -> (Option<Reject>, u64) {
        let (load, own) = (set.load(ix), self.seats[ix.0 as usize].own);
        let verdict = self.refuses(ix, fixed, load, own, set);
        let key = if verdict.is_some() { Key::OUT } else { self.key(ix, load, own, set) };
        (verdict, key)
    }

    /// The first filter that refuses, in SwarmKit's order.
    fn refuses(
        &self,
        ix: NodeIx,
        fixed: Option<Reject>,
        load: Load,
        own: u32,
        set: &NodeSet,
    ) -> Option<Reject> {
        // Without a fixed refusal the first of the others counts; with one, only what comes before it.
        let moving = moving(&self.wish, load, own, set, ix);
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

    /// Failures, preferences, tasks of the service, load: the first that differs decides. Each has its bits,
    /// and is the highest they can hold when there are more.
    fn key(&self, ix: NodeIx, load: Load, own: u32, set: &NodeSet) -> u64 {
        let penalty = match load.failed {
            true => set.info(ix).penalty(&self.wish.service, self.wish.version),
            false => 0,
        };
        let rules = self.wish.rules.iter().zip(&self.censuses);
        let missed = rules
            .filter(|(rule, census)| rule.force == Force::Preference && !census.holds(rule, ix))
            .count();
        let bits = |number: u64, bits: u32| number.min((1 << bits) - 1);
        let order = match self.wish.strategy {
            Strategy::Spread => bits(own.into(), 22) << 28 | bits(load.active.into(), 28),
            Strategy::Binpack => bits(left(set.info(ix)), 50),
        };
        bits(penalty as u64, 7) << 56 | bits(missed as u64, 6) << 50 | order
    }
}

/// How much of the node is left, in millionths of the scarcer of CPUs and memory; among nodes that reserve
/// nothing, those with more tasks have less left. 48 bits.
fn left(info: &NodeInfo) -> u64 {
    let Some(node) = &info.node else { return u64::MAX };
    let (all, load) = (&node.description.resources, info.load());
    let share = |free: i64, all: i64| match all {
        0 => 1_000_000,
        all => u64::try_from(i128::from(free.max(0)) * 1_000_000 / i128::from(all)).unwrap_or(0),
    };
    let scarcer =
        share(load.free_cpus, all.nano_cpus).min(share(load.free_memory, all.memory_bytes));
    const MOST: u64 = (1 << 28) - 1;
    (scarcer << 28) + (MOST - u64::from(load.active).min(MOST))
}
