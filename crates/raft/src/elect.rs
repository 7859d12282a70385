//! When a manager stands for election, and whether others should support it. Pure.
//!
//! ```text
//! silence, or a leader whose disk stands still ─► ask all voters ─► a majority agrees ─► stand
//! ```
//!
//! Asking first changes nothing, so that a manager that was cut off comes back without pushing the
//! leader out (Raft's pre-vote; openraft 0.9 has none). Life is told by beats of their own, which need
//! no disk: a leader whose disk stands still for a moment keeps its place.

use crate::kinds::Id;
use std::collections::BTreeSet;
use std::time::Duration;

/// What a manager knows when it has to decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    /// It may stand and vote.
    pub(crate) voter: bool,
    /// It is the only voter.
    pub(crate) alone: bool,
    pub(crate) leading: bool,
    /// Since the last sign of a leader.
    pub(crate) silent: Duration,
    /// How long the leader's disk (its own, when it leads) has stood still.
    pub(crate) stalled: Duration,
    /// What it may have promised is lost.
    pub(crate) floor: Floor,
    /// Bounds: of silence, and of standing still.
    pub(crate) timeout: Duration,
    pub(crate) stall: Duration,
}

/// Whom a manager may choose, itself among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Floor {
    /// Its log is whole: the rules of Raft say.
    Whole,
    /// The end of its log is lost: nobody.
    Lost,
    /// Lost, but all managers were asked: whose log reaches as far as the longest of theirs. What is left
    /// of what it had promised is in that log.
    From(Option<Id>),
}

impl Floor {
    pub(crate) fn allows(&self, candidate: Option<Id>) -> bool {
        match self {
            Floor::Whole => true,
            Floor::Lost => false,
            Floor::From(longest) => candidate >= *longest,
        }
    }
}

impl Situation {
    pub(crate) fn leader_gone(&self) -> bool {
        self.stalled >= self.stall || (!self.leading && self.silent >= self.timeout)
    }
}

/// Whether it is time to ask the others.
pub(crate) fn stands(now: &Situation, ours: Option<Id>) -> bool {
    now.voter && !now.leading && now.floor.allows(ours) && (now.alone || now.leader_gone())
}

/// Whether this manager would vote for one whose log ends at `theirs`.
pub(crate) fn supports(now: &Situation, ours: Option<Id>, theirs: Option<Id>) -> bool {
    now.floor.allows(theirs) && now.leader_gone() && theirs >= ours
}

/// Whether those who agreed are a majority of every set of voters (two while the membership changes).
pub(crate) fn carried(voters: &[BTreeSet<u64>], agreed: &BTreeSet<u64>) -> bool {
    voters.iter().all(|voters| voters.intersection(agreed).count() * 2 > voters.len())
}

/// Whether the voters without `leaving` still have a majority among those that are heard.
pub(crate) fn survives(voters: &BTreeSet<u64>, leaving: u64, reachable: &BTreeSet<u64>) -> bool {
    let mut rest = voters.clone();
    rest.remove(&leaving);
    !rest.is_empty() && carried(std::slice::from_ref(&rest), reachable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::CommittedLeaderId;

    const SECOND: Duration = Duration::from_secs(1);

    fn quiet() -> Situation {
        Situation {
            voter: true,
            alone: false,
            leading: false,
            silent: SECOND,
            stalled: Duration::ZERO,
            floor: Floor::Whole,
            timeout: SECOND,
            stall: SECOND * 2,
        }
    }
    fn id(term: u64, index: u64) -> Option<Id> {
        Some(Id { leader_id: CommittedLeaderId::new(term, 1), index })
    }

    fn stands(now: &Situation) -> bool {
        super::stands(now, id(2, 5))
    }

    #[test]
    fn only_a_voter_that_hears_no_leader_stands() {
        assert!(stands(&quiet()));
        assert!(!stands(&Situation { silent: SECOND / 2, ..quiet() }));
        assert!(stands(&Situation { silent: SECOND / 2, stalled: SECOND * 2, ..quiet() }));
        assert!(!stands(&Situation { silent: SECOND / 2, stalled: SECOND, ..quiet() }));
        assert!(!stands(&Situation { voter: false, ..quiet() }));
        assert!(!stands(&Situation { leading: true, ..quiet() }));
        assert!(!stands(&Situation { floor: Floor::Lost, ..quiet() }));
        assert!(stands(&Situation { alone: true, silent: Duration::ZERO, ..quiet() }));
    }

    #[test]
    fn nobody_supports_a_shorter_log_or_a_second_leader() {
        assert!(supports(&quiet(), id(2, 5), id(2, 5)));
        assert!(supports(&quiet(), id(2, 5), id(3, 4)));
        assert!(!supports(&quiet(), id(2, 5), id(2, 4)));
        assert!(!supports(&Situation { silent: Duration::ZERO, ..quiet() }, None, id(9, 9)));
        assert!(!supports(&Situation { leading: true, ..quiet() }, None, id(9, 9)));
        assert!(!supports(&Situation { floor: Floor::Lost, ..quiet() }, None, id(9, 9)));
    }

    #[test]
    fn who_lost_its_end_chooses_the_longest_log_of_all_or_nobody() {
        let now = Situation { floor: Floor::From(id(2, 7)), ..quiet() };
        assert!(!supports(&now, id(2, 5), id(2, 6)), "longer than ours is not enough");
        assert!(supports(&now, id(2, 5), id(2, 7)));
        assert!(!stands(&now));
        assert!(super::stands(&now, id(2, 7)), "the longest may be its own");
    }

    #[test]
    fn a_majority_is_needed_before_and_after_a_change() {
        let sets = [BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 4])];
        assert!(!carried(&sets, &BTreeSet::from([1, 2])));
        assert!(carried(&sets, &BTreeSet::from([1, 2, 4])));
    }

    #[test]
    fn nobody_leaves_when_the_rest_would_be_stuck() {
        let voters = BTreeSet::from([1, 2, 3]);
        assert!(survives(&voters, 3, &BTreeSet::from([1, 2])));
        assert!(!survives(&voters, 3, &BTreeSet::from([1, 3])), "2 is away, 1 would be one of two");
        assert!(survives(&BTreeSet::from([1, 2]), 2, &BTreeSet::from([1])));
        assert!(!survives(&BTreeSet::from([1]), 1, &BTreeSet::from([1])), "the last one");
    }
}
