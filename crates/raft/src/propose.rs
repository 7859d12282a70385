//! Proposals: from any manager to the leader's log, many in one entry, and each one's outcome back.
//!
//! ```text
//! propose ─► numbered, JSON ─► leader's queue ─► one batch per entry ─► log ─► applied everywhere
//!    ▲                                                                            │
//!    └────────────── outcome, found in the entry where it is applied here ◄───────┘
//! ```
//!
//! Each proposal has a number that is never used again, and counts in one leadership only. So it may be
//! sent to the same leader as often as it takes (the leader knows the number), and to the next leader
//! once an entry of a later leadership is applied here without it having come: then it never will. It
//! is in doubt ([`ProposeError::Lost`]) only when no majority came back in time, or when the state here
//! jumped ahead by a whole snapshot meanwhile.

use crate::beat::fenced;
use crate::kinds::{Batch, Id, LeaderOf, Origin};
use crate::machine::Outcomes;
use crate::network::SMALL;
use crate::node::{Node, lock};
use crate::wire::{Reply, Request};
use crate::{Peer, ProposeError, disk};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use store::Transaction;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use types::Timestamp;

/// Proposals waiting at the leader; more wait at their callers.
pub(crate) const QUEUE: usize = 4096;
/// Entries under way at once: one flushed here while the one before travels.
const DEPTH: usize = 2;
/// A batch takes no more proposals beyond this size.
const BATCH_BYTES: usize = 1 << 20;
/// What a batch adds to its proposals' bytes on the disk, each and in all; generous.
const OVERHEAD: usize = 256;
/// Between attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// A proposal at the leader.
pub(crate) struct Queued {
    from: Origin,
    leader: LeaderOf,
    json: Bytes,
    verdict: watch::Sender<Option<Verdict>>,
}

/// What the leader can say of a proposal.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    Written(Id),
    /// Not written in that leadership, and never will be.
    NotLeader,
    Full,
    Unknown,
}

/// What this leader took already, by who sent it.
#[derive(Default)]
pub(crate) struct Seen {
    leader: Option<LeaderOf>,
    of: HashMap<(u64, u64), From>,
}

#[derive(Default)]
struct From {
    floor: u64,
    known: BTreeMap<u64, watch::Receiver<Option<Verdict>>>,
}

impl Node {
    pub(crate) async fn propose(
        &self,
        transactions: Vec<Transaction>,
    ) -> Result<Outcomes, ProposeError> {
        if transactions.is_empty() {
            return Ok(Vec::new());
        }
        let json = serde_json::to_vec(&transactions).unwrap_or_default();
        drop(transactions);
        if json.len() + OVERHEAD * 4 > self.tuning.max_message {
            return Err(ProposeError::TooLarge);
        }
        let mut attempt = Attempt::new(self, json.into());
        let deadline = Instant::now() + self.tuning.patience;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(attempt.doubt(ProposeError::ShuttingDown)),
            outcome = attempt.run() => outcome,
            () = tokio::time::sleep_until(deadline) => Err(attempt.doubt(ProposeError::NoLeader)),
        }
    }

    /// Takes a proposal as the leader of `leader`, once however often it comes.
    pub(crate) async fn accept(
        &self,
        leader: LeaderOf,
        from: Origin,
        floor: u64,
        json: Bytes,
    ) -> Verdict {
        let Ok(permit) = self.queue.reserve().await else { return Verdict::Unknown };
        let leads = self.leads() && self.leader_now().is_some_and(|(now, _)| now == leader);
        let mut verdict = {
            let mut seen = lock(&self.seen);
            if seen.leader.is_none_or(|before| before < leader) {
                *seen = Seen { leader: Some(leader), of: HashMap::new() };
            }
            if seen.leader != Some(leader) || !leads {
                return Verdict::NotLeader;
            }
            let of = seen.of.entry((from.node, from.boot)).or_default();
            of.floor = of.floor.max(floor);
            let floor = of.floor;
            of.known.retain(|number, _| *number >= floor);
            if from.number < floor {
                // Late on its way: who sent it knows its outcome.
                return Verdict::Unknown;
            }
            match of.known.get(&from.number) {
                Some(known) => known.clone(),
                None => {
                    let (verdict, told) = watch::channel(None);
                    permit.send(Queued { from, leader, json, verdict });
                    of.known.insert(from.number, told.clone());
                    told
                }
            }
        };
        let told = verdict.wait_for(Option::is_some).await;
        told.ok().and_then(|told| told.clone()).unwrap_or(Verdict::Unknown)
    }
}

