//! Nodes under the branches of the spread preferences: a contest on each level.
//!
//! ```text
//!            root                 a branch's key: tasks it has, by its weight; out if nobody below has room
//!        east     west            one task goes down the winners: the emptiest branch, then the best node
//!      r1  r2      r3
//!     n1 n4 n2    n3 n5           a node's key comes from the board
//! ```
//! Keeps counts; knows no filter.

use crate::contest::{Contest, Key, OUT};
use crate::nodeset::{NodeIx, NodeSet};
use std::collections::BTreeMap;

/// A node's place: its branch, and its position there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) branch: u32,
    position: u32,
}

#[derive(Debug)]
struct Branch {
    /// `None` for the root.
    parent: Option<Place>,
    contest: Contest,
    /// The service's active tasks below.
    tasks: u64,
    /// Capacity below; the divisor of `tasks`.
    weight: u64,
    members: Members,
}

#[derive(Debug)]
enum Members {
    Branches { by_value: BTreeMap<String, u32>, branches: Vec<u32>, ranks: Vec<u64> },
    Nodes { nodes: Vec<NodeIx>, free: Vec<u32> },
}

#[derive(Debug)]
pub(crate) struct Tree {
    branches: Vec<Branch>,
    levels: usize,
    /// Whether weights count.
    weighted: bool,
    /// Otherwise matches wait for [`Tree::settle`].
    settled: bool,
}

impl Tree {
    /// An empty tree with so many spread levels. [`Tree::settle`] must follow before it is asked.
    pub(crate) fn new(levels: usize, weighted: bool) -> Self {
        let root = Branch::new(None, levels == 0);
        Tree { branches: vec![root], levels, weighted, settled: false }
    }

    /// The leaf for these values of the spread attributes; it is made if it is new.
    pub(crate) fn leaf<'a>(&mut self, values: impl Iterator<Item = &'a str>) -> u32 {
        let mut at = 0;
        for (level, value) in values.enumerate() {
            at = match &self.branches[at as usize].members {
                Members::Branches { by_value, branches, .. } => match by_value.get(value) {
                    Some(position) => branches[*position as usize],
                    None => self.grow(at, value, level + 1 == self.levels),
                },
                Members::Nodes { .. } => at,
            };
        }
        at
    }

    /// Seats a node in a leaf. It is out until it gets a key.
    pub(crate) fn enter(&mut self, branch: u32, node: NodeIx, set: &NodeSet) -> Place {
        let settled = self.settled;
        let Branch { contest, members, .. } = &mut self.branches[branch as usize];
        let Members::Nodes { nodes, free } = members else {
            return Place { branch, position: 0 };
        };
        if let Some(position) = free.pop() {
            nodes[position as usize] = node;
            return Place { branch, position };
        }
        nodes.push(node);
        let rank = |position: u32| set.rank(nodes[position as usize]);
        let position = if settled { contest.join(rank) } else { contest.seat() };
        Place { branch, position }
    }

    /// Frees a node's seat. Its tasks and weight must have been taken off before.
    pub(crate) fn leave(&mut self, place: Place, set: &NodeSet) {
        self.set(place, OUT, set);
        if let Members::Nodes { free, .. } = &mut self.branches[place.branch as usize].members {
            free.push(place.position);
        }
    }

    /// Changes counts of a leaf and of all above it.
    pub(crate) fn add(&mut self, leaf: u32, tasks: i64, weight: i64) {
        if tasks == 0 && weight == 0 {
            return;
        }
        let mut at = leaf;
        loop {
            let branch = &mut self.branches[at as usize];
            branch.tasks = branch.tasks.saturating_add_signed(tasks);
            branch.weight = branch.weight.saturating_add_signed(weight);
            let Some(parent) = branch.parent else { break };
            at = parent.branch;
        }
        self.rise(leaf);
    }

    /// Sets a node's key.
    pub(crate) fn set(&mut self, place: Place, key: Key, set: &NodeSet) {
        let Branch { contest, members, .. } = &mut self.branches[place.branch as usize];
        if !self.settled {
            contest.put(place.position, key);
            return;
        }
        let Members::Nodes { nodes, .. } = members else { return };
        let was = contest.best().is_some();
        contest.set(place.position, key, |position| set.rank(nodes[position as usize]));
        if was != contest.best().is_some() {
            self.rise(place.branch);
        }
    }

    /// Lets matches wait: many nodes are about to change.
    pub(crate) fn unsettle(&mut self) {
        self.settled = false;
    }

    /// Plays all matches.
    pub(crate) fn settle(&mut self, set: &NodeSet) {
        // Branches are made after their parents: backwards, each is settled before it takes part.
        for at in (0..self.branches.len()).rev() {
            let Branch { contest, members, .. } = &mut self.branches[at];
            match members {
                Members::Nodes { nodes, .. } => {
                    contest.replay(|position| set.rank(nodes[position as usize]));
                }
                Members::Branches { ranks, .. } => {
                    contest.replay(|position| ranks[position as usize]);
                }
            }
            let key = self.key(&self.branches[at]);
            if let Some(parent) = self.branches[at].parent {
                self.branches[parent.branch as usize].contest.put(parent.position, key);
            }
        }
        self.settled = true;
    }

    /// The node that the next task goes to.
    pub(crate) fn best(&self) -> Option<NodeIx> {
        let mut at = 0;
        loop {
            let branch: &Branch = &self.branches[at as usize];
            let position = branch.contest.best()? as usize;
            match &branch.members {
                Members::Branches { branches, .. } => at = branches[position],
                Members::Nodes { nodes, .. } => return Some(nodes[position]),
            }
        }
    }

    /// Brings the keys of a branch and of those above it up to date.
    fn rise(&mut self, branch: u32) {
        let mut at = branch;
        while let Some(parent) = self.branches[at as usize].parent.filter(|_| self.settled) {
            let key = self.key(&self.branches[at as usize]);
            let Branch { contest, members, .. } = &mut self.branches[parent.branch as usize];
            if let Members::Branches { ranks, .. } = members {
                contest.set(parent.position, key, |position| ranks[position as usize]);
            }
            at = parent.branch;
        }
    }

    fn key(&self, branch: &Branch) -> Key {
        if branch.contest.best().is_none() {
            return OUT;
        }
        match self.weighted {
            // How full it would be with one more.
            true => ((Key::from(branch.tasks) + 1) << 64) / Key::from(branch.weight.max(1)),
            false => Key::from(branch.tasks),
        }
    }

    fn grow(&mut self, parent: u32, value: &str, leaf: bool) -> u32 {
        let new = u32::try_from(self.branches.len()).unwrap_or(u32::MAX);
        let settled = self.settled;
        let Branch { contest, members, .. } = &mut self.branches[parent as usize];
        let Members::Branches { by_value, branches, ranks } = members else { return parent };
        let position = u32::try_from(branches.len()).unwrap_or(u32::MAX);
        branches.push(new);
        ranks.push(0);
        by_value.insert(value.to_owned(), position);
        // The order of the values; a newcomer changes nobody's place among the others.
        for (rank, member) in (0u64..).zip(by_value.values()) {
            ranks[*member as usize] = rank;
        }
        let rank = |position: u32| ranks[position as usize];
        if settled {
            contest.join(rank)
        } else {
            contest.seat()
        };
        let mut branch = Branch::new(Some(Place { branch: parent, position }), leaf);
        branch.contest.replay(|_| 0);
        self.branches.push(branch);
        new
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
        Branch { parent, contest: Contest::default(), tasks: 0, weight: 0, members }
    }
}
