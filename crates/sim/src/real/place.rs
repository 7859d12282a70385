//! Addresses from a list, nodes from the scheduler, which is fed with changes as a manager feeds it.

use super::Fault;
use scheduler::{Decision, Scheduler};
use std::collections::BTreeSet;
use std::sync::Arc;
use store::{Change, Snapshot, Transaction};
use types::swarm::extension::Stop;
use types::swarm::task::{NetworkAttachment, PortStatus, Task, TaskState};
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
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Vec<Transaction> {
        self.learn(state, fault);
        let waiting: Vec<Arc<Task>> = state
            .tasks()
            .iter()
            .filter(|task| task.status.state <= TaskState::Pending)
            .filter(|task| task.desired_state <= TaskState::Complete)
            .cloned()
            .collect();
        if waiting.is_empty() {
            return Vec::new();
        }
        let mut taken = addresses(state);
        let decisions = self.scheduler.decide(&waiting, now);
        let mut transactions: Vec<Transaction> = Vec::new();
        for decision in decisions {
            let Some(task) = state.tasks().get(decision.task().as_str()) else { continue };
            let mut next = task.as_ref().clone();
            if next.networks_attachments.is_empty() {
                next.networks_attachments = attach(task, &mut taken, fault);
            }
            let mut changes = victims(&decision);
            settle(&mut next, decision, fault, now);
            if next != **task {
                changes.push(Change::Update(next.into()));
            }
            if !changes.is_empty() {
                transactions.push(changes.into());
            }
        }
        transactions
    }

    /// Tells the scheduler what is new since the last time.
    fn learn(&mut self, state: &Snapshot, fault: Option<Fault>) {
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

fn victims(decision: &Decision) -> Vec<Change> {
    let Decision::Preempt { victims, .. } = decision else { return Vec::new() };
    let stop = |task: &TaskId| Change::Desire {
        task: task.clone(),
        state: TaskState::Shutdown,
        stop: None::<Stop>,
    };
    victims.iter().map(stop).collect()
}

fn settle(next: &mut Task, decision: Decision, fault: Option<Fault>, now: Timestamp) {
    match decision {
        Decision::Assign { node, .. } => {
            next.node_id = node;
            next.status.state = TaskState::Assigned;
            next.status.timestamp = now;
            next.status.message = "scheduler assigned task to node".to_owned();
            next.status.err.clear();
        }
        Decision::Preempt { .. } => next.status.state = TaskState::Pending,
        Decision::Refuse { refusal, .. } => {
            next.status.state = TaskState::Pending;
            next.status.message = "pending task scheduling".to_owned();
            next.status.err = refusal.to_string();
            if fault == Some(Fault::KeepsSilent) {
                next.status.message.clear();
                next.status.err.clear();
            }
        }
    }
}

fn addresses(state: &Snapshot) -> BTreeSet<String> {
    let live = state.tasks().iter().filter(|task| !task.status.state.is_terminal());
    live.flat_map(|task| &task.networks_attachments)
        .flat_map(|attachment| attachment.addresses.iter().cloned())
        .collect()
}

fn attach(
    task: &Task,
    taken: &mut BTreeSet<String>,
    fault: Option<Fault>,
) -> Vec<NetworkAttachment> {
    let mut attachments = Vec::new();
    for network in &task.spec.networks {
        let free = (2u32..65_000)
            .map(|host| format!("10.0.{}.{}/16", host / 256, host % 256))
            .find(|address| fault == Some(Fault::SharesAddresses) || !taken.contains(address));
        let Some(address) = free else { continue };
        taken.insert(address.clone());
        attachments.push(NetworkAttachment {
            network: network.target.clone(),
            addresses: vec![address],
            ..NetworkAttachment::default()
        });
    }
    attachments
}
