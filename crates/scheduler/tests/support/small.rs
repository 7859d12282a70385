//! Small clusters for tests, in one line each.

use scheduler::Decision;
use std::sync::Arc;
use types::swarm::node::{Node, NodeState};
use types::swarm::task::{
    DiscreteResource, GenericResource, NamedResource, Placement, PlacementPreference,
    ResourceRequirements, Resources, SpreadOver, Task, TaskSpec, TaskState,
};
use types::{NodeId, ServiceId, TaskId, Timestamp};

/// A ready node: `n1 cpu=4 mem=8 zone=a`. Unknown words are labels; `gpu=2` and `gpu:a` are generic.
pub(crate) fn node(words: &str) -> Node {
    let mut words = words.split(' ');
    let id = words.next().expect("a well-formed word");
    let mut node = Node { id: NodeId::new(id), ..Node::default() };
    node.status.state = NodeState::Ready;
    node.description.hostname = format!("host-{id}");
    node.description.platform.os = "linux".to_owned();
    node.description.platform.architecture = "x86_64".to_owned();
    (node.description.resources.nano_cpus, node.description.resources.memory_bytes) = (100, 100);
    for word in words {
        let resources = &mut node.description.resources;
        match word.split_once('=') {
            Some(("cpu", amount)) => {
                resources.nano_cpus = amount.parse().expect("a well-formed word")
            }
            Some(("mem", amount)) => {
                resources.memory_bytes = amount.parse().expect("a well-formed word")
            }
            Some(("gpu", _)) | None => resources.generic_resources.push(generic(word)),
            Some((label, value)) => {
                node.spec.labels.insert(label.to_owned(), value.to_owned());
            }
        }
    }
    node
}

/// `gpu=2` or `gpu:name`.
pub(crate) fn generic(word: &str) -> GenericResource {
    if let Some((kind, count)) = word.split_once('=') {
        let of = DiscreteResource {
            kind: kind.to_owned(),
            value: count.parse().expect("a well-formed word"),
        };
        return GenericResource { discrete_resource_spec: Some(of), named_resource_spec: None };
    }
    let (kind, name) = word.split_once(':').expect("a well-formed word");
    let of = NamedResource { kind: kind.to_owned(), value: name.to_owned() };
    GenericResource { named_resource_spec: Some(of), discrete_resource_spec: None }
}

/// A spec: `cpu=1 mem=2 gpu=1 spread=zone max=1 if:node.labels.zone==a`.
pub(crate) fn spec(words: &str) -> Arc<TaskSpec> {
    let (mut reserved, mut placement) = (Resources::default(), Placement::default());
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        if let Some(constraint) = word.strip_prefix("if:") {
            placement.constraints.push(constraint.to_owned());
            continue;
        }
        match word.split_once('=') {
            Some(("cpu", amount)) => {
                reserved.nano_cpus = amount.parse().expect("a well-formed word")
            }
            Some(("mem", amount)) => {
                reserved.memory_bytes = amount.parse().expect("a well-formed word")
            }
            Some(("max", limit)) => {
                placement.max_replicas = limit.parse().expect("a well-formed word")
            }
            Some(("spread", label)) => placement.preferences.push(PlacementPreference {
                spread: Some(SpreadOver { spread_descriptor: format!("node.labels.{label}") }),
            }),
            _ => reserved.generic_resources.push(generic(word)),
        }
    }
    let resources = Some(ResourceRequirements { reservations: Some(reserved), limits: None });
    Arc::new(TaskSpec { placement: Some(placement), resources, ..TaskSpec::default() })
}

/// Pending tasks `service.1`, `service.2`, ….
pub(crate) fn tasks(service: &str, count: u64, spec: &Arc<TaskSpec>) -> Vec<Arc<Task>> {
    let task = |slot| Task {
        id: TaskId::new(format!("{service}.{slot}")),
        service_id: ServiceId::new(service),
        slot,
        spec: Arc::clone(spec),
        desired_state: TaskState::Running,
        ..Task::default()
    };
    (1..=count).map(|slot| Arc::new(task(slot))).collect()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_seconds(10_000)
}

/// One line per decision.
pub(crate) fn told(decisions: &[Decision]) -> Vec<String> {
    let tell = |decision: &Decision| match decision {
        Decision::Assign { task, node, .. } => format!("{task} {node}"),
        Decision::Preempt { task, node, victims } => format!("{task} ends {victims:?} on {node}"),
        Decision::Refuse { task, refusal } => format!("{task} {refusal}"),
    };
    decisions.iter().map(tell).collect()
}
