//! Runs `scenarios/*.txt`. With `UPDATE=1` the outputs are written anew instead of compared.
//!
//! Objects have their names for ids. A line is a transaction; with `and` between, several changes are one. What is
//! written is printed as the version that it made, what is refused in the words that users read.

#![expect(clippy::unwrap_used, reason = "a script that cannot be read fails the test")]

use scenario::{Play, differences};
use std::fmt::Write;
use std::path::Path;
use store::{Change, Entry, Event, EventKind, Kind, Object, RefKind, Since, Snapshot, Store};
use types::network::CreateRequest;
use types::swarm::Version;
use types::swarm::network::ClusterNetwork;
use types::swarm::node::Node;
use types::swarm::secret::{Config, ConfigSpec, Secret, SecretSpec};
use types::swarm::service::{Global, NetworkAttachmentConfig, Service};
use types::swarm::task::{ConfigReference, SecretReference, Task, TaskState, TaskStatus};
use types::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId, Timestamp};

/// How many events are kept for followers.
const KEPT: usize = 8;

struct World {
    store: Store,
    /// What somebody read earlier.
    read: Snapshot,
    now: Timestamp,
}

impl World {
    fn new() -> World {
        let store = Store::keeping(Snapshot::default(), KEPT);
        World { read: store.snapshot(), store, now: Timestamp::from_seconds(1_000) }
    }

    fn write(&mut self, line: &str) -> String {
        let changes = line.split(" and ").map(|change| self.change(change)).collect();
        let applied = self.store.apply(&Entry::one(self.now, changes));
        match applied.refused.first() {
            Some(refusal) => {
                assert!(applied.events.is_empty(), "all or nothing");
                format!("refused: {}\n", refusal.error)
            }
            None if applied.events.is_empty() => "no change\n".to_owned(),
            None => format!("version {}\n", self.store.version()),
        }
    }

    fn change(&self, words: &str) -> Change {
        let words: Vec<&str> = words.split_whitespace().collect();
        match words.as_slice() {
            ["create", kind, name, wishes @ ..] => Change::Create(made(kind, name, wishes)),
            ["update", kind, name, wishes @ ..] => {
                Change::Update(changed(self.store.state(), kind, name, wishes))
            }
            // From what was read earlier, not from what is there now.
            ["update-as-read", kind, name, wishes @ ..] => {
                Change::Update(changed(&self.read, kind, name, wishes))
            }
            ["remove", kind, name] => {
                Change::Remove { kind: kind_of(kind), id: (*name).to_owned(), version: None }
            }
            ["desire", task, state] => {
                Change::Desire { task: TaskId::new(*task), state: state_of(state), stop: None }
            }
            ["report", task, "by", node, state] => Change::Report {
                task: TaskId::new(*task),
                node: NodeId::new(*node),
                status: TaskStatus { state: state_of(state), ..TaskStatus::default() },
            },
            ["expect", kind, name, "at", version] => Change::Expect {
                kind: kind_of(kind),
                id: (*name).to_owned(),
                version: Some(Version { index: version.parse().unwrap() }),
            },
            other => panic!("no command {other:?}"),
        }
    }

    fn tasks(&self, words: &[&str]) -> String {
        let state = self.store.state();
        let found: Vec<String> = match words {
            ["of", service] => state
                .tasks_of_service(&ServiceId::new(*service))
                .map(|it| it.id.to_string())
                .collect(),
            ["of", service, "slot", slot] => {
                let slot = slot.parse().unwrap();
                state
                    .tasks_of_slot(&ServiceId::new(*service), slot)
                    .map(|it| it.id.to_string())
                    .collect()
            }
            ["on", node] => {
                state.tasks_of_node(&NodeId::new(*node)).map(|it| it.id.to_string()).collect()
            }
            ["desired", wanted] => {
                state.tasks_desired(state_of(wanted)).map(|it| it.id.to_string()).collect()
            }
            ["with", kind, name] => {
                state.tasks_referring(reference(kind), name).map(|it| it.id.to_string()).collect()
            }
            other => panic!("no index {other:?}"),
        };
        format!("{}\n", if found.is_empty() { "none".to_owned() } else { found.join(" ") })
    }
}

