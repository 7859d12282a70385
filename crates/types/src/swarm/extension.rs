//! What Docker's objects lack: `Sampan` in a service's spec, and the managers' records on objects.
//!
//! Docker's clients neither send nor read these; without them every service behaves as Docker's.

use super::service::PortConfig;
use crate::Timestamp;
use crate::container::{DeviceMapping, Nanos};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Wishes beyond Docker's service spec. Written by the user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceExtensions {
    /// Stopped, not deleted: slots keep their numbers and history.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// By service name: what must hold before a task starts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: BTreeMap<String, DependencyCondition>,
    /// Jobs only: run at these times instead of on creation and change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Moves tasks to emptier nodes; never when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<Rebalance>,
    /// Bounds an update by health instead of by order (Marathon's upgrade strategy).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// How long a down node keeps its tasks before they are replaced; the cluster's when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_grace: Option<Nanos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<super::placement::PlacementExtensions>,
}

/// What Swarm refuses its services: `Sampan` in a container's spec. Each needs the cluster's leave
/// ([`ClusterPolicy`]). Written by the user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerExtensions {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceMapping>,
    /// Bytes of `/dev/shm`; 0 is the engine's default.
    #[serde(skip_serializing_if = "no_size")]
    pub shm_size: i64,
    /// As `docker run --security-opt` takes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_opt: Vec<String>,
    /// `host`, or empty for one of its own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pid_mode: String,
    /// `host`, `private`, `shareable`, `none`, or empty for the engine's default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ipc_mode: String,
}

fn no_size(bytes: &i64) -> bool {
    *bytes == 0
}

/// What services may ask for that Swarm refuses: `Sampan` in the cluster's spec. Written by the user;
/// nothing is allowed until they do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ClusterPolicy {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Allowance>,
}

/// One thing that Swarm refuses its services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allowance {
    Privileged,
    Devices,
    ShmSize,
    SecurityOpt,
    PidMode,
    IpcMode,
}

impl Allowance {
    /// The word by which the policy names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Allowance::Privileged => "privileged",
            Allowance::Devices => "devices",
            Allowance::ShmSize => "shm-size",
            Allowance::SecurityOpt => "security-opt",
            Allowance::PidMode => "pid-mode",
            Allowance::IpcMode => "ipc-mode",
        }
    }
}

/// What a service waits for. Compose's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DependencyCondition {
    /// One task runs.
    #[default]
    #[serde(rename = "service_started")]
    Started,
    /// Every slot runs; a task runs only once its health check has passed.
    #[serde(rename = "service_healthy")]
    Healthy,
    /// The job is complete.
    #[serde(rename = "service_completed_successfully")]
    Completed,
}

/// When a job runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Schedule {
    /// Five fields, or `@daily` and the like.
    pub cron: String,
    /// An IANA name; UTC when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub time_zone: String,
    pub overlap: Overlap,
    /// Runs that are kept, the newest included; 3 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<u64>,
    /// A run later than this is skipped; any delay is borne when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_deadline: Option<Nanos>,
}

/// What happens when a run is due and the one before it has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    Allow,
    /// The new run is skipped.
    #[default]
    Forbid,
    /// The old run is stopped.
    Replace,
}

/// How tasks may be moved to emptier nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Rebalance {
    /// Moves at once; 0 is 1.
    pub budget: u64,
    /// Between moves, and how long a node must have been ready; 5 min when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cool_down: Option<Nanos>,
}

/// Marathon's `minimumHealthCapacity` and `maximumOverCapacity`: shares of the replicas, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Capacity {
    pub minimum_health: f64,
    pub maximum_over: f64,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity { minimum_health: 1.0, maximum_over: 1.0 }
    }
}

/// Marathon's `backoffFactor`, `maxLaunchDelay` and more; `backoffSeconds` is the restart policy's delay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Backoff {
    /// The delay grows by it with each quick end; 2 when unset, 1 turns growth off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// 5 min when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_launch_delay: Option<Nanos>,
    /// A run this long is no quick end; 60 s when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_after: Option<Nanos>,
    /// Quick ends in a row that open the circuit breaker; 5 when unset, 0 turns it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker_threshold: Option<u64>,
}

