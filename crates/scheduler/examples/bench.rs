//! How fast placement is: `cargo run --release -p scheduler --example bench`.
//!
//! Single-threaded; prints one line per question. Times are the thread's CPU time, so that a busy machine does
//! not count, and leave out the making of the objects.
#![expect(clippy::print_stdout, reason = "prints its figures")]

use nix::time::{ClockId, clock_gettime};
use scheduler::{Decision, Scheduler};
use std::sync::Arc;
use std::time::Duration;
use types::swarm::Version;
use types::swarm::node::{Node, NodeState};
use types::swarm::task::{
    Placement, PlacementPreference, ResourceRequirements, Resources, SpreadOver, Task, TaskSpec,
    TaskState,
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

fn from_empty(nodes: u64, services: u64, total: u64) {
    let mut scheduler = cluster(nodes);
    let pending = tasks(services, total / services, &spec());
    let start = Instant::now();
    let decisions = scheduler.decide(&pending, now());
    let took = start.elapsed();
    let rate = assigned(&decisions) as f64 / took.as_secs_f64();
    println!(
        "from empty: {total} tasks of {services} services onto {nodes} nodes: {took:.0?}, {rate:.0}/s"
    );
}

fn full(nodes: u64, services: u64, total: u64) {
    let mut scheduler = cluster(nodes);
    let spec = spec();
    let each = total / services;
    let pending = tasks(services, each, &spec);
    let start = Instant::now();
    let decisions = scheduler.decide(&pending, now());
    println!("filled: {} tasks on {nodes} nodes in {:.1?}", assigned(&decisions), start.elapsed());

    // Every service is asked for once first: what was filled above changed all nodes for all boards.
    let mut times = Vec::new();
    for round in 0..services {
        let one = Arc::new(task(round, each + 100_000, &spec));
        let start = Instant::now();
        scheduler.decide(std::slice::from_ref(&one), now());
        times.push(start.elapsed());
    }
    println!(
        "one task of a service whose nodes all changed: p50 {:.1?}",
        percentile(&mut times, 0.5)
    );

    let mut times = Vec::new();
    for round in 0..2000u64 {
        let one = Arc::new(task(round * 7919 % services, each + round, &spec));
        let start = Instant::now();
        let decided = scheduler.decide(std::slice::from_ref(&one), now());
        times.push(start.elapsed());
        assert_eq!(assigned(&decided), 1);
    }
    let (middle, high) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    println!(
        "one task of any of {services} services: p50 {middle:.1?}, p99 {high:.1?}, max {:.1?}",
        times[1999]
    );

    let mut times = Vec::new();
    for round in 0..100u64 {
        let one = Arc::new(task(services + round, 0, &spec));
        let start = Instant::now();
        scheduler.decide(std::slice::from_ref(&one), now());
        times.push(start.elapsed());
    }
    let (middle, high) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    println!("the first task of a new service: p50 {middle:.1?}, p99 {high:.1?}");

    failure(scheduler, &pending, &decisions, nodes);
}

fn failure(mut scheduler: Scheduler, pending: &[Arc<Task>], decisions: &[Decision], nodes: u64) {
    let mut by_node: std::collections::BTreeMap<&NodeId, Vec<&TaskId>> = Default::default();
    for decision in decisions {
        if let Decision::Assign { task, node, .. } = decision {
            by_node.entry(node).or_default().push(task);
        }
    }
    let known: std::collections::BTreeMap<_, _> =
        pending.iter().map(|task| (&task.id, task)).collect();
    let mut times = Vec::new();
    for number in (1..nodes).step_by((nodes / 50) as usize) {
        let mut down = node(number);
        down.status.state = NodeState::Down;
        let victims = by_node.get(&down.id).map(Vec::as_slice).unwrap_or_default();
        let again: Vec<_> = victims
            .iter()
            .take(100)
            .map(|id| {
                let mut task = Task::clone(known[id]);
                task.id = TaskId::new(format!("again{id}"));
                Arc::new(task)
            })
            .collect();
        let start = Instant::now();
        scheduler.set_node(down);
        let decided = scheduler.decide(&again, now());
        times.push(start.elapsed());
        assert_eq!(assigned(&decided), again.len());
    }
    let (middle, high) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    println!("a node with 100 tasks fails: p50 {middle:.1?}, p99 {high:.1?}");
}

fn main() {
    for nodes in [100, 1_000, 10_000] {
        from_empty(nodes, 1, nodes * 10);
    }
    from_empty(10_000, 100, 100_000);
    full(1_000, 100, 100_000);
    full(10_000, 1_000, 1_000_000);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
}