/// One proposal until it is settled.
struct Attempt<'a> {
    node: &'a Node,
    number: u64,
    json: Bytes,
    outcome: oneshot::Receiver<Outcomes>,
    /// It was sent and may be written yet.
    in_doubt: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        lock(&self.node.unsettled).remove(&self.number);
        self.node.view.forget(self.number);
    }
}

/// How an attempt with one leader ended.
enum Ended {
    Settled(Result<Outcomes, ProposeError>),
    /// Not written there: try the next.
    Again,
}

impl<'a> Attempt<'a> {
    fn new(node: &'a Node, json: Bytes) -> Attempt<'a> {
        let number = {
            let mut unsettled = lock(&node.unsettled);
            let number = node.number.fetch_add(1, Ordering::Relaxed);
            unsettled.insert(number);
            number
        };
        let outcome = node.view.expect(number);
        Attempt { node, number, json, outcome, in_doubt: false }
    }

    fn doubt(&self, otherwise: ProposeError) -> ProposeError {
        if self.in_doubt { ProposeError::Lost } else { otherwise }
    }

    async fn run(&mut self) -> Result<Outcomes, ProposeError> {
        loop {
            if let Some(broken) = self.node.broken() {
                return Err(self.doubt(broken));
            }
            let Some((leader, peer)) = self.node.leader_now() else {
                self.node.pause().await;
                continue;
            };
            self.in_doubt = true;
            if let Ended::Settled(outcome) = self.with(leader, &peer).await {
                return outcome;
            }
            self.in_doubt = false;
            self.node.pause().await;
        }
    }

    /// Sends it to one leader until it is settled or cannot be settled there any more.
    async fn with(&mut self, leader: LeaderOf, peer: &Peer) -> Ended {
        let (node, number, json) = (self.node, self.number, self.json.clone());
        tokio::select! {
            biased;
            outcome = &mut self.outcome => Ended::Settled(outcome.map_err(|_| ProposeError::Lost)),
            ended = send(node, leader, peer, number, json) => match ended {
                // Nobody took it.
                Some(Ended::Settled(Err(error))) => Ended::Settled(Err(error)),
                Some(_) => Ended::Again,
                None => self.wait(leader).await,
            },
            () = fenced(node, leader) => self.last_look(),
        }
    }

    /// It is written, or was: the log here will tell.
    async fn wait(&mut self, leader: LeaderOf) -> Ended {
        tokio::select! {
            biased;
            outcome = &mut self.outcome => Ended::Settled(outcome.map_err(|_| ProposeError::Lost)),
            () = fenced(self.node, leader) => self.last_look(),
        }
    }

    /// Outcomes are told before the index moves on.
    fn last_look(&mut self) -> Ended {
        match self.outcome.try_recv() {
            Ok(outcome) => Ended::Settled(Ok(outcome)),
            Err(oneshot::error::TryRecvError::Empty) => Ended::Again,
            Err(oneshot::error::TryRecvError::Closed) => Ended::Settled(Err(ProposeError::Lost)),
        }
    }
}

/// Sends until the leader answers. `None`: it took it, or may have.
async fn send(
    node: &Node,
    leader: LeaderOf,
    peer: &Peer,
    number: u64,
    json: Bytes,
) -> Option<Ended> {
    let from = node.view.origin(number);
    let mut sent = 0;
    loop {
        let floor = lock(&node.unsettled).first().copied().unwrap_or(number);
        sent += 1;
        let verdict = if leader.node_id == node.id {
            verdict_reply(node, node.accept(leader, from, floor, json.clone()).await)
        } else {
            let request = Request::Propose { leader, from, floor, count: 1 };
            let payload = [json.clone()];
            match node.caller.call(peer, &request, &payload, SMALL).await {
                Ok(reply) => reply,
                Err(_) => Reply::Unknown,
            }
        };
        match verdict {
            Reply::Written(_) => return None,
            // An earlier copy may have been taken, before it stopped leading.
            Reply::NotLeader if sent == 1 => return Some(Ended::Again),
            Reply::NotLeader => return None,
            Reply::Full { node } => {
                return Some(Ended::Settled(Err(ProposeError::Full { node })));
            }
            Reply::TooLarge => return Some(Ended::Settled(Err(ProposeError::TooLarge))),
            Reply::Removed { by } => {
                crate::beat::note_removed(node, by);
                return None;
            }
            _ => node.pause().await,
        }
    }
}

pub(crate) fn verdict_reply(node: &Node, verdict: Verdict) -> Reply {
    match verdict {
        Verdict::Written(id) => Reply::Written(Some(id)),
        Verdict::NotLeader => Reply::NotLeader,
        Verdict::Full => Reply::Full { node: node.me.node.clone() },
        Verdict::Unknown => Reply::Unknown,
    }
}

impl Node {
    /// Waits a moment, less when something about the leader changes.
    pub(crate) async fn pause(&self) {
        tokio::time::sleep(PAUSE).await;
    }
}

/// As leader: joins what waits into entries.
pub(crate) async fn batch(node: Arc<Node>, mut queue: mpsc::Receiver<Queued>) {
    let mut under_way = FuturesUnordered::new();
    let mut clock = Timestamp(0);
    loop {
        let first = tokio::select! {
            () = node.stop.cancelled() => return,
            Some(()) = under_way.next() => continue,
            first = queue.recv(), if under_way.len() < DEPTH => first,
        };
        let Some(first) = first else { return };
        let (mut bytes, mut parts) = (first.json.len(), vec![first]);
        while bytes < BATCH_BYTES {
            let Ok(next) = queue.try_recv() else { break };
            bytes += next.json.len();
            parts.push(next);
        }
        clock = clock.max(Timestamp::from(SystemTime::now()));
        if let Some(written) = write(&node, clock, parts, bytes).await {
            under_way.push(written);
        }
    }
}

/// Puts one batch into the log; what comes back tells its proposers when it is there.
async fn write(
    node: &Node,
    at: Timestamp,
    parts: Vec<Queued>,
    bytes: usize,
) -> Option<impl Future<Output = ()> + use<>> {
    let now = node.leader_now().map(|(leader, _)| leader).filter(|_| !*node.paused.borrow());
    let (parts, late): (Vec<Queued>, Vec<Queued>) =
        parts.into_iter().partition(|part| Some(part.leader) == now);
    lock(&node.seen).forget(&late);
    tell(&late, &Verdict::NotLeader);
    let leader = now.filter(|_| !parts.is_empty())?;
    if let Err(error) = node.log.reserve((bytes + OVERHEAD * (parts.len() + 2)) as u64).await {
        tracing::warn!(%error, dir = %node.log.dir().display(), "the raft log cannot grow");
        let full = disk::is_full(&error);
        if full {
            lock(&node.seen).forget(&parts);
        }
        tell(&parts, &if full { Verdict::Full } else { Verdict::Unknown });
        return None;
    }
    let contents: Vec<(Origin, &[u8])> =
        parts.iter().map(|part| (part.from, part.json.as_ref())).collect();
    let batch = Batch::encode(at, &leader, &contents);
    let Ok(written) = node.raft.client_write_ff(batch).await else {
        tell(&parts, &Verdict::Unknown);
        return None;
    };
    Some(async move {
        let verdict = match written.await {
            Ok(Ok(done)) => Verdict::Written(done.log_id),
            _ => Verdict::Unknown,
        };
        tell(&parts, &verdict);
    })
}

impl Seen {
    /// They were not taken after all, and may come again.
    fn forget(&mut self, parts: &[Queued]) {
        for part in parts {
            if let Some(of) = self.of.get_mut(&(part.from.node, part.from.boot)) {
                of.known.remove(&part.from.number);
            }
        }
    }
}

fn tell(parts: &[Queued], verdict: &Verdict) {
    for part in parts {
        part.verdict.send_replace(Some(verdict.clone()));
    }
}
