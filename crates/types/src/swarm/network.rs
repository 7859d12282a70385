//! Cluster networks, as the managers keep them. The API answers them as `types::network::Network`.

use super::Meta;
use super::policy::PolicyRule;
use crate::network::CreateRequest;
use crate::six::SixSubnet;
use crate::subnet::Subnet;
use crate::{NetworkId, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Of a network that has IPv6, given with `subnet`; every IPv4 address has its place there.
    #[serde(rename = "Six", skip_serializing_if = "Option::is_none")]
    pub six: Option<SixSubnet>,
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

/// How packets of a network travel between nodes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In UDP, in the clear.
    #[default]
    Vxlan,
    /// As they are: the nodes are on one segment, or routers between them know the blocks.
    Direct,
    /// In UDP, encrypted from node to node.
    Wireguard,
}

/// `--opt mode=…` names none, or contradicts `--opt encrypted`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAMode(pub String);

impl Mode {
    /// What a network's options ask for. `encrypted` alone is `wireguard`, whatever its value but `false`.
    pub fn of(options: &BTreeMap<String, String>) -> Result<Self, NotAMode> {
        let encrypted = options.get("encrypted").is_some_and(|value| value != "false");
        let mode = options.get("mode").map_or("", String::as_str);
        match (mode, encrypted) {
            ("wireguard", _) | ("", true) => Ok(Mode::Wireguard),
            ("" | "vxlan", false) => Ok(Mode::Vxlan),
            ("direct", false) => Ok(Mode::Direct),
            ("vxlan" | "direct", true) => Err(NotAMode(format!(
                "mode {mode} does not encrypt: leave out one of mode and encrypted"
            ))),
            _ => Err(NotAMode(format!(
                "invalid mode {mode:?}: vxlan, direct and wireguard are there"
            ))),
        }
    }

    /// Not worth a word in a record.
    pub fn is_usual(&self) -> bool {
        *self == Mode::Vxlan
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Vxlan => "vxlan",
            Mode::Direct => "direct",
            Mode::Wireguard => "wireguard",
        }
    }
}

impl std::fmt::Display for NotAMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAMode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_encryption_is_never_in_the_clear() {
        let mode = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            Mode::of(&pairs.collect())
        };
        assert_eq!(mode(&[]), Ok(Mode::Vxlan));
        assert_eq!(mode(&[("encrypted", "")]), Ok(Mode::Wireguard));
        assert_eq!(mode(&[("encrypted", "true"), ("mode", "wireguard")]), Ok(Mode::Wireguard));
        assert_eq!(mode(&[("encrypted", "false"), ("mode", "direct")]), Ok(Mode::Direct));
        for pairs in [[("encrypted", ""), ("mode", "vxlan")], [("mode", "Wireguard"), ("x", "")]] {
            assert!(mode(&pairs).is_err(), "{pairs:?}");
        }
    }
}
