//! Boards that were made, for the next task that asks the same; and the grounds that they stand on.

use crate::board::Board;
use crate::check::Volumes;
use crate::error::PlacementError;
use crate::filter::Tally;
use crate::ground::Ground;
use crate::nodeset::{NodeIx, NodeSet};
use crate::wish::{Site, Wish};
use std::collections::HashMap;
use std::sync::Arc;

/// Nodes on all boards together, at some 24 bytes each: 1,200 services on 10,000 nodes. Boards that were not
/// used longest go first.
const BUDGET: usize = 12 << 20;

#[derive(Debug, Default)]
pub(crate) struct Shelf {
    boards: HashMap<Arc<Wish>, Kept>,
    grounds: HashMap<Arc<Site>, Box<Ground>>,
    /// Counts uses of boards.
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    board: Box<Board>,
    used: u64,
}

/// A wish's board and ground, taken off the shelf.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) wish: Arc<Wish>,
    pub(crate) ground: Box<Ground>,
    pub(crate) board: Box<Board>,
}

impl Desk {
    /// Sees all changes since the last time.
    pub(crate) fn catch_up(&mut self, set: &NodeSet, volumes: &Volumes) {
        self.ground.follow(set, volumes);
        self.board.catch_up(&self.ground, set);
    }

    /// Where the next task goes, or why nowhere.
    pub(crate) fn best(&self) -> Result<NodeIx, Tally> {
        self.board.best(&self.ground).ok_or_else(|| self.board.tally())
    }
}

impl Shelf {
    /// The wish's board, up to date.
    pub(crate) fn take(
        &mut self,
        mut wish: Wish,
        set: &NodeSet,
        volumes: &Volumes,
    ) -> Result<Desk, PlacementError> {
        let ground = match self.grounds.remove(&wish.site) {
            Some(mut ground) => {
                wish.site = Arc::clone(ground.site());
                ground.follow(set, volumes);
                ground
            }
            None => Box::new(Ground::new(Arc::clone(&wish.site), set, volumes)?),
        };
        if let Some((wish, kept)) = self.boards.remove_entry(&wish) {
            let mut board = kept.board;
            board.catch_up(&ground, set);
            return Ok(Desk { wish, ground, board });
        }
        let wish = Arc::new(wish);
        let board = Box::new(Board::new(Arc::clone(&wish), &ground, set));
        Ok(Desk { wish, ground, board })
    }

    pub(crate) fn put(&mut self, desk: Desk) {
        let Desk { wish, ground, board } = desk;
        let size = board.size().max(1);
        while (self.boards.len() + 1) * size > BUDGET {
            let oldest = self.boards.iter().min_by_key(|(_, kept)| kept.used);
            let Some(oldest) = oldest.map(|(wish, _)| Arc::clone(wish)) else { break };
            self.boards.remove(&oldest);
            self.leave(&oldest.site);
        }
        self.uses += 1;
        self.grounds.insert(Arc::clone(ground.site()), ground);
        self.boards.insert(wish, Kept { board, used: self.uses });
    }

    /// Volumes changed: who asks for some is looked at anew.
    pub(crate) fn forget_volumes(&mut self) {
        self.boards.retain(|wish, _| wish.site.volumes.is_empty());
        self.grounds.retain(|site, _| site.volumes.is_empty());
    }

    /// Forgets a ground that no board stands on.
    fn leave(&mut self, site: &Arc<Site>) {
        if !self.boards.keys().any(|wish| Arc::ptr_eq(&wish.site, site)) {
            self.grounds.remove(site);
        }
    }
}
