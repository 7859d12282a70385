//! Puts pending tasks onto nodes. Fed with every change of nodes, tasks, services and volumes; decides, never
//! commits.

use crate::check::{Volumes, reason};
use crate::decision::{Decision, Refusal, Verdict};
use crate::error::PlacementError;
use crate::filter::{Filter, Tally};
use crate::node::{Hold, is_active, written};
use crate::nodeset::{NodeIx, NodeSet};
use crate::preempt::{Claims, Room, make_room};
use crate::shelf::{Desk, Shelf};
use crate::wish::{Directory, Wish, extensions};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::swarm::network::ClusterNetwork;
use types::swarm::node::Node;
use types::swarm::placement::PlacementExtensions;
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};
use types::swarm::volume::ClusterVolume;
use types::{NodeId, ServiceId, TaskId, Timestamp, VolumeId};

/// Everything that placement looks at.
#[derive(Debug, Default)]
pub struct Scheduler {
    nodes: NodeSet,
    services: BTreeMap<ServiceId, Known>,
    names: BTreeMap<String, ServiceId>,
    /// Drivers, by the network's id and by its name.
    networks: BTreeMap<String, String>,
    volumes: Volumes,
    shelf: Shelf,
}

/// What matters of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    name: String,
    placement: Option<Arc<PlacementExtensions>>,
}

impl Scheduler {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or updates a node.
    pub fn set_node(&mut self, node: impl Into<Arc<Node>>) {
        self.nodes.set_node(node.into());
    }
    /// Takes a node away; what is known of its tasks stays until they end.
    pub fn remove_node(&mut self, id: &NodeId) {
        self.nodes.remove_node(id);
    }

    /// Takes a task as the store has it, whenever it changes: tasks on a node hold what they reserve until
    /// they have ended, failed ones count against their node. A task without a node changes nothing.
    pub fn set_task(&mut self, task: &Task) {
        self.nodes.set_task(task);
    }
    /// The task was deleted.
    pub fn remove_task(&mut self, task: &Task) {
        self.release(&task.id, &task.node_id);
    }
    /// Takes back an assignment that could not be committed.
    pub fn release(&mut self, task: &TaskId, node: &NodeId) {
        self.nodes.release(node, task);
    }

    /// Adds or updates a service: its name, priority and placement extensions.
    pub fn set_service(&mut self, service: &Service) {
        self.remove_service(&service.id);
        let placement = extensions(service.spec.sampan.as_ref()).cloned().map(Arc::new);
        let name = service.spec.name.clone();
        self.names.insert(name.clone(), service.id.clone());
        self.services.insert(service.id.clone(), Known { name, placement });
    }
    pub fn remove_service(&mut self, id: &ServiceId) {
        if let Some(known) = self.services.remove(id) {
            self.names.remove(&known.name);
        }
    }

    /// Adds or updates a network: tasks on it need its driver on their node.
    pub fn set_network(&mut self, network: &ClusterNetwork) {
        for key in [network.id.as_str(), &network.spec.name] {
            self.networks.insert(key.to_owned(), network.spec.driver.clone());
        }
    }
    pub fn remove_network(&mut self, network: &ClusterNetwork) {
        self.networks.remove(network.id.as_str());
        self.networks.remove(&network.spec.name);
    }

    /// Adds or updates a cluster volume.
    pub fn set_volume(&mut self, volume: impl Into<Arc<ClusterVolume>>) {
        let volume = volume.into();
        self.remove_volume(&volume.id);
        for key in [volume.id.as_str(), &volume.spec.name] {
            self.volumes.0.insert(key.to_owned(), Arc::clone(&volume));
        }
    }
    pub fn remove_volume(&mut self, id: &VolumeId) {
        self.volumes.0.retain(|_, volume| volume.id != *id);
        self.shelf.forget_volumes();
    }

    /// Decides on pending tasks: higher priorities first, then by service, slot and id, whatever their order
    /// here. A task that has a node already (of a global service) is checked on that node alone. Tasks that
    /// are not pending are passed over. `now` forgives old failures.
    pub fn decide(&mut self, pending: &[Arc<Task>], now: Timestamp) -> Vec<Decision> {
        self.nodes.forgive(now);
        let mut tasks: Vec<(i32, &Arc<Task>)> = pending
            .iter()
            .filter(|task| task.status.state < TaskState::Assigned)
            .map(|task| (self.priority(&task.service_id), task))
            .collect();
        tasks.sort_by(|(one, a), (two, b)| {
            let order = (Reverse(*one), &a.service_id, a.spec_version, a.slot, &a.id);
            order.cmp(&(Reverse(*two), &b.service_id, b.spec_version, b.slot, &b.id))
        });
        let mut claims = Claims::default();
        let mut decisions = Vec::with_capacity(tasks.len());
        for group in tasks.chunk_by(|(_, one), (_, two)| alike(one, two)) {
            self.decide_group(group, &mut claims, &mut decisions);
        }
        decisions
    }

