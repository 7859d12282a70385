//! Containers that join a cluster network by themselves: `docker run --network`, `docker network connect`.
//!
//! The network must be attachable. The managers keep an attachment as a task that runs on no agent: it holds an
//! address and has a row in the endpoint table until its node lets it go, or leaves the cluster.

use crate::{NetworkId, NodeId, TaskId};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What a node asks a manager for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttachRequest {
    /// Made by the node, and written down there before it asks: the answer may be lost. Asking again with the same
    /// id answers the same address.
    pub task: TaskId,
    /// Where the container is. A manager takes it from the asking node's certificate.
    pub node: NodeId,
    /// Name or id.
    pub network: String,
    #[serde(rename = "ContainerID")]
    pub container: String,
    /// Without the slash.
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// `--ip`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
}

/// What it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attached {
    pub network: NetworkId,
    pub address: Ipv4Addr,
    /// Of the network's subnet.
    pub prefix_len: u8,
}
