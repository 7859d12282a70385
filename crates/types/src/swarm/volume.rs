//! Cluster volumes: storage that follows tasks, or holds them where it is.

use super::{Driver, Meta};
use crate::{NodeId, VolumeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A volume of the whole cluster. `spec` is the user's, `nodes` the managers'.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterVolume {
    #[serde(rename = "ID")]
    pub id: VolumeId,
    #[serde(flatten)]
    pub meta: Meta,
    #[serde(rename = "Spec")]
    pub spec: VolumeSpec,
    /// Where its data are; tasks that mount it can only run there. Empty: anywhere.
    #[serde(rename = "Nodes", skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeId>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeSpec {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub driver: Driver,
    /// `active`, `pause`, `drain`; empty is `active`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub availability: String,
}
