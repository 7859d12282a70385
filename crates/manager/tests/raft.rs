//! The manager over the real log: what it decided is there after a restart, and it goes on.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not there")]

#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "support/hollow.rs"]
mod hollow;

use async_trait::async_trait;
use bytes::Bytes;
use hollow::{Connect, Hollow};
use manager::Manager;
use raft::{Keys, Options, Peer, Peers, Raft, Tuning};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use store::Change;
use types::ids::swarm_id;
use types::swarm::node::Role;
use types::swarm::request::InitRequest;
use types::swarm::service::{Mode, Replicated, Service, ServiceSpec};
use types::swarm::session::PeerIdentity;
use types::swarm::task::{ContainerSpec, TaskState};
use types::{ClusterId, NodeId, ServiceId, Timestamp};

/// A cluster of one calls nobody.
struct Nobody;

#[async_trait]
impl Peers for Nobody {
    async fn call(&self, _to: &Peer, _request: Bytes) -> std::io::Result<Bytes> {
        Err(std::io::ErrorKind::NotConnected.into())
    }
}

fn me() -> PeerIdentity {
    let (node, cluster) = (NodeId::new(swarm_id([1; 16])), ClusterId::new(swarm_id([2; 16])));
    PeerIdentity { node, cluster, role: Role::Manager }
}

fn options(dir: &Path, keys: Keys) -> Options {
    Options {
        dir: dir.join("raft"),
        node: me().node,
        addr: "127.0.0.1:2377".to_owned(),
        keys,
        peers: Arc::new(Nobody),
        tuning: Tuning::default(),
    }
}

fn agent(manager: &Manager) -> Hollow {
    let dispatcher = manager.dispatcher();
    let connect: Connect = Arc::new(move || {
        let (outbox, messages) = tokio::sync::mpsc::channel(64);
        let stream = (outbox, dispatcher.attach(me(), messages));
        Box::pin(async move { Some(stream) })
    });
    Hollow::new("alone", connect)
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(120), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn running(raft: &Raft, id: &ServiceId) -> usize {
    let state = raft.snapshot();
    let runs = |task: &&Arc<types::swarm::task::Task>| {
        task.status.state == TaskState::Running && task.desired_state == TaskState::Running
    };
    state.tasks_of_service(id).filter(runs).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_goes_on_from_its_disk() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("raft")).unwrap();
    let keys = Keys::create(&dir.path().join("keys"), "").unwrap();
    let now = Timestamp::from(SystemTime::now());
    let record = ca::found(now).unwrap();
    let csr = ca::NodeKey::generate().unwrap().request().unwrap();
    let issued = ca::issue(&record, &csr, &me(), Duration::ZERO, now).unwrap();
    let addr = "127.0.0.1:2377".parse().unwrap();
    let request = InitRequest::default();
    let first = manager::found(&request, &me(), record, &issued, addr, now).unwrap();
    let raft = Raft::bootstrap(options(dir.path(), keys), first).await.unwrap();
    let manager = Manager::start(Arc::new(raft.clone()), me().node);
    let mut node = agent(&manager);
    node.start();

    let id = ServiceId::new(swarm_id([7; 16]));
    let mut spec = ServiceSpec { name: "web".to_owned(), ..ServiceSpec::default() };
    spec.mode = Mode { replicated: Some(Replicated { replicas: Some(5) }), ..Mode::default() };
    let image = "good".to_owned();
    spec.task_template.container_spec = Some(ContainerSpec { image, ..ContainerSpec::default() });
    let service = Service { id: id.clone(), spec, ..Service::default() };
    let change = Change::Create(service.into());
    raft.propose(vec![vec![change].into()]).await.unwrap().remove(0).unwrap();
    eventually("five run", || running(&raft, &id) == 5).await;
    node.kill().await;
    manager.stop().await;
    drop((node, manager)); // both hold the log
    raft.shutdown().await;

    let keys = Keys::load(&dir.path().join("keys"), "").unwrap();
    let raft = Raft::open(options(dir.path(), keys)).await.unwrap();
    let manager = Manager::start(Arc::new(raft.clone()), me().node);
    let mut node = agent(&manager);
    node.start();
    eventually("the service is there", || raft.snapshot().services().get(id.as_str()).is_some())
        .await;
    let mut written = false;
    while !written {
        let mut next = Service::clone(raft.snapshot().services().get(id.as_str()).unwrap());
        next.spec.mode.replicated = Some(Replicated { replicas: Some(8) });
        let change = Change::Update(next.into());
        written = raft.propose(vec![vec![change].into()]).await.unwrap().remove(0).is_ok();
    }
    eventually("eight run", || running(&raft, &id) == 8).await;
    node.kill().await;
    manager.stop().await;
    drop((node, manager));
    raft.shutdown().await;
}
