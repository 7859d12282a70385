//! A private engine in a network namespace of its own, an agent on it, and a stand-in for the managers at the
//! other end of its stream.

use agent::{Agent, Connect, Options};
use async_trait::async_trait;
use engine::{Engine, EngineConfig, Filters, ListOptions};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use types::swarm::endpoint::{EndpointTable, EndpointUpdate};
use types::swarm::node::NodeDescription;
use types::swarm::session::{
    AgentMessage, Assigned, Assignments, ManagerMessage, Removed, ServiceFacts, SessionSettings,
    TaskReport,
};
use types::swarm::task::{ContainerSpec, Task, TaskSpec, TaskState, TaskStatus};
use types::{NodeId, ServiceId, TaskId};

/// Far longer than anything here takes, on however loaded a machine.
const PATIENCE: Duration = Duration::from_secs(180);
pub(crate) const NODE: &str = "node1";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// One test's world; all of it is gone afterwards.
pub(crate) struct World {
    pub(crate) token: String,
    pub(crate) dir: PathBuf,
    pub(crate) manager: Manager,
    /// What the daemon's process would be: dropping it is its `kill -9`.
    daemon: Option<Runtime>,
    engine: Option<Engine>,
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            // Waited for, on a thread that may wait: what went on in it would make anew what is cleared away next.
            let ended = std::thread::spawn(|| daemon.shutdown_timeout(Duration::from_secs(30)));
            let _ = ended.join();
        }
    }
}

/// Runs `test` with a fresh world in a namespace of its own.
pub(crate) fn with_world<F: Future<Output = ()>>(test: impl FnOnce(World) -> F + Send) {
    let token = format!("smp-{}-{:03}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
    let namespace = testkit::Namespace::create(&token).unwrap();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        namespace
            .inside(|| {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()?;
                runtime.block_on(async {
                    let world = World::new(token.clone()).await;
                    tokio::time::timeout(PATIENCE * 2, test(world)).await.expect("took too long");
                });
                runtime.shutdown_timeout(Duration::from_secs(30));
                Ok(())
            })
            .unwrap();
    }));
    drop(namespace);
    testkit::clear(&token);
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

impl World {
    async fn new(token: String) -> World {
        let dir = std::env::temp_dir().join(&token);
        std::fs::create_dir(&dir).unwrap();
        let mut world = World { token, dir, manager: Manager::new(), daemon: None, engine: None };
        world.open().await;
        let archive = testkit::images::archive("busybox").unwrap();
        let file = tokio::fs::File::open(archive).await.unwrap();
        let (progress, mut unread) = mpsc::channel(16);
        let reader = async { while unread.recv().await.is_some() {} };
        let (loaded, ()) =
            tokio::join!(world.engine().image_load(Box::pin(file), None, progress), reader);
        loaded.unwrap();
        world
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    pub(crate) async fn open(&mut self) {
        let config = EngineConfig {
            data_root: self.dir.join("data"),
            exec_root: self.dir.join("exec"),
            cgroup_parent: format!("/{}", self.token),
            shim_program: Some(testkit::sampan_binary().unwrap()),
            ..EngineConfig::default()
        };
        let daemon = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        self.engine = Some(daemon.spawn(Engine::open(config)).await.unwrap().unwrap());
        self.daemon = Some(daemon);
    }

    pub(crate) async fn agent(&self) -> Agent {
        let options = Options {
            dir: self.dir.join("agent"),
            node: NodeId::new(NODE),
            engine: self.engine().clone(),
            connect: Arc::new(self.manager.clone()),
        };
        self.daemon.as_ref().unwrap().spawn(Agent::start(options)).await.unwrap().unwrap()
    }

    /// The daemon is killed, with its agent, and another one started: nothing but disk and processes is left
    /// of the one before.
    pub(crate) async fn restart_daemon(&mut self, agent: Agent) {
        self.kill_daemon(agent).await;
        self.open().await;
    }

    pub(crate) async fn kill_daemon(&mut self, agent: Agent) {
        drop((agent, self.engine.take()));
        let daemon = self.daemon.take().unwrap();
        let killed = move || daemon.shutdown_timeout(PATIENCE);
        tokio::task::spawn_blocking(killed).await.unwrap();
    }

    /// Names of the containers there are.
    pub(crate) async fn containers(&self) -> Vec<String> {
        let options =
            ListOptions { all: true, filters: Filters::default(), ..ListOptions::default() };
        let rows = self.engine().container_list(options).await.unwrap();
        let mut names: Vec<String> = rows.into_iter().flat_map(|row| row.names).collect();
        names.sort();
        names
    }

    /// Mounts, processes and directories of tasks that are still there.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.dir.to_string_lossy();
        let ours = mounts.lines().filter(|line| line.contains(own.as_ref()));
        let mut left: Vec<String> = ours.map(str::to_owned).collect();
        for place in ["exec/c", "exec/swarm", "data/containers"] {
            let entries = std::fs::read_dir(self.dir.join(place)).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path().display().to_string()));
        }
        left
    }

    /// What a program in a running container prints.
    pub(crate) async fn exec(&self, container: &str, script: &str) -> String {
        let state = self.engine().container_inspect(container, false).await.unwrap().state;
        let output = tokio::process::Command::new("nsenter")
            .args(["-t", &state.pid.to_string(), "-m", "-n", "-u", "-r", "-w"])
            .args(["/bin/sh", "-c", script])
            .output()
            .await
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "never came: {what}");
}

