//! Scripted workloads: `scripts/*.txt`, the same words as the orchestrator's scenarios, played by a whole cluster
//! with its latencies. Only the troubles that the script names happen, and every invariant is asked as ever.
//!
//! A file is blocks of commands, `----`, and what they print. With `UPDATE=1` the outputs are written anew.

use crate::agent::Agent;
use crate::fault::Trouble;
use crate::user::{NETWORKS, ZONE, back, join, network, node, removal};
use crate::world::{Happening, World};
use crate::{Real, converge};
use orchestrator::accept_spec;
use scenario::{Play, differences};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use store::{Change, Entry, Kind, Snapshot};
use types::ServiceId;
use types::swarm::cluster::Cluster;
use types::swarm::extension::{Capacity, DependencyCondition, Schedule};
use types::swarm::node::Availability;
use types::swarm::service::{
    EndpointSpec, Global, Mode, NetworkAttachmentConfig, PortConfig, Replicated, ReplicatedJob,
    Service, ServiceSpec,
};
use types::swarm::task::{ResourceRequirements, Resources, Task, TaskState};

struct Script {
    world: World,
}

impl Script {
    fn new() -> Script {
        Script { world: World::bare(1, Box::new(Real::default())) }
    }

    fn run(&mut self, line: &str) -> String {
        let world = &mut self.world;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["nodes", count] => {
                let mut changes = vec![Change::Create(Cluster::default().into())];
                changes.extend(NETWORKS.iter().map(|name| network(name)));
                for number in 0..count.parse().unwrap() {
                    let row = node(number);
                    let id = row.id.to_string();
                    changes.push(Change::Create(row.into()));
                    world.agents.insert(id.clone(), Agent::new());
                    world.after(number, Happening::Heartbeat { node: id, boot: 0 });
                }
                let now = world.clock();
                world.write(&Entry::one(now, changes));
                world.elect();
            }
            ["service", name, wishes @ ..] => {
                let mut spec = ServiceSpec { name: (*name).to_owned(), ..ServiceSpec::default() };
                wishes.iter().for_each(|wish| set(&mut spec, wish));
                let service = Service { id: ServiceId::new(*name), spec, ..Service::default() };
                world.request(|_, _| vec![Change::Create(service.into())]);
            }
            ["update", name, wishes @ ..] => world.request(|state, _| {
                let service = find(state, name);
                let mut spec = service.spec.clone();
                wishes.iter().for_each(|wish| set(&mut spec, wish));
                vec![Change::Update(accept_spec(service, spec).into())]
            }),
            ["rollback", name] => {
                let now = world.clock();
                world.request(|state, _| back(find(state, name), now));
            }
            ["remove", name] => world.request(|_, _| vec![removal(Kind::Service, name)]),
            ["join"] => join(world),
            ["node", name, what] => world.request(|state, _| {
                let mut row = state.nodes().get(name).unwrap().as_ref().clone();
                match *what {
                    "drain" => row.spec.availability = Availability::Drain,
                    "pause" => row.spec.availability = Availability::Pause,
                    "active" => row.spec.availability = Availability::Active,
                    zone => {
                        row.spec.labels.insert(ZONE.to_owned(), zone.to_owned());
                    }
                }
                vec![Change::Update(row.into())]
            }),
            ["remove-node", name] => {
                let agent = world.agents.get_mut(*name).unwrap();
                agent.crash(true);
                agent.removed = true;
                world.request(|_, _| vec![removal(Kind::Node, name)]);
            }
            ["crash", name] => world.agents.get_mut(*name).unwrap().crash(false),
            ["lose", name] => world.agents.get_mut(*name).unwrap().crash(true),
            ["return", name] => start(world, name, false),
            ["return", name, "old"] => start(world, name, true),
            ["disk", name, "lags"] => {
                let agent = world.agents.get_mut(*name).unwrap();
                agent.old_disk = agent.tasks.clone();
            }
            ["cut", name, way] => {
                if *way != "up" {
                    world.deaf.insert((*name).to_owned());
                }
                if *way != "down" {
                    world.mute.insert((*name).to_owned());
                }
            }
            ["mend", name] => world.trouble(Trouble::Mend { node: (*name).to_owned() }),
            ["loss", percent] => world.loss_percent = percent.parse().unwrap(),
            ["pulls", how] => world.slow_pulls = *how == "slow",
            ["leader", "goes"] => world.depose(),
            ["leader", "comes"] => world.elect(),
            ["run", seconds] => {
                let seconds: u64 = seconds.trim_end_matches('s').parse().unwrap();
                world.run_for(seconds * 1_000);
            }
            ["show"] => return show(world),
            ["tasks", name] => return tasks(world.store.state(), name),
            ["open"] => return open(world),
            other => panic!("no command {other:?}"),
        }
        String::new()
    }
}

fn start(world: &mut World, node: &str, old: bool) {
    world.trouble(Trouble::AgentStarts { node: node.to_owned(), old });
}

fn find<'a>(state: &'a Snapshot, name: &str) -> &'a Arc<Service> {
    state.services().get(name).unwrap()
}