    /// Each node's answer to a task, by id: for `why`.
    pub fn why(&mut self, task: &Task, now: Timestamp) -> Result<Vec<Verdict>, PlacementError> {
        self.nodes.forgive(now);
        let desk = self.desk(task)?;
        let wish = &desk.wish;
        let verdict = |(id, ix, node): (&NodeId, NodeIx, &Arc<Node>)| {
            let info = self.nodes.info(ix);
            let reject = desk.board.verdict(ix);
            Verdict {
                node: id.clone(),
                reason: reject.map(|reject| reason(wish, info, node, reject)),
                filter: reject.map(|reject| reject.filter),
                failures: info.penalty(&wish.service, wish.version),
            }
        };
        let nodes =
            self.nodes.iter().filter_map(|(id, ix, info)| Some((id, ix, info.node.as_ref()?)));
        let verdicts = nodes.map(verdict).collect();
        self.shelf.put(desk);
        Ok(verdicts)
    }

    fn decide_group(
        &mut self,
        group: &[(i32, &Arc<Task>)],
        claims: &mut Claims,
        decisions: &mut Vec<Decision>,
    ) {
        let Some((priority, first)) = group.first() else { return };
        let mut desk = match self.desk(first) {
            Ok(desk) => desk,
            Err(error) => {
                decisions.extend(group.iter().map(|(_, task)| Decision::Refuse {
                    task: task.id.clone(),
                    refusal: Refusal::Invalid(error.clone()),
                }));
                return;
            }
        };
        for (_, task) in group {
            let decision = match self.place(task, &mut desk) {
                Ok(decision) => decision,
                Err(tally) => self.refuse(task, *priority, &desk, tally, claims),
            };
            decisions.push(decision);
        }
        self.shelf.put(desk);
    }

    /// Assigns the task to the best node, or to its own.
    fn place(&mut self, task: &Task, desk: &mut Desk) -> Result<Decision, Tally> {
        desk.catch_up(&self.nodes, &self.volumes);
        let ix = match task.node_id.as_str() {
            "" => desk.best()?,
            _ => {
                let one = self.nodes.number(&task.node_id).ok_or_else(|| only(Filter::Ready))?;
                match (desk.board.verdict(one), &self.nodes.info(one).node) {
                    (None, Some(_)) => one,
                    (Some(reject), Some(_)) => return Err(only(reject.filter)),
                    (_, None) => return Err(only(Filter::Ready)),
                }
            }
        };
        let given = match desk.wish.generic.is_empty() {
            true => Vec::new(),
            false => self.nodes.info(ix).give(&desk.wish.generic),
        };
        let node = self.nodes.id(ix).clone();
        let generic_resources = written(&given);
        let hold = Hold {
            service: desk.wish.service.clone(),
            nano_cpus: desk.wish.nano_cpus,
            memory_bytes: desk.wish.memory_bytes,
            generic: given,
            ports: desk.wish.host_ports.clone(),
        };
        self.nodes.assign(ix, &task.id, hold, is_active(task));
        Ok(Decision::Assign { task: task.id.clone(), node, generic_resources })
    }

    /// Preempts if the service may, else refuses.
    fn refuse(
        &mut self,
        task: &Task,
        priority: i32,
        desk: &Desk,
        tally: Tally,
        claims: &mut Claims,
    ) -> Decision {
        let preempts = self.placement(&task.service_id).is_some_and(|placement| placement.preempt);
        let services = &self.services;
        let of = |service: &ServiceId| priority_of(services, service);
        let room = preempts.then(|| make_room(&self.nodes, desk, task, priority, of, claims));
        match room.flatten() {
            Some((ix, Room::Evict(victims))) => {
                for victim in &victims {
                    self.nodes.retire(ix, victim);
                }
                let node = self.nodes.id(ix).clone();
                Decision::Preempt { task: task.id.clone(), node, victims }
            }
            Some((ix, Room::Coming)) => {
                let refusal = Refusal::Waiting { node: self.nodes.id(ix).clone() };
                Decision::Refuse { task: task.id.clone(), refusal }
            }
            None => {
                let refusal = Refusal::NoSuitableNode(tally);
                Decision::Refuse { task: task.id.clone(), refusal }
            }
        }
    }

    /// The board for the task's wish, up to date.
    fn desk(&mut self, task: &Task) -> Result<Desk, PlacementError> {
        let wish = Wish::of_task(task, self.placement(&task.service_id), self)?;
        self.shelf.take(wish, &self.nodes, &self.volumes)
    }

    fn placement(&self, service: &ServiceId) -> Option<&PlacementExtensions> {
        self.services.get(service).and_then(|known| known.placement.as_deref())
    }
    fn priority(&self, service: &ServiceId) -> i32 {
        priority_of(&self.services, service)
    }
}

impl Directory for Scheduler {
    fn service(&self, name: &str) -> ServiceId {
        self.names.get(name).cloned().unwrap_or(ServiceId::new(name))
    }
    fn network_driver(&self, target: &str) -> Option<&str> {
        self.networks.get(target).map(String::as_str)
    }
}

fn priority_of(services: &BTreeMap<ServiceId, Known>, service: &ServiceId) -> i32 {
    let placement = services.get(service).and_then(|known| known.placement.as_ref());
    placement.map_or(0, |placement| placement.priority)
}

/// Whether two tasks ask for the same.
fn alike(one: &Task, two: &Task) -> bool {
    one.service_id == two.service_id
        && one.spec_version == two.spec_version
        && one.record.host_ports == two.record.host_ports
        && (Arc::ptr_eq(&one.spec, &two.spec) || one.spec == two.spec)
}

fn only(filter: Filter) -> Tally {
    let mut tally = Tally::default();
    tally.add(filter);
    tally
}