impl Play for World {
    fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["wait", seconds] => {
                let seconds = seconds.trim_end_matches('s').parse().unwrap();
                self.now = self.now.after(std::time::Duration::from_secs(seconds));
                String::new()
            }
            ["read"] => {
                self.read = self.store.snapshot();
                format!("read version {}\n", self.read.version())
            }
            ["count-as-read", "services"] => format!("{} services\n", self.read.services().len()),
            ["count", "services"] => format!("{} services\n", self.store.state().services().len()),
            ["changed-since", version] => {
                match self.store.changed_since(version.parse().unwrap()) {
                    Since::Resync => "read the snapshot again\n".to_owned(),
                    Since::Events(events) if events.is_empty() => "nothing\n".to_owned(),
                    Since::Events(events) => events.into_iter().map(told).collect(),
                }
            }
            ["resolve", "service", key] => {
                let found = self.store.state().services().resolve(key);
                format!("{}\n", found.map_or("none", |service| service.id.as_str()))
            }
            ["services-with", kind, name] => {
                let found = self.store.state().services_referring(reference(kind), name);
                format!("{}\n", found.map(|it| it.id.as_str()).collect::<Vec<_>>().join(" "))
            }
            ["tasks", rest @ ..] => self.tasks(rest),
            ["times", "of", task] => {
                let record = &self.store.state().tasks().get(task).unwrap().record;
                let seconds = |at: Timestamp| at.seconds();
                format!(
                    "ran at {}, ended at {}\n",
                    seconds(record.running_at),
                    seconds(record.ended_at)
                )
            }
            // Another manager has the bytes alone.
            ["snapshot", "and", "restore"] => {
                let bytes = store::encode(self.store.state());
                let state = store::decode(&bytes).unwrap();
                assert_eq!(store::encode(&state), bytes);
                self.store = Store::keeping(state, KEPT);
                format!("version {}\n", self.store.version())
            }
            ["snapshot", "without", "its", "end"] => {
                let bytes = store::encode(self.store.state());
                format!("{}\n", store::decode(&bytes[..bytes.len() - 1]).unwrap_err())
            }
            _ => self.write(line),
        }
    }
}

fn told(event: &Event) -> String {
    let what = match event.kind {
        EventKind::Created => "created",
        EventKind::Updated => "updated",
        EventKind::Removed => "removed",
    };
    let mut line = format!("version {}: ", event.version);
    writeln!(line, "{} {} {what}", event.object.kind(), event.object.id()).unwrap();
    line
}

fn kind_of(word: &str) -> Kind {
    match word {
        "node" => Kind::Node,
        "service" => Kind::Service,
        "task" => Kind::Task,
        "network" => Kind::Network,
        "secret" => Kind::Secret,
        "config" => Kind::Config,
        other => panic!("no kind {other}"),
    }
}

fn reference(word: &str) -> RefKind {
    match word {
        "network" => RefKind::Network,
        "secret" => RefKind::Secret,
        "config" => RefKind::Config,
        other => panic!("no reference to a {other}"),
    }
}

fn state_of(word: &str) -> TaskState {
    let states = [
        TaskState::New,
        TaskState::Assigned,
        TaskState::Running,
        TaskState::Complete,
        TaskState::Shutdown,
        TaskState::Failed,
        TaskState::Remove,
    ];
    states.into_iter().find(|state| state.as_str() == word).unwrap()
}

