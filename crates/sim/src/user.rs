//! Users: what a cluster is founded with, and what they ask of it while it burns.

use crate::agent::Agent;
use crate::fault::Trouble;
use crate::rng::Rng;
use crate::world::{Happening, World};
use orchestrator::{accept_spec, roll_back};
use std::sync::Arc;
use store::{Change, Entry, Kind, Snapshot};
use types::ids::swarm_id;
use types::network::CreateRequest;
use types::swarm::cluster::{Cluster, Orchestration};
use types::swarm::extension::{Capacity, DependencyCondition, Overlap, Rebalance, Schedule};
use types::swarm::network::ClusterNetwork;
use types::swarm::node::{Availability, Node, Role};
use types::swarm::placement::PlacementExtensions;
use types::swarm::secret::{Config, ConfigSpec, Secret, SecretSpec};
use types::swarm::service::{
    EndpointSpec, Global, Mode, NetworkAttachmentConfig, PortConfig, Replicated, ReplicatedJob,
    Service, ServiceSpec, UpdateConfig,
};
use types::swarm::task::{
    ConfigReference, ContainerSpec, PullOptions, ResourceRequirements, Resources, RestartPolicy,
    SecretReference, TaskSpec,
};
use types::{ClusterId, ConfigId, NetworkId, NodeId, SecretId, ServiceId, Timestamp};

const SECOND: i64 = 1_000_000_000;
const HISTORY_LIMIT: i64 = 3;
pub(crate) const NETWORKS: [&str; 2] = ["front", "back"];
/// A label of nodes: `a` or `b`.
pub(crate) const ZONE: &str = "zone";
/// As constraints name it.
pub(crate) const ROLE: &str = "node.role";
/// Of each node.
pub(crate) const CPUS: i64 = 4;
/// What a task reserves, if it reserves.
const CPU: i64 = 1_000_000_000;
/// That ever were.
const MOST_NODES: u64 = 8;

/// A cluster, its nodes, networks, a secret, a config, and the first services.
pub(crate) fn found(world: &mut World) {
    let mut cluster = Cluster { id: ClusterId::new("cluster"), ..Cluster::default() };
    cluster.spec.name = "default".to_owned();
    cluster.spec.orchestration =
        Orchestration { task_history_retention_limit: Some(HISTORY_LIMIT) };
    let mut changes = vec![Change::Create(cluster.into()), secret(0), config(0)];
    changes.extend(NETWORKS.iter().map(|name| network(name)));
    for number in 0..world.rng.between(2, 6) {
        changes.push(Change::Create(node(number).into()));
        world.agents.insert(node(number).id.to_string(), Agent::new());
    }
    let now = world.clock();
    world.write(&Entry::one(now, changes));
    for number in 0..world.rng.between(1, 4) {
        let state = world.store.snapshot();
        let service = create(&state, &mut world.rng, number);
        world.write(&Entry::one(now, vec![service]));
    }
}

pub(crate) fn network(name: &str) -> Change {
    let spec = CreateRequest { name: name.to_owned(), ..CreateRequest::default() };
    let network = ClusterNetwork { id: NetworkId::new(name), spec, ..ClusterNetwork::default() };
    Change::Create(network.into())
}

fn secret(number: u64) -> Change {
    let id = SecretId::new(format!("secret{number}"));
    let spec = SecretSpec { name: id.to_string(), ..SecretSpec::default() };
    Change::Create(Secret { id, spec, ..Secret::default() }.into())
}

fn config(number: u64) -> Change {
    let id = ConfigId::new(format!("config{number}"));
    let spec = ConfigSpec { name: id.to_string(), ..ConfigSpec::default() };
    Change::Create(Config { id, spec, ..Config::default() }.into())
}

