//! What the parts of one manager's Raft share.

use crate::elect::{Floor, Situation};
use crate::kinds::{Id, Kinds, LeaderOf, Members, Metrics};
use crate::log::Log;
use crate::machine::View;
use crate::network::{Caller, Incoming};
use crate::propose::{Queued, Seen};
use crate::read::Asked;
use crate::snapshots::Snapshots;
use crate::{Keys, Leadership, Member, Peer, ProposeError, Tuning};
use openraft::ServerState;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// One manager.
pub(crate) struct Node {
    pub(crate) me: Peer,
    /// [`types::NodeId::raft_id`] of this manager.
    pub(crate) id: u64,
    pub(crate) tuning: Tuning,
    /// Entries from one snapshot to the next; `tuning` says how many at first.
    pub(crate) snapshot_entries: AtomicU64,
    pub(crate) keys: Keys,
    pub(crate) log: Log,
    pub(crate) files: Snapshots,
    pub(crate) view: Arc<View>,
    pub(crate) raft: openraft::Raft<Kinds>,
    pub(crate) caller: Caller,
    pub(crate) hearing: Mutex<Hearing>,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) removed: watch::Sender<bool>,
    pub(crate) queue: mpsc::Sender<Queued>,
    pub(crate) seen: Mutex<Seen>,
    pub(crate) reads: mpsc::Sender<Asked>,
    /// The number of the next proposal, and those that are not settled yet.
    pub(crate) number: AtomicU64,
    pub(crate) unsettled: Mutex<BTreeSet<u64>>,
    pub(crate) incoming: Mutex<Incoming>,
    /// One change of the membership at a time.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// The lead is being handed over: nothing new goes into the log.
    pub(crate) paused: watch::Sender<bool>,
    pub(crate) stop: CancellationToken,
}

/// Signs of life.
pub(crate) struct Hearing {
    /// When the leader was last heard.
    pub(crate) heard: Instant,
    /// How long its disk had stood still then.
    pub(crate) stalled: Duration,
    /// After the end of the log was lost, and all managers were asked: how far their logs reach.
    pub(crate) floor: Option<Option<Id>>,
    /// After the end of the log was lost: how far it must reach again, by whose word.
    pub(crate) target: Option<(LeaderOf, Option<Id>)>,
    /// Whom it heard then.
    pub(crate) reachable: BTreeSet<u64>,
    /// As leader: what each member last answered.
    pub(crate) answers: BTreeMap<u64, Answer>,
    /// As leader: since when.
    pub(crate) led_since: Option<(LeaderOf, Instant)>,
    /// When nobody was heard for longer than this, it is time to ask. Drawn anew each time.
    pub(crate) timeout: Duration,
}

/// A member's answer to a beat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) at: Instant,
    pub(crate) full: bool,
}

impl Hearing {
    pub(crate) fn new(tuning: &Tuning) -> Hearing {
        Hearing {
            heard: Instant::now(),
            stalled: Duration::ZERO,
            floor: None,
            target: None,
            reachable: BTreeSet::new(),
            answers: BTreeMap::new(),
            led_since: None,
            timeout: draw(tuning),
        }
    }
}

/// Between the election timeout and half as much again.
pub(crate) fn draw(tuning: &Tuning) -> Duration {
    tuning.election.mul_f64(1.0 + rand::random::<f64>() / 2.0)
}

