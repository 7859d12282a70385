//! A cluster in one process: managers over one log in memory, hollow agents at their dispatchers.
//!
//! Tests run in paused time: it moves only when nobody has anything to do, so that a loaded machine changes nothing.

use crate::hollow::{Connect, Hollow};
use ca::NodeKey;
use manager::{Clock, Log, Manager, Memory};
use rpc::{IssueRequest, Issued, Peer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Change, Kind, Object, Snapshot, StoreError};
use tokio::time::Instant;
use types::ids::swarm_id;
use types::swarm::node::{Node, Role};
use types::swarm::request::InitRequest;
use types::swarm::service::{Mode, Replicated, Service, ServiceSpec, UpdateConfig};
use types::swarm::session::PeerIdentity;
use types::swarm::task::{ContainerSpec, RestartPolicy, Task, TaskState};
use types::{ClusterId, NodeId, ServiceId, Timestamp};

/// Longer than anything here takes, in paused time.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) struct World {
    pub(crate) log: Memory,
    pub(crate) first: NodeId,
    pub(crate) cluster: ClusterId,
    pub(crate) clock: Clock,
    /// By node; those that run.
    pub(crate) managers: Arc<Mutex<BTreeMap<NodeId, Arc<Manager>>>>,
    pub(crate) agents: BTreeMap<NodeId, Hollow>,
    views: BTreeMap<NodeId, Memory>,
    ids: u8,
}

impl World {
    /// One manager that leads, without an agent.
    pub(crate) async fn new() -> World {
        World::with(InitRequest::default()).await
    }

    pub(crate) async fn with(request: InitRequest) -> World {
        let began = Instant::now();
        let zero = Timestamp::from_seconds(1_800_000_000);
        let clock = Clock::new(move || zero.after(began.elapsed()));
        let now = clock.now();
        let me = PeerIdentity {
            node: NodeId::new(swarm_id([1; 16])),
            cluster: ClusterId::new(swarm_id([9; 16])),
            role: Role::Manager,
        };
        let record = ca::found(now).unwrap();
        let csr = NodeKey::generate().unwrap().request().unwrap();
        let issued = ca::issue(&record, &csr, &me, Duration::ZERO, now).unwrap();
        let addr = "127.0.0.1:2377".parse().unwrap();
        let entry = manager::found(&request, &me, record, &issued, addr, now).unwrap();
        let log = Memory::new(me.node.clone(), "127.0.0.1:2377", &entry, clock.clone());
        log.lead();
        let world = World {
            views: BTreeMap::from([(me.node.clone(), log.clone())]),
            log,
            first: me.node.clone(),
            cluster: me.cluster.clone(),
            clock,
            managers: Arc::default(),
            agents: BTreeMap::new(),
            ids: 0,
        };
        world.start_manager(&me.node);
        world
    }

    /// One manager and `count` nodes with agents, the manager's own among them, all of them ready.
    pub(crate) async fn nodes(count: usize) -> World {
        let mut world = World::new().await;
        world.start_agent(&world.first.clone());
        for _ in 1..count {
            let node = world.join(Role::Worker).await;
            world.start_agent(&node);
        }
        world.eventually("all nodes ready", |world| world.ready() == count).await;
        world
    }

    pub(crate) fn start_manager(&self, node: &NodeId) {
        let view = self.views[node].clone();
        let manager = Manager::with_clock(Arc::new(view), node.clone(), self.clock.clone());
        self.managers.lock().unwrap().insert(node.clone(), Arc::new(manager));
    }

    /// kill -9: nothing is handed over.
    pub(crate) fn kill_manager(&self, node: &NodeId) {
        drop(self.managers.lock().unwrap().remove(node));
    }

    /// A second manager of the same log, running but not leading.
    pub(crate) async fn add_manager(&mut self) -> NodeId {
        let node = self.join(Role::Manager).await;
        let addr = format!("127.0.0.{}:2377", self.views.len() + 1);
        self.views.insert(node.clone(), self.log.join(node.clone(), &addr));
        self.start_manager(&node);
        node
    }

    pub(crate) fn view(&self, node: &NodeId) -> &Memory {
        &self.views[node]
    }

    /// A new node's certificate, as `swarm join` gets it.
    pub(crate) async fn join(&mut self, role: Role) -> NodeId {
        let cluster = self.state().clusters().iter().next().unwrap().clone();
        let record = cluster.record.clone().unwrap();
        let token = match role {
            Role::Manager => record.manager_token,
            Role::Worker => record.worker_token,
        };
        self.issue(None, Some(&token)).await.unwrap().node
    }

    pub(crate) async fn issue(
        &self,
        peer: Option<Peer>,
        token: Option<&str>,
    ) -> Result<Issued, rpc::Error> {
        let csr = NodeKey::generate().unwrap().request().unwrap();
        let token = token.map(str::to_owned);
        let request = IssueRequest { csr, token, availability: None };
        let trust = self.managers.lock().unwrap().values().next().unwrap().trust();
        trust.issue(peer, request).await
    }

    pub(crate) fn peer(&self, node: &NodeId, role: Role) -> PeerIdentity {
        PeerIdentity { node: node.clone(), cluster: self.cluster.clone(), role }
    }

    /// An agent that turns to whichever manager leads.
    pub(crate) fn start_agent(&mut self, node: &NodeId) {
        if !self.agents.contains_key(node) {
            let connect = self.connector(node);
            let hostname = format!("host{}", self.agents.len());
            self.agents.insert(node.clone(), Hollow::new(&hostname, connect));
        }
        self.agents.get_mut(node).unwrap().start();
    }

