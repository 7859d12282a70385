//! What the leader must commit. Data only, complete: whoever applies it has no choice left but ids and time.

use crate::wait::Waiting;
use types::swarm::Version;
use types::swarm::extension::{Stop, TaskRecord};
use types::swarm::service::{JobStatus, UpdateStatus};
use types::swarm::task::TaskState;
use types::{NodeId, TaskId, Timestamp};

/// What came of looking at one service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// To be committed together, in this order; none if nothing is to be done now.
    pub actions: Vec<Action>,
    /// Look again then, even if nothing changes before.
    pub wake_at: Option<Timestamp>,
    /// Why the service is not at its spec yet.
    pub waits: Vec<Waiting>,
}

/// One change. `apply` holds the meaning of each.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    CreateTask(NewTask),
    /// Only ever raises the desired state. `stop` is `None` when the task may start.
    SetDesired {
        task: TaskId,
        desired: TaskState,
        stop: Option<Stop>,
    },
    /// Its node is gone for good: the state becomes `orphaned`, by the managers' hand.
    Orphan {
        task: TaskId,
        message: &'static str,
    },
    DeleteTask {
        task: TaskId,
    },
    /// `number` goes into the service's record.
    SetUpdate {
        number: u64,
        status: UpdateStatus,
        because: Because,
    },
    /// The spec becomes the previous one, which is then unset.
    RollBack {
        number: u64,
        status: UpdateStatus,
        because: Because,
    },
    /// A deployment that needed no update has ended well.
    Converged {
        at: Timestamp,
    },
    SetJob {
        status: JobStatus,
    },
    SetSchedule {
        last_fire: Timestamp,
        skipped: u64,
    },
}

/// When an update moved on, and why if a task is to blame: its own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Because {
    pub at: Timestamp,
    pub reason: String,
}

/// A task to be made in state `new`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// 0 for tasks of global services.
    pub slot: u64,
    /// Set for tasks that belong to one node; the scheduler only checks that it fits.
    pub node: Option<NodeId>,
    pub desired: TaskState,
    pub spec: SpecSource,
    pub job_iteration: Option<Version>,
    pub record: TaskRecord,
}

/// Where the task's spec comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpecSource {
    /// The service's template as it is.
    Service,
    /// A copy of this task's: while an update is paused, only the updater changes specs.
    SameAs(TaskId),
}