/// Odd ones lie in another zone; the first is a manager.
pub(crate) fn node(number: u64) -> Node {
    let name = format!("node{number}");
    let mut node = Node { id: NodeId::new(name.clone()), ..Node::default() };
    node.spec.labels.insert(ZONE.to_owned(), zone(number).to_owned());
    node.spec.role = if number == 0 { Role::Manager } else { Role::Worker };
    node.description.hostname = name;
    node.description.resources.nano_cpus = CPUS * CPU;
    node
}

fn zone(number: u64) -> &'static str {
    if number.is_multiple_of(2) { "a" } else { "b" }
}

/// One thing that a user may ask for.
pub(crate) fn act(world: &mut World) {
    let now = world.clock();
    let number = world.now;
    let what = world.rng.between(0, 26);
    world.say(|| format!("USER {what}"));
    match what {
        0 | 1 => world.request(|state, rng| vec![create(state, rng, number)]),
        2..=4 => world.request(|state, rng| change(state, rng, scale)),
        5..=8 => world.request(|state, rng| change(state, rng, update)),
        9 => world.request(|state, rng| {
            change(state, rng, |spec, _| spec.task_template.force_update += 1)
        }),
        10 => {
            world.request(|state, rng| pick(state, rng).map_or_else(Vec::new, |it| back(it, now)))
        }
        11 => world.request(|state, rng| change(state, rng, pause)),
        12 => world.request(|state, rng| {
            let service = pick(state, rng);
            service.map(|s| removal(Kind::Service, s.id.as_str())).into_iter().collect()
        }),
        13..=15 => world.request(availability),
        16 => world.request(|state, rng| change(state, rng, configure)),
        17 => join(world),
        18 => leave(world),
        19 => world.request(relabel),
        20 => world.request(|state, rng| {
            let secrets: Vec<String> = state.secrets().iter().map(|s| s.id.to_string()).collect();
            let gone = rng.pick(&secrets).map(|id| removal(Kind::Secret, id));
            gone.into_iter().chain([secret(number)]).collect()
        }),
        21 => world.request(|state, rng| {
            let configs: Vec<String> = state.configs().iter().map(|c| c.id.to_string()).collect();
            let gone = rng.pick(&configs).map(|id| removal(Kind::Config, id));
            gone.into_iter().chain([config(number)]).collect()
        }),
        22 | 23 => appoint(world),
        24 => world.request(|state, rng| change(state, rng, renew)),
        _ => world.request(|state, rng| change(state, rng, place)),
    }
}

pub(crate) fn removal(kind: Kind, id: &str) -> Change {
    Change::Remove { kind, id: id.to_owned(), version: None }
}

/// Another machine joins.
pub(crate) fn join(world: &mut World) {
    let number = world.agents.len() as u64;
    if number >= MOST_NODES {
        return;
    }
    let node = node(number);
    let id = node.id.to_string();
    if world.leader.is_none() {
        return;
    }
    world.agents.insert(id.clone(), Agent::new());
    world.after(0, Happening::Heartbeat { node: id, boot: 0 });
    world.request(|_, _| vec![Change::Create(node.into())]);
}

/// A machine leaves for good, and its node is removed, if a leader hears of it; the first one stays.
fn leave(world: &mut World) {
    let here: Vec<String> = world.agents.iter().skip(1).map(|(id, _)| id.clone()).collect();
    let Some(id) = world.rng.pick(&here).cloned() else { return };
    if let Some(agent) = world.agents.get_mut(&id) {
        agent.crash(true);
        agent.removed = true;
    }
    world.request(|state, _| {
        let node = state.nodes().get(&id).map(|_| removal(Kind::Node, &id));
        node.into_iter().collect()
    });
}

/// A node moves to another zone: what runs there may not fit any more.
fn relabel(state: &Snapshot, rng: &mut Rng) -> Vec<Change> {
    let nodes: Vec<&Arc<Node>> = state.nodes().iter().collect();
    let Some(node) = rng.pick(&nodes) else { return Vec::new() };
    let mut row = node.as_ref().clone();
    row.spec.labels.insert(ZONE.to_owned(), zone(rng.between(0, 2)).to_owned());
    vec![Change::Update(row.into())]
}

