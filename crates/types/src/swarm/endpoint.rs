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
use std::cmp::Ordering;
use std::net::Ipv4Addr;
use std::sync::Arc;

mod rows;

pub use rows::{Keyed, Rows};

/// All rows at one version. Rows are in the order of their ids, so that equal tables are equal bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointTable {
    /// The store's version at which its rows became what they are. An agent acknowledges the version that it has
    /// applied.
    pub version: u64,
    /// The UDP port of all nodes' tunnels; 0 for the usual one, 4789.
    pub tunnel_port: u16,
    pub networks: Rows<NetworkRow>,
    pub peers: Rows<PeerRow>,
    pub services: Rows<ServiceRow>,
    pub endpoints: Rows<EndpointRow>,
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
    #[serde(skip_serializing_if = "Rows::is_empty")]
    pub networks: Rows<NetworkRow>,
    #[serde(skip_serializing_if = "Rows::is_empty")]
    pub peers: Rows<PeerRow>,
    #[serde(skip_serializing_if = "Rows::is_empty")]
    pub services: Rows<ServiceRow>,
    #[serde(skip_serializing_if = "Rows::is_empty")]
    pub endpoints: Rows<EndpointRow>,
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
            networks: changed(&old.networks, &new.networks, |row| {
                removed.push(RemovedRow::Network(row.id.clone()));
            }),
            peers: changed(&old.peers, &new.peers, |row| {
                removed.push(RemovedRow::Peer(row.node.clone()));
            }),
            services: changed(&old.services, &new.services, |row| {
                removed.push(RemovedRow::Service(row.id.clone()));
            }),
            endpoints: changed(&old.endpoints, &new.endpoints, |row| {
                removed.push(RemovedRow::Endpoint(row.task.clone(), row.network.clone()));
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

    /// Has rows that say what those of `before` say be the same in memory.
    pub fn share_with(&mut self, before: &EndpointTable) {
        self.networks.share_with(&before.networks);
        self.peers.share_with(&before.peers);
        self.services.share_with(&before.services);
        self.endpoints.share_with(&before.endpoints);
    }

    /// Brings the table to the update's version.
    ///
    /// # Errors
    /// When the update goes on from another version; the table is as it was. The agent then ends its session, and
    /// the next one begins with the whole table.
    pub fn apply(&mut self, update: &EndpointUpdate) -> Result<(), OutOfStep> {
        if !update.complete && update.from != self.version {
            return Err(OutOfStep);
        }
        let before = update.complete.then(|| std::mem::take(self));
        for row in &update.removed {
            match row {
                RemovedRow::Network(id) => self.networks.remove(id),
                RemovedRow::Peer(id) => self.peers.remove(id),
                RemovedRow::Service(id) => self.services.remove(id),
                RemovedRow::Endpoint(task, network) => {
                    self.endpoints.remove(&(task.clone(), network.clone()));
                }
            }
        }
        self.networks.merge(&update.networks);
        self.peers.merge(&update.peers);
        self.services.merge(&update.services);
        self.endpoints.merge(&update.endpoints);
        (self.version, self.tunnel_port) = (update.to, update.tunnel_port);
        // Another manager tells everything again; for who follows the table only what has changed is to be new.
        if let Some(before) = before {
            self.share_with(&before);
        }
        Ok(())
    }
}

impl EndpointRow {
    /// Whether it is no task of the cluster.
    pub fn is_outside(&self) -> bool {
        self.node.as_str().is_empty()
    }
}

impl Keyed for NetworkRow {
    type Key = NetworkId;

    fn order(&self, key: &NetworkId) -> Ordering {
        self.id.cmp(key)
    }

    fn order_of(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl Keyed for PeerRow {
    type Key = NodeId;

    fn order(&self, key: &NodeId) -> Ordering {
        self.node.cmp(key)
    }

    fn order_of(&self, other: &Self) -> Ordering {
        self.node.cmp(&other.node)
    }
}

impl Keyed for ServiceRow {
    type Key = ServiceId;

    fn order(&self, key: &ServiceId) -> Ordering {
        self.id.cmp(key)
    }

    fn order_of(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl Keyed for EndpointRow {
    type Key = (TaskId, NetworkId);

    fn order(&self, (task, network): &Self::Key) -> Ordering {
        self.task.cmp(task).then_with(|| self.network.cmp(network))
    }

    fn order_of(&self, other: &Self) -> Ordering {
        self.task.cmp(&other.task).then_with(|| self.network.cmp(&other.network))
    }
}

/// The rows of `new` that `old` lacks or has otherwise; `gone` gets the rows whose keys `new` lacks. Both are in the order of
/// their keys.
fn changed<R: Keyed + PartialEq>(
    old: &Rows<R>,
    new: &Rows<R>,
    mut gone: impl FnMut(&R),
) -> Rows<R> {
    let same = |old: &Arc<R>, row: &Arc<R>| Arc::ptr_eq(old, row) || old == row;
    let (put, before) = new.changes(old);
    let mut before = before.into_iter().peekable();
    let mut changed = Vec::new();
    for row in put {
        // Most rows are as they were, at the same place: keys are made for the others only.
        if before.next_if(|old| same(old, row)).is_some() {
            continue;
        }
        while let Some(old) = before.next_if(|old| old.order_of(row).is_lt()) {
            gone(old);
        }
        match before.next_if(|old| old.order_of(row).is_eq()) {
            Some(old) if same(old, row) => {}
            _ => changed.push(Arc::clone(row)),
        }
    }
    before.for_each(|row| gone(row));
    changed.into_iter().collect()
}

#[cfg(test)]
mod tests;