    pub(crate) fn connector(&self, node: &NodeId) -> Connect {
        let (managers, peer) = (Arc::clone(&self.managers), self.peer(node, Role::Worker));
        let log = self.log.clone();
        Arc::new(move || {
            let leader = log.leadership().borrow().leader.clone();
            let managers = managers.lock().unwrap();
            let manager = leader.and_then(|leader| managers.get(&leader));
            let stream = manager.map(|manager| {
                let (outbox, messages) = tokio::sync::mpsc::channel(64);
                (outbox, manager.dispatcher().attach(peer.clone(), messages))
            });
            Box::pin(async move { stream })
        })
    }

    /// What the first manager says of a task or a service.
    pub(crate) async fn why(&self, id: &str) -> Option<manager::Why> {
        let manager = Arc::clone(&self.managers.lock().unwrap()[&self.first]);
        manager.why(id).await
    }

    pub(crate) fn state(&self) -> Snapshot {
        self.log.snapshot()
    }

    pub(crate) fn ready(&self) -> usize {
        use types::swarm::node::NodeState;
        let state = self.state();
        state.nodes().iter().filter(|node| node.status.state == NodeState::Ready).count()
    }

    /// Writes changes as a user of the API does.
    pub(crate) async fn write(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.log.propose(vec![changes.into()]).await.unwrap().remove(0)
    }

    pub(crate) async fn create(&mut self, spec: ServiceSpec) -> ServiceId {
        self.ids += 1;
        let id = ServiceId::new(swarm_id([self.ids, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]));
        let service = Service { id: id.clone(), spec, ..Service::default() };
        self.write(vec![Change::Create(service.into())]).await.unwrap();
        id
    }

    /// Changes a service's spec as `docker service update` does.
    pub(crate) async fn update(&self, id: &ServiceId, change: impl Fn(&mut ServiceSpec)) {
        loop {
            let row = self.state().services().get(id.as_str()).unwrap().clone();
            let mut spec = row.spec.clone();
            change(&mut spec);
            let next = orchestrator::accept_spec(&row, spec);
            if self.write(vec![Change::Update(next.into())]).await.is_ok() {
                return;
            }
        }
    }

    pub(crate) async fn remove(&self, kind: Kind, id: &str) {
        self.write(vec![Change::Remove { kind, id: id.to_owned(), version: None }]).await.unwrap();
    }

    pub(crate) async fn change_node(&self, id: &NodeId, change: impl Fn(&mut Node)) {
        loop {
            let mut row = Node::clone(self.state().nodes().get(id.as_str()).unwrap());
            change(&mut row);
            if self.write(vec![Change::Update(Object::from(row))]).await.is_ok() {
                return;
            }
        }
    }

    pub(crate) fn tasks(&self, service: &ServiceId) -> Vec<Arc<Task>> {
        self.state().tasks_of_service(service).cloned().collect()
    }

    /// Tasks that run and shall, of nodes that are up.
    pub(crate) fn running(&self, service: &ServiceId) -> Vec<Arc<Task>> {
        let mut tasks = self.tasks(service);
        tasks.retain(|task| {
            task.status.state == TaskState::Running && task.desired_state == TaskState::Running
        });
        tasks
    }

    /// Waits until `holds`; panics with what it was after a long while.
    pub(crate) async fn eventually(&self, what: &str, holds: impl Fn(&World) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < until, "never: {what}; {}", self.shown());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn shown(&self) -> String {
        let state = self.state();
        let tasks: Vec<String> = state
            .tasks()
            .iter()
            .map(|task| {
                format!(
                    "{}.{} on {} {}/{} {}",
                    task.id.short(),
                    task.slot,
                    task.node_id.short(),
                    task.status.state.as_str(),
                    task.desired_state.as_str(),
                    task.status.err
                )
            })
            .collect();
        let nodes: Vec<String> = state
            .nodes()
            .iter()
            .map(|node| format!("{} {:?}", node.id.short(), node.status.state))
            .collect();
        format!("nodes: {nodes:?}\ntasks: {tasks:#?}")
    }

    /// What must hold of every entry that was written.
    pub(crate) fn check(&self) {
        let notes: Vec<String> = self.log.notes().iter().map(ToString::to_string).collect();
        assert_eq!(notes, Vec::<String>::new());
    }
}

pub(crate) fn replicated(name: &str, image: &str, replicas: u64) -> ServiceSpec {
    let mut spec = ServiceSpec {
        name: name.to_owned(),
        mode: Mode { replicated: Some(Replicated { replicas: Some(replicas) }), ..Mode::default() },
        ..ServiceSpec::default()
    };
    spec.task_template.container_spec =
        Some(ContainerSpec { image: image.to_owned(), ..ContainerSpec::default() });
    spec.task_template.restart_policy =
        Some(RestartPolicy { delay: Some(0), ..RestartPolicy::default() });
    spec.update_config = Some(UpdateConfig {
        parallelism: 2,
        monitor: 1_000_000,
        order: "stop-first".to_owned(),
        ..UpdateConfig::default()
    });
    spec
}

pub(crate) fn set_replicas(spec: &mut ServiceSpec, replicas: u64) {
    spec.mode.replicated = Some(Replicated { replicas: Some(replicas) });
}

pub(crate) fn set_image(spec: &mut ServiceSpec, image: &str) {
    spec.task_template.container_spec.as_mut().unwrap().image = image.to_owned();
}
