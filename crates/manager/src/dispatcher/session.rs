//! One agent's session: its messages in, its share of the store out.
//!
//! What an agent has still to be told is a set of ids, so that a slow one costs no memory and holds nobody up: it gets
//! the newest of each thing when it reads again.

use crate::dispatcher::Core;
use crate::dispatcher::share::{Share, Touch, Touched};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use types::NodeId;
use types::swarm::endpoint::EndpointTable;
use types::swarm::session::{AgentMessage, ManagerMessage, SessionSettings, TaskReport};
use types::swarm::task::Task;

/// Acknowledgements in one message.
const ACKS: usize = 1_000;

/// A session that is open.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) node: NodeId,
    /// No other session ever had it.
    pub(crate) number: u64,
    todo: Mutex<Todo>,
    woken: Notify,
    end: CancellationToken,
}

/// What the agent has still to be told.
#[derive(Debug)]
struct Todo {
    settings: bool,
    /// The endpoint table.
    endpoints: bool,
    /// Its whole share.
    whole: bool,
    touched: Touched,
    written: Vec<TaskReport>,
}

/// What the agent was told.
#[derive(Debug, Default)]
struct Told {
    settings: Option<SessionSettings>,
    table: Option<Arc<EndpointTable>>,
    share: Option<Share>,
}

impl Session {
    pub(crate) fn new(node: NodeId, number: u64) -> Session {
        let todo = Todo {
            settings: true,
            endpoints: true,
            whole: true,
            touched: Touched::default(),
            written: Vec::new(),
        };
        let (todo, woken) = (Mutex::new(todo), Notify::new());
        Session { node, number, todo, woken, end: CancellationToken::new() }
    }

    fn todo(&self) -> MutexGuard<'_, Todo> {
        self.todo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that the agent may have to hear of has changed.
    pub(crate) fn touch(&self, touch: Touch) {
        match touch {
            Touch::Task(id) => self.todo().touched.tasks.insert(id),
            Touch::Need(need) => self.todo().touched.needs.insert(need),
        };
        self.woken.notify_one();
    }

    /// The agent's share is to be told anew.
    pub(crate) fn resync(&self) {
        self.todo().whole = true;
        self.woken.notify_one();
    }

    pub(crate) fn touch_settings(&self) {
        self.todo().settings = true;
        self.woken.notify_one();
    }

    pub(crate) fn touch_endpoints(&self) {
        self.todo().endpoints = true;
        self.woken.notify_one();
    }

    pub(crate) fn written(&self, reports: Vec<TaskReport>) {
        self.todo().written.extend(reports);
        self.woken.notify_one();
    }

    pub(crate) fn end(&self) {
        self.end.cancel();
    }

    fn has_news(&self) -> bool {
        let todo = self.todo();
        todo.settings
            || todo.endpoints
            || todo.whole
            || !todo.touched.is_empty()
            || !todo.written.is_empty()
    }

    /// The next message: settings first, so that an agent knows whom to turn to, and endpoints before the share, so
    /// that a task that starts finds its neighbours.
    fn next(&self, core: &Core, told: &mut Told) -> Option<ManagerMessage> {
        let mut todo = self.todo();
        if std::mem::take(&mut todo.settings) {
            let settings = core.settings(&self.node);
            if told.settings.as_ref() != Some(&settings) {
                told.settings = Some(settings.clone());
                return Some(ManagerMessage::Settings(settings));
            }
        }
        if std::mem::take(&mut todo.endpoints) {
            drop(todo);
            let mut tables = core.tables();
            let newest = Arc::clone(tables.newest());
            if told.table.as_ref().is_some_and(|table| table.version == newest.version) {
                return None;
            }
            let update = tables.update(told.table.as_deref());
            told.table = Some(newest);
            return Some(ManagerMessage::Endpoints(update));
        }
        let held = |task: &Task| core.holds(task);
        if std::mem::take(&mut todo.whole) {
            todo.touched = Touched::default();
            drop(todo);
            let (share, assignments) = Share::whole(&self.node, &core.log.snapshot(), &held);
            told.share = Some(share);
            return Some(ManagerMessage::Assignments(assignments));
        }
        if !todo.touched.is_empty() {
            let touched = std::mem::take(&mut todo.touched);
            drop(todo);
            let changes = told.share.as_mut()?.changes(touched, &core.log.snapshot(), &held);
            return changes.map(ManagerMessage::Assignments);
        }
        let count = todo.written.len().min(ACKS);
        let written: Vec<TaskReport> = todo.written.drain(..count).collect();
        (!written.is_empty()).then_some(ManagerMessage::Written(written))
    }
}

/// Serves a session until either side ends it.
pub(crate) async fn serve(
    core: &Core,
    session: &Arc<Session>,
    inbox: &mut mpsc::Receiver<AgentMessage>,
    outbox: &mpsc::Sender<ManagerMessage>,
) {
    let mut told = Told::default();
    loop {
        let news = session.has_news();
        tokio::select! {
            () = session.end.cancelled() => return,
            message = inbox.recv() => match message {
                Some(message) => core.hear(session, message),
                None => return,
            },
            permit = outbox.reserve(), if news => match permit {
                Ok(permit) => {
                    if let Some(message) = session.next(core, &mut told) {
                        permit.send(message);
                    }
                }
                Err(_) => return,
            },
            () = session.woken.notified(), if !news => {}
            () = outbox.closed() => return,
        }
    }
}
