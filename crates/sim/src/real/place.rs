//! Nodes from the scheduler, which is fed with changes as a manager feeds it, and addresses with them.

use super::Fault;
use super::give::Gifts;
use scheduler::{Decision, Scheduler};
use std::sync::Arc;
use store::{Change, Snapshot, Transaction};
use types::swarm::extension::Stop;
use types::swarm::task::{PortStatus, Task, TaskState};
use types::{TaskId, Timestamp};

/// The scheduler, and the state that it was last told of.
#[derive(Debug, Default)]
pub(super) struct Placer {
    scheduler: Scheduler,
    known: Snapshot,
}

impl Placer {
    /// One transaction for each task that moves on.
    pub(super) fn place(
        &mut self,
        state: &Snapshot,
        gifts: &mut Gifts,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Vec<Transaction> {
        self.learn(state, fault);
        let waiting = state
            .tasks()
            .iter()
            .filter(|task| task.status.state <= TaskState::Pending)
            .filter(|task| task.desired_state <= TaskState::Complete);
        let (stuck, waiting): (Vec<Arc<Task>>, Vec<Arc<Task>>) =
            waiting.cloned().partition(|task| gifts.refused.contains_key(&task.service_id));
        let mut transactions: Vec<Transaction> = Vec::new();
        for task in stuck {
            let mut next = task.as_ref().clone();
            refuse(&mut next, gifts.refused.get(&task.service_id).cloned().unwrap_or_default());
            if next != *task {
                transactions.push(vec![Change::Update(next.into())].into());
            }
        }
        if waiting.is_empty() {
            return transactions;
        }
        for decision in self.scheduler.decide(&waiting, now) {
            let Some(task) = state.tasks().get(decision.task().as_str()) else { continue };
            let mut next = task.as_ref().clone();
            let mut changes = victims(&decision, fault);
            self.settle(state, &mut next, decision, gifts, fault, now);
            if next != **task {
                changes.push(Change::Update(next.into()));
            }
            if !changes.is_empty() {
                transactions.push(changes.into());
            }
        }
        transactions
    }

    fn settle(
        &mut self,
        state: &Snapshot,
        next: &mut Task,
        decision: Decision,
        gifts: &mut Gifts,
        fault: Option<Fault>,
        now: Timestamp,
    ) {
        match decision {
            Decision::Assign { node, generic_resources, .. } => {
                match gifts.attach(state, next, &node) {
                    Ok(attachments) => next.networks_attachments = attachments,
                    Err(error) => {
                        self.scheduler.release(&next.id, &node);
                        return refuse(next, error);
                    }
                }
                next.node_id = node;
                next.assigned_generic_resources = generic_resources;
                next.status.state = TaskState::Assigned;
                next.status.timestamp = now;
                next.status.message = "scheduler assigned task to node".to_owned();
                next.status.err.clear();
            }
            Decision::Preempt { node, .. } => {
                refuse(next, format!("waiting for tasks to stop on node {node}"));
            }
            Decision::Refuse { refusal, .. } => {
                refuse(next, refusal.to_string());
                if fault == Some(Fault::KeepsSilent) {
                    next.status.message.clear();
                    next.status.err.clear();
                }
            }
        }
    }

    /// Tells the scheduler what is new since the last time.
    pub(super) fn learn(&mut self, state: &Snapshot, fault: Option<Fault>) {
        for node in self.known.nodes().iter() {
            if state.nodes().get(node.id.as_str()).is_none() {
                self.scheduler.remove_node(&node.id);
            }
        }
        for node in state.nodes().iter() {
            let known = self.known.nodes().get(node.id.as_str());
            if known.is_none_or(|known| !Arc::ptr_eq(known, node)) {
                self.scheduler.set_node(node.clone());
            }
        }
        for service in self.known.services().iter() {
            if state.services().get(service.id.as_str()).is_none() {
                self.scheduler.remove_service(&service.id);
            }
        }
        for service in state.services().iter() {
            let known = self.known.services().get(service.id.as_str());
            if known.is_none_or(|known| !Arc::ptr_eq(known, service)) {
                self.scheduler.set_service(service);
            }
        }
        for task in self.known.tasks().iter() {
            if state.tasks().get(task.id.as_str()).is_none() {
                self.scheduler.remove_task(task);
            }
        }
        for task in state.tasks().iter() {
            let known = self.known.tasks().get(task.id.as_str());
            if known.is_none_or(|known| !Arc::ptr_eq(known, task)) {
                self.scheduler.set_task(&bent(task, fault));
            }
        }
        self.known = state.clone();
    }
}

fn bent(task: &Task, fault: Option<Fault>) -> Task {
    let mut task = task.clone();
    if fault == Some(Fault::SharesPorts) {
        task.record.host_ports.clear();
        task.status.port_status = None::<PortStatus>;
    }
    task
}

fn victims(decision: &Decision, fault: Option<Fault>) -> Vec<Change> {
    let Decision::Preempt { victims, .. } = decision else { return Vec::new() };
    let stop = |task: &TaskId| Change::Desire {
        task: task.clone(),
        state: TaskState::Shutdown,
        stop: (fault != Some(Fault::PreemptsInSilence)).then_some(Stop::Preempted),
    };
    victims.iter().map(stop).collect()
}

fn refuse(next: &mut Task, reason: String) {
    next.status.state = TaskState::Pending;
    next.status.message = "pending task scheduling".to_owned();
    next.status.err = reason;
}
