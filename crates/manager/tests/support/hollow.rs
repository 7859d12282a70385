//! Hollow agents: they speak the session's protocol and drive the task machine, with no containers behind it.
//!
//! The image's name is the script: `good`, `bad` (does not start), `gone` (cannot be had), `job` (ends well at once),
//! `crash` (ends badly at once). Anything after a colon is a version.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use taskfsm::{Effect, Event, Machine, Rules};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use types::swarm::endpoint::{EndpointRow, EndpointTable, EndpointUpdate, RemovedRow};
use types::swarm::node::NodeDescription;
use types::swarm::session::{
    AgentMessage, Assigned, Assignments, ManagerMessage, Removed, SessionSettings, TaskReport,
};
use types::swarm::task::{Task, TaskState, TaskStatus};
use types::{NetworkId, TaskId, Timestamp};

/// Before the first settings arrive.
const BEAT: Duration = Duration::from_secs(1);
const RECONNECT: Duration = Duration::from_millis(50);

pub(crate) type Stream = (mpsc::Sender<AgentMessage>, mpsc::Receiver<ManagerMessage>);
type Connecting = Pin<Box<dyn Future<Output = Option<Stream>> + Send>>;
/// How an agent reaches a dispatcher; `None`: not now.
pub(crate) type Connect = Arc<dyn Fn() -> Connecting + Send + Sync>;

/// A node without containers. What it knows outlives its sessions, and [`Hollow::kill`].
pub(crate) struct Hollow {
    state: Arc<Mutex<State>>,
    connect: Connect,
    description: NodeDescription,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

/// What an agent has on its disk, and what it counts.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) tasks: BTreeMap<TaskId, Local>,
    /// Kind and id of everything else that is assigned.
    pub(crate) needs: BTreeMap<(&'static str, String), usize>,
    pub(crate) settings: SessionSettings,
    /// Sessions so far, and those that it ended because a message did not fit.
    pub(crate) sessions: u64,
    pub(crate) resyncs: u64,
    at: u64,
    unwritten: BTreeMap<TaskId, TaskStatus>,
    /// The endpoint table as this node has it.
    pub(crate) table: EndpointTable,
    /// Instead: its version and endpoints alone, where hundreds of agents share a processor.
    pub(crate) lean: Option<BTreeMap<(TaskId, NetworkId), EndpointRow>>,
    /// Updates of it so far, and rows in them.
    pub(crate) updates: u64,
    pub(crate) rows: usize,
    /// It takes the table in, but says nothing of it.
    pub(crate) mute: bool,
    /// The places in networks that its containers have, if it says so.
    pub(crate) attached: Option<Vec<TaskId>>,
    unsaid: Option<u64>,
}

pub(crate) struct Local {
    pub(crate) task: Arc<Task>,
    pub(crate) machine: Machine,
}

impl Hollow {
    pub(crate) fn new(hostname: &str, connect: Connect) -> Hollow {
        let mut description =
            NodeDescription { hostname: hostname.to_owned(), ..Default::default() };
        description.platform.os = "linux".to_owned();
        description.platform.architecture = "x86_64".to_owned();
        description.resources.nano_cpus = 64_000_000_000;
        description.resources.memory_bytes = 64 << 30;
        Hollow { state: Arc::default(), connect, description, running: None }
    }

    pub(crate) fn start(&mut self) {
        if self.running.is_some() {
            return;
        }
        let stop = CancellationToken::new();
        let agent = run(
            Arc::clone(&self.state),
            Arc::clone(&self.connect),
            self.description.clone(),
            stop.clone(),
        );
        self.running = Some((stop, tokio::spawn(agent)));
    }

    /// The process is gone; its containers run on.
    pub(crate) async fn kill(&mut self) {
        if let Some((stop, task)) = self.running.take() {
            stop.cancel();
            task.await.unwrap();
        }
    }

