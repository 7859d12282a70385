//! The endpoint table: who can be reached in the cluster's networks, where, and under which names.
//!
//! The managers derive it from the store; each agent is streamed it with its version and derives its node's DNS
//! answers, kernel rules and routes from it as a whole. Nothing is patched from remembered changes.

use super::network::NodeBlock;
use super::service::PortConfig;
use crate::subnet::Subnet;
use crate::{NetworkId, NodeId, ServiceId, TaskId};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// All rows at one version. Rows are in the order of their ids, so that equal tables are equal bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointTable {
    /// The store's version that it was derived from. An agent acknowledges the version that it has applied.
    pub version: u64,
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
    /// No way out but to its own endpoints.
    pub internal: bool,
    /// Published ports come in by it.
    pub ingress: bool,
    /// One route each.
    pub blocks: Vec<NodeBlock>,
}

/// A node as others reach it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PeerRow {
    pub node: NodeId,
    /// Its address outside of all overlay networks. Nodes are told apart by it in the kernel.
    pub underlay: Ipv4Addr,
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
