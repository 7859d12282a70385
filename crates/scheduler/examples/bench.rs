//! How fast placement is, and how much memory a full cluster takes: `cargo xtask bench scheduler`.
//!
//! Single-threaded; prints a table with one line per question. Times are the thread's CPU time, so that a busy
//! machine does not count, and leave out the making of the objects.
#![expect(clippy::print_stdout, reason = "prints its figures")]

use nix::time::{ClockId, clock_gettime};
use scheduler::{Decision, Scheduler};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Change, Entry, Snapshot, Store};
use types::swarm::Version;
use types::swarm::node::{Node, NodeState};
use types::swarm::service::Service;
use types::swarm::task::{
    ContainerStatus, NetworkAttachment, Placement, PlacementPreference, ResourceRequirements,
    Resources, SpreadOver, Task, TaskSpec, TaskState, TaskStatus,
};
use types::{NodeId, ServiceId, TaskId, Timestamp};

/// A point in the thread's CPU time.
struct Instant(Duration);

impl Instant {
    fn now() -> Self {
        let clock = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
        Instant(clock.map_or(Duration::ZERO, Duration::from))
    }
    fn elapsed(&self) -> Duration {
        Instant::now().0.saturating_sub(self.0)
    }
}

const GIB: i64 = 1 << 30;

fn id(kind: char, number: u64) -> String {
    // Scattered like random ids, so that neighbours in time are not neighbours in order.
    format!("{kind}{:024x}", u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn node(number: u64) -> Node {
    let mut node = Node { id: NodeId::new(id('n', number)), ..Node::default() };
    node.status.state = NodeState::Ready;
    node.description.hostname = format!("host-{number}");
    node.description.platform.os = "linux".to_owned();
    node.description.platform.architecture = "x86_64".to_owned();
    let resources = &mut node.description.resources;
    (resources.nano_cpus, resources.memory_bytes) = (64_000_000_000, 256 * GIB);
    let labels = [
        ("zone", format!("z{}", number % 5)),
        ("rack", format!("r{}", number % 200)),
        ("disk", if number.is_multiple_of(10) { "hdd" } else { "ssd" }.to_owned()),
    ];
    node.spec.labels = labels.map(|(key, value)| (key.to_owned(), value)).into();
    node
}

fn spec() -> Arc<TaskSpec> {
    let over = |label: &str| PlacementPreference {
        spread: Some(SpreadOver { spread_descriptor: format!("node.labels.{label}") }),
    };
    let reserved =
        Resources { nano_cpus: 100_000_000, memory_bytes: GIB / 4, ..Resources::default() };
    Arc::new(TaskSpec {
        placement: Some(Placement {
            constraints: vec![
                "node.labels.disk == ssd".to_owned(),
                "node.role != manager".to_owned(),
            ],
            preferences: vec![over("zone"), over("rack")],
            ..Placement::default()
        }),
        resources: Some(ResourceRequirements { reservations: Some(reserved), limits: None }),
        ..TaskSpec::default()
    })
}

fn task(service: u64, number: u64, spec: &Arc<TaskSpec>) -> Task {
    Task {
        id: TaskId::new(id('t', service << 32 | number)),
        service_id: ServiceId::new(id('s', service)),
        slot: number + 1,
        spec: Arc::clone(spec),
        spec_version: Some(Version { index: 1 }),
        desired_state: TaskState::Running,
        ..Task::default()
    }
}

fn tasks(services: u64, each: u64, spec: &Arc<TaskSpec>) -> Vec<Arc<Task>> {
    let of = |service| (0..each).map(move |number| task(service, number, spec));
    (0..services).flat_map(of).map(Arc::new).collect()
}

fn cluster(nodes: u64) -> Scheduler {
    let mut scheduler = Scheduler::new();
    for number in 0..nodes {
        scheduler.set_node(node(number));
    }
    scheduler
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1_000_000)
}

fn assigned(decisions: &[Decision]) -> usize {
    decisions.iter().filter(|decision| matches!(decision, Decision::Assign { .. })).count()
}

fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * share) as usize]
}

fn line(question: &str, asked: &str, measured: &str) {
    println!("| {question} | {asked} | {measured} |");
}

