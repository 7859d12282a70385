//! Nodes for the tasks that have none: the scheduler's word as changes. Pure.

use crate::leader::desk::{Desk, Round, Subject};
use crate::leader::draft::Draft;
use allocator::cluster::ClusterAllocError;
use scheduler::Decision;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::{Change, Snapshot};
use types::swarm::task::{Task, TaskState};
use types::{TaskId, Timestamp};

const ATTACHED: &str = "attached";
/// SwarmKit's words.
const ASSIGNED: &str = "scheduler assigned task to node";
const PENDING: &str = "pending task scheduling";

impl Desk {
    /// Asks the scheduler for the drafts' new tasks and for those that wait. New ones change in their draft;
    /// each of the others is a transaction of its own.
    pub(crate) fn place(
        &mut self,
        state: &Snapshot,
        now: Timestamp,
        drafts: &mut [Draft],
        round: &mut Round,
    ) {
        let waiting = self.take_unplaced(state);
        let (attachments, waiting): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|task| task.is_attachment());
        for task in attachments {
            self.attach(&task, now, round);
        }
        let mut asked: Vec<Arc<Task>> = Vec::new();
        for task in waiting {
            if drafts.iter().any(|draft| draft.stops(&task.id)) {
                self.refused.remove(&task.id);
            } else if let Some(error) = self.stuck.get(&task.service_id).cloned() {
                self.hold(&task, &error, now, round);
            } else {
                asked.push(task);
            }
        }
        let mut new: BTreeSet<TaskId> = BTreeSet::new();
        for draft in drafts.iter_mut() {
            for task in &mut draft.made {
                if let Some(error) = self.stuck.get(&task.service_id) {
                    refuse(task, error, now);
                    self.refused.insert(task.id.clone(), error.clone());
                } else if task.desired_state <= TaskState::Complete {
                    new.insert(task.id.clone());
                    asked.push(Arc::new(task.clone()));
                }
            }
        }
        if asked.is_empty() {
            return;
        }
        let rows: BTreeMap<TaskId, Arc<Task>> =
            asked.iter().map(|task| (task.id.clone(), Arc::clone(task))).collect();
        let mut decided: BTreeMap<TaskId, Decision> = BTreeMap::new();
        for decision in self.scheduler.decide(&asked, now) {
            decided.insert(decision.task().clone(), decision);
        }
        for draft in drafts.iter_mut() {
            self.place_draft(draft, &mut decided, state, now, round);
        }
        for (id, decision) in decided {
            if let Some(task) = rows.get(&id) {
                self.write(task, decision, state, now, round);
            }
        }
    }

    fn place_draft(
        &mut self,
        draft: &mut Draft,
        decided: &mut BTreeMap<TaskId, Decision>,
        state: &Snapshot,
        now: Timestamp,
        round: &mut Round,
    ) {
        let mut assigned = Vec::new();
        for task in &mut draft.made {
            let Some(decision) = decided.remove(&task.id) else { continue };
            // Before the task itself is there: if that is refused, its service makes it anew and finds the room.
            let subject = Subject { tasks: victims(&decision), ..Subject::default() };
            round.push(stops(&subject.tasks), subject);
            self.settle_task(task, decision, state, now);
            if task.status.state == TaskState::Assigned {
                assigned.push((task.id.clone(), task.node_id.clone()));
            }
        }
        draft.assigned = assigned;
    }

    /// A waiting task's lot, if it is another than it has.
    fn write(
        &mut self,
        task: &Arc<Task>,
        decision: Decision,
        state: &Snapshot,
        now: Timestamp,
        round: &mut Round,
    ) {
        let victims = victims(&decision);
        let mut changes = stops(&victims);
        let mut next = task.as_ref().clone();
        self.settle_task(&mut next, decision, state, now);
        let mut subject = Subject { tasks: victims, ..Subject::default() };
        subject.tasks.push(task.id.clone());
        if next.status.state == TaskState::Assigned {
            subject.assigned.push((task.id.clone(), next.node_id.clone()));
        }
        if differs(&next, task) {
            changes.push(Change::Update(next.into()));
        }
        round.push(changes, subject);
    }

    /// An address for a container that runs already. Whoever asked for it waits for the answer.
    fn attach(&mut self, task: &Arc<Task>, now: Timestamp, round: &mut Round) {
        let mut next = task.as_ref().clone();
        next.status.timestamp = now;
        match self.allocator.attach(task, None, &task.node_id) {
            Ok(attachments) => {
                next.networks_attachments = attachments;
                next.status.state = TaskState::Running;
                next.status.message = ATTACHED.to_owned();
            }
            // It may come: the network is new.
            Err(error @ ClusterAllocError::NoSubnet(_)) => {
                self.refused.insert(task.id.clone(), error.to_string());
                return;
            }
            Err(error) => {
                next.status.state = TaskState::Rejected;
                next.status.err = error.to_string();
            }
        }
        self.refused.remove(&task.id);
        let mut subject = Subject { tasks: vec![task.id.clone()], ..Subject::default() };
        subject.assigned.push((task.id.clone(), task.node_id.clone()));
        round.push(vec![Change::Update(next.into())], subject);
    }

    fn hold(&mut self, task: &Arc<Task>, error: &str, now: Timestamp, round: &mut Round) {
        let mut next = task.as_ref().clone();
        refuse(&mut next, error, now);
        self.refused.insert(task.id.clone(), error.to_owned());
        if differs(&next, task) {
            let subject = Subject { tasks: vec![task.id.clone()], ..Subject::default() };
            round.push(vec![Change::Update(next.into())], subject);
        }
    }

    fn settle_task(
        &mut self,
        task: &mut Task,
        decision: Decision,
        state: &Snapshot,
        now: Timestamp,
    ) {
        match decision {
            Decision::Assign { node, generic_resources, .. } => {
                let service = state.services().get(task.service_id.as_str());
                match self.allocator.attach(task, service.map(|row| &**row), &node) {
                    Ok(attachments) => task.networks_attachments = attachments,
                    Err(error) => {
                        self.scheduler.release(&task.id, &node);
                        let reason = error.to_string();
                        refuse(task, &reason, now);
                        self.refused.insert(task.id.clone(), reason);
                        return;
                    }
                }
                self.refused.remove(&task.id);
                task.node_id = node;
                task.assigned_generic_resources = generic_resources;
                task.status.state = TaskState::Assigned;
                task.status.timestamp = now;
                task.status.message = ASSIGNED.to_owned();
                task.status.err.clear();
            }
            Decision::Preempt { node, .. } => {
                let reason = format!("waiting for tasks to stop on node {node}");
                refuse(task, &reason, now);
                self.refused.insert(task.id.clone(), reason);
            }
            Decision::Refuse { refusal, .. } => {
                let reason = refusal.to_string();
                refuse(task, &reason, now);
                self.refused.insert(task.id.clone(), reason);
            }
        }
    }
}

fn refuse(task: &mut Task, reason: &str, now: Timestamp) {
    task.status.state = TaskState::Pending;
    task.status.timestamp = now;
    task.status.message = PENDING.to_owned();
    task.status.err = reason.to_owned();
}

/// Whether there is anything to write; that it was looked at again is not.
fn differs(next: &Task, task: &Task) -> bool {
    next.node_id != task.node_id
        || next.status.state != task.status.state
        || next.status.err != task.status.err
        || next.status.message != task.status.message
}

fn victims(decision: &Decision) -> Vec<TaskId> {
    match decision {
        Decision::Preempt { victims, .. } => victims.clone(),
        Decision::Assign { .. } | Decision::Refuse { .. } => Vec::new(),
    }
}

fn stops(victims: &[TaskId]) -> Vec<Change> {
    let stop = |task: &TaskId| Change::Desire {
        task: task.clone(),
        state: TaskState::Shutdown,
        stop: None,
    };
    victims.iter().map(stop).collect()
}