/// A node is promoted or demoted; the first one stays a manager. Where the demoted one leads, another takes over.
fn appoint(world: &mut World) {
    let demoted = world.rng.chance(50);
    world.request(|state, rng| {
        let nodes: Vec<&Arc<Node>> = state.nodes().iter().skip(1).collect();
        let Some(node) = rng.pick(&nodes) else { return Vec::new() };
        let mut row = node.as_ref().clone();
        row.spec.role = if demoted { Role::Worker } else { Role::Manager };
        vec![Change::Update(row.into())]
    });
    if demoted && world.rng.chance(30) {
        let soon = world.rng.between(0, 200);
        world.after(soon, Happening::Trouble(Trouble::LeaderGoes));
    }
}

/// The registry's credential alone: no task makes way for it.
fn renew(spec: &mut ServiceSpec, rng: &mut Rng) {
    let registry_auth = rng.between(0, 1_000).to_string();
    if let Some(container) = &mut spec.task_template.container_spec {
        container.pull_options = Some(PullOptions { registry_auth });
    }
}

fn create(state: &Snapshot, rng: &mut Rng, number: u64) -> Change {
    let secrets: Vec<String> = state.secrets().iter().map(|s| s.id.to_string()).collect();
    let secret = rng.pick(&secrets).filter(|_| rng.clone().chance(20)).map(|id| SecretReference {
        secret_id: id.clone(),
        secret_name: id.clone(),
        ..SecretReference::default()
    });
    let configs: Vec<String> = state.configs().iter().map(|c| c.id.to_string()).collect();
    let config = rng.pick(&configs).filter(|_| rng.clone().chance(20)).map(|id| ConfigReference {
        config_id: id.clone(),
        config_name: id.clone(),
        ..ConfigReference::default()
    });
    let container = ContainerSpec {
        image: image(rng, number),
        secrets: secret.into_iter().collect(),
        configs: config.into_iter().collect(),
        ..ContainerSpec::default()
    };
    let restart = RestartPolicy {
        condition: if rng.chance(8) { "on-failure".to_owned() } else { String::new() },
        delay: Some(i64::try_from(rng.between(0, 6)).unwrap_or(0) * SECOND),
        max_attempts: rng.chance(8).then_some(3),
        ..RestartPolicy::default()
    };
    let mut spec = ServiceSpec {
        name: format!("service{number}"),
        task_template: TaskSpec {
            container_spec: Some(container),
            restart_policy: Some(restart),
            networks: networks(rng),
            ..TaskSpec::default()
        },
        mode: mode(rng),
        ..ServiceSpec::default()
    };
    configure(&mut spec, rng);
    if rng.chance(30) {
        place(&mut spec, rng);
    }
    publish(&mut spec, rng);
    wish(&mut spec, state, rng);
    if is_job(&spec.mode)
        && let Some(container) = &mut spec.task_template.container_spec
    {
        container.image = "job".to_owned();
    }
    let id = ServiceId::new(swarm_id(rng.id()));
    Change::Create(Service { id, spec, ..Service::default() }.into())
}

fn networks(rng: &mut Rng) -> Vec<NetworkAttachmentConfig> {
    let attach = |name: &&str| NetworkAttachmentConfig {
        target: (*name).to_owned(),
        ..NetworkAttachmentConfig::default()
    };
    NETWORKS.iter().filter(|_| rng.chance(35)).map(attach).collect()
}

fn publish(spec: &mut ServiceSpec, rng: &mut Rng) {
    let (mode, published) = match rng.between(0, 10) {
        0 | 1 => ("host", 8080),
        2 => ("ingress", 0),
        3 => ("ingress", 8081),
        _ => return,
    };
    let port = PortConfig {
        protocol: "tcp".to_owned(),
        target_port: 80,
        published_port: published,
        publish_mode: mode.to_owned(),
        ..PortConfig::default()
    };
    spec.endpoint_spec = Some(EndpointSpec { ports: vec![port], ..EndpointSpec::default() });
}