/// p50, p99 and the worst.
fn spread(times: &mut [Duration]) -> String {
    let (middle, high) = (percentile(times, 0.5), percentile(times, 0.99));
    format!("p50 {middle:.1?}, p99 {high:.1?}, worst {:.1?}", times[times.len() - 1])
}

/// Placements a second, the best of three runs.
fn from_empty(nodes: u64, services: u64, total: u64) -> f64 {
    let run = |_| {
        let mut scheduler = cluster(nodes);
        let pending = tasks(services, total / services, &spec());
        let start = Instant::now();
        let decisions = scheduler.decide(&pending, now());
        let took = start.elapsed();
        assert_eq!(assigned(&decisions) as u64, total);
        total as f64 / took.as_secs_f64()
    };
    (0..3).map(run).fold(0.0, f64::max)
}

/// Asks for one task `rounds` times, each time of another service.
fn one_each(scheduler: &mut Scheduler, rounds: u64, of: impl Fn(u64) -> Task) -> Vec<Duration> {
    let one = |round| {
        let task = Arc::new(of(round));
        let start = Instant::now();
        let decided = scheduler.decide(std::slice::from_ref(&task), now());
        let took = start.elapsed();
        assert_eq!(assigned(&decided), 1);
        took
    };
    (0..rounds).map(one).collect()
}

/// The scheduler's part of a full cluster: `total` tasks of `services` services, placed by it and kept in a
/// store as a manager keeps them.
fn full(nodes: u64, services: u64, total: u64) {
    let where_ = format!("{total} tasks of {services} services on {nodes} nodes");
    let mut scheduler = cluster(nodes);
    let spec = spec();
    let each = total / services;
    let mut store = filled_store(nodes, services, &spec);
    let mut by_node: BTreeMap<NodeId, Vec<TaskId>> = BTreeMap::new();
    let mut took = Duration::ZERO;
    // A few services at a time, as users come: what is decided is committed before the next.
    for first in (0..services).step_by(10) {
        let pending: Vec<Arc<Task>> = (first..services.min(first + 10))
            .flat_map(|service| (0..each).map(move |number| (service, number)))
            .map(|(service, number)| Arc::new(task(service, number, &spec)))
            .collect();
        let start = Instant::now();
        let decisions = scheduler.decide(&pending, now());
        took += start.elapsed();
        commit(&mut store, &pending, decisions, &mut by_node);
    }
    let full_memory = memory();
    let state = store.snapshot();
    assert_eq!(state.tasks().len() as u64, total);
    drop(store);
    line(&format!("{where_}: placed in"), "", &format!("{took:.1?}"));

    let mut times = one_each(&mut scheduler, services, |round| task(round, each + 100_000, &spec));
    line("one task there, of a service whose nodes have all changed", "", &spread(&mut times));
    let mut times =
        one_each(&mut scheduler, 2000, |round| task(round * 7919 % services, each + round, &spec));
    line("one task there, of any service", "p99 ≤ 1 ms", &spread(&mut times));
    let mut times = one_each(&mut scheduler, 200, |round| task(services + round, 0, &spec));
    line("the first task of a new service there", "p99 ≤ 1 ms", &spread(&mut times));
    let mut times = failure(&mut scheduler, &state, &by_node, nodes);
    line("a node there fails, its 100 tasks placed anew", "p99 ≤ 20 ms", &spread(&mut times));
    line(
        &format!("memory: store and scheduler with {where_}"),
        "≤ 2 GB",
        &format!("{:.2} GB, at the peak {:.2} GB", full_memory.0, memory().1),
    );
}

fn filled_store(nodes: u64, services: u64, spec: &Arc<TaskSpec>) -> Store {
    let mut store = Store::default();
    let mut changes: Vec<Change> =
        (0..nodes).map(|number| Change::Create(node(number).into())).collect();
    changes.extend((0..services).map(|number| {
        let mut service = Service { id: ServiceId::new(id('s', number)), ..Service::default() };
        service.spec.name = format!("app-{number}");
        service.spec.task_template = TaskSpec::clone(spec);
        Change::Create(service.into())
    }));
    let applied = store.apply(&Entry::one(now(), changes));
    assert_eq!(applied.refused, vec![]);
    store
}