fn set(spec: &mut ServiceSpec, wish: &str) {
    let (key, value) = wish.split_once('=').unwrap_or((wish, ""));
    let number = || value.parse().unwrap();
    let port = |mode: &str| EndpointSpec {
        ports: vec![PortConfig {
            protocol: "tcp".to_owned(),
            target_port: 80,
            published_port: value.parse().unwrap(),
            publish_mode: mode.to_owned(),
            ..PortConfig::default()
        }],
        ..EndpointSpec::default()
    };
    let template = &mut spec.task_template;
    match key {
        "image" => template.container_spec.get_or_insert_default().image = value.to_owned(),
        "replicas" => {
            let replicated = Some(Replicated { replicas: Some(number()) });
            spec.mode = Mode { replicated, ..Mode::default() };
        }
        "global" => spec.mode = Mode { global: Some(Global {}), ..Mode::default() },
        "job" => {
            let job = ReplicatedJob { max_concurrent: Some(1), total_completions: Some(number()) };
            spec.mode = Mode { replicated_job: Some(job), ..Mode::default() };
        }
        "network" => template.networks.push(NetworkAttachmentConfig {
            target: value.to_owned(),
            ..NetworkAttachmentConfig::default()
        }),
        "port" => spec.endpoint_spec = Some(port("ingress")),
        "host-port" => spec.endpoint_spec = Some(port("host")),
        "constraint" => {
            template.placement.get_or_insert_default().constraints = vec![value.to_owned()];
        }
        "reserve" => {
            let reservations =
                Resources { nano_cpus: value.parse().unwrap(), ..Resources::default() };
            let reserved =
                ResourceRequirements { reservations: Some(reservations), ..Default::default() };
            template.resources = Some(reserved);
        }
        "parallelism" => update(spec).parallelism = number(),
        "order" => update(spec).order = value.to_owned(),
        "on-failure" => update(spec).failure_action = value.to_owned(),
        _ => extend(spec, key, value),
    }
}

fn update(spec: &mut ServiceSpec) -> &mut types::swarm::service::UpdateConfig {
    let one = types::swarm::service::UpdateConfig { parallelism: 1, ..Default::default() };
    spec.update_config.get_or_insert(one)
}

fn extend(spec: &mut ServiceSpec, key: &str, value: &str) {
    let wishes = spec.sampan.get_or_insert_default();
    match key {
        "paused" => wishes.paused = value != "no",
        "capacity" => {
            let (minimum, over) = value.split_once('/').unwrap();
            let (minimum_health, maximum_over) = (minimum.parse().unwrap(), over.parse().unwrap());
            wishes.capacity = Some(Capacity { minimum_health, maximum_over });
        }
        "depends-on" => {
            wishes.depends_on.insert(value.to_owned(), DependencyCondition::Healthy);
        }
        "every" => {
            let cron = value.replace('_', " ");
            wishes.schedule = Some(Schedule { cron, ..Schedule::default() });
        }
        "priority" => {
            let placement = wishes.placement.get_or_insert_default();
            placement.priority = value.parse().unwrap();
            placement.preempt = true;
        }
        other => panic!("no wish {other}"),
    }
}

/// Each service in a line: how many tasks run and where, of which images, and how far an update is.
fn show(world: &World) -> String {
    let state = world.store.state();
    let mut out = String::new();
    for service in state.services().iter() {
        let tasks: Vec<&Task> = state.tasks_of_service(&service.id).map(|row| &**row).collect();
        let running: Vec<&&Task> =
            tasks.iter().filter(|task| task.status.state == TaskState::Running).collect();
        let done = tasks.iter().filter(|task| task.status.state == TaskState::Complete).count();
        let nodes: BTreeSet<&str> = running.iter().map(|task| task.node_id.as_str()).collect();
        let images: BTreeSet<&str> = running
            .iter()
            .filter_map(|task| task.spec.container_spec.as_ref())
            .map(|spec| spec.image.as_str())
            .collect();
        out += &format!("{}: {} run", service.spec.name, running.len());
        for (word, list) in
            [("of", images), ("on", nodes)].into_iter().filter(|it| !it.1.is_empty())
        {
            out += &format!(" {word} {}", list.into_iter().collect::<Vec<_>>().join(" "));
        }
        if done > 0 {
            out += &format!(", {done} complete");
        }
        if let Some(status) = &service.update_status {
            out += &format!(", update {}", status.state);
        }
        out += "\n";
    }
    out
}

fn tasks(state: &Snapshot, name: &str) -> String {
    let mut tasks: Vec<&Arc<Task>> = state.tasks_of_service(&find(state, name).id).collect();
    tasks.sort_by_key(|task| (task.slot, task.node_id.clone(), task.record.run));
    let line = |task: &Arc<Task>| {
        let (node, status) = (task.node_id.as_str(), &task.status);
        let node = if node.is_empty() { "-" } else { node };
        let (state, desired) = (status.state.as_str(), task.desired_state.as_str());
        format!("slot {} on {node}: {state}, desired {desired} {}", task.slot, status.err)
            .trim_end()
            .to_owned()
            + "\n"
    };
    tasks.into_iter().map(line).collect()
}

/// What is not as it should be yet.
fn open(world: &World) -> String {
    let notes = converge::open(world);
    if notes.is_empty() {
        return "all is as it should be\n".to_owned();
    }
    notes.into_iter().map(|note| format!("{}: {}\n", note.object, note.detail)).collect()
}

impl Play for Script {
    fn run(&mut self, line: &str) -> String {
        Script::run(self, line)
    }
    fn finish(&self) {
        assert_eq!(self.world.report.notes, vec![]);
    }
}

#[test]
fn every_script_ends_as_it_is_told() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let wrong = differences(&dir, 12, Script::new).unwrap();
    assert!(wrong.is_empty(), "these end otherwise:\n{}", wrong.join("\n"));
}
