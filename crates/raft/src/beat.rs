//! The loops that keep a manager in touch: the leader's beats, and standing for election.

use crate::elect::{self, Floor};
use crate::kinds::{Ballot, Id, LeaderOf};
use crate::network::SMALL;
use crate::node::{Answer, Node, draw, lock};
use crate::wire::{Beat, Reply, Request};
use crate::{Peer, log::State};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openraft::raft::VoteRequest;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A manager whose last write was interrupted and that hears no leader for so long takes part all the
/// same: nobody counts on that write, unless the disk broke its word. One whose log was cut waits for a
/// leader, or until all managers are there: what is missing may be on the disk of one that is away.
const LOST_PATIENCE: Duration = Duration::from_secs(60);

/// As long as this manager leads: says so to all members, and hears who is there.
pub(crate) async fn beat(node: Arc<Node>) {
    let mut ticks = tokio::time::interval(node.tuning.beat);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut metrics = node.raft.metrics();
    let mut answers = FuturesUnordered::new();
    let mut asked = BTreeSet::new();
    let mut led = false;
    loop {
        tokio::select! {
            () = node.stop.cancelled() => return,
            Some((id, answer)) = answers.next() => {
                asked.remove(&id);
                note_answer(&node, id, answer).await;
                continue;
            }
            // A new leader says so at once.
            changed = metrics.changed() => {
                if changed.is_err() {
                    return;
                }
                metrics.borrow_and_update();
                node.tell_leadership();
                if node.leads() == led {
                    continue;
                }
            }
            _ = ticks.tick() => {}
        }
        led = node.leads();
        if led {
            // It does not miss itself when it stops leading.
            lock(&node.hearing).heard = Instant::now();
            let beat = beat_of(&node);
            for (id, peer) in node.members_now().nodes() {
                if *id != node.id && asked.insert(*id) {
                    answers.push(ask(node.clone(), *id, peer.clone(), beat.clone()));
                }
            }
        }
        node.tell_leadership();
    }
}

fn beat_of(node: &Node) -> Beat {
    Beat {
        vote: node.metrics().vote,
        stalled_ms: node.log.stalled().as_millis() as u64,
        last: node.log.last(),
        reachable: node.answering().into_iter().collect(),
    }
}

/// One beat to a peer, for its answer.
async fn ask(node: Arc<Node>, id: u64, peer: Peer, beat: Beat) -> (u64, io::Result<Reply>) {
    let request = Request::Beat(beat);
    let time = node.tuning.election.max(Duration::from_millis(200));
    (id, node.caller.call(&peer, &request, &[], time).await)
}

async fn note_answer(node: &Node, id: u64, answer: io::Result<Reply>) {
    let Ok(Reply::Beat { vote, applied, full }) = answer else { return };
    let answer = Answer { at: Instant::now(), full };
    lock(&node.hearing).answers.insert(id, answer);
    if *node.paused.borrow() {
        return;
    }
    let metrics = node.metrics();
    // It lags, or follows somebody else: openraft finds out by talking to it.
    if applied < metrics.last_applied || vote > metrics.vote {
        // It fails only when it has ended.
        let _ = node.raft.trigger().heartbeat().await;
    }
}

/// The other end of a beat.
pub(crate) async fn hear(node: &Node, beat: &Beat) -> Reply {
    let metrics = node.metrics();
    if beat.vote >= metrics.vote {
        {
            let mut hearing = lock(&node.hearing);
            hearing.heard = Instant::now();
            hearing.stalled = Duration::from_millis(beat.stalled_ms);
            hearing.reachable = beat.reachable.iter().copied().collect();
        }
        mend(node, beat, metrics.vote.committed && metrics.vote == beat.vote).await;
    }
    node.tell_leadership();
    let full = node.log.is_full();
    Reply::Beat { vote: metrics.vote, applied: metrics.last_applied, full }
}

/// Once the log reaches as far as the leader's did when it first spoke, what was lost is back: whatever
/// this manager had promised to anyone was either in that log, or never had a majority. The leader must
/// be one whom a majority without this manager answers; another could be one that was replaced already.
async fn mend(node: &Node, beat: &Beat, follows: bool) {
    let state = node.log.state();
    let members = node.members_now();
    // Of two, the other always has all: nothing is confirmed without it.
    let counts = members.get_joint_config().iter().all(|voters| voters.len() <= 2);
    let others: BTreeSet<u64> =
        beat.reachable.iter().copied().filter(|id| counts || *id != node.id).collect();
    if !state.lost || !follows || !elect::carried(members.get_joint_config(), &others) {
        return;
    }
    let leader = LeaderOf::new(beat.vote.leader_id.term, beat.vote.leader_id.node_id);
    let target = {
        let mut hearing = lock(&node.hearing);
        match hearing.target {
            Some((of, target)) if of == leader => target,
            _ => hearing.target.insert((leader, beat.last)).1,
        }
    };
    if node.log.last() >= target {
        tracing::info!("what the raft log had lost is back from the leader");
        let _ = node.log.save_state(State { lost: false, cut: false, ..state }).await;
    }
}