/// Where it may run: a zone, managers or workers, a number for each node, Marathon's constraints, reserved CPUs with a priority.
fn place(spec: &mut ServiceSpec, rng: &mut Rng) {
    let template = &mut spec.task_template;
    let holds = if rng.chance(50) { "==" } else { "!=" };
    let wanted = if rng.chance(70) {
        format!("node.labels.{ZONE}{holds}a")
    } else {
        format!("{ROLE}{holds}manager")
    };
    let placement = template.placement.get_or_insert_default();
    placement.constraints = if rng.chance(50) { vec![wanted] } else { Vec::new() };
    placement.max_replicas = if rng.chance(20) { rng.between(1, 3) } else { 0 };
    let mut beyond = PlacementExtensions::default();
    if rng.chance(20) {
        let words: &[&str] =
            if rng.chance(50) { &["hostname", "UNIQUE"] } else { &[ZONE, "MAX_PER", "2"] };
        beyond.constraints = vec![words.iter().map(|word| (*word).to_owned()).collect()];
    }
    if rng.chance(50) {
        let reservations = Resources { nano_cpus: CPU, ..Resources::default() };
        let reserved =
            ResourceRequirements { reservations: Some(reservations), ..Default::default() };
        template.resources = Some(reserved);
        beyond.priority = i32::try_from(rng.between(0, 3)).unwrap_or(0);
        beyond.preempt = rng.chance(60);
    }
    spec.sampan.get_or_insert_default().placement = Some(beyond);
}

/// What Docker lacks.
fn wish(spec: &mut ServiceSpec, state: &Snapshot, rng: &mut Rng) {
    let services: Vec<&Arc<Service>> = state.services().iter().collect();
    let needed = rng.pick(&services).map(|service| service.spec.name.clone());
    let replicated = spec.mode.replicated.is_some();
    let scheduled = is_job(&spec.mode) && rng.chance(50);
    let wishes = spec.sampan.get_or_insert_default();
    if rng.chance(15) {
        wishes.rebalance = Some(Rebalance { budget: 1, cool_down: Some(20 * SECOND) });
    }
    if replicated && rng.chance(15) {
        wishes.capacity = Some(Capacity {
            minimum_health: *rng.pick(&[0.5, 0.8, 1.0]).unwrap_or(&1.0),
            maximum_over: *rng.pick(&[0.0, 0.3, 1.0]).unwrap_or(&1.0),
        });
    }
    if rng.chance(10) {
        wishes.down_grace = Some(i64::try_from(rng.between(0, 60)).unwrap_or(0) * SECOND);
    }
    if let Some(name) = needed.filter(|_| rng.chance(25)) {
        let condition = match rng.between(0, 5) {
            0 | 1 => DependencyCondition::Started,
            2 => DependencyCondition::Completed,
            _ => DependencyCondition::Healthy,
        };
        wishes.depends_on.insert(name, condition);
    }
    if scheduled {
        let overlap = [Overlap::Allow, Overlap::Forbid, Overlap::Replace];
        wishes.schedule = Some(Schedule {
            cron: if rng.chance(50) { "* * * * *" } else { "*/2 * * * *" }.to_owned(),
            overlap: *rng.pick(&overlap).unwrap_or(&Overlap::Forbid),
            ..Schedule::default()
        });
    }
}