impl Node {
    pub(crate) fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow().clone()
    }
    pub(crate) fn members_now(&self) -> Members {
        self.raft.metrics().borrow().membership_config.membership().clone()
    }
    /// The leadership that this manager follows or has, and who has it.
    pub(crate) fn leader_now(&self) -> Option<(LeaderOf, Peer)> {
        let metrics = self.metrics();
        if !metrics.vote.committed {
            return None;
        }
        let leader = metrics.vote.leader_id;
        let peer = metrics.membership_config.membership().get_node(&leader.node_id).cloned()?;
        Some((LeaderOf::new(leader.term, leader.node_id), peer))
    }
    pub(crate) fn leads(&self) -> bool {
        self.raft.metrics().borrow().state == ServerState::Leader
    }
    /// How the election rules see this manager now.
    pub(crate) fn situation(&self, timeout: Duration) -> Situation {
        let metrics = self.metrics();
        let members = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = members.voter_ids().collect();
        let leading = metrics.state == ServerState::Leader;
        let hearing = lock(&self.hearing);
        Situation {
            voter: voters.contains(&self.id),
            alone: voters.len() == 1 && voters.contains(&self.id),
            leading,
            silent: hearing.heard.elapsed(),
            stalled: if leading { self.log.stalled() } else { hearing.stalled },
            floor: self.floor_in(&hearing),
            timeout,
            stall: self.tuning.stall,
        }
    }
    /// Whom this manager may vote for.
    pub(crate) fn floor(&self) -> Floor {
        self.floor_in(&lock(&self.hearing))
    }
    fn floor_in(&self, hearing: &Hearing) -> Floor {
        match (self.log.state().lost, hearing.floor) {
            (false, _) => Floor::Whole,
            (true, None) => Floor::Lost,
            (true, Some(longest)) => Floor::From(longest),
        }
    }
    /// As leader: the members that answered lately, this one among them.
    pub(crate) fn answering(&self) -> BTreeSet<u64> {
        let lately = self.tuning.election * 2;
        let hearing = lock(&self.hearing);
        let answering = hearing.answers.iter().filter(|(_, answer)| answer.at.elapsed() < lately);
        answering.map(|(id, _)| *id).chain([self.id]).collect()
    }
    /// Says who leads to whom it concerns.
    pub(crate) fn tell_leadership(&self) {
        let now = self.leadership_now();
        self.leadership.send_if_modified(|before| {
            let moved = *before != now;
            if moved {
                *before = now;
            }
            moved
        });
    }
    fn leadership_now(&self) -> Leadership {
        let metrics = self.metrics();
        let term = metrics.vote.leader_id.term;
        let nobody = Leadership { term, ..Leadership::default() };
        let alive = metrics.running_state.is_ok() && self.log.failed().is_none();
        let Some((leader, peer)) = self.leader_now().filter(|_| alive && !*self.removed.borrow())
        else {
            return nobody;
        };
        if metrics.state != ServerState::Leader {
            let heard = lock(&self.hearing).heard.elapsed() < self.tuning.election * 2;
            // Not its own old leadership.
            if !heard || leader.node_id == self.id {
                return nobody;
            }
            let (leader, leader_addr) = (Some(peer.node), peer.addr);
            return Leadership { leader, leader_addr, is_leader: false, term };
        }
        let young = {
            let mut hearing = lock(&self.hearing);
            let since = match hearing.led_since {
                Some((of, since)) if of == leader => since,
                _ => {
                    hearing.answers.clear();
                    hearing.led_since.insert((leader, Instant::now())).1
                }
            };
            since.elapsed() < self.tuning.election * 2
        };
        let members = metrics.membership_config.membership();
        let confirmed =
            young || crate::elect::carried(members.get_joint_config(), &self.answering());
        if !confirmed {
            return nobody;
        }
        // All that earlier leaders wrote is in this manager's state.
        let complete = metrics.last_applied.is_some_and(|id| id.leader_id == leader);
        let (leader, leader_addr) = (Some(peer.node), peer.addr);
        Leadership { leader, leader_addr, is_leader: complete, term }
    }
    pub(crate) fn members(&self) -> Vec<Member> {
        let members = self.members_now();
        let leadership = self.leadership.borrow().clone();
        let reachable = match self.leads() {
            true => self.answering(),
            false => {
                let mut told = lock(&self.hearing).reachable.clone();
                told.insert(self.id);
                told
            }
        };
        let voters: BTreeSet<u64> = members.voter_ids().collect();
        let mut found: Vec<Member> = members
            .nodes()
            .map(|(id, peer)| Member {
                leader: leadership.leader.as_ref() == Some(&peer.node),
                reachable: reachable.contains(id),
                voter: voters.contains(id),
                node: peer.node.clone(),
                addr: peer.addr.clone(),
            })
            .collect();
        found.sort_by(|one, two| one.node.cmp(&two.node));
        found
    }
    /// Why nothing can be proposed here at all.
    pub(crate) fn broken(&self) -> Option<ProposeError> {
        if self.stop.is_cancelled() {
            return Some(ProposeError::ShuttingDown);
        }
        if let Some(why) = self.log.failed() {
            return Some(ProposeError::Failed(why));
        }
        match &self.raft.metrics().borrow().running_state {
            Ok(()) => None,
            Err(openraft::error::Fatal::Stopped) => Some(ProposeError::ShuttingDown),
            Err(error) => Some(ProposeError::Failed(error.to_string())),
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
