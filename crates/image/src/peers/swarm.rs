//! Which piece to fetch from whom: decided from what is here, what is under way and what the others have.
//!
//! The idlest source first, and of equals one that is itself still fetching: what only the complete ones have is asked of
//! them, so that an image leaves its first node little more than once, however many nodes want it. Of the pieces that a
//! source has, one that few have; which of them is left to chance, so that nodes which begin together fetch different ones.

use super::pieces::Pieces;
use std::collections::{BTreeMap, BTreeSet};
use types::NodeId;

/// Pieces under way from one node: the next is asked for while one comes.
const PER_SOURCE: u32 = 2;
/// Pieces that are compared before one is chosen: of a large blob not all.
const COMPARED: usize = 64;

/// What is known while one blob is fetched.
pub(crate) struct Swarm {
    here: Pieces,
    under_way: BTreeSet<u32>,
    sources: BTreeMap<NodeId, Source>,
}

struct Source {
    have: Pieces,
    under_way: u32,
}

impl Swarm {
    pub(crate) fn new(here: Pieces) -> Self {
        Swarm { here, under_way: BTreeSet::new(), sources: BTreeMap::new() }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.here.is_complete()
    }

    /// Whether somebody has anything of the blob.
    pub(crate) fn has_sources(&self) -> bool {
        !self.sources.is_empty()
    }

    /// What `node` has by its own word; none when it has nothing, or did not answer.
    pub(crate) fn heard(&mut self, node: &NodeId, have: Option<Pieces>) {
        match (self.sources.get_mut(node), have.filter(|have| have.count() == self.here.count())) {
            (Some(source), Some(have)) => source.have = have,
            (None, Some(have)) => {
                self.sources.insert(node.clone(), Source { have, under_way: 0 });
            }
            (_, None) => {
                self.sources.remove(node);
            }
        }
    }

    /// The next piece to ask for, which is under way from then on. `chance` is any number.
    pub(crate) fn choose(&mut self, chance: u64) -> Option<(NodeId, u32)> {
        let mut idle: Vec<(&NodeId, &Source)> =
            self.sources.iter().filter(|(_, source)| source.under_way < PER_SOURCE).collect();
        // Equals in another order each time, and for each node.
        let turn = usize::try_from(chance % idle.len().max(1) as u64).unwrap_or(0);
        idle.rotate_left(turn);
        idle.sort_by_key(|(_, source)| (source.under_way, source.have.is_complete()));
        let chosen = idle
            .into_iter()
            .find_map(|(node, source)| Some((node.clone(), self.piece_of(source, chance)?)));
        let (node, piece) = chosen?;
        self.under_way.insert(piece);
        if let Some(source) = self.sources.get_mut(&node) {
            source.under_way += 1;
        }
        Some((node, piece))
    }

    fn piece_of(&self, source: &Source, chance: u64) -> Option<u32> {
        let count = self.here.count();
        let first = u32::try_from(chance % u64::from(count.max(1))).unwrap_or(0);
        let wanted = (first..count)
            .chain(0..first)
            .filter(|n| source.have.has(*n) && !self.here.has(*n) && !self.under_way.contains(n));
        let holders = |n: &u32| self.sources.values().filter(|source| source.have.has(*n)).count();
        wanted.take(COMPARED).min_by_key(holders)
    }

    /// A piece has come.
    pub(crate) fn landed(&mut self, node: &NodeId, piece: u32) {
        self.here.add(piece);
        self.ended(node, piece);
    }

    /// A piece has not come: its source is none until it is heard of again.
    pub(crate) fn lost(&mut self, node: &NodeId, piece: u32) {
        self.ended(node, piece);
        self.sources.remove(node);
    }

    fn ended(&mut self, node: &NodeId, piece: u32) {
        self.under_way.remove(&piece);
        if let Some(source) = self.sources.get_mut(node) {
            source.under_way = source.under_way.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: usize) -> NodeId {
        NodeId::new(format!("n{n}"))
    }

    #[test]
    fn what_a_node_does_not_have_is_not_asked_of_it() {
        let mut swarm = Swarm::new(Pieces::none(4));
        assert_eq!(swarm.choose(1), None);
        let mut half = Pieces::none(4);
        half.add(2);
        swarm.heard(&node(1), Some(half));
        assert_eq!(swarm.choose(3), Some((node(1), 2)));
        assert_eq!(swarm.choose(3), None, "it is under way");
        swarm.lost(&node(1), 2);
        assert!(!swarm.has_sources());
        swarm.heard(&node(2), Some(Pieces::all(4)));
        swarm.heard(&node(3), Some(Pieces::all(5)));
        assert!(!swarm.sources.contains_key(&node(3)), "another blob's pieces count for nothing");
        for _ in 0..2 {
            let (from, piece) = swarm.choose(0).unwrap();
            swarm.landed(&from, piece);
        }
        swarm.choose(0).unwrap();
        swarm.choose(0).unwrap();
        assert!(!swarm.is_done() && swarm.choose(0).is_none());
    }

    /// Four nodes that begin together, in rounds: in each every node receives one piece, and learns what the others have.
    #[test]
    fn an_image_leaves_its_first_node_little_more_than_once() {
        const PIECES: u32 = 200;
        const NODES: usize = 4;
        let mut nodes: Vec<Swarm> = (0..NODES).map(|_| Swarm::new(Pieces::none(PIECES))).collect();
        let (mut from_first, mut chance) = (0, 7_u64);
        for _round in 0..2 * PIECES {
            let known: Vec<Pieces> = nodes.iter().map(|swarm| swarm.here.clone()).collect();
            for (me, swarm) in nodes.iter_mut().enumerate() {
                swarm.heard(&node(NODES), Some(Pieces::all(PIECES)));
                for (other, have) in known.iter().enumerate().filter(|(other, _)| *other != me) {
                    swarm.heard(&node(other), Some(have.clone()));
                }
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_041);
                if let Some((from, piece)) = swarm.choose(chance >> 11) {
                    from_first += u32::from(from == node(NODES));
                    swarm.landed(&from, piece);
                }
            }
        }
        assert!(nodes.iter().all(Swarm::is_done));
        assert!(
            from_first < PIECES * 3 / 2,
            "{from_first} pieces of {PIECES} came from the first node"
        );
    }
}
