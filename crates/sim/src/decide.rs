//! The door between the world and the decisions under test.

use crate::rng::Rng;
use store::{Snapshot, Transaction};
use types::Timestamp;

/// What the leader should propose, and when it should look again if nothing changes.
#[derive(Debug, Default)]
pub struct Decided {
    pub transactions: Vec<Transaction>,
    pub wake_at: Option<Timestamp>,
}

/// The decisions under test.
pub trait Decide {
    /// Everything to be done about `state` at `now`. Ids come from `ids`.
    fn decide(&mut self, state: &Snapshot, now: Timestamp, ids: &mut Rng) -> Decided;
    /// A leader has taken over: what was kept in memory is gone.
    fn forget(&mut self);
}
