//! The endpoint table: who can be reached in the cluster's networks, where, and under which names.
//!
//! The managers derive it from the store; each agent is streamed it with its version and derives its node's DNS
//! answers, kernel rules and routes from it as a whole. Nothing is patched from remembered changes.

use super::external::Check;
use super::network::{Mode, NodeBlock};
use super::policy::PolicyPort;
use super::service::PortConfig;
use crate::six::SixSubnet;
use crate::subnet::Subnet;
use crate::{NetworkId, NodeId, ServiceId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// All rows at one version. Rows are in the order of their ids, so that equal tables are equal bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointTable {
    /// The store's version at which its rows became what they are. An agent acknowledges the version that it has
    /// applied.
    pub version: u64,
    /// The UDP port of all nodes' tunnels; 0 for the usual one, 4789.
    pub tunnel_port: u16,
    pub networks: Vec<NetworkRow>,
    pub peers: Vec<PeerRow>,
    pub services: Vec<ServiceRow>,
    pub endpoints: Vec<EndpointRow>,
}

/// An overlay network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkRow {
    pub id: NetworkId,
    pub name: String,
    pub subnet: Subnet,
    pub gateway: Ipv4Addr,
    /// The same addresses' places in IPv6, if the network has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub six: Option<SixSubnet>,
    #[serde(default, skip_serializing_if = "Mode::is_usual")]
    pub mode: Mode,
    /// No way out but to its own endpoints.
    pub internal: bool,
    /// Published ports come in by it.
    pub ingress: bool,
    /// One route each.
    pub blocks: Vec<NodeBlock>,
    /// Who may talk to whom.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<PolicyRow>,
}

/// A rule of a network with the services that it means by now, see [`super::policy`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PolicyRow {
    pub to: Vec<ServiceId>,
    /// `None` for everybody on the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<ServiceId>>,
    /// None for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PolicyPort>,
    /// Containers and hosts that joined by themselves and are meant, too, as `to` and as `from`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to_places: Vec<TaskId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from_places: Vec<TaskId>,
}

/// A node as others reach it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PeerRow {
    pub node: NodeId,
    /// Its address outside of all overlay networks. Nodes are told apart by it in the kernel.
    pub underlay: Ipv4Addr,
    /// Its public key for encrypted networks, base64; empty of a node that cannot take part in them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub wire_key: String,
}

/// What a service is reached by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceRow {
    pub id: ServiceId,
    pub name: String,
    /// In each network; none with `dnsrr`.
    pub vips: Vec<Vip>,
    pub ports: Vec<PortConfig>,
    /// Of a service outside of the cluster: how each node finds out which of its endpoints are healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Vip {
    pub network: NetworkId,
    pub address: Ipv4Addr,
}

/// A task's place in one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EndpointRow {
    pub task: TaskId,
    pub network: NetworkId,
    /// Empty of one outside of the cluster.
    pub node: NodeId,
    pub address: Ipv4Addr,
    pub state: EndpointState,
    /// Its share of new connections among the service's endpoints; 0 gets none.
    pub weight: u32,
    /// `None` for a container that only joined the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceId>,
    /// 0 for tasks of a global service.
    pub slot: u64,
    /// The container's name, `web.1.TASK`.
    pub name: String,
    /// Further names of the service, or of the container if it has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

/// Who may send to an endpoint. A row that is gone has ended: nobody has it any more.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// It has its address, and is not offered to anybody.
    #[default]
    Starting,
    Healthy,
    /// What is open stays open; nothing new comes. It is stopped when all nodes have acknowledged that.
    Draining,
}

/// What brings a node's table up to date.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointUpdate {
    /// The rows below are the whole table. The first update of each session is.
    pub complete: bool,
    /// The table's version that the changes go on from.
    pub from: u64,
    /// The table's version that this brings the node to.
    pub to: u64,
    /// Never left out, see [`EndpointTable::tunnel_port`].
    pub tunnel_port: u16,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<NetworkRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<RemovedRow>,
}

/// The key of a row that is gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemovedRow {
    Network(NetworkId),
    Peer(NodeId),
    Service(ServiceId),
    Endpoint(TaskId, NetworkId),
}

/// The update goes on from a version that the table is not at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfStep;

impl EndpointUpdate {
    /// All of `table`.
    pub fn whole(table: &EndpointTable) -> Self {
        EndpointUpdate {
            complete: true,
            from: 0,
            to: table.version,
            tunnel_port: table.tunnel_port,
            networks: table.networks.clone(),
            peers: table.peers.clone(),
            services: table.services.clone(),
            endpoints: table.endpoints.clone(),
            removed: Vec::new(),
        }
    }

