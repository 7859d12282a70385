//! Where the data of a service are. A volume of the local driver is on one node: another node would make an empty one of
//! the same name, so a service of one task stays on the node that has its volumes.

use super::deploy::Place;
use super::{Observed, Stack};
use crate::model::{Project, Service, Volume};
use std::collections::BTreeMap;
use types::NodeId;
use types::swarm::constraint::{Attribute, Constraint, Operator, matches_all, parse_all};
use types::swarm::node::{Availability, Node, NodeState};
use types::swarm::service::{self, Mode, ServiceSpec};
use types::swarm::task::{Placement, Resources, Task, TaskState};

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
fn pinned(spec: &ServiceSpec) -> Option<NodeId> {
    let constraints = spec.task_template.placement.iter().flat_map(|place| &place.constraints);
    constraints.filter_map(|text| Constraint::parse(text).ok()).find_map(|constraint| {
        let named = constraint.attribute == Attribute::Id && constraint.operator == Operator::Equal;
        named.then(|| NodeId::new(constraint.value))
    })
}

/// Which node has which volume.
pub(super) struct Homes<'a> {
    observed: &'a Observed,
    /// By volume.
    known: BTreeMap<String, NodeId>,
    coming: BTreeMap<NodeId, usize>,
}

impl<'a> Homes<'a> {
    /// From where the services of before are bound to, or run.
    pub(super) fn read(stack: &Stack, observed: &'a Observed) -> Self {
        let mut known = BTreeMap::new();
        for service in stack.services.values() {
            let there = observed.services.iter().find(|there| there.spec.name == service.spec.name);
            let Some(there) = there else { continue };
            let mut tasks: Vec<&Task> =
                observed.tasks.iter().filter(|task| task.service_id == there.id).collect();
            tasks.sort_by_key(|task| std::cmp::Reverse(task.meta.created_at));
            let ran = tasks.iter().find(|task| !task.node_id.as_str().is_empty());
            let node = pinned(&there.spec).or_else(|| Some(ran?.node_id.clone()));
            let Some(node) = node.filter(|id| observed.nodes.iter().any(|node| node.id == *id))
            else {
                continue;
            };
            for volume in service.local_volumes.iter().filter(|volume| mounts(there, volume)) {
                known.insert(volume.clone(), node.clone());
            }
        }
        Homes { observed, known, coming: BTreeMap::new() }
    }

    /// Binds the service to the node of its volumes, and says so where it is new.
    pub(super) fn pin(
        &mut self,
        service: &super::Service,
        spec: &mut ServiceSpec,
        notes: &mut Vec<String>,
    ) {
        let volumes = &service.local_volumes;
        if volumes.is_empty() {
            return;
        }
        let node = volumes.iter().find_map(|volume| self.known.get(volume)).cloned();
        let Some(node) = node.or_else(|| self.choose(spec)) else { return };
        for volume in volumes {
            let other = self.known.entry(volume.clone()).or_insert_with(|| node.clone()).clone();
            if other != node {
                notes.push(format!(
                    "{}: volume {volume} is on {}, another one on {}: it gets an empty {volume} there",
                    spec.name,
                    self.hostname(&other),
                    self.hostname(&node)
                ));
            }
        }
        *self.coming.entry(node.clone()).or_default() += 1;
        let (all, name) = (volumes.join(", "), self.hostname(&node));
        notes.push(format!("{} stays on {name}, where its data are: {all}", spec.name));
        let placement = spec.task_template.placement.get_or_insert_with(Placement::default);
        placement.constraints.push(format!("node.id == {node}"));
    }

    fn choose(&self, spec: &ServiceSpec) -> Option<NodeId> {
        let template = &spec.task_template;
        let constraints = template.placement.as_ref().map_or(&[][..], |place| &place.constraints);
        let reserved = template.resources.as_ref().and_then(|all| all.reservations.as_ref());
        let need = Need {
            constraints,
            nano_cpus: reserved.map_or(0, |amounts| amounts.nano_cpus),
            memory_bytes: reserved.map_or(0, |amounts| amounts.memory_bytes),
        };
        let chosen = home(&self.observed.nodes, &self.observed.tasks, &self.coming, need)?;
        Some(chosen.id.clone())
    }

    fn hostname<'n>(&'n self, id: &'n NodeId) -> &'n str {
        let node = self.observed.nodes.iter().find(|node| node.id == *id);
        node.map_or(id.as_str(), |node| &node.description.hostname)
    }
}

fn mounts(service: &service::Service, volume: &str) -> bool {
    let container = service.spec.task_template.container_spec.iter();
    container.flat_map(|container| &container.mounts).any(|mount| mount.source == volume)
}

/// What a node must have.
#[derive(Debug, Clone, Copy)]
struct Need<'a> {
    constraints: &'a [String],
    nano_cpus: i64,
    memory_bytes: i64,
}

/// The node to put the data on: one that takes the service, with the fewest tasks. `coming` are tasks that this very
/// deployment sends there. None where nothing fits: the scheduler then says why.
fn home<'n>(
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
