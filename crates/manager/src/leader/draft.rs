//! One service's decision as changes: one for each object, whatever happens to it. Pure.

use crate::leader::desk::{Ids, Subject};
use orchestrator::{Action, apply};
use std::collections::{BTreeMap, BTreeSet};
use store::{Change, Kind};
use types::ids::swarm_id;
use types::swarm::extension::Stop;
use types::swarm::service::{Endpoint, Service};
use types::swarm::task::{Task, TaskState};
use types::{NodeId, ServiceId, TaskId, Timestamp};

/// The transaction of one service, before its new tasks have nodes.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    service: ServiceId,
    /// It holds only if the service is still the one that was read.
    before: Vec<Change>,
    /// Whole rows: what more than its desired state changes of.
    rows: BTreeMap<TaskId, Task>,
    desires: BTreeMap<TaskId, (TaskState, Option<Stop>)>,
    removed: BTreeSet<TaskId>,
    pub(crate) made: Vec<Task>,
    /// Assignments of new tasks.
    pub(crate) assigned: Vec<(TaskId, NodeId)>,
}

/// The service as it was read; `None` once it is removed.
pub(crate) struct Guard<'a> {
    pub(crate) id: &'a ServiceId,
    pub(crate) service: Option<&'a Service>,
    /// What the allocator gives it anew.
    pub(crate) endpoint: Option<Endpoint>,
}

impl Draft {
    /// As many of the actions, in their order, as `room` changes hold; and whether that is all of them.
    pub(crate) fn new(
        guard: Guard<'_>,
        tasks: &[&Task],
        actions: Vec<Action>,
        room: usize,
        now: Timestamp,
        ids: Ids<'_>,
    ) -> (Draft, bool) {
        let by_id: BTreeMap<&TaskId, &Task> = tasks.iter().map(|task| (&task.id, *task)).collect();
        let mut draft = Draft { service: guard.id.clone(), ..Draft::default() };
        let mut after = guard.service.cloned();
        if let (Some(after), Some(endpoint)) = (&mut after, guard.endpoint) {
            after.endpoint = endpoint;
        }
        let mut complete = true;
        for action in actions {
            if draft.len() >= room {
                complete = false;
                break;
            }
            if let Some(next) = after.as_ref().and_then(|row| apply::to_service(row, &action)) {
                after = Some(next);
                continue;
            }
            draft.take(guard.service, tasks, &by_id, action, now, ids);
        }
        if let (Some(after), Some(service)) = (after, guard.service) {
            draft.before.push(if after == *service {
                let (kind, id) = (Kind::Service, service.id.to_string());
                Change::Expect { kind, id, version: Some(service.meta.version) }
            } else {
                Change::Update(after.into())
            });
        }
        (draft, complete)
    }

    fn take(
        &mut self,
        service: Option<&Service>,
        tasks: &[&Task],
        by_id: &BTreeMap<&TaskId, &Task>,
        action: Action,
        now: Timestamp,
        ids: Ids<'_>,
    ) {
        match action {
            Action::CreateTask(new) => {
                let Some(service) = service else { return };
                let id = TaskId::new(swarm_id(ids()));
                self.made.push(apply::new_task(service, tasks, &new, id, now));
            }
            Action::DeleteTask { task } => {
                self.removed.insert(task);
            }
            Action::SetDesired { ref task, desired, stop } => match self.rows.get(task) {
                Some(row) => {
                    if let Some(next) = apply::to_task(row, &action, now) {
                        self.rows.insert(task.clone(), next);
                    }
                }
                None => {
                    let set = self.desires.entry(task.clone()).or_insert((desired, stop));
                    *set = (set.0.max(desired), set.1.or(stop));
                }
            },
            Action::Orphan { ref task, .. } => {
                let Some(row) = by_id.get(task) else { return };
                let mut row = (*row).clone();
                if let Some((desired, stop)) = self.desires.remove(task) {
                    row.desired_state = row.desired_state.max(desired);
                    row.record.stop = stop.or(row.record.stop);
                }
                if let Some(next) = apply::to_task(&row, &action, now) {
                    self.rows.insert(task.clone(), next);
                }
            }
            Action::SetUpdate { .. }
            | Action::RollBack { .. }
            | Action::Converged { .. }
            | Action::SetJob { .. }
            | Action::SetSchedule { .. } => {}
        }
    }

    /// Changes so far.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() + self.desires.len() + self.removed.len() + self.made.len()
    }

    /// Whether the task is asked to stop here, so that it needs no node any more.
    pub(crate) fn stops(&self, task: &TaskId) -> bool {
        self.removed.contains(task)
            || self.desires.get(task).is_some_and(|(desired, _)| *desired > TaskState::Complete)
    }

    /// The changes in the order in which they hold; none if there is nothing but the guard.
    pub(crate) fn finish(self) -> (Vec<Change>, Subject) {
        let idle = self.len() == 0;
        let mut changes = self.before;
        if idle && matches!(changes.as_slice(), [] | [Change::Expect { .. }]) {
            return (Vec::new(), Subject::default());
        }
        let (removed, mut tasks) = (self.removed, Vec::new());
        tasks.extend(self.made.iter().map(|task| task.id.clone()));
        let kept = |id: &TaskId| !removed.contains(id);
        changes.extend(
            self.rows
                .into_iter()
                .filter(|(id, _)| kept(id))
                .map(|(_, row)| Change::Update(row.into())),
        );
        changes.extend(
            self.desires
                .into_iter()
                .filter(|(id, _)| kept(id))
                .map(|(task, (state, stop))| Change::Desire { task, state, stop }),
        );
        changes.extend(removed.iter().map(|id| Change::Remove {
            kind: Kind::Task,
            id: id.to_string(),
            version: None,
        }));
        changes.extend(self.made.into_iter().map(|task| Change::Create(task.into())));
        let subject = Subject {
            service: Some(self.service),
            network: None,
            tasks: Vec::new(), // they were never written: the service makes them anew
            assigned: self.assigned,
        };
        (changes, subject)
    }
}
