//! One service's contests on its ground: a contest in each branch.
//!
//! A branch's key is the tasks it has, by its weight; it is out if nobody below has room. One task goes down the
//! winners: the emptiest branch, then the best node. A node's key comes from the board. Knows no filter.

use crate::contest::{Contest, Key};
use crate::ground::{Ground, Members, Place};
use crate::nodeset::{NodeIx, NodeSet};

#[derive(Debug)]
struct Bough {
    /// The service's active tasks below.
    tasks: u64,
    contest: Match,
}

#[derive(Debug)]
enum Match {
    Nodes(Contest<u64>),
    /// A weighted key needs the room.
    Branches(Contest<u128>),
}

/// By the ground's branches.
#[derive(Debug)]
pub(crate) struct Tree(Vec<Bough>);

impl Tree {
    /// Everybody is out. [`Tree::settle`] must follow before it is asked.
    pub(crate) fn new(ground: &Ground) -> Self {
        let mut tree = Tree(Vec::with_capacity(ground.branches().len()));
        tree.add_branches(ground);
        tree
    }

    /// The ground may have got new branches and places: they are out.
    pub(crate) fn widen(&mut self, ground: &Ground, set: &NodeSet) {
        for (bough, branch) in self.0.iter_mut().zip(ground.branches()) {
            match (&mut bough.contest, &branch.members) {
                (Match::Nodes(contest), Members::Nodes { nodes, .. }) => {
                    contest.widen(nodes.len(), |position| set.rank(nodes[position as usize]));
                }
                (Match::Branches(contest), Members::Branches { ranks, .. }) => {
                    contest.widen(ranks.len(), |position| ranks[position as usize]);
                }
                _ => {}
            }
        }
        self.add_branches(ground);
    }

    /// Counts tasks for a leaf and all above it. [`Tree::rise`] must follow.
    pub(crate) fn count(&mut self, leaf: u32, tasks: i64, ground: &Ground) {
        let mut at = Some(leaf).filter(|_| tasks != 0);
        while let Some(branch) = at {
            let bough = &mut self.0[branch as usize];
            bough.tasks = bough.tasks.saturating_add_signed(tasks);
            at = ground.branches()[branch as usize].parent.map(|parent| parent.branch);
        }
    }

    /// Sets a node's key.
    pub(crate) fn set(&mut self, place: Place, key: u64, ground: &Ground, set: &NodeSet) {
        let members = &ground.branches()[place.branch as usize].members;
        if let (Match::Nodes(contest), Members::Nodes { nodes, .. }) =
            (&mut self.0[place.branch as usize].contest, members)
        {
            let was = contest.best().is_some();
            contest.set(place.position, key, |position| set.rank(nodes[position as usize]));
            if was != contest.best().is_some() {
                self.rise(place.branch, ground);
            }
        }
    }

    /// Like [`Tree::set`], but [`Tree::settle`] must follow before anything else is asked.
    pub(crate) fn put(&mut self, place: Place, key: u64) {
        if let Match::Nodes(contest) = &mut self.0[place.branch as usize].contest {
            contest.put(place.position, key);
        }
    }

    /// Brings the keys of a branch and of those above it up to date.
    pub(crate) fn rise(&mut self, branch: u32, ground: &Ground) {
        let mut at = branch;
        while let Some(parent) = ground.branches()[at as usize].parent {
            let key = self.key(at, ground);
            let members = &ground.branches()[parent.branch as usize].members;
            if let (Match::Branches(contest), Members::Branches { ranks, .. }) =
                (&mut self.0[parent.branch as usize].contest, members)
            {
                contest.set(parent.position, key, |position| ranks[position as usize]);
            }
            at = parent.branch;
        }
    }

    /// Plays all matches.
    pub(crate) fn settle(&mut self, ground: &Ground, set: &NodeSet) {
        // Branches are made after their parents: backwards, each is settled before it takes part.
        for at in (0..ground.branches().len()).rev() {
            let branch = &ground.branches()[at];
            match (&mut self.0[at].contest, &branch.members) {
                (Match::Nodes(contest), Members::Nodes { nodes, .. }) => {
                    contest.replay(|position| set.rank(nodes[position as usize]));
                }
                (Match::Branches(contest), Members::Branches { ranks, .. }) => {
                    contest.replay(|position| ranks[position as usize]);
                }
                _ => {}
            }
            let key = self.key(u32::try_from(at).unwrap_or(u32::MAX), ground);
            if let Some(parent) = branch.parent
                && let Match::Branches(contest) = &mut self.0[parent.branch as usize].contest
            {
                contest.put(parent.position, key);
            }
        }
    }

    /// The node that the next task goes to.
    pub(crate) fn best(&self, ground: &Ground) -> Option<NodeIx> {
        let mut at = 0;
        loop {
            let position = self.0[at as usize].contest.best()? as usize;
            match &ground.branches()[at as usize].members {
                Members::Branches { branches, .. } => at = branches[position],
                Members::Nodes { nodes, .. } => return Some(nodes[position]),
            }
        }
    }

    fn add_branches(&mut self, ground: &Ground) {
        for branch in &ground.branches()[self.0.len()..] {
            let contest = match &branch.members {
                Members::Nodes { .. } => Match::Nodes(Contest::of(branch.size())),
                Members::Branches { .. } => Match::Branches(Contest::of(branch.size())),
            };
            self.0.push(Bough { tasks: 0, contest });
        }
    }

    fn key(&self, branch: u32, ground: &Ground) -> u128 {
        let bough = &self.0[branch as usize];
        if bough.contest.best().is_none() {
            return u128::OUT;
        }
        let weight = ground.branches()[branch as usize].weight.max(1);
        match ground.is_weighted() {
            // How full it would be with one more.
            true => ((u128::from(bough.tasks) + 1) << 64) / u128::from(weight),
            false => u128::from(bough.tasks),
        }
    }
}

impl Match {
    fn best(&self) -> Option<u32> {
        match self {
            Match::Nodes(contest) => contest.best(),
            Match::Branches(contest) => contest.best(),
        }
    }
}