/// Writes the tasks with their nodes, with an address each and as running, in entries of 1,000.
fn commit(
    store: &mut Store,
    pending: &[Arc<Task>],
    decisions: Vec<Decision>,
    by_node: &mut BTreeMap<NodeId, Vec<TaskId>>,
) {
    let known: BTreeMap<&TaskId, &Arc<Task>> =
        pending.iter().map(|task| (&task.id, task)).collect();
    let mut changes = Vec::new();
    for decision in decisions {
        let Decision::Assign { task, node, .. } = decision else { continue };
        let mut row = Task::clone(known[&task]);
        row.node_id = node.clone();
        row.status = running();
        row.networks_attachments = vec![NetworkAttachment {
            network: "0123456789abcdefghijklmno".to_owned(),
            addresses: vec!["10.200.200.200/8".to_owned()],
            ..NetworkAttachment::default()
        }];
        by_node.entry(node).or_default().push(task);
        changes.push(Change::Create(row.into()));
    }
    for chunk in changes.chunks(1000) {
        let applied = store.apply(&Entry::one(now(), chunk.to_vec()));
        assert_eq!(applied.refused, vec![]);
    }
}

fn running() -> TaskStatus {
    TaskStatus {
        timestamp: now(),
        state: TaskState::Running,
        message: "started".to_owned(),
        container_status: Some(ContainerStatus {
            container_id: format!("{:064x}", 4242),
            pid: 4242,
            exit_code: 0,
        }),
        ..TaskStatus::default()
    }
}

/// Fifty nodes go down, one after the other.
fn failure(
    scheduler: &mut Scheduler,
    state: &Snapshot,
    by_node: &BTreeMap<NodeId, Vec<TaskId>>,
    nodes: u64,
) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in (1..nodes).step_by((nodes / 50) as usize) {
        let mut down = node(number);
        down.status.state = NodeState::Down;
        let victims = by_node.get(&down.id).map(Vec::as_slice).unwrap_or_default();
        let again = |id: &TaskId| {
            let mut task =
                state.tasks().get(id.as_str()).map(|row| Task::clone(row)).unwrap_or_default();
            task.id = TaskId::new(format!("again{id}"));
            task.node_id = NodeId::default();
            task.status = TaskStatus::default();
            Arc::new(task)
        };
        let again: Vec<Arc<Task>> = victims.iter().take(100).map(again).collect();
        let start = Instant::now();
        scheduler.set_node(down);
        let decided = scheduler.decide(&again, now());
        times.push(start.elapsed());
        assert_eq!(assigned(&decided), again.len());
    }
    times
}

/// Resident memory in GB: now, and at the most.
fn memory() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_ascii_whitespace().nth(1)?.parse::<f64>().ok()
    };
    let gigabytes = |name| field(name).unwrap_or(0.0) * 1024.0 / 1e9;
    (gigabytes("VmRSS"), gigabytes("VmHWM"))
}

fn main() {
    println!("| question | asked | measured |\n|---|---|---|");
    // First, while the process is fresh: the memory's peak is its own.
    full(10_000, 1_000, 1_000_000);
    let rate = |nodes, services, total| format!("{:.0}/s", from_empty(nodes, services, total));
    let asked = "≥ 200,000/s";
    for (services, whose) in [(1, "one service"), (100, "100 services"), (1_000, "1,000 services")]
    {
        let question = format!("100,000 tasks of {whose} onto 10,000 empty nodes");
        line(&question, asked, &rate(10_000, services, 100_000));
    }
    let mut first = None;
    for nodes in [100, 1_000, 10_000u64] {
        let cost = 1e9 / from_empty(nodes, 10, 50_000);
        let first = *first.get_or_insert(cost);
        let log = (nodes as f64).ln() / 100f64.ln();
        let question = format!("one placement of 50,000 onto {nodes} nodes");
        let asked = format!("≤ {:.0} ns (log)", first * log);
        line(&question, &asked, &format!("{cost:.0} ns"));
    }
}
