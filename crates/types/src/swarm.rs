//! The cluster's objects, in Docker's swarm words and JSON.
//!
//! Three writers, never two for one field: the user writes specs, managers write `desired_state`,
//! assignments and everything allocated, agents write `status`.

pub mod attach;
pub mod cluster;
pub mod constraint;
pub mod endpoint;
pub mod extension;
pub mod external;
pub mod network;
pub mod node;
pub mod placement;
pub mod policy;
pub mod request;
pub mod secret;
pub mod service;
pub mod session;
pub mod task;
pub mod volume;

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The store's version of an object: grows with each change, and a write must name the one it read.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(default, rename_all = "PascalCase")]
pub struct Version {
    pub index: u64,
}

/// What every object carries. Written by the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Meta {
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Name and labels: the head of every spec. Written by the user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Annotations {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// A driver and its options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Driver {
    pub name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}
