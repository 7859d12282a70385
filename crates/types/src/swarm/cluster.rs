//! The cluster itself: one object, `default`.

use super::extension::{ClusterPolicy, ClusterRecord};
use super::node::TlsInfo;
use super::{Driver, Meta};
use crate::ClusterId;
use crate::container::Nanos;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The swarm as `GET /swarm` answers it, less what only managers may see.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    #[serde(rename = "ID")]
    pub id: ClusterId,
    #[serde(flatten)]
    pub meta: Meta,
    #[serde(rename = "Spec")]
    pub spec: ClusterSpec,
    /// Only in answers, made of the record.
    #[serde(rename = "TLSInfo", skip_serializing_if = "Option::is_none")]
    pub tls_info: Option<TlsInfo>,
    #[serde(rename = "RootRotationInProgress")]
    pub root_rotation_in_progress: bool,
    #[serde(rename = "DataPathPort")]
    pub data_path_port: u32,
    #[serde(rename = "DefaultAddrPool")]
    pub default_addr_pool: Vec<String>,
    /// Prefix length of the subnets cut from the pools.
    #[serde(rename = "SubnetSize")]
    pub subnet_size: u32,
    /// Unset in every answer.
    #[serde(rename = "Sampan", skip_serializing_if = "Option::is_none")]
    pub record: Option<ClusterRecord>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ClusterSpec {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub orchestration: Orchestration,
    pub raft: RaftConfig,
    pub dispatcher: DispatcherConfig,
    #[serde(rename = "CAConfig")]
    pub ca_config: CaConfig,
    pub task_defaults: TaskDefaults,
    pub encryption_config: EncryptionConfig,
    /// What Docker lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampan: Option<ClusterPolicy>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Orchestration {
    /// Ended tasks kept per slot; 5 when unset, negative keeps all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_history_retention_limit: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RaftConfig {
    pub snapshot_interval: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_old_snapshots: Option<u64>,
    pub log_entries_for_slow_followers: u64,
    pub election_tick: u64,
    pub heartbeat_tick: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DispatcherConfig {
    pub heartbeat_period: Nanos,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CaConfig {
    pub node_cert_expiry: Nanos,
    #[serde(skip_serializing_if = "zero")]
    pub force_rotate: u64,
    /// Always refused: the cluster's root signs.
    #[serde(rename = "ExternalCAs", skip_serializing_if = "Option::is_none")]
    pub external_cas: Option<Vec<ExternalCa>>,
    /// The root to change to, PEM, beside a larger `force_rotate`. Unset in every answer, as the key.
    #[serde(rename = "SigningCACert", skip_serializing_if = "String::is_empty")]
    pub signing_ca_cert: String,
    #[serde(rename = "SigningCAKey", skip_serializing_if = "String::is_empty")]
    pub signing_ca_key: String,
}

/// Something elsewhere that signs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExternalCa {
    pub protocol: String,
    #[serde(rename = "URL")]
    pub url: String,
    pub options: Option<BTreeMap<String, String>>,
    #[serde(rename = "CACert")]
    pub ca_cert: String,
}

fn zero(value: &u64) -> bool {
    *value == 0
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskDefaults {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_driver: Option<Driver>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EncryptionConfig {
    pub auto_lock_managers: bool,
}
