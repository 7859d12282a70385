//! What deciding costs: one manager, a log in memory, hollow agents. `cargo run --release -p manager --example hollow --
//! [nodes] [tasks]` (1,000 and 30,000). Prints when tasks ran after their service was made, and what it took.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people to run")]

#[allow(dead_code, reason = "tests use the rest of it")]
#[path = "../tests/support/hollow.rs"]
mod hollow;

use hollow::{Connect, Hollow};
use manager::{Clock, Log, Manager, Memory};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Change, Entry};
use types::ids::swarm_id;
use types::swarm::cluster::Cluster;
use types::swarm::node::{Node, NodeState, Role};
use types::swarm::service::{Mode, Replicated, Service, ServiceSpec};
use types::swarm::session::PeerIdentity;
use types::swarm::task::{ContainerSpec, TaskState};
use types::{ClusterId, NodeId, ServiceId};

fn node_id(number: usize) -> NodeId {
    NodeId::new(swarm_id((number as u128 + 1).to_be_bytes()))
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|word| word.parse::<usize>().ok());
    let (nodes, tasks) = (arguments.next().unwrap_or(1_000), arguments.next().unwrap_or(30_000));
    let clock = Clock::system();
    let mut cluster = Cluster { id: ClusterId::new("bench"), ..Cluster::default() };
    cluster.spec.name = "default".to_owned();
    let mut changes = vec![Change::Create(cluster.into())];
    let rows = (0..nodes).map(|number| Node { id: node_id(number), ..Node::default() });
    changes.extend(rows.map(|row| Change::Create(row.into())));
    let first = Entry::one(clock.now(), changes);
    let log = Memory::new(node_id(0), "127.0.0.1:2377", &first, clock).unchecked();
    log.lead();
    let manager = Manager::start(Arc::new(log.clone()), node_id(0));

    let began = Instant::now();
    let mut agents: Vec<Hollow> = (0..nodes).map(|number| agent(&manager, number)).collect();
    agents.iter_mut().for_each(Hollow::start);
    let ready = |log: &Memory| {
        let state = log.snapshot();
        state.nodes().iter().filter(|node| node.status.state == NodeState::Ready).count()
    };
    until(|| ready(&log) == nodes).await;
    println!("{nodes} agents ready after {:.2} s", began.elapsed().as_secs_f64());

    let mut spec = ServiceSpec { name: "web".to_owned(), ..ServiceSpec::default() };
    let replicas = Some(tasks as u64);
    spec.mode = Mode { replicated: Some(Replicated { replicas }), ..Mode::default() };
    spec.task_template.container_spec =
        Some(ContainerSpec { image: "good".to_owned(), ..ContainerSpec::default() });
    let id = ServiceId::new(swarm_id([7; 16]));
    let service = Service { id: id.clone(), spec, ..Service::default() };
    let (began, entries) = (Instant::now(), log.entries());
    log.propose(vec![vec![Change::Create(service.into())].into()]).await.unwrap();
    for share in [1, 50, 99, 100] {
        let wanted = (tasks * share).div_ceil(100);
        until(|| running(&log, &id) >= wanted).await;
        println!("{share:>3} % of {tasks} tasks run after {:.2} s", began.elapsed().as_secs_f64());
    }
    println!("{} entries", log.entries() - entries);
    println!("{}", memory());
    for agent in &mut agents {
        agent.kill().await;
    }
    manager.stop().await;
}

fn agent(manager: &Manager, number: usize) -> Hollow {
    let dispatcher = manager.dispatcher();
    let (node, cluster) = (node_id(number), ClusterId::new("bench"));
    let peer = PeerIdentity { node, cluster, role: Role::Worker };
    let connect: Connect = Arc::new(move || {
        let (outbox, messages) = tokio::sync::mpsc::channel(64);
        let stream = (outbox, dispatcher.attach(peer.clone(), messages));
        Box::pin(async move { Some(stream) })
    });
    Hollow::new(&format!("host{number}"), connect)
}

fn running(log: &Memory, id: &ServiceId) -> usize {
    let state = log.snapshot();
    let runs = |task: &&Arc<types::swarm::task::Task>| task.status.state == TaskState::Running;
    state.tasks_of_service(id).filter(runs).count()
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown");
    format!("manager and agents together: {peak}")
}
