//! Measures the store: a million tasks on ten thousand nodes. `cargo run --release -p store --example million`.
//!
//! Prints what applying, snapshots, lookups and bytes cost, and the memory of the process.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{Change, Entry, Store, Transaction};
use types::ids::swarm_id;
use types::swarm::node::Node;
use types::swarm::service::{Service, ServiceSpec};
use types::swarm::task::{
    ContainerSpec, ContainerStatus, NetworkAttachment, Task, TaskSpec, TaskState, TaskStatus,
};
use types::{NodeId, ServiceId, TaskId, Timestamp};

const NODES: usize = 10_000;
const SERVICES: usize = 1_000;
const TASKS: usize = 1_000_000;
/// Writes in one Raft entry.
const BATCH: usize = 1_000;

fn main() {
    let tasks: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(TASKS);
    let mut store = Store::default();
    let (services, nodes) = found(&mut store);
    say("nodes and services", Duration::ZERO, 0);
    let began = Instant::now();
    let ids = fill(&mut store, &services, &nodes, tasks);
    say("tasks created, assigned", began.elapsed(), tasks);
    let began = Instant::now();
    report(&mut store, &ids, &nodes);
    say("reports applied", began.elapsed(), tasks);
    let began = Instant::now();
    for _ in 0..1_000_000 {
        black_box(store.snapshot());
    }
    say("snapshots taken", began.elapsed(), 1_000_000);
    one_by_one(&mut store, &ids, &nodes);
    let state = store.snapshot();
    let began = Instant::now();
    let found: usize = nodes.iter().map(|node| state.tasks_of_node(node).count()).sum();
    say("tasks found by node", began.elapsed(), found);
    drop(store);
    say("memory without the kept events", Duration::ZERO, 0);
    let began = Instant::now();
    let bytes = store::encode(&state);
    say(&format!("tasks encoded, {} MB", bytes.len() / 1_000_000), began.elapsed(), tasks);
    drop(state);
    let began = Instant::now();
    let back = store::decode(&bytes).expect("what was just encoded");
    say("tasks decoded", began.elapsed(), back.tasks().len());
}

fn say(what: &str, took: Duration, count: usize) {
    let each = took.as_nanos() as usize / count.max(1);
    println!("{what}: {count} in {took:.2?}, {each} ns each; the process has {} MB", memory_mb());
}

fn memory_mb() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * 4096 / 1_000_000
}

fn id(number: usize) -> String {
    // Spread as random ids are.
    let mixed = (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    swarm_id(mixed.to_be_bytes())
}

fn found(store: &mut Store) -> (Vec<Arc<Service>>, Vec<NodeId>) {
    let nodes: Vec<NodeId> = (0..NODES).map(|n| NodeId::new(id(n))).collect();
    let mut changes: Vec<Change> = nodes
        .iter()
        .map(|id| Change::Create(Node { id: id.clone(), ..Node::default() }.into()))
        .collect();
    for number in 0..SERVICES {
        let image = format!("registry.example.com/team/app-{number}:1.2.3");
        let container = ContainerSpec {
            image,
            env: vec!["MODE=production".to_owned(), "LOG_LEVEL=info".to_owned()],
            ..ContainerSpec::default()
        };
        let task_template = TaskSpec { container_spec: Some(container), ..TaskSpec::default() };
        let name = format!("app-{number}");
        let spec = ServiceSpec { name, task_template, ..ServiceSpec::default() };
        let id = ServiceId::new(id(NODES + number));
        changes.push(Change::Create(Service { id, spec, ..Service::default() }.into()));
    }
    let applied = store.apply(&Entry::one(Timestamp(1), changes));
    assert_eq!(applied.refused, vec![]);
    (store.state().services().iter().cloned().collect(), nodes)
}

fn fill(
    store: &mut Store,
    services: &[Arc<Service>],
    nodes: &[NodeId],
    tasks: usize,
) -> Vec<TaskId> {
    let specs: Vec<Arc<TaskSpec>> =
        services.iter().map(|service| Arc::new(service.spec.task_template.clone())).collect();
    let ids: Vec<TaskId> = (0..tasks).map(|n| TaskId::new(id(NODES + SERVICES + n))).collect();
    for (batch, chunk) in ids.chunks(BATCH).enumerate() {
        let changes = chunk.iter().enumerate().map(|(at, id)| {
            let number = batch * BATCH + at;
            let service = &services[number % SERVICES];
            let attachment = NetworkAttachment {
                network: "0123456789abcdefghijklmno".to_owned(),
                addresses: vec![format!(
                    "10.{}.{}.{}/8",
                    number >> 16,
                    number >> 8 & 255,
                    number & 255
                )],
                ..NetworkAttachment::default()
            };
            let task = Task {
                id: id.clone(),
                spec: specs[number % SERVICES].clone(),
                service_id: service.id.clone(),
                slot: (number / SERVICES + 1) as u64,
                node_id: nodes[number % NODES].clone(),
                desired_state: TaskState::Running,
                networks_attachments: vec![attachment],
                ..Task::default()
            };
            Change::Create(task.into())
        });
        store.apply(&Entry::one(Timestamp(2), changes.collect()));
    }
    assert_eq!(store.state().tasks().len(), tasks);
    ids
}

fn running(number: usize) -> TaskStatus {
    TaskStatus {
        timestamp: Timestamp(3),
        state: TaskState::Running,
        message: "started".to_owned(),
        container_status: Some(ContainerStatus {
            container_id: format!("{number:064x}"),
            pid: 4242,
            exit_code: 0,
        }),
        ..TaskStatus::default()
    }
}

fn report(store: &mut Store, ids: &[TaskId], nodes: &[NodeId]) {
    for (batch, chunk) in ids.chunks(BATCH).enumerate() {
        let transactions = chunk.iter().enumerate().map(|(at, id)| {
            let number = batch * BATCH + at;
            let node = nodes[number % NODES].clone();
            let change = Change::Report { task: id.clone(), node, status: running(number) };
            Transaction { changes: vec![change] }
        });
        let applied =
            store.apply(&Entry { at: Timestamp(3), transactions: transactions.collect() });
        assert_eq!(applied.refused, vec![]);
    }
}

/// Single writes while somebody holds a snapshot of the version before: the dearest case.
fn one_by_one(store: &mut Store, ids: &[TaskId], nodes: &[NodeId]) {
    let mut times: Vec<Duration> = Vec::new();
    for (number, id) in ids.iter().enumerate().step_by(ids.len() / 10_000 + 1) {
        let held = store.snapshot();
        let status = TaskStatus { message: "healthy".to_owned(), ..running(number) };
        let node = nodes[number % NODES].clone();
        let entry =
            Entry::one(Timestamp(4), vec![Change::Report { task: id.clone(), node, status }]);
        let began = Instant::now();
        black_box(store.apply(&entry));
        times.push(began.elapsed());
        drop(held);
    }
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100];
    println!("single writes beside a held snapshot: p50 {:?}, p99 {:?}", at(50), at(99));
}