/// Stands for election when it is time.
pub(crate) async fn stand(node: Arc<Node>) {
    let mut wait = Duration::ZERO;
    loop {
        tokio::select! {
            () = node.stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = node.tuning.beat / 2;
        if *node.removed.borrow() {
            continue;
        }
        let timeout = lock(&node.hearing).timeout;
        let now = node.situation(timeout);
        if now.floor != Floor::Whole {
            let state = node.log.state();
            if now.alone || (now.silent > LOST_PATIENCE && !state.cut) {
                tracing::error!("the raft log lost its end; going on without what was there");
                let state = State { lost: false, cut: false, ..state };
                let _ = node.log.save_state(state).await;
                continue;
            }
            if now.floor == Floor::Lost && now.silent > now.timeout {
                survey(&node).await;
                continue;
            }
        }
        if !elect::stands(&now, node.log.last()) {
            continue;
        }
        lock(&node.hearing).timeout = draw(&node.tuning);
        if now.alone || poll(&node).await {
            let _ = node.raft.trigger().elect().await;
            // The votes need their time; another attempt too early would void them.
            settle(&node).await;
        }
        // By chance, so that two do not meet again and again.
        wait = node.tuning.beat.mul_f64(0.5 + rand::random::<f64>());
    }
}

/// Waits until somebody leads, for as long as an election may take.
async fn settle(node: &Node) {
    let mut metrics = node.raft.metrics();
    let led = metrics.wait_for(|metrics| metrics.vote.committed);
    let time = node.tuning.election.mul_f64(0.5 + rand::random::<f64>() / 2.0);
    tokio::select! {
        () = node.stop.cancelled() => {}
        _ = tokio::time::timeout(time, led) => {}
    }
}

/// After the end of the log was lost and while nobody leads: asks all voters how far they are. When all
/// have answered, whatever is left of what this manager had promised is in one of their logs.
async fn survey(node: &Node) {
    let members = node.members_now();
    let request = Request::Poll { last: node.log.last() };
    let others: Vec<Peer> = members
        .voter_ids()
        .filter(|id| *id != node.id)
        .filter_map(|id| members.get_node(&id).cloned())
        .collect();
    let time = node.tuning.election;
    let calls = others.iter().map(|peer| node.caller.call(peer, &request, &[], time));
    let (ours, voted) = (node.log.last(), node.metrics().vote.leader_id.term);
    let (mut longest, mut latest) = (ours, voted);
    for answer in futures_util::future::join_all(calls).await {
        let Ok(Reply::Poll { quiet: true, last, term, .. }) = answer else { return };
        (longest, latest) = (longest.max(last), latest.max(term));
    }
    if latest > voted {
        // Its own votes in these terms may be lost: it gives them to nobody, for good.
        let nobody = VoteRequest::new(Ballot::new(latest, u64::MAX), ours);
        if !node.raft.vote(nobody).await.is_ok_and(|answer| answer.vote_granted) {
            return;
        }
    }
    if ours < longest {
        tracing::info!(
            "the raft log lost its end; all managers are here, and the longest log counts"
        );
        lock(&node.hearing).floor = Some(longest);
        return;
    }
    tracing::info!("what the raft log had lost is back, or on no manager's disk");
    let state = State { lost: false, cut: false, ..node.log.state() };
    let _ = node.log.save_state(state).await;
}

/// Asks all voters whether they would agree. True as soon as a majority does.
async fn poll(node: &Arc<Node>) -> bool {
    let members = node.members_now();
    let voters = members.get_joint_config().clone();
    let mut agreed = BTreeSet::from([node.id]);
    let request = Request::Poll { last: node.log.last() };
    let mut answers: FuturesUnordered<_> = members
        .voter_ids()
        .filter(|id| *id != node.id)
        .filter_map(|id| Some((id, members.get_node(&id)?.clone())))
        .map(|(id, peer)| {
            let request = &request;
            async move { (id, node.caller.call(&peer, request, &[], SMALL).await) }
        })
        .collect();
    let deadline = tokio::time::sleep(node.tuning.election);
    tokio::pin!(deadline);
    while !elect::carried(&voters, &agreed) {
        let answer = tokio::select! {
            () = &mut deadline => return false,
            answer = answers.next() => answer,
        };
        match answer {
            Some((id, Ok(Reply::Poll { agrees: true, .. }))) => {
                agreed.insert(id);
            }
            Some((_, Ok(Reply::Removed { by }))) => {
                note_removed(node, by);
            }
            Some(_) => {}
            None => return false,
        }
    }
    true
}

/// Somebody says that this manager was taken out, by an entry of the log.
/// Whether that is so: who says it may lag.
pub(crate) fn note_removed(node: &Node, by: Id) -> bool {
    let ours = *node.metrics().membership_config.log_id();
    let newer = ours < Some(by);
    if newer && !node.removed.send_replace(true) {
        tracing::warn!("this manager was removed from the cluster");
        node.tell_leadership();
    }
    newer
}

/// Resolves when entries of a later leadership than `leader` are applied here: none of `leader`'s can
/// follow any more.
pub(crate) async fn fenced(node: &Node, leader: LeaderOf) {
    let mut applied = node.view.applied();
    // It cannot close: the view is held.
    let _ = applied.wait_for(|id| id.is_some_and(|id| id.leader_id > leader)).await;
}
