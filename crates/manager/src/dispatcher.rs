//! The dispatcher: a session for each agent while this manager leads.
//!
//! ```text
//! agent ─ Hello, Heartbeat, Statuses ─► session ─► intake ─► writer ─► log
//! agent ◄─ Settings, Assignments, Written ─ session ◄─ touched ids ─ router ◄─ store's changes
//!       ◄─ Endpoints ─                         ▲  ▲─ table ◄───────────┘
//! agent ─ Applied ─► drains ─ stop ────────────┘  │
//!                             leases ─ silent: node down, session ended
//! ```
//!
//! A node has one session: a newer one ends the older. Losing the lead ends all of them; an agent that turns to a
//! manager which does not lead is told who does.

mod drain;
mod intake;
mod session;
mod settings;
mod share;
mod table;

pub(crate) use settings::managers;
pub use share::{Need, Share, Touch, Touched, route};

use crate::clock::Clock;
use crate::lease::{Leases, Periods};
use crate::log::Log;
use async_trait::async_trait;
use drain::Drains;
use intake::{Facts, Intake};
use session::Session;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::{EventKind, Object, Snapshot};
use table::Tables;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use types::swarm::node::NodeState;
use types::swarm::session::{
    AgentMessage, ManagerMessage, PeerIdentity, SessionSettings, TaskReport,
};
use types::swarm::task::{Task, TaskState};
use types::{NodeId, TaskId, Timestamp};

/// Messages to an agent that wait for it to read; what comes after is remembered as ids.
const OUTBOX: usize = 16;
/// An agent that comes while the lead is being taken waits so long; then it asks again.
const PATIENCE: Duration = Duration::from_secs(5);
/// A write that failed is tried again after this.
const RETRY: Duration = Duration::from_millis(100);
/// Deriving the endpoint table takes no more than one part in so many of the time.
const PACE: u32 = 4;
/// Changes of the store come in bunches: a bunch makes one table.
const GATHER: Duration = Duration::from_millis(5);
/// An attachment that is younger may not have been known to its node when that said which it has.
const UNDER_WAY: Duration = Duration::from_secs(30);
/// SwarmKit's words.
const SILENT: &str = "heartbeat failure";

/// The door for agents. Clones are the same.
#[derive(Clone)]
pub struct Dispatcher {
    core: Arc<Core>,
}

pub(crate) struct Core {
    pub(crate) log: Arc<dyn Log>,
    /// This manager.
    node: NodeId,
    clock: Clock,
    started: Instant,
    sessions: Mutex<Sessions>,
    leases: Mutex<Leases>,
    intake: Mutex<Intake>,
    taken_in: Notify,
    tables: Mutex<Tables>,
    drains: Mutex<Drains>,
    /// A node has applied a table.
    applied: Notify,
    /// Whether this manager leads and sessions are served.
    serving: watch::Sender<bool>,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Sessions {
    open: BTreeMap<NodeId, Arc<Session>>,
    count: u64,
}

impl Dispatcher {
    pub(crate) fn new(log: Arc<dyn Log>, node: NodeId, clock: Clock) -> Dispatcher {
        let periods = periods(&*log);
        let core = Core {
            log,
            node,
            clock,
            started: Instant::now(),
            sessions: Mutex::default(),
            leases: Mutex::new(Leases::new(Duration::ZERO, periods)),
            intake: Mutex::default(),
            taken_in: Notify::new(),
            tables: Mutex::default(),
            drains: Mutex::default(),
            applied: Notify::new(),
            serving: watch::Sender::new(false),
            tasks: TaskTracker::new(),
        };
        Dispatcher { core: Arc::new(core) }
    }

    /// Opens an agent's session. It ends when either channel is closed.
    pub fn attach(
        &self,
        peer: PeerIdentity,
        messages: mpsc::Receiver<AgentMessage>,
    ) -> mpsc::Receiver<ManagerMessage> {
        let (outbox, receiver) = mpsc::channel(OUTBOX);
        let core = Arc::clone(&self.core);
        self.core.tasks.spawn(async move { core.session(peer, messages, outbox).await });
        receiver
    }