    /// The machine is gone, and with it what ran.
    pub(crate) async fn crash(&mut self) {
        self.kill().await;
        let mut state = self.state();
        let ids: Vec<TaskId> = state.tasks.keys().cloned().collect();
        for id in ids {
            state.feed(&id, Event::Vanished);
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Ids of tasks that run here.
    pub(crate) fn running(&self) -> Vec<TaskId> {
        let state = self.state();
        let runs = |local: &&Local| local.machine.reported == TaskState::Running;
        state.tasks.values().filter(runs).map(|local| local.task.id.clone()).collect()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run(
    state: Arc<Mutex<State>>,
    connect: Connect,
    description: NodeDescription,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => return,
            () = session(&state, &connect, &description) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RECONNECT) => {}
        }
    }
}

async fn session(state: &Mutex<State>, connect: &Connect, description: &NodeDescription) {
    let Some((outbox, mut inbox)) = connect().await else { return };
    lock(state).sessions += 1;
    if outbox.send(AgentMessage::Hello(description.clone())).await.is_err() {
        return;
    }
    let attached = lock(state).attached.clone();
    if let Some(attached) = attached
        && outbox.send(AgentMessage::Attached(attached)).await.is_err()
    {
        return;
    }
    let mut beat = BEAT;
    let mut next = tokio::time::Instant::now() + beat;
    loop {
        let applied = lock(state).applied();
        if let Some(version) = applied
            && outbox.send(AgentMessage::Applied(version)).await.is_err()
        {
            return;
        }
        let reports = lock(state).reports();
        if !reports.is_empty() && outbox.send(AgentMessage::Statuses(reports)).await.is_err() {
            return;
        }
        tokio::select! {
            message = inbox.recv() => {
                let Some(message) = message else { return };
                if !lock(state).take(message) {
                    return;
                }
                let period = lock(state).settings.heartbeat_period;
                beat = Duration::from_nanos(u64::try_from(period).unwrap_or(0)).max(RECONNECT);
            }
            () = tokio::time::sleep_until(next) => {
                next += beat;
                if outbox.send(AgentMessage::Heartbeat).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl State {
    /// Everything that no manager has written yet, once more. A manager that has written it says so.
    fn reports(&mut self) -> Vec<TaskReport> {
        let reports = self
            .unwritten
            .iter()
            .map(|(task, status)| TaskReport { task: task.clone(), status: status.clone() });
        let reports: Vec<TaskReport> = reports.collect();
        // Not sent again before the next session: here every message arrives or the session ends.
        self.unwritten.clear();
        reports
    }

    fn applied(&mut self) -> Option<u64> {
        self.unsaid.take_if(|_| !self.mute)
    }

    /// Whether the message fits.
    fn take(&mut self, message: ManagerMessage) -> bool {
        match message {
            ManagerMessage::Settings(settings) => self.settings = settings,
            ManagerMessage::Written(_) => {}
            ManagerMessage::Endpoints(update) => {
                self.updates += 1;
                self.rows += update.endpoints.len() + update.removed.len();
                let fits = match &mut self.lean {
                    Some(rows) => {
                        let fits = update.complete || update.from == self.table.version;
                        take_lean(rows, &update);
                        self.table.version = update.to;
                        fits
                    }
                    None => self.table.apply(&update).is_ok(),
                };
                if !fits {
                    self.resyncs += 1;
                    return false;
                }
                self.unsaid = Some(self.table.version);
            }
            ManagerMessage::Assignments(assignments) => return self.assign(assignments),
        }
        true
    }

    fn assign(&mut self, assignments: Assignments) -> bool {
        if assignments.complete {
            let named: Vec<TaskId> = assignments
                .put
                .iter()
                .filter_map(|put| match put {
                    Assigned::Task(task) => Some(task.id.clone()),
                    _ => None,
                })
                .collect();
            self.needs.clear();
            let gone: Vec<TaskId> =
                self.tasks.keys().filter(|id| !named.contains(id)).cloned().collect();
            for id in gone {
                self.drop_task(&id);
            }
            // What this agent says is repeated whole to a new manager.
            let statuses =
                self.tasks.iter().filter(|(_, local)| local.machine.reported > TaskState::Assigned);
            let known: Vec<(TaskId, TaskStatus)> =
                statuses.map(|(id, local)| (id.clone(), status(local.machine.reported))).collect();
            self.unwritten.extend(known);
        } else if assignments.from != self.at {
            self.resyncs += 1;
            return false;
        }
        self.at = assignments.to;
        for put in assignments.put {
            self.put(put);
        }
        for removed in assignments.removed {
            let key = match removed {
                Removed::Task(id) => {
                    self.drop_task(&TaskId::new(id));
                    continue;
                }
                Removed::Service(id) => ("service", id),
                Removed::Secret(id) => ("secret", id),
                Removed::Config(id) => ("config", id),
                Removed::Network(id) => ("network", id),
                Removed::Volume(id) => ("volume", id),
            };
            self.needs.remove(&key);
        }
        true
    }

    fn put(&mut self, put: Assigned) {
        let key = match &put {
            Assigned::Task(task) => return self.put_task(task),
            Assigned::Service(row) => ("service", row.id.to_string()),
            Assigned::Secret(row) => ("secret", row.id.to_string()),
            Assigned::Config(row) => ("config", row.id.to_string()),
            Assigned::Network(row) => ("network", row.id.to_string()),
            Assigned::Volume(row) => ("volume", row.id.to_string()),
        };
        *self.needs.entry(key).or_default() += 1;
    }

    fn put_task(&mut self, task: &Arc<Task>) {
        let id = task.id.clone();
        if let Some(local) = self.tasks.get_mut(&id) {
            local.task = Arc::clone(task);
            return self.feed(&id, Event::Desired(task.desired_state));
        }
        let rules = Rules { stop_grace: Duration::from_secs(10), health_check: false };
        let machine = match task.status.state {
            TaskState::Assigned => Machine::new(task.desired_state, rules),
            state => Machine::resume(state, task.desired_state, rules),
        };
        self.tasks.insert(id.clone(), Local { task: Arc::clone(task), machine });
        self.feed(&id, Event::Begin);
    }

    fn drop_task(&mut self, id: &TaskId) {
        self.feed(id, Event::Unassigned);
        self.tasks.remove(id);
        self.unwritten.remove(id);
    }

    /// Feeds the machine, and what its effects lead to at once.
    fn feed(&mut self, id: &TaskId, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let Some(local) = self.tasks.get_mut(id) else { return };
            let script = script(&local.task);
            let now = Timestamp(1);
            let (machine, effects) = taskfsm::step(local.machine.clone(), event, now);
            local.machine = machine;
            let mut follow = Vec::new();
            for effect in effects {
                match (effect, script.as_str()) {
                    (Effect::Prepare, "gone") => {
                        follow.push(Event::PrepareFailed("No such image".to_owned()));
                    }
                    (Effect::Prepare, _) => follow.push(Event::Prepared),
                    (Effect::Start, "bad") => {
                        follow.push(Event::StartFailed("exec failed".to_owned()));
                    }
                    (Effect::Start, "job") => {
                        follow.extend([Event::Started, Event::Exited { code: 0 }]);
                    }
                    (Effect::Start, "crash") => {
                        follow.extend([Event::Started, Event::Exited { code: 1 }]);
                    }
                    (Effect::Start, _) => follow.push(Event::Started),
                    (Effect::Stop | Effect::Kill, _) => follow.push(Event::Exited { code: 143 }),
                    (Effect::Remove, _) => follow.push(Event::Removed),
                    (Effect::Report(report), _) => {
                        let mut status = status(report.state);
                        status.message = report.message.to_owned();
                        status.err = report.err;
                        self.unwritten.insert(id.clone(), status);
                    }
                    (Effect::CancelPrepare | Effect::WakeAt(_), _) => {}
                }
            }
            events.extend(follow.into_iter().rev());
        }
    }
}

fn take_lean(rows: &mut BTreeMap<(TaskId, NetworkId), EndpointRow>, update: &EndpointUpdate) {
    if update.complete {
        rows.clear();
    }
    for row in &update.endpoints {
        rows.insert((row.task.clone(), row.network.clone()), row.clone());
    }
    for removed in &update.removed {
        if let RemovedRow::Endpoint(task, network) = removed {
            rows.remove(&(task.clone(), network.clone()));
        }
    }
}

fn status(state: TaskState) -> TaskStatus {
    TaskStatus { timestamp: Timestamp(1), state, ..TaskStatus::default() }
}

fn script(task: &Task) -> String {
    let image = task.spec.container_spec.as_ref().map_or("", |container| container.image.as_str());
    image.split(':').next().unwrap_or_default().to_owned()
}
