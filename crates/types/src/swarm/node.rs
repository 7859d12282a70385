//! Nodes: machines of the cluster.

use super::Meta;
use super::extension::NodeRecord;
use super::task::{Platform, Resources};
use crate::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A node. `spec` is the user's, `description` the agent's, `status` and `manager_status` the managers'.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    #[serde(rename = "ID")]
    pub id: NodeId,
    #[serde(flatten)]
    pub meta: Meta,
    #[serde(rename = "Spec")]
    pub spec: NodeSpec,
    #[serde(rename = "Description")]
    pub description: NodeDescription,
    #[serde(rename = "Status")]
    pub status: NodeStatus,
    #[serde(rename = "ManagerStatus", skip_serializing_if = "Option::is_none")]
    pub manager_status: Option<ManagerStatus>,
    #[serde(rename = "Sampan", skip_serializing_if = "Option::is_none")]
    pub record: Option<NodeRecord>,
}

/// `POST /nodes/{id}/update`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeSpec {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub role: Role,
    pub availability: Availability,
}

#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    #[default]
    Worker,
    Manager,
}

/// `pause` takes no new tasks, `drain` gives its tasks away too.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// Also when a client says nothing.
    #[default]
    #[serde(alias = "")]
    Active,
    Pause,
    Drain,
}

/// What the agent says of its machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeDescription {
    pub hostname: String,
    pub platform: Platform,
    /// What tasks can reserve.
    pub resources: Resources,
    pub engine: EngineDescription,
    #[serde(rename = "TLSInfo", skip_serializing_if = "Option::is_none")]
    pub tls_info: Option<TlsInfo>,
    /// Where the node's port is reached, `host:port`.
    #[serde(rename = "SampanAddr", skip_serializing_if = "String::is_empty")]
    pub addr: String,
    /// The address that other nodes send containers' packets to (`--data-path-addr`); empty where it is the one that
    /// `addr` has.
    #[serde(rename = "SampanDataPathAddr", skip_serializing_if = "String::is_empty")]
    pub data_path_addr: String,
    /// Its public key for encrypted networks, base64; empty if it cannot take part in them.
    #[serde(rename = "SampanWireKey", skip_serializing_if = "String::is_empty")]
    pub wire_key: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EngineDescription {
    pub engine_version: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginDescription>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PluginDescription {
    /// `Volume`, `Network`, `Log`.
    #[serde(rename = "Type")]
    pub kind: String,
    pub name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TlsInfo {
    /// PEM.
    pub trust_root: String,
    /// Base64 of DER.
    pub cert_issuer_subject: String,
    pub cert_issuer_public_key: String,
}

/// Written by the managers from heartbeats.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeStatus {
    pub state: NodeState,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    pub addr: String,
}

#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    #[default]
    Unknown,
    Down,
    Ready,
    Disconnected,
}

/// Only on managers. Written by Raft's leader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ManagerStatus {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub leader: bool,
    /// `reachable`, `unreachable`, `unknown`.
    pub reachability: String,
    pub addr: String,
}
