//! Reasons, in the user's words: why a service is not at its spec yet.

use std::fmt;
use types::swarm::extension::DependencyCondition;
use types::{NodeId, TaskId, Timestamp};

/// What waits, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// 0 when it is the service or a node's task that waits.
    pub slot: u64,
    /// Set for tasks that belong to one node.
    pub node: Option<NodeId>,
    pub reason: Wait,
}

/// Why something has not happened yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    ServicePaused,
    Dependency { service: String, condition: DependencyCondition },
    DependencyMissing { service: String },
    RestartDelay { until: Timestamp, quick_ends: u64 },
    BreakerOpen { quick_ends: u64 },
    OldTaskStopping { task: TaskId },
    NodeGrace { node: NodeId, until: Timestamp },
    NodePaused { node: NodeId },
    RestartsOff,
    Completed,
    AttemptsUsed { attempts: u64 },
    UpdatePaused,
    UpdateParallelism { in_flight: u64, parallelism: u64 },
    UpdateDelay { until: Timestamp },
    UpdateTaskStarting { task: TaskId },
    UpdateTaskFailed { task: TaskId },
    UpdateMonitor { until: Timestamp },
    MinimumHealth { running: u64, minimum: u64 },
    Rebalancing { until: Timestamp },
    JobConcurrency { max_concurrent: u64 },
    NextRun { at: Timestamp },
    BadSchedule { message: String },
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wait::ServicePaused => f.write_str("the service is paused"),
            Wait::Dependency { service, condition } => {
                let state = match condition {
                    DependencyCondition::Started => "running",
                    DependencyCondition::Healthy => "healthy",
                    DependencyCondition::Completed => "complete",
                };
                write!(f, "waiting for service {service} to be {state}")
            }
            Wait::DependencyMissing { service } => {
                write!(f, "waiting for service {service}, which does not exist")
            }
            Wait::RestartDelay { until, quick_ends: 0 | 1 } => {
                write!(f, "restarts at {until}")
            }
            Wait::RestartDelay { until, quick_ends } => {
                write!(f, "restarts at {until}: it ended early {quick_ends} times in a row")
            }
            Wait::BreakerOpen { quick_ends } => write!(
                f,
                "not restarted: every task ends early ({quick_ends} times in a row), one is tried at a time"
            ),
            Wait::OldTaskStopping { task } => write!(f, "waiting for task {task} to stop"),
            Wait::NodeGrace { node, until } => {
                write!(f, "node {node} is down: replaced at {until} unless it returns")
            }
            Wait::NodePaused { node } => write!(f, "node {node} is paused"),
            Wait::RestartsOff => f.write_str("ended; the restart policy says none"),
            Wait::Completed => f.write_str("complete; the restart policy says on-failure"),
            Wait::AttemptsUsed { attempts } => {
                write!(f, "not restarted: all {attempts} attempts are used")
            }
            Wait::UpdatePaused => f.write_str("the update is paused until the service changes"),
            Wait::UpdateParallelism { in_flight, parallelism } => {
                write!(f, "{in_flight} of at most {parallelism} tasks are being updated")
            }
            Wait::UpdateDelay { until } => write!(f, "the update goes on at {until}"),
            Wait::UpdateTaskStarting { task } => write!(f, "waiting for task {task} to run"),
            Wait::UpdateTaskFailed { task } => {
                write!(f, "not updated: its new task {task} failed and is not restarted")
            }
            Wait::UpdateMonitor { until } => {
                write!(f, "updated tasks are watched for failures until {until}")
            }
            Wait::MinimumHealth { running, minimum } => {
                write!(f, "{running} tasks run and at least {minimum} must")
            }
            Wait::Rebalancing { until } => write!(f, "tasks move to emptier nodes after {until}"),
            Wait::JobConcurrency { max_concurrent } => {
                write!(f, "{max_concurrent} tasks of the job run at once")
            }
            Wait::NextRun { at } => write!(f, "next run at {at}"),
            Wait::BadSchedule { message } => f.write_str(message),
        }
    }
}