fn made(kind: &str, name: &str, wishes: &[&str]) -> Object {
    let mut object: Object = match kind {
        "node" => Node { id: NodeId::new(name), ..Node::default() }.into(),
        "secret" => {
            let spec = SecretSpec { name: name.to_owned(), ..SecretSpec::default() };
            Secret { id: SecretId::new(name), spec, ..Secret::default() }.into()
        }
        "config" => {
            let spec = ConfigSpec { name: name.to_owned(), ..ConfigSpec::default() };
            Config { id: ConfigId::new(name), spec, ..Config::default() }.into()
        }
        "network" => {
            let spec = CreateRequest { name: name.to_owned(), ..CreateRequest::default() };
            ClusterNetwork { id: NetworkId::new(name), spec, ..ClusterNetwork::default() }.into()
        }
        "service" => {
            let mut service = Service { id: ServiceId::new(name), ..Service::default() };
            service.spec.name = name.to_owned();
            service.into()
        }
        "task" => {
            Task { id: TaskId::new(name), desired_state: TaskState::Running, ..Task::default() }
                .into()
        }
        other => panic!("no kind {other}"),
    };
    wishes.iter().for_each(|wish| object = set(&object, wish));
    object
}

fn changed(state: &Snapshot, kind: &str, name: &str, wishes: &[&str]) -> Object {
    let object = state.object(kind_of(kind), name);
    let mut object = object.unwrap_or_else(|| made(kind, name, &[]));
    wishes.iter().for_each(|wish| object = set(&object, wish));
    object
}

fn set(object: &Object, wish: &str) -> Object {
    let (key, value) = wish.split_once('=').unwrap_or((wish, ""));
    match object {
        Object::Service(row) => {
            let mut row = row.as_ref().clone();
            let template = &mut row.spec.task_template;
            match key {
                "name" => row.spec.name = value.to_owned(),
                "image" => template.container_spec.get_or_insert_default().image = value.to_owned(),
                "global" => row.spec.mode.global = Some(Global {}),
                "secret" => {
                    let (secret_id, secret_name) = (value.to_owned(), value.to_owned());
                    let used =
                        SecretReference { secret_id, secret_name, ..SecretReference::default() };
                    template.container_spec.get_or_insert_default().secrets.push(used);
                }
                "config" => {
                    let (config_id, config_name) = (value.to_owned(), value.to_owned());
                    let used =
                        ConfigReference { config_id, config_name, ..ConfigReference::default() };
                    template.container_spec.get_or_insert_default().configs.push(used);
                }
                "network" => template.networks.push(NetworkAttachmentConfig {
                    target: value.to_owned(),
                    ..NetworkAttachmentConfig::default()
                }),
                "without" => template.container_spec = None,
                other => panic!("no wish {other}"),
            }
            row.into()
        }
        Object::Task(row) => {
            let mut row = row.as_ref().clone();
            match key {
                "service" => row.service_id = ServiceId::new(value),
                "slot" => row.slot = value.parse().unwrap(),
                "node" => row.node_id = NodeId::new(value),
                "state" => row.status.state = state_of(value),
                "secret" => {
                    let used = SecretReference {
                        secret_id: value.to_owned(),
                        ..SecretReference::default()
                    };
                    let spec = std::sync::Arc::make_mut(&mut row.spec);
                    spec.container_spec.get_or_insert_default().secrets.push(used);
                }
                "network" => {
                    std::sync::Arc::make_mut(&mut row.spec).networks.push(NetworkAttachmentConfig {
                        target: value.to_owned(),
                        ..NetworkAttachmentConfig::default()
                    })
                }
                other => panic!("no wish {other}"),
            }
            row.into()
        }
        Object::Secret(row) => {
            let mut row = row.as_ref().clone();
            match key {
                "data" => row.spec.data = value.to_owned(),
                "label" => drop(row.spec.labels.insert(value.to_owned(), String::new())),
                other => panic!("no wish {other}"),
            }
            row.into()
        }
        other => panic!("no wish {key} for {other:?}"),
    }
}

#[test]
fn every_scenario_ends_as_it_is_told() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let wrong = differences(&dir, 9, World::new).unwrap();
    assert!(wrong.is_empty(), "these end otherwise:\n{}", wrong.join("\n"));
}
