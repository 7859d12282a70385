//! Users: what a cluster is founded with, and what they ask of it while it burns.

use crate::agent::Agent;
use crate::rng::Rng;
use crate::world::World;
use orchestrator::{accept_spec, roll_back};
use std::sync::Arc;
use store::{Change, Entry, Kind, Snapshot};
use types::ids::swarm_id;
use types::network::CreateRequest;
use types::swarm::cluster::{Cluster, Orchestration};
use types::swarm::extension::{Rebalance, ServiceExtensions};
use types::swarm::network::ClusterNetwork;
use types::swarm::node::{Availability, Node};
use types::swarm::service::{
    EndpointSpec, Global, Mode, NetworkAttachmentConfig, PortConfig, Replicated, ReplicatedJob,
    Service, ServiceSpec, UpdateConfig,
};
use types::swarm::task::{ContainerSpec, RestartPolicy, TaskSpec};
use types::{ClusterId, NetworkId, NodeId, ServiceId, Timestamp};

const SECOND: i64 = 1_000_000_000;
const HISTORY_LIMIT: i64 = 3;
/// The one network.
pub(crate) const NETWORK: &str = "net";

/// A cluster, its nodes, a network and the first services.
pub(crate) fn found(world: &mut World) {
    let mut cluster = Cluster { id: ClusterId::new("cluster"), ..Cluster::default() };
    cluster.spec.name = "default".to_owned();
    cluster.spec.orchestration =
        Orchestration { task_history_retention_limit: Some(HISTORY_LIMIT) };
    let spec = CreateRequest { name: NETWORK.to_owned(), ..CreateRequest::default() };
    let network = ClusterNetwork {
        id: NetworkId::new(NETWORK),
        spec,
        subnet: "10.0.0.0/16".to_owned(),
        gateway: "10.0.0.1".to_owned(),
        ..ClusterNetwork::default()
    };
    let mut changes = vec![Change::Create(cluster.into()), Change::Create(network.into())];
    for number in 0..world.rng.between(2, 6) {
        let id = format!("node{number}");
        changes.push(Change::Create(Node { id: NodeId::new(&*id), ..Node::default() }.into()));
        world.agents.insert(id, Agent::new());
    }
    for number in 0..world.rng.between(1, 4) {
        changes.push(create(&mut world.rng, number));
    }
    let now = world.clock();
    world.write(&Entry::one(now, changes));
}

/// One thing that a user may ask for.
pub(crate) fn act(world: &mut World) {
    let now = world.clock();
    let number = world.now;
    let what = world.rng.between(0, 16);
    world.say(|| format!("USER {what}"));
    match what {
        0 => world.request(|_, rng| vec![create(rng, number)]),
        1..=3 => world.request(|state, rng| change(state, rng, scale)),
        4..=7 => world.request(|state, rng| change(state, rng, update)),
        8 => world.request(|state, rng| {
            change(state, rng, |spec, _| spec.task_template.force_update += 1)
        }),
        9 => world.request(|state, rng| back(state, rng, now)),
        10 => world.request(|state, rng| change(state, rng, pause)),
        11 => world.request(|state, rng| {
            let service = pick(state, rng);
            let removal = service.map(|s| Change::Remove {
                kind: Kind::Service,
                id: s.id.to_string(),
                version: None,
            });
            removal.into_iter().collect()
        }),
        12..=14 => world.request(availability),
        _ => world.request(|state, rng| change(state, rng, configure)),
    }
}

fn create(rng: &mut Rng, number: u64) -> Change {
    let container = ContainerSpec { image: image(rng, number), ..ContainerSpec::default() };
    let restart = RestartPolicy {
        delay: Some(i64::try_from(rng.between(0, 6)).unwrap_or(0) * SECOND),
        ..RestartPolicy::default()
    };
    let network = NetworkAttachmentConfig {
        target: NETWORK.to_owned(),
        ..NetworkAttachmentConfig::default()
    };
    let mut spec = ServiceSpec {
        name: format!("service{number}"),
        task_template: TaskSpec {
            container_spec: Some(container),
            restart_policy: Some(restart),
            networks: if rng.chance(50) { vec![network] } else { Vec::new() },
            ..TaskSpec::default()
        },
        mode: mode(rng),
        ..ServiceSpec::default()
    };
    configure(&mut spec, rng);
    if rng.chance(20) {
        let port = PortConfig {
            protocol: "tcp".to_owned(),
            target_port: 80,
            published_port: 8080,
            publish_mode: "host".to_owned(),
            ..PortConfig::default()
        };
        spec.endpoint_spec = Some(EndpointSpec { ports: vec![port], ..EndpointSpec::default() });
    }
    if rng.chance(15) {
        let rebalance = Rebalance { budget: 1, cool_down: Some(20 * SECOND) };
        spec.sampan =
            Some(ServiceExtensions { rebalance: Some(rebalance), ..ServiceExtensions::default() });
    }
    if is_job(&spec.mode)
        && let Some(container) = &mut spec.task_template.container_spec
    {
        container.image = "job".to_owned();
    }
    let id = ServiceId::new(swarm_id(rng.id()));
    Change::Create(Service { id, spec, ..Service::default() }.into())
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
    let script = match rng.between(0, 12) {
        0 => "bad",
        1 => "sick",
        2 => "crash",
        3 => "slow",
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

fn back(state: &Snapshot, rng: &mut Rng, now: Timestamp) -> Vec<Change> {
    let Some(service) = pick(state, rng) else { return Vec::new() };
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
