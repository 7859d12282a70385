//! What the agent tells the managers, in Docker's words.

use types::swarm::task::TaskState;

/// A task's new status. Times and container ids are added by the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub state: TaskState,
    pub message: &'static str,
    /// Empty unless something failed.
    pub err: String,
    /// Set once the container has ended.
    pub exit_code: Option<i64>,
}

impl Report {
    /// All is well so far.
    pub(crate) fn progress(state: TaskState) -> Self {
        let message = match state {
            TaskState::Accepted => "accepted",
            TaskState::Preparing => "preparing",
            TaskState::Ready => "prepared",
            TaskState::Starting => "starting",
            TaskState::Running => "started",
            TaskState::Complete => "finished",
            _ => "shutdown",
        };
        Report { state, message, err: String::new(), exit_code: None }
    }
    /// The task ended, `during` what it was doing.
    pub(crate) fn failure(state: TaskState, during: &'static str, err: String) -> Self {
        Report { state, message: during, err, exit_code: None }
    }
    pub(crate) fn with_exit(self, code: i64) -> Self {
        Report { exit_code: Some(code), ..self }
    }
}
