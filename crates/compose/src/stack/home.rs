//! Where the data of a service are. A volume of the local driver is on one node: another node would make an empty one of
//! the same name, so a service of one task stays on the node that has its volumes.

use super::deploy::Place;
use crate::model::{Project, Service, Volume};
use std::collections::BTreeMap;
use types::NodeId;
use types::swarm::constraint::{Attribute, Constraint, Operator, matches_all, parse_all};
use types::swarm::node::{Availability, Node, NodeState};
use types::swarm::service::{Mode, ServiceSpec};
use types::swarm::task::{Resources, Task, TaskState};

/// Drivers' options that name a file system which every node reaches.
const REMOTE: [&str; 5] = ["nfs", "nfs4", "cifs", "smb3", "ceph"];

/// The names of the volumes that the service is to stay with.
pub(super) fn volumes(
    project: &Project,
    service: &Service,
    mode: &Mode,
    place: &mut Place<'_>,
) -> Vec<String> {
    let named = service.volumes.iter().filter(|mount| mount.kind == "volume");
    let local: Vec<String> = named
        .filter_map(|mount| project.volumes.get(&mount.source))
        .filter(|volume| is_local(volume))
        .map(|volume| volume.name.clone())
        .collect();
    let replicas = mode.replicated.as_ref().and_then(|replicated| replicated.replicas);
    let completions = mode.replicated_job.as_ref().map(|job| job.total_completions.unwrap_or(1));
    let several = replicas.or(completions).is_some_and(|count| count > 1);
    if several && !local.is_empty() {
        let names = local.join(", ");
        place.warn(
            &["volumes"],
            format!("every node has a {names} of its own: tasks share no data"),
        );
    }
    let one = !several && mode.global.is_none() && mode.global_job.is_none();
    if one && !names_node(&service.deploy.placement.constraints) { local } else { Vec::new() }
}

fn is_local(volume: &Volume) -> bool {
    let kind = volume.driver_opts.get("type").map(String::as_str).unwrap_or_default();
    !volume.external && matches!(volume.driver.as_str(), "" | "local") && !REMOTE.contains(&kind)
}

/// Whether the user has chosen the node already.
fn names_node(constraints: &[String]) -> bool {
    constraints.iter().filter_map(|text| Constraint::parse(text).ok()).any(|constraint| {
        constraint.operator == Operator::Equal
            && matches!(constraint.attribute, Attribute::Id | Attribute::Hostname)
    })
}

/// The node that a constraint of ours or the user's names by its id.
pub(super) fn pinned(spec: &ServiceSpec) -> Option<NodeId> {
    let constraints = spec.task_template.placement.iter().flat_map(|place| &place.constraints);
    constraints.filter_map(|text| Constraint::parse(text).ok()).find_map(|constraint| {
        let named = constraint.attribute == Attribute::Id && constraint.operator == Operator::Equal;
        named.then(|| NodeId::new(constraint.value))
    })
}

/// What a node must have.
#[derive(Debug, Clone, Copy)]
pub struct Need<'a> {
    pub constraints: &'a [String],
    pub nano_cpus: i64,
    pub memory_bytes: i64,
}

/// The node to put the data on: one that takes the service, with the fewest tasks. `coming` are tasks that this very
/// deployment sends there. None where nothing fits: the scheduler then says why.
pub fn home<'n>(
    nodes: &'n [Node],
    tasks: &[Task],
    coming: &BTreeMap<NodeId, usize>,
    need: Need<'_>,
) -> Option<&'n Node> {
    let constraints = parse_all(need.constraints).ok()?;
    let takes = |node: &&Node| {
        node.status.state == NodeState::Ready
            && node.spec.availability == Availability::Active
            && matches_all(&constraints, node)
            && has_room(node, tasks, need)
    };
    nodes.iter().filter(takes).min_by_key(|node| {
        let here = tasks.iter().filter(|task| is_live(task) && task.node_id == node.id).count();
        let coming = coming.get(&node.id).copied().unwrap_or(0);
        (here + coming, &node.description.hostname, &node.id)
    })
}

fn is_live(task: &Task) -> bool {
    task.desired_state <= TaskState::Running && !task.status.state.is_terminal()
}

fn has_room(node: &Node, tasks: &[Task], need: Need<'_>) -> bool {
    let reserved = |of: fn(&Resources) -> i64| -> i64 {
        let here = tasks.iter().filter(|task| is_live(task) && task.node_id == node.id);
        here.filter_map(|task| task.spec.resources.as_ref()?.reservations.as_ref()).map(of).sum()
    };
    let has = &node.description.resources;
    let fits = |wanted: i64, all: i64, of| wanted == 0 || wanted + reserved(of) <= all;
    fits(need.nano_cpus, has.nano_cpus, |amounts| amounts.nano_cpus)
        && fits(need.memory_bytes, has.memory_bytes, |amounts| amounts.memory_bytes)
}
