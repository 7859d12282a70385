//! The lie of the land for one site: which branch of the spread each node is under, and what its description
//! alone refuses. Surveyed once for all services that ask for the same.
//!
//! ```text
//! NodeSet.descriptions ──► follow ──► stands (place, refusal, weight per node)
//!            root                     branches: their members never change places
//!        east     west                moves: for the boards that stand on this ground
//!      r1  r2      r3
//!     n1 n4 n2    n3 n5
//! ```
//! Knows no tasks.

use crate::check::{Reject, Volumes, fixed};
use crate::error::PlacementError;
use crate::log::Log;
use crate::nodeset::{NodeIx, NodeSet};
use crate::rule::Pattern;
use crate::wish::Site;
use regex_lite::Regex;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::swarm::node::Node;
use types::swarm::placement::SpreadWeight;

/// A node's place: its branch, and its position there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) branch: u32,
    pub(crate) position: u32,
}

/// What the ground knows of one node.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stand {
    /// `None`: no node has this number.
    pub(crate) place: Option<Place>,
    pub(crate) fixed: Option<Reject>,
    weight: u64,
}

/// A node was described anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move {
    pub(crate) node: NodeIx,
    /// Whose place may be another's by now.
    pub(crate) from: Option<Place>,
}

#[derive(Debug)]
pub(crate) struct Branch {
    /// `None` for the root.
    pub(crate) parent: Option<Place>,
    /// Capacity below: of nodes that are not refused.
    pub(crate) weight: u64,
    pub(crate) members: Members,
}

#[derive(Debug)]
pub(crate) enum Members {
    Branches { by_value: BTreeMap<String, u32>, branches: Vec<u32>, ranks: Vec<u64> },
    Nodes { nodes: Vec<NodeIx>, free: Vec<u32> },
}

#[derive(Debug)]
pub(crate) struct Ground {
    site: Arc<Site>,
    patterns: Vec<Regex>,
    stands: Vec<Stand>,
    /// Parents come before their children.
    branches: Vec<Branch>,
    moves: Log<Move>,
    /// The number of the first description not yet read.
    seen: u64,
}

impl Ground {
    /// Surveys all nodes.
    pub(crate) fn new(
        site: Arc<Site>,
        set: &NodeSet,
        volumes: &Volumes,
    ) -> Result<Self, PlacementError> {
        let patterns = site.patterns.iter().map(Pattern::regex).collect::<Result<_, _>>()?;
        let root = Branch::new(None, site.spread.is_empty());
        let (stands, branches, moves) = (Vec::new(), vec![root], Log::default());
        let mut ground = Ground { site, patterns, stands, branches, moves, seen: 0 };
        ground.survey(set, volumes);
        Ok(ground)
    }

