//! Which piece to fetch from whom: decided from what is here, what is under way and what the others have.
//!
//! The idlest source first, of equals one that is itself still fetching. Each piece that only complete sources have is one
//! fetching node's to take from there, by a hash of both: so an image leaves its first node little more than once, however
//! many nodes want it, and nobody has to know what the others ask for at this moment. The others get it from that node.
//! A node that has next to nothing under way takes what is not its own, too: nobody waits for a slow one.
//! Which of several pieces comes first is left to chance, and what few have goes before what many have.

use super::pieces::Pieces;
use std::collections::{BTreeMap, BTreeSet};
use types::NodeId;

/// Pieces under way from one node: the next is asked for while one comes.
const PER_SOURCE: u32 = 2;
/// With no more pieces under way than that, a node asks complete sources for what is another's to take.
const IDLE: usize = 2;
/// Pieces that are compared before one is chosen: of a large blob not all.
const COMPARED: usize = 64;

/// What is known while one blob is fetched.
pub(crate) struct Swarm {
    /// This node.
    me: NodeId,
    here: Pieces,
    under_way: BTreeSet<u32>,
    sources: BTreeMap<NodeId, Source>,
}

struct Source {
    have: Pieces,
    /// More comes to it from a registry.
    grows: bool,
    under_way: u32,
}

impl Swarm {
    pub(crate) fn new(me: NodeId, here: Pieces) -> Self {
        Swarm { me, here, under_way: BTreeSet::new(), sources: BTreeMap::new() }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.here.is_complete()
    }

    /// Whether somebody has anything of the blob.
    pub(crate) fn has_sources(&self) -> bool {
        !self.sources.is_empty()
    }

    /// What `node` has by its own word, and whether more comes to it from a registry; none when it has nothing, or did not
    /// answer.
    pub(crate) fn heard(&mut self, node: &NodeId, have: Option<(Pieces, bool)>) {
        let have = have.filter(|(have, _)| have.count() == self.here.count());
        match (self.sources.get_mut(node), have) {
            (Some(source), Some((have, grows))) => (source.have, source.grows) = (have, grows),
            (None, Some((have, grows))) => {
                self.sources.insert(node.clone(), Source { have, grows, under_way: 0 });
            }
            (_, None) => {
                self.sources.remove(node);
            }
        }
    }

    /// Whether the others wait for this node to ask the registry: nobody has what is missing, to nobody does it come, and
    /// of those that fetch it is this one's turn.
    pub(crate) fn is_first(&self) -> bool {
        let lacks = |source: &Source| {
            (0..self.here.count()).all(|n| self.here.has(n) || !source.have.has(n))
        };
        self.sources.values().all(|source| !source.grows && lacks(source))
            && self.taker_of(u32::MAX) == &self.me
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
        let wanted = || {
            let all = (first..count).chain(0..first);
            all.filter(|n| source.have.has(*n) && !self.here.has(*n) && !self.under_way.contains(n))
        };
        let holders = |n: &u32| self.sources.values().filter(|source| source.have.has(*n)).count();
        if !source.have.is_complete() {
            return wanted().take(COMPARED).min_by_key(holders);
        }
        let mine = wanted().find(|n| !self.is_about(*n) && self.taker_of(*n) == &self.me);
        let idle = self.under_way.len() <= IDLE;
        mine.or_else(|| wanted().take(COMPARED).min_by_key(holders).filter(|_| idle))
    }

    /// Whether a node that is still fetching has it.
    fn is_about(&self, piece: u32) -> bool {
        self.fetching().any(|(_, source)| source.have.has(piece))
    }

    fn fetching(&self) -> impl Iterator<Item = (&NodeId, &Source)> {
        self.sources.iter().filter(|(_, source)| !source.have.is_complete())
    }