    /// Nodes that have a session now.
    pub fn sessions(&self) -> Vec<NodeId> {
        self.core.sessions().open.keys().cloned().collect()
    }

    /// This manager leads: sessions are served, and every node has time to turn up.
    pub(crate) fn open(&self) {
        let core = &self.core;
        *lock(&core.intake) = Intake::default();
        *lock(&core.leases) = Leases::new(core.started.elapsed(), periods(&*core.log));
        *lock(&core.drains) = Drains::default();
        *lock(&core.tables) = Tables::default();
        core.derive_table(&core.log.snapshot());
        core.serving.send_replace(true);
    }

    /// It leads no more: every session ends.
    pub(crate) fn close(&self) {
        self.core.serving.send_replace(false);
        let open = std::mem::take(&mut self.core.sessions().open);
        for session in open.into_values() {
            session.end();
        }
    }

    /// Waits until every session's task has ended.
    pub(crate) async fn stop(&self) {
        self.close();
        self.core.tasks.close();
        self.core.tasks.wait().await;
    }

    /// Tells sessions what changes in the store after `at`. Never returns.
    pub(crate) async fn route(self, at: u64) {
        let core = self.core;
        let mut changes = core.log.changes();
        let mut at = at;
        loop {
            changes.borrow_and_update();
            at = core.route_since(at);
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Keeps the endpoint table at what the store says, and lets tasks stop once nobody is sent to them any more.
    /// `at` is the version that [`Dispatcher::open`] saw, or an older one. Never returns.
    pub(crate) async fn keep_table(self, at: u64) {
        let core = self.core;
        let mut changes = core.log.changes();
        let mut at = at;
        let mut next = Instant::now();
        loop {
            changes.borrow_and_update();
            let state = core.log.snapshot();
            let events = core.log.changed_since(at);
            at = state.version();
            if events.is_none_or(|events| events.iter().any(table::concerns)) {
                // The bunch is not over, or the last table took long.
                tokio::time::sleep_until(next.max(Instant::now() + GATHER)).await;
                let state = core.log.snapshot();
                at = at.max(state.version());
                let began = Instant::now();
                core.derive_table(&state);
                next = Instant::now() + began.elapsed() * PACE;
            }
            core.release(&state);
            let deadline = lock(&core.drains).deadline().map(|at| core.started + at);
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                () = core.applied.notified() => {}
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            }
        }
    }

    /// Writes what agents say. Never returns.
    pub(crate) async fn write(self) {
        loop {
            self.core.taken_in.notified().await;
            while !self.core.write_batch().await {}
        }
    }

    /// Looks for silent nodes. Never returns.
    pub(crate) async fn watch_leases(self) {
        loop {
            let periods = periods(&*self.core.log);
            tokio::time::sleep(periods.beat / 2).await;
            self.core.expire(periods);
        }
    }

    /// Settings may have changed for everyone.
    pub(crate) fn touch_settings(&self) {
        self.core.each(Session::touch_settings);
    }
}

#[async_trait]
impl rpc::Dispatch for Dispatcher {
    async fn session(
        &self,
        peer: PeerIdentity,
        messages: mpsc::Receiver<AgentMessage>,
    ) -> Result<mpsc::Receiver<ManagerMessage>, rpc::Error> {
        Ok(self.attach(peer, messages))
    }
}

impl Core {
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        lock(&self.sessions)
    }

    fn each(&self, act: impl Fn(&Session)) {
        for session in self.sessions().open.values() {
            act(session);
        }
    }

    pub(crate) fn settings(&self, node: &NodeId) -> SessionSettings {
        settings::settings(&self.log.snapshot(), &self.log.members(), node)
    }

    async fn session(
        &self,
        peer: PeerIdentity,
        mut inbox: mpsc::Receiver<AgentMessage>,
        outbox: mpsc::Sender<ManagerMessage>,
    ) {
        if !self.is_serving().await {
            let settings = self.settings(&peer.node);
            let _ = outbox.try_send(ManagerMessage::Settings(settings)); // or it has gone already
            return;
        }
        if self.log.snapshot().nodes().get(peer.node.as_str()).is_none() {
            tracing::info!(node = %peer.node, "a node that was removed asks for a session");
            return;
        }
        let Some(session) = self.enter(&peer.node) else { return };
        session::serve(self, &session, &mut inbox, &outbox).await;
        self.leave(&session);
    }

