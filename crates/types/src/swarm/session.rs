//! What an agent and the leader's dispatcher tell each other over one stream, whatever carries it.
//!
//! ```text
//! agent                                   dispatcher
//!   Hello ───────────────────────────────►
//!   Attached ────────────────────────────►
//!        ◄─────── Settings, Assignments (whole), Endpoints (whole)
//!   Heartbeat, Statuses, Description ────►
//!        ◄─── Assignments (changes), Endpoints (changes) …, Settings when they change
//!   Applied ─────────────────────────────►
//! ```
//!
//! Either side may end the stream at any time; the agent then goes on with what it has and connects again.

use super::endpoint::EndpointUpdate;
use super::network::ClusterNetwork;
use super::node::{NodeDescription, Role};
use super::secret::{Config, Secret};
use super::service::{PortConfig, Service, VirtualIp};
use super::task::{Task, TaskStatus};
use super::volume::ClusterVolume;
use crate::container::Nanos;
use crate::{NodeId, ServiceId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// From an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentMessage {
    /// The first message, once.
    Hello(NodeDescription),
    Heartbeat,
    /// The machine changed: labels, resources, plugins.
    Description(NodeDescription),
    /// Statuses that changed, the newest of each task. Sent again after a reconnect until a manager has
    /// written them; repeating one changes nothing.
    Statuses(Vec<TaskReport>),
    /// The version of the endpoint table that this node's kernel and names follow. A task is stopped only when
    /// every node has applied a table in which it is draining.
    Applied(u64),
    /// The attachments (see [`super::attach`]) that containers of this node have, all of them: others of this node
    /// are let go. Once in each session, after `Hello`.
    Attached(Vec<TaskId>),
}

/// One task's status as its agent has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TaskReport {
    pub task: TaskId,
    pub status: TaskStatus,
}

/// From the dispatcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManagerMessage {
    Settings(SessionSettings),
    Assignments(Assignments),
    /// These statuses are committed: they need not be sent again.
    Written(Vec<TaskReport>),
    /// What changed in the endpoint table; the first one of a session has all of it.
    Endpoints(Arc<EndpointUpdate>),
}

/// How the session goes on. Sent at its start and when it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SessionSettings {
    /// The agent beats at least this often, with jitter of its own.
    pub heartbeat_period: Nanos,
    /// Whom to turn to when this one is lost.
    pub managers: Vec<ManagerAddress>,
    /// What the node's spec says: a node whose certificate says otherwise renews it.
    pub role: Role,
    /// The roots to trust: one, or two while the cluster changes it. PEM.
    pub trusted_roots: String,
    /// The node renews its certificate if it was signed by another root than this: `sha256:` and hex.
    pub signing_root: String,
}

/// A manager as agents reach it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ManagerAddress {
    pub node: NodeId,
    /// `host:port`.
    pub addr: String,
}

/// A node's share of the cluster's state, or what changed of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Assignments {
    /// Nothing but this is assigned. Otherwise the changes go on top of `from`.
    pub complete: bool,
    /// The store's version that the changes go on from. An agent at another version ends the stream, and
    /// gets everything.
    pub from: u64,
    /// The store's version that this brings the agent to.
    pub to: u64,
    pub put: Vec<Assigned>,
    pub removed: Vec<Removed>,
}

/// One object that an agent needs: a task of its node, or what such a task refers to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Assigned {
    Task(Arc<Task>),
    /// Before, or in the same message as, the first task of the service.
    Service(Arc<ServiceFacts>),
    Secret(Arc<Secret>),
    Config(Arc<Config>),
    Network(Arc<ClusterNetwork>),
    Volume(Arc<ClusterVolume>),
}

/// What an agent must know of a service whose tasks it runs: their names, templates, published ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceFacts {
    #[serde(rename = "ID")]
    pub id: ServiceId,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// The endpoint's ports, as allocated.
    pub ports: Vec<PortConfig>,
    #[serde(rename = "VirtualIPs")]
    pub virtual_ips: Vec<VirtualIp>,
}

impl ServiceFacts {
    /// What of `service` agents get to know.
    pub fn of(service: &Service) -> Self {
        ServiceFacts {
            id: service.id.clone(),
            name: service.spec.name.clone(),
            labels: service.spec.labels.clone(),
            ports: service.endpoint.ports.clone(),
            virtual_ips: service.endpoint.virtual_ips.clone(),
        }
    }
}

/// One object that an agent needs no more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Removed {
    Task(String),
    Service(String),
    Secret(String),
    Config(String),
    Network(String),
    Volume(String),
}

/// Who is at the other end of a connection, as its certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PeerIdentity {
    pub node: NodeId,
    pub cluster: crate::ClusterId,
    pub role: Role,
}
