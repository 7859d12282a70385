//! The product's decisions, wired as a manager wires them: every service, then the tasks without a node.

mod desk;
mod give;
mod place;

use crate::decide::{Decide, Decided};
use crate::rng::Rng;
use desk::{Desk, Sight};
use give::Gifts;
use orchestrator::{
    Action, Decision, Defaults, Nodes, Readiness, State, apply, reconcile, reconcile_removed,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::{Change, Entry, Kind, Snapshot, Store, Transaction};
use types::ids::swarm_id;
use types::swarm::node::{Availability, Node, NodeState};
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};
use types::{TaskId, Timestamp};

/// A fault made on purpose: what a decision reads or says is bent as a bug in it would bend it. Each must be
/// caught by the invariants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The updater does not count its parallelism.
    UpdatesAllAtOnce,
    /// A new task may start before the old one has stopped.
    StartsBesideTheOld,
    /// Old tasks are never asked to stop.
    NeverStops,
    /// A healthy task is stopped now and then.
    StopsAtWhim,
    /// The restart policy replaces nothing.
    NeverRestarts,
    /// Ended tasks are never deleted.
    NeverReaps,
    /// A task that runs is deleted with its service.
    DeletesTheLiving,
    /// One replica too few.
    CountsWrong,
    /// Nodes that are down count as ready.
    TrustsTheDead,
    /// Drained nodes count as active.
    ForgetsDrain,
    /// Two tasks get one address.
    SharesAddresses,
    /// Two services get one virtual IP.
    SharesVips,
    /// Two services get one published port.
    SharesPublished,
    /// Two networks get one VXLAN identifier.
    SharesVnis,
    /// Two tasks get one port of a node.
    SharesPorts,
    /// A task makes room for another and is not told why.
    PreemptsInSilence,
    /// Whatever a service depends on counts as ready.
    ForgetsDependencies,
    /// A task without a node does not say why.
    KeepsSilent,
}

impl Fault {
    pub const ALL: [Fault; 18] = [
        Fault::UpdatesAllAtOnce,
        Fault::StartsBesideTheOld,
        Fault::NeverStops,
        Fault::StopsAtWhim,
        Fault::NeverRestarts,
        Fault::NeverReaps,
        Fault::DeletesTheLiving,
        Fault::CountsWrong,
        Fault::TrustsTheDead,
        Fault::ForgetsDrain,
        Fault::SharesAddresses,
        Fault::SharesVips,
        Fault::SharesPublished,
        Fault::SharesVnis,
        Fault::SharesPorts,
        Fault::PreemptsInSilence,
        Fault::ForgetsDependencies,
        Fault::KeepsSilent,
    ];
}

/// The decisions of the product, whole or with one fault.
#[derive(Debug, Default)]
pub struct Real {
    fault: Option<Fault>,
    placer: place::Placer,
    desk: Desk,
}

impl Real {
    pub fn with(fault: Option<Fault>) -> Real {
        Real { fault, ..Real::default() }
    }
}

impl Decide for Real {
    fn decide(&mut self, state: &Snapshot, now: Timestamp, ids: &mut Rng) -> Decided {
        let mut decided = Decided::default();
        let rows: Vec<Arc<Node>> = state.nodes().iter().map(|node| self.node(node)).collect();
        let nodes: Nodes<'_> = rows.iter().map(|node| &**node).collect();
        let defaults =
            state.clusters().iter().next().map(|row| Defaults::of(&row.spec)).unwrap_or_default();
        self.desk.see_nodes(state);
        let all = Sight::all(state);
        let mut known = self.desk.known(&all, &nodes);
        if self.fault == Some(Fault::ForgetsDependencies) {
            known.values_mut().for_each(|known| {
                *known = Readiness { started: true, healthy: true, completed: true };
            });
        }
        for (id, sight) in all {
            if let Some(wake_at) = self.desk.rests(&id, &sight, &known, now) {
                decided.wake_at = sooner(decided.wake_at, wake_at);
                continue;
            }
            let (service, tasks) = (sight.service.as_deref(), sight.tasks());
            let decision = match service {
                Some(service) => self.service(service, &tasks, &nodes, &defaults, &known, now),
                None => reconcile_removed(&tasks, &nodes, &defaults, now),
            };
            let wake_at = decision.wake_at;
            decided.wake_at = sooner(decided.wake_at, wake_at);
            let changes = self.changes(service, &tasks, decision, now, ids);
            if changes.is_empty() {
                self.desk.rest(id, sight, &known, wake_at);
            } else {
                decided.transactions.push(Transaction { changes });
            }
        }
        let mut ahead = Store::keeping(state.clone(), 0);
        ahead.apply(&Entry { at: now, transactions: decided.transactions.clone() });
        // A task must be seen between its assignment and its end, or the scheduler would hold its place for ever.
        self.placer.learn(ahead.state(), self.fault);
        let waits = |task: &Arc<Task>| task.status.state <= TaskState::Pending;
        if !self.desk.see_owners(ahead.state()) && !ahead.state().tasks().iter().any(waits) {
            return decided;
        }
        let mut give = |ahead: &mut Store, given: Vec<Transaction>| {
            ahead.apply(&Entry { at: now, transactions: given.clone() });
            decided.transactions.extend(given);
        };
        let given = give::networks(ahead.state(), self.fault);
        give(&mut ahead, given);
        let mut gifts = Gifts::of(ahead.state(), self.fault);
        let given = gifts.endpoints(ahead.state());
        give(&mut ahead, given);
        let placed = self.placer.place(ahead.state(), &mut gifts, self.fault, now);
        decided.transactions.extend(placed);
        decided
    }