    /// Who of those that are fetching takes the piece from a complete source.
    fn taker_of(&self, piece: u32) -> &NodeId {
        let all = self.fetching().map(|(node, _)| node).chain([&self.me]);
        all.max_by_key(|node| (weight(node, piece), *node)).unwrap_or(&self.me)
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

/// A number that is the same on all nodes and differs from piece to piece (FNV-1a, mixed by splitmix64's last steps).
fn weight(node: &NodeId, piece: u32) -> u64 {
    let bytes = node.as_str().bytes().chain(piece.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: usize) -> NodeId {
        NodeId::new(format!("n{n}"))
    }

    #[test]
    fn what_a_node_does_not_have_is_not_asked_of_it() {
        let mut swarm = Swarm::new(node(0), Pieces::none(4));
        assert_eq!(swarm.choose(1), None);
        let mut half = Pieces::none(4);
        half.add(2);
        swarm.heard(&node(1), Some((half, false)));
        assert_eq!(swarm.choose(3), Some((node(1), 2)));
        assert_eq!(swarm.choose(3), None, "it is under way");
        swarm.lost(&node(1), 2);
        assert!(!swarm.has_sources());
        swarm.heard(&node(2), Some((Pieces::all(4), false)));
        swarm.heard(&node(3), Some((Pieces::all(5), false)));
        assert!(!swarm.sources.contains_key(&node(3)), "another blob's pieces count for nothing");
        for _ in 0..2 {
            let (from, piece) = swarm.choose(0).unwrap();
            swarm.landed(&from, piece);
        }
        swarm.choose(0).unwrap();
        swarm.choose(0).unwrap();
        assert!(!swarm.is_done() && swarm.choose(0).is_none());
    }

    /// Four nodes that begin together, in rounds: in each every node receives one piece, and learns what the others had
    /// some rounds ago.
    #[test]
    fn an_image_leaves_its_first_node_little_more_than_once() {
        const PIECES: u32 = 200;
        const NODES: usize = 4;
        const LATE: usize = 4;
        let none = || Pieces::none(PIECES);
        let mut nodes: Vec<Swarm> = (0..NODES).map(|n| Swarm::new(node(n), none())).collect();
        let mut known = std::collections::VecDeque::from(vec![vec![none(); NODES]; LATE]);
        let (mut from_first, mut chance, mut rounds) = (0, 7_u64, 0);
        while !nodes.iter().all(Swarm::is_done) {
            rounds += 1;
            known.push_back(nodes.iter().map(|swarm| swarm.here.clone()).collect());
            let known = known.pop_front().unwrap();
            for (me, swarm) in nodes.iter_mut().enumerate() {
                swarm.heard(&node(NODES), Some((Pieces::all(PIECES), false)));
                for (other, have) in known.iter().enumerate().filter(|(other, _)| *other != me) {
                    swarm.heard(&node(other), Some((have.clone(), false)));
                }
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_041);
                if let Some((from, piece)) = swarm.choose(chance >> 11) {
                    from_first += u32::from(from == node(NODES));
                    swarm.landed(&from, piece);
                }
            }
        }
        assert!(rounds < PIECES * 3 / 2, "{rounds} rounds for {PIECES} pieces");
        assert!(from_first < PIECES * 5 / 4, "{from_first} of {PIECES} came from the first node");
    }

    #[test]
    fn of_those_that_begin_together_one_asks_the_registry() {
        let none = || Pieces::none(8);
        let mut nodes: Vec<Swarm> = (0..5).map(|n| Swarm::new(node(n), none())).collect();
        for swarm in &mut nodes {
            (0..5)
                .map(node)
                .filter(|other| *other != swarm.me)
                .collect::<Vec<_>>()
                .iter()
                .for_each(|other| swarm.heard(other, Some((none(), false))));
        }
        let first: Vec<NodeId> =
            nodes.iter().filter(|swarm| swarm.is_first()).map(|swarm| swarm.me.clone()).collect();
        assert_eq!(first.len(), 1);
        // Once it comes to that one, and while it does, nobody else asks; when it has gone, another one does.
        nodes.retain(|swarm| swarm.me != first[0]);
        nodes.iter_mut().for_each(|swarm| swarm.heard(&first[0], Some((none(), true))));
        assert!(!nodes.iter().any(Swarm::is_first));
        nodes.iter_mut().for_each(|swarm| swarm.heard(&first[0], None));
        assert_eq!(nodes.iter().filter(|swarm| swarm.is_first()).count(), 1);
        let mut some = none();
        some.add(3);
        nodes.iter_mut().for_each(|swarm| swarm.heard(&node(7), Some((some.clone(), false))));
        assert!(!nodes.iter().any(Swarm::is_first), "a piece can be had");
    }

    #[test]
    fn a_node_that_is_slow_holds_nobody_up() {
        let mut swarm = Swarm::new(node(0), Pieces::none(64));
        swarm.heard(&node(1), Some((Pieces::none(64), false)));
        swarm.heard(&node(2), Some((Pieces::all(64), false)));
        // Nothing ever comes from the other one: what is its to take is taken all the same.
        let mut chance = 0;
        while !swarm.is_done() {
            let (from, piece) = swarm.choose(chance).unwrap();
            assert_eq!(from, node(2));
            swarm.landed(&from, piece);
            chance += 5;
        }
    }
}
