//! `depends_on` between services: a task starts once what its service depends on is as it should be.
//!
//! It gates starts only: a task that runs is not stopped when a dependency fails.

use crate::policy::Mode;
use crate::progress::progress;
use crate::state::{Nodes, State};
use crate::wait::Wait;
use std::collections::{BTreeMap, BTreeSet};
use types::NodeId;
use types::swarm::extension::DependencyCondition;
use types::swarm::node::NodeState;
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};

/// How far another service is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    pub started: bool,
    pub healthy: bool,
    pub completed: bool,
}

impl Readiness {
    fn meets(self, condition: DependencyCondition) -> bool {
        match condition {
            DependencyCondition::Started => self.started || self.completed,
            DependencyCondition::Healthy => self.healthy,
            DependencyCondition::Completed => self.completed,
        }
    }
}

/// What others may depend on. A service without a wanted task is healthy: there is nothing to wait for. A
/// global service's tasks are taken as all that are wanted, but for those of nodes that are not ready: no other
/// node can have them, and nobody waits for a machine that may be lost.
pub fn readiness(service: &Service, tasks: &[&Task], nodes: &Nodes<'_>) -> Readiness {
    let is_ready =
        |id: &NodeId| nodes.get(id).is_some_and(|node| node.status.state == NodeState::Ready);
    let global = Mode::of(&service.spec).is_global();
    let counts = |task: &&&Task| !global || is_ready(&task.node_id);
    let tasks: Vec<&Task> = tasks.iter().filter(counts).copied().collect();
    let progress = progress(service, &tasks);
    let running = tasks.iter().any(|task| {
        task.status.state == TaskState::Running && task.desired_state <= TaskState::Complete
    });
    let job = Mode::of(&service.spec).is_job();
    Readiness {
        started: running || progress.desired == 0,
        healthy: !job && progress.running >= progress.desired && (running || progress.desired == 0),
        completed: job && progress.converged,
    }
}

/// What a new task must wait for, in the order of the services' names.
pub(crate) fn unmet(state: &State<'_>) -> Vec<Wait> {
    let Some(wishes) = &state.service.spec.sampan else { return Vec::new() };
    wishes
        .depends_on
        .iter()
        .filter_map(|(service, condition)| {
            let service = service.clone();
            match state.dependencies.get(&service) {
                None => Some(Wait::DependencyMissing { service }),
                Some(known) if known.meets(*condition) => None,
                Some(_) => Some(Wait::Dependency { service, condition: *condition }),
            }
        })
        .collect()
}

/// The first circle among services, by name, that a new or changed `name` would close: `[a, b, a]`. The API
/// refuses it.
pub fn find_cycle(edges: &BTreeMap<String, BTreeSet<String>>, name: &str) -> Option<Vec<String>> {
    let mut path = vec![name.to_owned()];
    let mut seen = BTreeSet::new();
    walk(edges, name, &mut path, &mut seen).then_some(path)
}

fn walk(
    edges: &BTreeMap<String, BTreeSet<String>>,
    goal: &str,
    path: &mut Vec<String>,
    seen: &mut BTreeSet<String>,
) -> bool {
    let here = path.last().cloned().unwrap_or_default();
    for next in edges.get(&here).into_iter().flatten() {
        path.push(next.clone());
        if next == goal || (seen.insert(next.clone()) && walk(edges, goal, path, seen)) {
            return true;
        }
        path.pop();
    }
    false
}
