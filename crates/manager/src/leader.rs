//! The leader's loop: observe, decide, propose, wait. Runs while this manager leads, and forgets everything after.

pub(crate) mod desk;
mod draft;
mod marks;
mod place;
mod timers;

use crate::clock::Clock;
use crate::log::Log;
use crate::why::{self, Question};
use desk::Desk;
use raft::ProposeError;
use std::sync::Arc;
use std::time::Duration;
use store::{Change, Kind, Snapshot, StoreError, Transaction};
use tokio::sync::mpsc;
use tokio::time::Instant;
use types::{NodeId, Timestamp};

/// Rounds that come to nothing are repeated no faster than this, doubling up to the next.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Leads until it is dropped. `questions` are answered between rounds. `node` is this manager: see [`guard`].
pub(crate) async fn lead(
    log: &Arc<dyn Log>,
    node: &NodeId,
    clock: &Clock,
    questions: &mut mpsc::Receiver<Question>,
) {
    let mut changes = log.changes();
    let mut state = log.snapshot();
    let mut desk = Desk::new(&state);
    let mut at = state.version();
    let mut pause = Duration::ZERO;
    loop {
        let now = clock.now();
        let mut ids = || rand::random::<[u8; 16]>();
        let mut round = desk.decide(&state, now, &mut ids);
        let mut results = None;
        let proposed = !round.is_empty();
        if proposed {
            let transactions = guard(std::mem::take(&mut round.transactions), node, &state);
            match log.propose(transactions).await {
                Ok(ended) => {
                    desk.resize(false);
                    results = Some(ended);
                }
                Err(error) => {
                    if error == ProposeError::TooLarge {
                        desk.resize(true);
                    }
                    tracing::debug!(%error, "a round of the leader was not written");
                }
            }
        } else {
            let wake = desk.wake_at(now).map(|wake| until(wake, now));
            wait(&mut changes, wake, &mut desk, &state, clock, questions).await;
        }
        changes.borrow_and_update();
        match log.changed_since(at) {
            Some(events) => {
                state = log.snapshot();
                at = events.last().map_or(at, |event| event.version);
                desk.observe(&events, &state);
            }
            None => {
                state = log.snapshot();
                at = state.version();
                desk = Desk::new(&state);
                continue;
            }
        }
        if proposed {
            pause = next_pause(pause, results.as_deref());
            desk.settle(round, results.as_deref(), &state);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Decisions of a manager that does not know yet that another leads must not count: a proposal may be forwarded to
/// that other. Each transaction holds only if this manager's node object is as it was read, and whoever takes over
/// changes it before it decides anything (`roles::take_over`).
pub(crate) fn guard(
    transactions: Vec<Transaction>,
    node: &NodeId,
    state: &Snapshot,
) -> Vec<Transaction> {
    let version = state.nodes().get(node.as_str()).map(|row| row.meta.version);
    let guarded = |mut transaction: Transaction| {
        let (kind, id) = (Kind::Node, node.to_string());
        transaction.changes.insert(0, Change::Expect { kind, id, version });
        transaction
    };
    transactions.into_iter().map(guarded).collect()
}

/// Until something changed, the time has come, or there is a question.
async fn wait(
    changes: &mut tokio::sync::watch::Receiver<u64>,
    wake: Option<Duration>,
    desk: &mut Desk,
    state: &Snapshot,
    clock: &Clock,
    questions: &mut mpsc::Receiver<Question>,
) {
    let wake = wake.map(|wait| Instant::now() + wait);
    loop {
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    std::future::pending::<()>().await; // the log has ended: so will this
                }
                return;
            }
            () = sleep_until(wake) => return,
            Some(question) = questions.recv() => why::answer(question, desk, state, clock.now()),
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

/// Never zero, so that a clock that stands still does not spin.
fn until(wake: Timestamp, now: Timestamp) -> Duration {
    if wake <= now { Duration::ZERO } else { wake.since(now).max(Duration::from_millis(1)) }
}

/// None after a round of which something was written; growing while nothing is.
fn next_pause(pause: Duration, results: Option<&[Result<(), StoreError>]>) -> Duration {
    for error in results.unwrap_or_default().iter().filter_map(|result| result.as_ref().err()) {
        match error {
            StoreError::OutOfSequence { .. } => {} // somebody wrote first: look again
            error => tracing::debug!(%error, "a decision of the leader was refused"),
        }
    }
    let any = results.is_some_and(|results| results.iter().any(Result::is_ok));
    if any { Duration::ZERO } else { (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE) }
}
