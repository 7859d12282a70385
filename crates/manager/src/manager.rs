//! A manager: the handle, and the reign that begins and ends with Raft's leadership.

use crate::certificates::Certificates;
use crate::clock::Clock;
use crate::control::Control;
use crate::dispatcher::Dispatcher;
use crate::leader;
use crate::log::Log;
use crate::membership::{self, Membership};
use crate::roles;
use crate::why::{Question, Why};
use raft::Leadership;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use types::NodeId;

/// Between tries to take the lead.
const RETRY: Duration = Duration::from_millis(100);
/// Questions that wait for the leader's loop; more are not taken.
const QUESTIONS: usize = 16;

/// The control plane of one manager. Dropping it ends it as [`Manager::stop`] does, without waiting.
pub struct Manager {
    log: Arc<dyn Log>,
    clock: Clock,
    dispatcher: Dispatcher,
    questions: mpsc::Sender<Question>,
    stop: CancellationToken,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl Manager {
    /// Begins to serve; leads whenever `log` says that this `node` does. Must be called within a tokio runtime.
    pub fn start(log: Arc<dyn Log>, node: NodeId) -> Manager {
        Manager::with_clock(log, node, Clock::system())
    }

    /// The same with a clock of the caller's.
    pub fn with_clock(log: Arc<dyn Log>, node: NodeId, clock: Clock) -> Manager {
        let dispatcher = Dispatcher::new(Arc::clone(&log), node.clone(), clock.clone());
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let stop = CancellationToken::new();
        let supervisor = Supervisor {
            log: Arc::clone(&log),
            node,
            clock: clock.clone(),
            dispatcher: dispatcher.clone(),
            questions: Arc::new(tokio::sync::Mutex::new(asked)),
        };
        let handle = tokio::spawn(supervisor.run(stop.clone()));
        let supervisor = Mutex::new(Some(handle));
        Manager { log, clock, dispatcher, questions, stop, supervisor }
    }

    /// What the Engine API asks.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.log))
    }

    /// The door for agents in this process.
    pub fn dispatcher(&self) -> Dispatcher {
        self.dispatcher.clone()
    }

    /// The same door, for the port.
    pub fn dispatch(&self) -> Arc<dyn rpc::Dispatch> {
        Arc::new(self.dispatcher.clone())
    }

    /// Who may come in.
    pub fn trust(&self) -> Arc<dyn rpc::Trust> {
        Arc::new(Certificates::new(Arc::clone(&self.log), self.clock.clone()))
    }

    /// Who is a manager.
    pub fn membership(&self) -> Arc<dyn rpc::Membership> {
        Arc::new(Membership::new(Arc::clone(&self.log)))
    }

    /// Why a task or a service (full id) is as it is. `None` unless this manager leads.
    pub async fn why(&self, id: &str) -> Option<Why> {
        if !self.log.leadership().borrow().is_leader {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        self.questions.try_send(Question { id: id.to_owned(), reply }).ok()?;
        let mut leadership = self.log.leadership();
        tokio::select! {
            answer = answer => answer.ok(),
            _ = leadership.wait_for(|leadership| !leadership.is_leader) => None,
        }
    }

    /// Ends every session and loop. The log goes on: it is the caller's.
    pub async fn stop(&self) {
        self.stop.cancel();
        let supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(supervisor) = supervisor {
            let _ = supervisor.await; // a panic was logged where it happened
        }
        self.dispatcher.stop().await;
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.stop.cancel();
        self.dispatcher.close();
    }
}

struct Supervisor {
    log: Arc<dyn Log>,
    node: NodeId,
    clock: Clock,
    dispatcher: Dispatcher,
    questions: Arc<tokio::sync::Mutex<mpsc::Receiver<Question>>>,
}

impl Supervisor {
    async fn run(self, stop: CancellationToken) {
        let mut leadership = self.log.leadership();
        loop {
            let seen = leadership.borrow_and_update().clone();
            let mut watched = leadership.clone();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.reign(seen.term, &mut watched), if seen.is_leader => {}
                changed = leadership.changed(), if !seen.is_leader => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// From taking the lead to losing it. Cancelled, it leaves nothing behind.
    async fn reign(&self, term: u64, leadership: &mut watch::Receiver<Leadership>) {
        let _closes = Closes(&self.dispatcher);
        let lost = leadership.wait_for(|now| !now.is_leader || now.term != term);
        tokio::select! {
            _ = lost => {}
            () = self.govern() => {}
        }
        tracing::info!(term, "leads no more");
    }

    async fn govern(&self) {
        self.take_over().await;
        tracing::info!(node = %self.node, "leads");
        let mut loops = JoinSet::new();
        let (log, node, clock) = (Arc::clone(&self.log), self.node.clone(), self.clock.clone());
        let questions = Arc::clone(&self.questions);
        loops.spawn(async move {
            let mut questions = questions.lock().await;
            leader::lead(&log, &node, &clock, &mut questions).await;
        });
        let at = self.log.snapshot().version();
        self.dispatcher.open();
        loops.spawn(self.dispatcher.clone().route(at));
        loops.spawn(self.dispatcher.clone().keep_table(at));
        loops.spawn(self.dispatcher.clone().write());
        loops.spawn(self.dispatcher.clone().watch_leases());
        loops.spawn(membership::keep(
            Arc::clone(&self.log),
            self.node.clone(),
            self.dispatcher.clone(),
        ));
        // None of them returns; a panic ends this reign, and the next begins afresh.
        if let Some(Err(error)) = loops.join_next().await {
            tracing::error!(%error, "a loop of the leader has failed");
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Sees all that was written before, and writes who leads now.
    async fn take_over(&self) {
        loop {
            if let Ok(state) = self.log.read().await {
                let entry = roles::take_over(&state, &self.node, &self.log.members());
                if entry.changes.is_empty() {
                    return; // this node has no object: nothing to take over with
                }
                let written = self.log.propose(vec![entry]).await;
                if written.is_ok_and(|results| results.iter().all(Result::is_ok)) {
                    return;
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Ends every session when a reign does, however it does.
struct Closes<'a>(&'a Dispatcher);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