fn mode(rng: &mut Rng) -> Mode {
    match rng.between(0, 10) {
        0 | 1 => Mode { global: Some(Global {}), ..Mode::default() },
        2 => {
            let job = ReplicatedJob {
                max_concurrent: Some(rng.between(1, 3)),
                total_completions: Some(rng.between(1, 5)),
            };
            Mode { replicated_job: Some(job), ..Mode::default() }
        }
        3 => Mode { global_job: Some(Global {}), ..Mode::default() },
        _ => {
            let replicas = Some(rng.between(0, 7));
            Mode { replicated: Some(Replicated { replicas }), ..Mode::default() }
        }
    }
}

pub(crate) fn is_job(mode: &Mode) -> bool {
    mode.replicated_job.is_some() || mode.global_job.is_some()
}

fn image(rng: &mut Rng, number: u64) -> String {
    let script = match rng.between(0, 16) {
        0 => "bad",
        1 => "sick",
        2 => "crash",
        3 => "gone",
        4 => "slow",
        5 => "stubborn",
        6..=8 => "well",
        _ => "good",
    };
    format!("{script}:{number}")
}

fn configure(spec: &mut ServiceSpec, rng: &mut Rng) {
    if is_job(&spec.mode) {
        return;
    }
    spec.update_config = rng.chance(80).then(|| update_config(rng));
    spec.rollback_config = rng.chance(50).then(|| update_config(rng));
}

fn update_config(rng: &mut Rng) -> UpdateConfig {
    let action = *rng.pick(&["pause", "continue", "rollback"]).unwrap_or(&"pause");
    let order = *rng.pick(&["stop-first", "start-first"]).unwrap_or(&"stop-first");
    UpdateConfig {
        parallelism: rng.between(0, 4),
        delay: i64::try_from(rng.between(0, 10)).unwrap_or(0) * SECOND,
        failure_action: action.to_owned(),
        monitor: i64::try_from(rng.between(0, 20)).unwrap_or(0) * SECOND,
        max_failure_ratio: if rng.chance(50) { 0.0 } else { 0.4 },
        order: order.to_owned(),
    }
}

fn scale(spec: &mut ServiceSpec, rng: &mut Rng) {
    if let Some(replicated) = &mut spec.mode.replicated {
        replicated.replicas = Some(rng.between(0, 8));
    }
}

fn update(spec: &mut ServiceSpec, rng: &mut Rng) {
    let number = rng.between(0, 1_000);
    let job = is_job(&spec.mode);
    if let Some(container) = &mut spec.task_template.container_spec {
        container.image = if job { format!("job:{number}") } else { image(rng, number) };
    }
}

fn pause(spec: &mut ServiceSpec, _: &mut Rng) {
    let wishes = spec.sampan.get_or_insert_default();
    wishes.paused = !wishes.paused;
}

fn pick<'a>(state: &'a Snapshot, rng: &mut Rng) -> Option<&'a Arc<Service>> {
    let services: Vec<&Arc<Service>> = state.services().iter().collect();
    rng.pick(&services).copied()
}

fn change(
    state: &Snapshot,
    rng: &mut Rng,
    edit: impl FnOnce(&mut ServiceSpec, &mut Rng),
) -> Vec<Change> {
    let Some(service) = pick(state, rng) else { return Vec::new() };
    let mut spec = service.spec.clone();
    edit(&mut spec, rng);
    vec![Change::Update(accept_spec(service, spec).into())]
}

pub(crate) fn back(service: &Service, now: Timestamp) -> Vec<Change> {
    roll_back(service, now).map_or_else(|_| Vec::new(), |after| vec![Change::Update(after.into())])
}

/// Drains, pauses or activates a node; the first one stays active.
fn availability(state: &Snapshot, rng: &mut Rng) -> Vec<Change> {
    let nodes: Vec<&Arc<Node>> = state.nodes().iter().skip(1).collect();
    let Some(node) = rng.pick(&nodes) else { return Vec::new() };
    let mut row = node.as_ref().clone();
    row.spec.availability = match rng.between(0, 4) {
        0 => Availability::Drain,
        1 => Availability::Pause,
        _ => Availability::Active,
    };
    vec![Change::Update(row.into())]
}