/// The managers' end of the stream.
#[derive(Clone)]
pub(crate) struct Manager {
    state: Arc<Mutex<State>>,
    /// Counts what was heard.
    heard: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct State {
    away: bool,
    silent: bool,
    version: u64,
    assigned: BTreeMap<String, Assigned>,
    stream: Option<mpsc::Sender<ManagerMessage>>,
    streams: u64,
    beats: u64,
    hello: NodeDescription,
    table: EndpointTable,
    applied: Option<u64>,
    statuses: BTreeMap<String, TaskStatus>,
    history: Vec<TaskReport>,
}

impl Manager {
    fn new() -> Manager {
        Manager { state: Arc::default(), heard: Arc::new(watch::Sender::new(0)) }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let answer = work(&mut self.state.lock().unwrap());
        self.heard.send_modify(|count| *count += 1);
        answer
    }

    pub(crate) async fn put(&self, assigned: Vec<Assigned>) {
        self.change(assigned, Vec::new()).await;
    }

    /// Assigns by a change on top of what was said before.
    pub(crate) async fn change(&self, put: Vec<Assigned>, removed: Vec<Removed>) {
        let message = self.with(|state| {
            let from = state.version;
            state.version += 1;
            for assigned in &put {
                state.assigned.insert(key(assigned), assigned.clone());
            }
            for it in &removed {
                if let Removed::Task(id) = it {
                    state.assigned.remove(&format!("task {id}"));
                }
            }
            Assignments { complete: false, from, to: state.version, put, removed }
        });
        self.send(message).await;
    }

    pub(crate) async fn send(&self, message: Assignments) {
        let stream = self.with(|state| state.stream.clone());
        if let Some(stream) = stream {
            // A stream that has ended is made up for by the next one's complete list.
            let _ended = stream.send(ManagerMessage::Assignments(message)).await;
        }
    }

    /// Has the node follow another endpoint table.
    pub(crate) async fn endpoints(&self, table: &EndpointTable) {
        let (stream, update) = self.with(|state| {
            let update = EndpointUpdate::between(&state.table, table);
            state.table = table.clone();
            (state.stream.clone(), update)
        });
        if let Some(stream) = stream {
            let _ended = stream.send(ManagerMessage::Endpoints(Arc::new(update))).await;
        }
    }

    /// The version of the table that the node said it follows.
    pub(crate) fn applied(&self) -> Option<u64> {
        self.with(|state| state.applied)
    }

    /// Cannot be reached; or can again.
    pub(crate) fn be_away(&self, away: bool) {
        self.with(|state| {
            state.away = away;
            state.stream = None;
        });
    }

    /// Does not say that statuses are written.
    pub(crate) fn be_silent(&self, silent: bool) {
        self.with(|state| state.silent = silent);
    }

    pub(crate) fn forget(&self, removed: &str) {
        self.with(|state| state.assigned.remove(removed));
    }

    pub(crate) fn streams(&self) -> u64 {
        self.with(|state| state.streams)
    }

    pub(crate) fn beats(&self) -> u64 {
        self.with(|state| state.beats)
    }

    pub(crate) fn hello(&self) -> NodeDescription {
        self.with(|state| state.hello.clone())
    }

    pub(crate) fn status(&self, task: &str) -> TaskStatus {
        self.with(|state| state.statuses.get(task).cloned().unwrap_or_default())
    }

    /// Every state that was told of a task, in order.
    pub(crate) fn states(&self, task: &str) -> Vec<TaskState> {
        let of = |report: &&TaskReport| report.task.as_str() == task;
        self.with(|state| state.history.iter().filter(of).map(|it| it.status.state).collect())
    }

    /// Waits until the task was said to be in `wanted`; fails when it ended otherwise.
    pub(crate) async fn reaches(&self, task: &str, wanted: TaskState) -> TaskStatus {
        self.hears(&format!("{task} {wanted:?}"), || {
            let status = self.status(task);
            assert!(
                status.state == wanted || !status.state.is_terminal(),
                "{task} should be {wanted:?}: {status:?}"
            );
            status.state == wanted
        })
        .await;
        self.status(task)
    }