    fn forget(&mut self) {
        self.placer = place::Placer::default();
        self.desk = Desk::default();
    }
}

fn sooner(one: Option<Timestamp>, two: Option<Timestamp>) -> Option<Timestamp> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.min(two)),
        (one, two) => one.or(two),
    }
}

impl Real {
    fn node(&self, node: &Arc<Node>) -> Arc<Node> {
        let mut row = Arc::clone(node);
        if self.fault == Some(Fault::TrustsTheDead) && row.status.state == NodeState::Down {
            Arc::make_mut(&mut row).status.state = NodeState::Ready;
        }
        if self.fault == Some(Fault::ForgetsDrain) {
            Arc::make_mut(&mut row).spec.availability = Availability::Active;
        }
        row
    }

    fn service(
        &self,
        service: &Service,
        tasks: &[&Task],
        nodes: &Nodes<'_>,
        defaults: &Defaults,
        dependencies: &BTreeMap<String, Readiness>,
        now: Timestamp,
    ) -> Decision {
        let mut bent = service.clone();
        if self.fault == Some(Fault::UpdatesAllAtOnce) {
            bent.spec.update_config.get_or_insert_default().parallelism = 0;
            bent.spec.rollback_config.get_or_insert_default().parallelism = 0;
        }
        if self.fault == Some(Fault::CountsWrong)
            && let Some(replicated) = &mut bent.spec.mode.replicated
        {
            replicated.replicas = replicated.replicas.map(|replicas| replicas.saturating_sub(1));
        }
        let fits = |node: &Node| scheduler::suits(&service.spec.task_template, node);
        let state = State { service: &bent, tasks, nodes, defaults, dependencies, fits: &fits };
        reconcile(&state, now)
    }

    /// The decision as changes: one for each object, whatever happens to it.
    fn changes(
        &self,
        service: Option<&Service>,
        tasks: &[&Task],
        decision: Decision,
        now: Timestamp,
        ids: &mut Rng,
    ) -> Vec<Change> {
        let mut after_service = service.cloned();
        let mut after: BTreeMap<&TaskId, Task> = BTreeMap::new();
        let mut made: Vec<Task> = Vec::new();
        let mut removed: BTreeSet<TaskId> = BTreeSet::new();
        for action in self.bend(decision.actions, tasks, ids) {
            if let (Action::CreateTask(new), Some(service)) = (&action, service) {
                let id = TaskId::new(swarm_id(ids.id()));
                made.push(apply::new_task(service, tasks, new, id, now));
            }
            if let Action::DeleteTask { task } = &action {
                removed.insert(task.clone());
            }
            for task in tasks {
                let current = after.get(&task.id).unwrap_or(task);
                if let Some(next) = apply::to_task(current, &action, now) {
                    after.insert(&task.id, next);
                }
            }
            if let Some(next) =
                after_service.as_ref().and_then(|service| apply::to_service(service, &action))
            {
                after_service = Some(next);
            }
        }
        let mut changes = Vec::new();
        if let (Some(next), Some(service)) = (after_service, service)
            && next != *service
        {
            changes.push(Change::Update(next.into()));
        }
        let kept = after.into_iter().filter(|(id, _)| !removed.contains(*id));
        changes.extend(kept.map(|(_, task)| Change::Update(task.into())));
        let gone = removed.iter().map(|id| id.to_string());
        changes.extend(gone.map(|id| Change::Remove { kind: Kind::Task, id, version: None }));
        changes.extend(made.into_iter().map(|task| Change::Create(task.into())));
        changes
    }

    /// The actions as the fault would have them.
    fn bend(&self, actions: Vec<Action>, tasks: &[&Task], ids: &mut Rng) -> Vec<Action> {
        let Some(fault) = self.fault else { return actions };
        let mut bent: Vec<Action> =
            actions.into_iter().filter_map(|action| bend(fault, action)).collect();
        if fault == Fault::StopsAtWhim
            && ids.chance(2)
            && let Some(task) = tasks.iter().find(|task| task.status.state == TaskState::Running)
        {
            let desired = TaskState::Shutdown;
            let stop = Some(types::swarm::extension::Stop::ScaledDown);
            bent.push(Action::SetDesired { task: task.id.clone(), desired, stop });
        }
        if fault == Fault::DeletesTheLiving {
            let doomed: Vec<TaskId> = bent
                .iter()
                .filter_map(|action| match action {
                    Action::SetDesired { task, desired: TaskState::Remove, .. } => {
                        Some(task.clone())
                    }
                    _ => None,
                })
                .collect();
            bent.extend(doomed.into_iter().map(|task| Action::DeleteTask { task }));
        }
        bent
    }
}

fn bend(fault: Fault, action: Action) -> Option<Action> {
    use types::swarm::extension::Cause;
    match (fault, action) {
        (Fault::NeverStops, Action::SetDesired { stop: Some(_), .. }) => None,
        (Fault::NeverReaps, Action::DeleteTask { .. }) => None,
        (Fault::NeverRestarts, Action::CreateTask(new)) if new.record.cause == Cause::Restart => {
            None
        }
        (Fault::StartsBesideTheOld, Action::CreateTask(mut new)) => {
            if new.desired == TaskState::Ready {
                new.desired = TaskState::Running;
            }
            Some(Action::CreateTask(new))
        }
        (_, action) => Some(action),
    }
}