/// What the managers remember of a service. Written by the orchestrator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceRecord {
    /// Counts updates and rollbacks; tasks made by one carry its number.
    pub update: u64,
    /// The last time of the schedule that was run or skipped; when the schedule began, before that.
    pub last_fire: Timestamp,
    /// Runs that the overlap policy or the deadline skipped.
    pub skipped: u64,
    /// What came of its last changes, the newest last; only the last one can be without an end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deployments: Vec<Deployment>,
}

/// The label by which a service says which of its stack's deployments last changed it: a number from 1.
pub const DEPLOYMENT_LABEL: &str = "sampan.stack.deployment";

/// One change of a service and what came of it. Written by the orchestrator, and opened by whoever accepts the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Deployment {
    /// Which of its stack's; 0 for an update that was none of a stack's.
    pub number: u64,
    pub started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    pub state: DeploymentState,
    /// Why it did not complete: the first failed task's own words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// How a deployment stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    #[default]
    Running,
    Completed,
    /// Another one came before its end.
    Superseded,
    RollingBack,
    RolledBack,
    Paused,
    RollbackPaused,
}

impl DeploymentState {
    /// As it is written and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            DeploymentState::Running => "running",
            DeploymentState::Completed => "completed",
            DeploymentState::Superseded => "superseded",
            DeploymentState::RollingBack => "rolling_back",
            DeploymentState::RolledBack => "rolled_back",
            DeploymentState::Paused => "paused",
            DeploymentState::RollbackPaused => "rollback_paused",
        }
    }
}

/// What the managers remember of a task: enough to restart its slot without its history. Written by the
/// orchestrator when it makes the task, and when the agent's status is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskRecord {
    /// Which run of its slot this is, from 1: the order of a slot's tasks, whatever the clocks say.
    pub run: u64,
    /// The number of the update that made it; 0 if none did.
    pub update: u64,
    pub cause: Cause,
    /// Why a manager asked it to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// Restarts of the slot by policy since its spec changed, this one included.
    pub restarts: u64,
    /// Quick ends in a row before this run.
    pub quick_ends: u64,
    /// When policy restarted the slot, within its window and at most `max_attempts` of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<Timestamp>,
    /// When a manager first saw it run.
    pub running_at: Timestamp,
    /// When a manager saw it end.
    pub ended_at: Timestamp,
    /// Ports of the node that it holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<PortConfig>,
}

/// Why a task was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The service asks for the slot.
    #[default]
    Wanted,
    /// The restart policy.
    Restart,
    /// An update or a rollback.
    Update,
    /// Its node drained, went down or no longer fits.
    Evicted,
    /// Another node is emptier.
    Rebalance,
}

/// Why a task was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// It had ended by itself.
    Ended,
    Drained,
    NodeDown,
    NodeRemoved,
    /// Its node does not meet the constraints any more.
    Misfit,
    /// An update or a rollback replaces it.
    Updated,
    /// The task that replaces it runs; or, in a job, the one that it should have replaced is complete.
    Superseded,
    /// It should have taken another task's place and found no room.
    MoveFailed,
    ScaledDown,
    ServicePaused,
    ServiceRemoved,
    /// A newer run of the job.
    NewRun,
    /// A task of a higher priority takes its place.
    Preempted,
}

/// What the managers remember of a node. Written with its status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeRecord {
    /// When its state last changed, on the leader's clock.
    pub state_since: Timestamp,
    /// When the certificate that its manager last issued it ends.
    pub certificate_expires_at: Timestamp,
    /// Of the root that signed that certificate: `sha256:` and hex of its DER.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate_root: String,
}

/// What only managers may see of the cluster: leaves them in no answer and no log line. Written by the
/// managers.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ClusterRecord {
    pub root: RootAuthority,
    /// The root that the cluster is moving to; tokens carry its digest already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_root: Option<RootAuthority>,
    /// `SWMTKN-1-…`
    pub worker_token: String,
    pub manager_token: String,
    /// `SWMKEY-1-…`; empty unless managers lock themselves.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unlock_key: String,
}

impl std::fmt::Debug for ClusterRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterRecord(..)")
    }
}

/// A certificate authority of the cluster.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RootAuthority {
    /// PEM.
    pub certificate: String,
    /// PEM (PKCS#8).
    pub key: String,
    /// PEM of this root's certificate signed by the one before it, while nodes that trust only that one
    /// are still about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cross_signed: String,
}

impl std::fmt::Debug for RootAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootAuthority(..)")
    }
}
