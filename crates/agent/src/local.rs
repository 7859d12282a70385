//! One task on this node: its machine, what was said of it, and its jobs, which are done one after the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use taskfsm::{Machine, Report, Rules};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use types::Timestamp;
use types::swarm::task::{ContainerStatus, PortStatus, Task, TaskState, TaskStatus};

/// Something to be done to the task's container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    Prepare,
    Start,
    /// Finds the container that should be there.
    Look,
    Stop,
    Kill,
    /// Brings secrets and configs up to date.
    Refresh,
    Remove,
}

pub(crate) struct Local {
    pub(crate) task: Arc<Task>,
    pub(crate) machine: Machine,
    /// What was last said of it.
    pub(crate) status: TaskStatus,
    /// The container's id, once it is made.
    pub(crate) container: Option<String>,
    pub(crate) pid: i32,
    pub(crate) jobs: VecDeque<Job>,
    /// A job is being done.
    pub(crate) busy: bool,
    /// The preparation waits for what the task refers to.
    pub(crate) waits: bool,
    /// Nobody wants it prepared or started any more.
    pub(crate) cancel: CancellationToken,
    /// Looks at the container.
    pub(crate) watcher: Option<AbortHandle>,
}

impl Local {
    /// `status`: what was said last, by this agent or, as managers know it, by one before it.
    pub(crate) fn new(task: Arc<Task>, status: TaskStatus, stop_grace: Duration) -> Self {
        // Whether there is a health check is known once the image is.
        let rules = Rules { stop_grace, health_check: false };
        let said = status.state.max(TaskState::Assigned);
        // What was ready is prepared again: secrets do not outlive the machine's reboot.
        let resumed = if said < TaskState::Starting { TaskState::Assigned } else { said };
        let mut machine = Machine::resume(resumed, task.desired_state, rules);
        machine.reported = said;
        Local {
            task,
            machine,
            status,
            container: None,
            pid: 0,
            jobs: VecDeque::new(),
            busy: false,
            waits: false,
            cancel: CancellationToken::new(),
            watcher: None,
        }
    }

    /// Makes a status of what the machine reports.
    pub(crate) fn say(&mut self, report: Report, now: Timestamp) -> &TaskStatus {
        let exit_code = report.exit_code.unwrap_or(0);
        let container_status = self.container.clone().map(|container_id| ContainerStatus {
            container_id,
            pid: if report.state.is_terminal() { 0 } else { self.pid },
            exit_code,
        });
        self.status = TaskStatus {
            timestamp: now,
            state: report.state,
            message: report.message.to_owned(),
            err: report.err,
            container_status,
            port_status: self.status.port_status.take(),
        };
        &self.status
    }

    pub(crate) fn publishes(&mut self, ports: Vec<types::swarm::service::PortConfig>) {
        self.status.port_status = (!ports.is_empty()).then_some(PortStatus { ports });
    }

    /// Jobs that a later wish has made pointless are dropped.
    pub(crate) fn push(&mut self, job: Job) {
        if job == Job::Remove {
            self.jobs.clear();
        }
        if self.jobs.back() != Some(&job) {
            self.jobs.push_back(job);
        }
    }

    pub(crate) fn stop_watching(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.stop_watching();
    }
}