    /// Whether this manager leads; while it takes the lead, waits for that to be done.
    async fn is_serving(&self) -> bool {
        let (mut serving, mut leadership) = (self.serving.subscribe(), self.log.leadership());
        let decided = async {
            loop {
                if *serving.borrow_and_update() {
                    return true;
                }
                if !leadership.borrow_and_update().is_leader {
                    return false;
                }
                let changed = tokio::select! {
                    changed = serving.changed() => changed,
                    changed = leadership.changed() => changed,
                };
                if changed.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(PATIENCE, decided).await.unwrap_or(false)
    }

    /// Puts a new session in the place of the node's last one. None if the lead was lost meanwhile.
    fn enter(&self, node: &NodeId) -> Option<Arc<Session>> {
        let mut sessions = self.sessions();
        if !*self.serving.borrow() {
            return None;
        }
        sessions.count += 1;
        let session = Arc::new(Session::new(node.clone(), sessions.count));
        if let Some(older) = sessions.open.insert(node.clone(), Arc::clone(&session)) {
            older.end();
        }
        drop(sessions);
        lock(&self.leases).hear(node, self.started.elapsed());
        Some(session)
    }

    fn leave(&self, session: &Session) {
        let mut sessions = self.sessions();
        if sessions.open.get(&session.node).is_some_and(|open| open.number == session.number) {
            sessions.open.remove(&session.node);
        }
    }

    pub(crate) fn hear(&self, session: &Session, message: AgentMessage) {
        lock(&self.leases).hear(&session.node, self.started.elapsed());
        if let AgentMessage::Applied(version) = message {
            let mut drains = lock(&self.drains);
            drains.applied(&session.node, version, self.started.elapsed());
            if !drains.is_idle() {
                self.applied.notify_one();
            }
            return;
        }
        let mut others = Vec::new();
        let state = self.log.snapshot();
        let ours = |report: &TaskReport| {
            let row = state.tasks().get(report.task.as_str());
            row.is_some_and(|row| row.node_id == session.node)
        };
        let mut intake = lock(&self.intake);
        match message {
            AgentMessage::Heartbeat | AgentMessage::Applied(_) => return,
            AgentMessage::Attached(live) => {
                let forgotten = forgotten(&state, &session.node, &live, self.clock.now());
                intake.forget(forgotten);
            }
            AgentMessage::Hello(description) => {
                let state = Some((NodeState::Ready, ""));
                intake.node(&session.node, Facts { state, description: Some(description) });
            }
            AgentMessage::Description(description) => {
                intake.node(&session.node, Facts { state: None, description: Some(description) });
            }
            AgentMessage::Statuses(reports) => {
                for report in reports {
                    match ours(&report) {
                        true => intake.report(&session.node, report),
                        false => others.push(report),
                    }
                }
            }
        }
        drop(intake);
        // Nothing to write of tasks that are gone or another node's; saying it again would not help.
        if !others.is_empty() {
            session.written(others);
        }
        self.taken_in.notify_one();
    }

    /// Writes one entry; whether nothing is left.
    async fn write_batch(&self) -> bool {
        let batch = lock(&self.intake).take();
        if batch.is_empty() {
            return true;
        }
        let state = self.log.snapshot();
        let transactions = batch.transactions(&state, &self.node, self.clock.now());
        let results = if transactions.is_empty() {
            Ok(Vec::new())
        } else {
            self.log.propose(transactions).await
        };
        match results {
            Ok(results) => {
                let (written, again) = batch.settle(&results);
                if !again.is_empty() {
                    lock(&self.intake).put_back(again);
                }
                self.acknowledge(written);
            }
            Err(error) => {
                tracing::debug!(%error, "what agents said was not written");
                lock(&self.intake).put_back(batch);
                tokio::time::sleep(RETRY).await;
            }
        }
        lock(&self.intake).is_empty()
    }

    /// Whether the task's agent must not hear yet that it shall stop.
    pub(crate) fn holds(&self, task: &Task) -> bool {
        lock(&self.drains).holds(task)
    }

    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        lock(&self.tables)
    }

    fn derive_table(&self, state: &Snapshot) {
        let (is_new, table) = {
            let mut tables = self.tables();
            (tables.derive(state), Arc::clone(tables.newest()))
        };
        let stopped = [TaskState::Shutdown, TaskState::Remove];
        let stopped = stopped.into_iter().flat_map(|desired| state.tasks_desired(desired));
        let draining = stopped.filter(|task| drain::must_drain(task));
        let draining = draining.map(|task| (task.id.clone(), task.node_id.clone()));
        lock(&self.drains).see(draining.collect(), table.version, self.started.elapsed());
        if is_new {
            self.each(Session::touch_endpoints);
        }
    }

    /// Tells agents to stop what nobody is sent to any more.
    fn release(&self, state: &Snapshot) {
        let mut drains = lock(&self.drains);
        if drains.is_idle() {
            return;
        }
        let up = state.nodes().iter().filter(|node| node.status.state == NodeState::Ready);
        let known = drains.late().clone();
        let released = drains.release(up.map(|node| &node.id), self.started.elapsed());
        for node in drains.late().difference(&known) {
            tracing::warn!(%node, "tasks are stopped though this node may still send to them");
        }
        drop(drains);
        let sessions = self.sessions();
        for id in released {
            let Some(task) = state.tasks().get(id.as_str()) else { continue };
            if let Some(session) = sessions.open.get(&task.node_id) {
                session.touch(Touch::Task(id));
            }
        }
    }

    fn acknowledge(&self, written: BTreeMap<NodeId, Vec<TaskReport>>) {
        let sessions = self.sessions();
        for (node, reports) in written {
            if let Some(session) = sessions.open.get(&node) {
                session.written(reports);
            }
        }
    }

    fn expire(&self, periods: Periods) {
        let state = self.log.snapshot();
        let up = state.nodes().iter().filter(|node| node.status.state != NodeState::Down);
        let now = self.started.elapsed();
        let silent = lock(&self.leases).expired(up.map(|node| &node.id), now, periods);
        for node in silent {
            tracing::info!(%node, "node is silent");
            if let Some(session) = self.sessions().open.remove(&node) {
                session.end();
            }
            let state = Some((NodeState::Down, SILENT));
            lock(&self.intake).node(&node, Facts { state, description: None });
            self.taken_in.notify_one();
        }
    }

    /// Tells sessions what happened after a version; answers the version up to which they were told.
    fn route_since(&self, at: u64) -> u64 {
        let events = self.log.changed_since(at);
        let state = self.log.snapshot();
        let Some(events) = events else {
            self.each(|session| {
                session.resync();
                session.touch_settings();
            });
            return state.version();
        };
        let Some(last) = events.last().map(|event| event.version) else { return at };
        let sessions = self.sessions();
        for event in &events {
            for (node, touch) in share::route(event, &state) {
                if let Some(session) = sessions.open.get(&node) {
                    session.touch(touch);
                }
            }
            match &event.object {
                Object::Cluster(_) => {
                    sessions.open.values().for_each(|session| session.touch_settings());
                }
                Object::Node(row) => {
                    let Some(session) = sessions.open.get(&row.id) else { continue };
                    match event.kind {
                        EventKind::Removed => session.end(),
                        _ => session.touch_settings(),
                    }
                }
                _ => {}
            }
        }
        last
    }
}

/// Attachments of the node that its containers have no more. What was asked for a moment ago may be newer than what
/// the node said.
fn forgotten(state: &Snapshot, node: &NodeId, live: &[TaskId], now: Timestamp) -> Vec<TaskId> {
    let live: BTreeSet<&TaskId> = live.iter().collect();
    let tasks = state.tasks_of_node(node).filter(|task| task.is_attachment());
    let old = tasks.filter(|task| now.since(task.meta.created_at) >= UNDER_WAY);
    old.filter(|task| !live.contains(&task.id)).map(|task| task.id.clone()).collect()
}

fn periods(log: &dyn Log) -> Periods {
    let state = log.snapshot();
    let spec = state.clusters().iter().next().map(|cluster| cluster.spec.clone());
    Periods::of(&spec.unwrap_or_default())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