    pub(crate) async fn hears(&self, what: &str, condition: impl Fn() -> bool) {
        let mut heard = self.heard.subscribe();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                heard.borrow_and_update();
                if condition() {
                    return;
                }
                let pause = Duration::from_millis(200);
                let _next = tokio::time::timeout(pause, heard.changed()).await;
            }
        });
        assert!(waited.await.is_ok(), "never heard: {what}");
    }

    async fn listen(
        self,
        mut from: mpsc::Receiver<AgentMessage>,
        to: mpsc::Sender<ManagerMessage>,
    ) {
        while let Some(message) = from.recv().await {
            let reply = self.with(|state| match message {
                AgentMessage::Heartbeat => {
                    state.beats += 1;
                    None
                }
                AgentMessage::Statuses(reports) => {
                    for report in &reports {
                        state.statuses.insert(report.task.to_string(), report.status.clone());
                    }
                    state.history.extend(reports.iter().cloned());
                    (!state.silent).then_some(reports)
                }
                AgentMessage::Applied(version) => {
                    state.applied = Some(version);
                    None
                }
                _ => None,
            });
            if let Some(reports) = reply
                && to.send(ManagerMessage::Written(reports)).await.is_err()
            {
                return;
            }
            if self.with(|state| state.away) {
                return;
            }
        }
    }
}

fn key(assigned: &Assigned) -> String {
    match assigned {
        Assigned::Task(it) => format!("task {}", it.id),
        Assigned::Service(it) => format!("service {}", it.id),
        Assigned::Secret(it) => format!("secret {}", it.id),
        Assigned::Config(it) => format!("config {}", it.id),
        Assigned::Network(it) => format!("network {}", it.id),
        Assigned::Volume(it) => format!("volume {}", it.id),
    }
}

#[async_trait]
impl Connect for Manager {
    async fn connect(
        &self,
        hello: NodeDescription,
    ) -> io::Result<(mpsc::Sender<AgentMessage>, mpsc::Receiver<ManagerMessage>)> {
        let (to_manager, from_agent) = mpsc::channel(16);
        let (to_agent, from_manager) = mpsc::channel(16);
        let whole = self.with(|state| {
            if state.away {
                return None;
            }
            state.hello = hello;
            state.streams += 1;
            state.stream = Some(to_agent.clone());
            let assignments = Assignments {
                complete: true,
                to: state.version,
                put: state.assigned.values().cloned().collect(),
                ..Assignments::default()
            };
            Some((EndpointUpdate::whole(&state.table), assignments))
        });
        let Some((endpoints, whole)) = whole else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let settings =
            SessionSettings { heartbeat_period: 50_000_000, ..SessionSettings::default() };
        to_agent.send(ManagerMessage::Settings(settings)).await.unwrap();
        to_agent.send(ManagerMessage::Endpoints(Arc::new(endpoints))).await.unwrap();
        to_agent.send(ManagerMessage::Assignments(whole)).await.unwrap();
        tokio::spawn(self.clone().listen(from_agent, to_agent));
        Ok((to_manager, from_manager))
    }

    fn settings(&self, _settings: &SessionSettings) {}
}

/// The service that tasks of these tests belong to.
pub(crate) fn service() -> Assigned {
    Assigned::Service(Arc::new(ServiceFacts {
        id: ServiceId::new("service1"),
        name: "web".to_owned(),
        ..ServiceFacts::default()
    }))
}

/// Runs a shell script until it ends.
pub(crate) fn shell(script: &str) -> ContainerSpec {
    ContainerSpec {
        image: "busybox:latest".to_owned(),
        command: vec!["/bin/sh".to_owned(), "-c".to_owned()],
        args: vec![script.to_owned()],
        stop_grace_period: Some(60_000_000_000),
        ..ContainerSpec::default()
    }
}

/// Runs until it is told to stop, and then does.
pub(crate) fn server() -> ContainerSpec {
    shell("trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done")
}

pub(crate) fn task(id: &str, spec: ContainerSpec) -> Task {
    Task {
        id: TaskId::new(id),
        service_id: ServiceId::new("service1"),
        node_id: NodeId::new(NODE),
        slot: 1,
        status: TaskStatus { state: TaskState::Assigned, ..TaskStatus::default() },
        desired_state: TaskState::Running,
        spec: Arc::new(TaskSpec { container_spec: Some(spec), ..TaskSpec::default() }),
        ..Task::default()
    }
}

pub(crate) fn assign(task: Task) -> Assigned {
    Assigned::Task(Arc::new(task))
}

pub(crate) fn shut_down(task: &Task) -> Assigned {
    assign(Task { desired_state: TaskState::Shutdown, ..task.clone() })
}

pub(crate) fn gone(id: &str) -> Removed {
    Removed::Task(id.to_owned())
}
