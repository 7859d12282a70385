//! A stack's deployments, read off what its services remember of theirs. Pure.

use serde::Serialize;
use std::collections::BTreeMap;
use store::Snapshot;
use types::Timestamp;
use types::swarm::extension::{Deployment, DeploymentState};

/// Which stack a service belongs to. Docker's.
const NAMESPACE: &str = "com.docker.stack.namespace";

/// One deployment of a stack: all services that it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StackDeployment {
    /// 0: updates of single services, which no deployment of the stack made; the last one of each.
    pub number: u64,
    /// The worst of its services'.
    pub state: DeploymentState,
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
    #[serde(flatten)]
    pub deployment: Deployment,
}

/// The deployments that services of the stack still remember, oldest first. Services that were removed tell nothing.
pub fn deployments(state: &Snapshot, stack: &str) -> Vec<StackDeployment> {
    let mut all: BTreeMap<u64, BTreeMap<&str, &Deployment>> = BTreeMap::new();
    let mine = |labels: &BTreeMap<String, String>| {
        labels.get(NAMESPACE).is_some_and(|namespace| namespace == stack)
    };
    for service in state.services().iter().filter(|service| mine(&service.spec.labels)) {
        let known = service.record.iter().flat_map(|record| &record.deployments);
        for deployment in known {
            // A later record of the same one is its rollback.
            all.entry(deployment.number).or_default().insert(&service.spec.name, deployment);
        }
    }
    all.into_iter().map(|(number, services)| whole(number, &services)).collect()
}

fn whole(number: u64, services: &BTreeMap<&str, &Deployment>) -> StackDeployment {
    let each = || services.values();
    let ended: Option<Vec<Timestamp>> = each().map(|it| it.ended_at).collect();
    StackDeployment {
        number,
        state: each().map(|it| it.state).max_by_key(|state| rank(*state)).unwrap_or_default(),
        started_at: each().map(|it| it.started_at).min().unwrap_or_default(),
        ended_at: ended.and_then(|ended| ended.into_iter().max()),
        services: services
            .iter()
            .map(|(name, it)| ServiceDeployment {
                name: (*name).to_owned(),
                deployment: (*it).clone(),
            })
            .collect(),
    }
}

/// What goes on comes before what has ended, and what failed before what did not.
fn rank(state: DeploymentState) -> u8 {
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
