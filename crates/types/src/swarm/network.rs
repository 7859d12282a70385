//! Cluster networks, as the managers keep them. The API answers them as `types::network::Network`.

use super::Meta;
use super::policy::PolicyRule;
use crate::network::CreateRequest;
use crate::subnet::Subnet;
use crate::{NetworkId, NodeId};
use serde::{Deserialize, Serialize};

/// A network of the whole cluster. `spec` is the user's, the rest the allocator's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterNetwork {
    #[serde(rename = "ID")]
    pub id: NetworkId,
    #[serde(flatten)]
    pub meta: Meta,
    #[serde(rename = "Spec")]
    pub spec: CreateRequest,
    /// `10.0.1.0/24`; empty until allocated.
    #[serde(rename = "Subnet")]
    pub subnet: String,
    #[serde(rename = "Gateway")]
    pub gateway: String,
    /// VXLAN network identifier; 0 until allocated.
    #[serde(rename = "VNI")]
    pub vni: u32,
    /// Which node has which part of the subnet, by block.
    #[serde(rename = "Blocks", skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<NodeBlock>,
    /// The user's: who may talk to whom.
    #[serde(rename = "Policies", skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyRule>,
}

/// A part of a network's subnet: its addresses are on this node, and one route leads to all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeBlock {
    pub block: Subnet,
    pub node: NodeId,
}
