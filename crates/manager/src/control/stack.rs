//! A stack's deployments, read off what its services remember of theirs, and of one that goes on how its tasks stand. Pure.

use compose::stack::{Asked, Verdict, judge};
use serde::Serialize;
use std::collections::BTreeMap;
use store::Snapshot;
use types::Timestamp;
use types::swarm::extension::{Deployment, DeploymentState};
use types::swarm::service::Service;
use types::swarm::task::Task;

/// Which stack a service belongs to. Docker's.
const NAMESPACE: &str = "com.docker.stack.namespace";

/// One deployment of a stack: all services that it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StackDeployment {
    /// 0: updates of single services, which no deployment of the stack made; the last one of each.
    pub number: u64,
    /// The worst of its services'.
    pub state: Standing,
    pub started_at: Timestamp,
    /// When the last of them ended; none while one goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    pub services: Vec<ServiceDeployment>,
}

/// What became of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceDeployment {
    pub name: String,
    pub number: u64,
    pub started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    pub state: Standing,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// How a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Standing {
    /// As the service's record has it.
    Recorded(DeploymentState),
    /// It goes on, while its tasks end again and again. Nobody writes that down, because it comes and goes with them.
    Failing(Failing),
}

/// `failing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failing {
    Failing,
}

/// The deployments that services of the stack still remember, oldest first. Services that were removed tell nothing.
pub fn deployments(state: &Snapshot, stack: &str) -> Vec<StackDeployment> {
    let mut all: BTreeMap<u64, BTreeMap<&str, ServiceDeployment>> = BTreeMap::new();
    let mine = |labels: &BTreeMap<String, String>| {
        labels.get(NAMESPACE).is_some_and(|namespace| namespace == stack)
    };
    for service in state.services().iter().filter(|service| mine(&service.spec.labels)) {
        let known = service.record.iter().flat_map(|record| &record.deployments);
        for deployment in known {
            // A later record of the same one is its rollback.
            let stands = as_it_stands(state, service, deployment);
            all.entry(deployment.number).or_default().insert(&service.spec.name, stands);
        }
    }
    all.into_iter().map(|(number, services)| whole(number, &services)).collect()
}

/// What the record says, and of one that goes on what keeps it, in the words of `stack deploy --detach=false`.
fn as_it_stands(state: &Snapshot, service: &Service, record: &Deployment) -> ServiceDeployment {
    let mut stands = ServiceDeployment {
        name: service.spec.name.clone(),
        number: record.number,
        started_at: record.started_at,
        ended_at: record.ended_at,
        state: Standing::Recorded(record.state),
        reason: record.reason.clone(),
    };
    if record.ended_at.is_some() || record.state != DeploymentState::Running {
        return stands;
    }
    let all: Vec<&Task> = state.tasks_of_service(&service.id).map(AsRef::as_ref).collect();
    let is_current = |task: &&Task| !orchestrator::is_dirty(task, service);
    let current: Vec<&Task> = all.iter().copied().filter(is_current).collect();
    match judge(service, &current, &all, None, Asked::Nothing) {
        Verdict::Failing(reason) | Verdict::Failed(reason) => {
            stands.state = Standing::Failing(Failing::Failing);
            stands.reason = reason;
        }
        Verdict::Underway(reason) => stands.reason = reason,
        Verdict::Converged => {}
    }
    stands
}

fn whole(number: u64, services: &BTreeMap<&str, ServiceDeployment>) -> StackDeployment {
    let each = || services.values();
    let ended: Option<Vec<Timestamp>> = each().map(|it| it.ended_at).collect();
    StackDeployment {
        number,
        state: each()
            .map(|it| it.state)
            .max_by_key(|state| rank(*state))
            .unwrap_or(Standing::Recorded(DeploymentState::Running)),
        started_at: each().map(|it| it.started_at).min().unwrap_or_default(),
        ended_at: ended.and_then(|ended| ended.into_iter().max()),
        services: services.values().cloned().collect(),
    }
}

/// What goes on comes before what has ended, and what failed before what did not.
fn rank(standing: Standing) -> u8 {
    let Standing::Recorded(state) = standing else { return 7 };
    match state {
        DeploymentState::Completed => 0,
        DeploymentState::Superseded => 1,
        DeploymentState::RolledBack => 2,
        DeploymentState::Paused => 3,
        DeploymentState::RollbackPaused => 4,
        DeploymentState::Running => 5,
        DeploymentState::RollingBack => 6,
    }
}

#[cfg(test)]
mod tests;