    /// What makes `new` of `old`.
    pub fn between(old: &EndpointTable, new: &EndpointTable) -> Self {
        let mut removed = Vec::new();
        EndpointUpdate {
            complete: false,
            from: old.version,
            to: new.version,
            tunnel_port: new.tunnel_port,
            networks: changed(&old.networks, &new.networks, NetworkRow::key, |(id, ())| {
                removed.push(RemovedRow::Network(id));
            }),
            peers: changed(&old.peers, &new.peers, PeerRow::key, |(id, ())| {
                removed.push(RemovedRow::Peer(id));
            }),
            services: changed(&old.services, &new.services, ServiceRow::key, |(id, ())| {
                removed.push(RemovedRow::Service(id));
            }),
            endpoints: changed(&old.endpoints, &new.endpoints, EndpointRow::key, |(task, net)| {
                removed.push(RemovedRow::Endpoint(task, net));
            }),
            removed,
        }
    }
}

impl EndpointTable {
    /// Whether it says the same as `other`, whatever their versions.
    pub fn says_the_same(&self, other: &EndpointTable) -> bool {
        let EndpointTable { version: _, tunnel_port, networks, peers, services, endpoints } = self;
        *tunnel_port == other.tunnel_port
            && *endpoints == other.endpoints
            && *services == other.services
            && *networks == other.networks
            && *peers == other.peers
    }

    /// Brings the table to the update's version.
    ///
    /// # Errors
    /// When the update goes on from another version; the table is as it was. The agent then ends its session, and
    /// the next one begins with the whole table.
    pub fn apply(&mut self, update: &EndpointUpdate) -> Result<(), OutOfStep> {
        if update.complete {
            *self = EndpointTable::default();
        } else if update.from != self.version {
            return Err(OutOfStep);
        }
        let mut networks = Vec::new();
        let mut peers = Vec::new();
        let mut services = Vec::new();
        let mut endpoints = Vec::new();
        for row in &update.removed {
            match row {
                RemovedRow::Network(id) => networks.push((id.clone(), ())),
                RemovedRow::Peer(id) => peers.push((id.clone(), ())),
                RemovedRow::Service(id) => services.push((id.clone(), ())),
                RemovedRow::Endpoint(task, net) => endpoints.push((task.clone(), net.clone())),
            }
        }
        merge(&mut self.networks, &update.networks, &networks, NetworkRow::key);
        merge(&mut self.peers, &update.peers, &peers, PeerRow::key);
        merge(&mut self.services, &update.services, &services, ServiceRow::key);
        merge(&mut self.endpoints, &update.endpoints, &endpoints, EndpointRow::key);
        (self.version, self.tunnel_port) = (update.to, update.tunnel_port);
        Ok(())
    }
}

impl NetworkRow {
    fn key(&self) -> (NetworkId, ()) {
        (self.id.clone(), ())
    }
}
impl PeerRow {
    fn key(&self) -> (NodeId, ()) {
        (self.node.clone(), ())
    }
}
impl ServiceRow {
    fn key(&self) -> (ServiceId, ()) {
        (self.id.clone(), ())
    }
}
impl EndpointRow {
    /// Whether it is no task of the cluster.
    pub fn is_outside(&self) -> bool {
        self.node.as_str().is_empty()
    }

    fn key(&self) -> (TaskId, NetworkId) {
        (self.task.clone(), self.network.clone())
    }
}

/// The rows of `new` that `old` lacks or has otherwise; `gone` gets the keys that `new` lacks. Both are in the order of
/// their keys.
fn changed<R: Clone + PartialEq, K: Ord>(
    old: &[R],
    new: &[R],
    key: fn(&R) -> K,
    mut gone: impl FnMut(K),
) -> Vec<R> {
    let mut put = Vec::new();
    let mut before = old.iter().peekable();
    for row in new {
        // Most rows are as they were, at the same place: keys are made for the others only.
        if before.next_if(|old| *old == row).is_some() {
            continue;
        }
        while let Some(old) = before.next_if(|old| key(old) < key(row)) {
            gone(key(old));
        }
        match before.next_if(|old| key(old) == key(row)) {
            Some(old) if old == row => {}
            _ => put.push(row.clone()),
        }
    }
    before.map(key).for_each(gone);
    put
}

/// Puts and removes rows; they are in the order of their keys after it.
fn merge<R: Clone, K: Ord>(rows: &mut Vec<R>, put: &[R], removed: &[K], key: fn(&R) -> K) {
    if put.is_empty() && removed.is_empty() {
        return;
    }
    let mut all: BTreeMap<K, R> = rows.drain(..).map(|row| (key(&row), row)).collect();
    for gone in removed {
        all.remove(gone);
    }
    all.extend(put.iter().map(|row| (key(row), row.clone())));
    rows.extend(all.into_values());
}

#[cfg(test)]
mod tests;