    /// Reads the descriptions that changed since the last time.
    pub(crate) fn follow(&mut self, set: &NodeSet, volumes: &Volumes) {
        if !set.descriptions().reaches(self.seen) {
            self.survey(set, volumes);
        }
        while let Some(ix) = set.descriptions().get(self.seen) {
            self.seen += 1;
            self.read(ix, set, volumes);
        }
    }

    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }
    pub(crate) fn stand(&self, ix: NodeIx) -> Stand {
        self.stands.get(ix.0 as usize).copied().unwrap_or_default()
    }
    pub(crate) fn branches(&self) -> &[Branch] {
        &self.branches
    }
    pub(crate) fn moves(&self) -> &Log<Move> {
        &self.moves
    }
    /// Whether weights count.
    pub(crate) fn is_weighted(&self) -> bool {
        self.site.weight != SpreadWeight::None
    }

    fn survey(&mut self, set: &NodeSet, volumes: &Volumes) {
        for ix in set.all() {
            self.read(ix, set, volumes);
        }
        self.seen = set.descriptions().end();
    }

    /// Gives the node the place that its description asks for.
    fn read(&mut self, ix: NodeIx, set: &NodeSet, volumes: &Volumes) {
        if self.stands.len() <= ix.0 as usize {
            self.stands.resize(ix.0 as usize + 1, Stand::default());
        }
        let Stand { place: from, weight, .. } = self.stands[ix.0 as usize];
        if let Some(place) = from {
            self.weigh(place.branch, -signed(weight));
            if let Members::Nodes { free, .. } = &mut self.branches[place.branch as usize].members {
                free.push(place.position);
            }
        }
        let mut stand = Stand::default();
        if let Some(node) = &set.info(ix).node {
            stand.fixed = fixed(&self.site, &self.patterns, volumes, node);
            stand.weight = if stand.fixed.is_none() { self.weight(node) } else { 0 };
            let leaf = self.leaf(node);
            stand.place = Some(self.enter(leaf, ix));
            self.weigh(leaf, signed(stand.weight));
        }
        self.stands[ix.0 as usize] = stand;
        let keep = 2 * self.stands.len() + 64;
        self.moves.push(Move { node: ix, from }, keep);
    }

    /// The branch for the node's values of the spread attributes; it is made if it is new.
    fn leaf(&mut self, node: &Node) -> u32 {
        let site = Arc::clone(&self.site);
        let mut at = 0;
        for (level, over) in (1..).zip(&site.spread) {
            let value = over.of(node);
            at = match &self.branches[at as usize].members {
                Members::Branches { by_value, branches, .. } => match by_value.get(value) {
                    Some(position) => branches[*position as usize],
                    None => self.grow(at, value, level == site.spread.len()),
                },
                Members::Nodes { .. } => at,
            };
        }
        at
    }

    fn enter(&mut self, branch: u32, node: NodeIx) -> Place {
        let Members::Nodes { nodes, free } = &mut self.branches[branch as usize].members else {
            return Place { branch, position: 0 };
        };
        if let Some(position) = free.pop() {
            nodes[position as usize] = node;
            return Place { branch, position };
        }
        nodes.push(node);
        Place { branch, position: u32::try_from(nodes.len() - 1).unwrap_or(u32::MAX) }
    }

    fn grow(&mut self, parent: u32, value: &str, leaf: bool) -> u32 {
        let new = u32::try_from(self.branches.len()).unwrap_or(u32::MAX);
        let members = &mut self.branches[parent as usize].members;
        let Members::Branches { by_value, branches, ranks } = members else { return parent };
        let position = u32::try_from(branches.len()).unwrap_or(u32::MAX);
        branches.push(new);
        ranks.push(0);
        by_value.insert(value.to_owned(), position);
        // The order of the values; a newcomer changes nobody's place among the others.
        for (rank, member) in (0u64..).zip(by_value.values()) {
            ranks[*member as usize] = rank;
        }
        self.branches.push(Branch::new(Some(Place { branch: parent, position }), leaf));
        new
    }

    fn weigh(&mut self, leaf: u32, weight: i64) {
        let mut at = Some(leaf).filter(|_| weight != 0);
        while let Some(branch) = at.map(|at| &mut self.branches[at as usize]) {
            branch.weight = branch.weight.saturating_add_signed(weight);
            at = branch.parent.map(|parent| parent.branch);
        }
    }

    fn weight(&self, node: &Node) -> u64 {
        let resources = &node.description.resources;
        match self.site.weight {
            SpreadWeight::None => 0,
            SpreadWeight::Nodes => 1,
            SpreadWeight::Cpu => u64::try_from(resources.nano_cpus).unwrap_or(0),
            SpreadWeight::Memory => u64::try_from(resources.memory_bytes).unwrap_or(0),
        }
    }
}

impl Branch {
    fn new(parent: Option<Place>, leaf: bool) -> Self {
        let members = match leaf {
            true => Members::Nodes { nodes: Vec::new(), free: Vec::new() },
            false => Members::Branches {
                by_value: BTreeMap::new(),
                branches: Vec::new(),
                ranks: Vec::new(),
            },
        };
        Branch { parent, weight: 0, members }
    }

    pub(crate) fn size(&self) -> usize {
        match &self.members {
            Members::Branches { branches, .. } => branches.len(),
            Members::Nodes { nodes, .. } => nodes.len(),
        }
    }
}

fn signed(weight: u64) -> i64 {
    i64::try_from(weight).unwrap_or(i64::MAX)
}
