//! Statuses that no manager has written down yet: the newest of each task, said once in every session, and
//! again when no answer comes.

use std::collections::BTreeMap;
use types::TaskId;
use types::swarm::session::TaskReport;
use types::swarm::task::TaskStatus;

/// Statuses in one message; the rest follows in the next.
const BATCH: usize = 500;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    unsaid: BTreeMap<TaskId, Entry>,
}

#[derive(Debug)]
struct Entry {
    status: TaskStatus,
    /// The round in which it was sent last.
    sent: Option<u64>,
}

impl Outbox {
    pub(crate) fn put(&mut self, task: TaskId, status: TaskStatus) {
        self.unsaid.insert(task, Entry { status, sent: None });
    }

    /// Nobody wants to know any more.
    pub(crate) fn forget(&mut self, task: &TaskId) {
        self.unsaid.remove(task);
    }

    /// What was not sent in this round yet. A session begins a round; so does a long silence.
    pub(crate) fn batch(&mut self, round: u64) -> Vec<TaskReport> {
        let unsent = self.unsaid.iter_mut().filter(|(_, entry)| entry.sent != Some(round));
        unsent
            .take(BATCH)
            .map(|(task, entry)| {
                entry.sent = Some(round);
                TaskReport { task: task.clone(), status: entry.status.clone() }
            })
            .collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unsaid.is_empty()
    }

    /// A manager has written these; a newer status than that stays.
    pub(crate) fn written(&mut self, reports: &[TaskReport]) {
        for report in reports {
            if self.unsaid.get(&report.task).is_some_and(|entry| entry.status == report.status) {
                self.unsaid.remove(&report.task);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::swarm::task::TaskState;

    fn status(state: TaskState) -> TaskStatus {
        TaskStatus { state, ..TaskStatus::default() }
    }

    #[test]
    fn a_status_is_said_once_a_round_until_it_is_written() {
        let mut outbox = Outbox::default();
        outbox.put(TaskId::new("a"), status(TaskState::Running));
        let said = outbox.batch(1);
        assert_eq!(said.len(), 1);
        assert_eq!(outbox.batch(1), []);
        assert_eq!(outbox.batch(2), said);
        outbox.written(&said);
        assert_eq!(outbox.batch(3), []);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_newer_status_outlives_the_answer_to_an_older_one() {
        let mut outbox = Outbox::default();
        outbox.put(TaskId::new("a"), status(TaskState::Running));
        let said = outbox.batch(1);
        outbox.put(TaskId::new("a"), status(TaskState::Failed));
        outbox.written(&said);
        assert_eq!(outbox.batch(1)[0].status.state, TaskState::Failed);
    }
}
