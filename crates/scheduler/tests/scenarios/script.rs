//! One-line commands on a small cluster, and what they print.

use crate::words::{node, service, written};
use scheduler::{Decision, Scheduler, validate};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::network::CreateRequest;
use types::swarm::network::ClusterNetwork;
use types::swarm::service::{PortConfig, Service};
use types::swarm::task::{Task, TaskSpec, TaskState};
use types::swarm::volume::ClusterVolume;
use types::{NetworkId, NodeId, ServiceId, TaskId, Timestamp, VolumeId};

/// The scheduler, and a store of what it is told. Ids are names.
#[derive(Default)]
pub(crate) struct Script {
    scheduler: Scheduler,
    services: BTreeMap<String, Known>,
    tasks: BTreeMap<String, Task>,
    /// Seconds.
    clock: i64,
}

struct Known {
    spec: Arc<TaskSpec>,
    ports: Vec<PortConfig>,
    made: u64,
}

impl Script {
    /// Runs a command and returns what it prints.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["node", name, words @ ..] => self.scheduler.set_node(node(name, words)),
            ["gone", name] => self.scheduler.remove_node(&NodeId::new(*name)),
            ["service", name, words @ ..] => return self.service(name, words),
            ["network", name, driver] => self.network(name, driver),
            ["volume", name, words @ ..] => self.volume(name, words),
            ["place", name, count] => return self.place(name, count, None),
            ["place", name, count, "at", node] => return self.place(name, count, Some(node)),
            ["retry"] => return self.decide(),
            ["why", task] => return self.why(task),
            ["stop", task] => self.change(task, |task| task.desired_state = TaskState::Shutdown),
            ["ended", task] => self.change(task, |task| task.status.state = TaskState::Shutdown),
            ["failed", task] => {
                let now = self.now();
                self.change(task, |task| {
                    (task.status.state, task.status.timestamp) = (TaskState::Failed, now);
                });
            }
            ["later", seconds] => self.clock += seconds.parse::<i64>().expect("seconds"),
            other => panic!("no such command: {other:?}"),
        }
        String::new()
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + self.clock)
    }

    /// Makes or changes a service; prints why its spec is refused.
    fn service(&mut self, name: &str, words: &[&str]) -> String {
        let (spec, ports) = service(words);
        let refused = validate(&spec).err().map(|error| format!("refused: {error}\n"));
        let mut service = Service { id: ServiceId::new(name), spec, ..Service::default() };
        service.spec.name = name.to_owned();
        self.scheduler.set_service(&service);
        let made = self.services.get(name).map_or(0, |known| known.made);
        let spec = Arc::new(service.spec.task_template);
        self.services.insert(name.to_owned(), Known { spec, ports, made });
        refused.unwrap_or_default()
    }

    fn network(&mut self, name: &str, driver: &str) {
        let (name, driver) = (name.to_owned(), driver.to_owned());
        let id = NetworkId::new(format!("id-of-{name}"));
        let spec = CreateRequest { name, driver, ..CreateRequest::default() };
        self.scheduler.set_network(&ClusterNetwork { id, spec, ..ClusterNetwork::default() });
    }

    fn volume(&mut self, name: &str, words: &[&str]) {
        let id = VolumeId::new(format!("id-of-{name}"));
        let mut volume = ClusterVolume { id, ..ClusterVolume::default() };
        volume.spec.name = name.to_owned();
        for word in words {
            match word.strip_prefix("at=") {
                Some(node) => volume.nodes.push(NodeId::new(node)),
                None => volume.spec.availability = (*word).to_owned(),
            }
        }
        self.scheduler.set_volume(volume);
    }

    /// Makes tasks of a service and decides on them and on all that wait.
    fn place(&mut self, name: &str, count: &str, node: Option<&str>) -> String {
        let known = self.services.get_mut(name).expect("a service");
        for _ in 0..count.parse().expect("a number") {
            known.made += 1;
            let mut task = Task {
                id: TaskId::new(format!("{name}.{}", known.made)),
                service_id: ServiceId::new(name),
                slot: known.made,
                spec: Arc::clone(&known.spec),
                desired_state: TaskState::Running,
                ..Task::default()
            };
            task.node_id = node.map(NodeId::new).unwrap_or_default();
            task.record.host_ports = known.ports.clone();
            self.tasks.insert(task.id.to_string(), task);
        }
        self.decide()
    }

    /// Decides on all tasks that wait; those that are assigned run at once.
    fn decide(&mut self) -> String {
        let waiting = self.tasks.values().filter(|task| task.status.state < TaskState::Assigned);
        let waiting: Vec<Arc<Task>> = waiting.cloned().map(Arc::new).collect();
        let now = self.now();
        let decisions = self.scheduler.decide(&waiting, now);
        let mut told = String::new();
        for decision in decisions {
            let name = decision.task().to_string();
            told += &match decision {
                Decision::Assign { node, generic_resources, .. } => {
                    let with: Vec<String> = generic_resources.iter().map(written).collect();
                    let told = match with.is_empty() {
                        true => format!("{name} on {node}\n"),
                        false => format!("{name} on {node} with {}\n", with.join(" ")),
                    };
                    self.change(&name, |task| {
                        (task.node_id, task.status.state) = (node, TaskState::Running);
                        task.assigned_generic_resources = generic_resources;
                    });
                    told
                }
                Decision::Preempt { node, victims, .. } => {
                    let names: Vec<String> = victims.iter().map(ToString::to_string).collect();
                    for victim in &names {
                        self.change(victim, |task| task.desired_state = TaskState::Shutdown);
                    }
                    format!("{name} takes the place of {} on {node}\n", names.join(", "))
                }
                Decision::Refuse { refusal, .. } => format!("{name}: {refusal}\n"),
            };
        }
        told
    }

    /// Each node's answer to a task.
    fn why(&mut self, task: &str) -> String {
        let now = self.now();
        let verdicts = match self.scheduler.why(&self.tasks[task], now) {
            Ok(verdicts) => verdicts,
            Err(error) => return format!("{error}\n"),
        };
        let line = |verdict: &scheduler::Verdict| {
            let reason = verdict.reason.as_ref().map_or("fits".to_owned(), ToString::to_string);
            let failures = match verdict.failures {
                0 => String::new(),
                count => format!(", but the service failed there {count} times of late"),
            };
            format!("{}: {reason}{failures}\n", verdict.node)
        };
        verdicts.iter().map(line).collect()
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Task)) {
        let task = self.tasks.get_mut(name).expect("a task");
        change(task);
        self.scheduler.set_task(task);
    }
}
