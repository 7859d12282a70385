//! What was seen last, so that only what changed is looked at again: work grows with the change. What is kept here
//! is lost with the leader.

use orchestrator::{Nodes, Readiness, readiness};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Snapshot;
use types::swarm::network::ClusterNetwork;
use types::swarm::node::Node;
use types::swarm::service::Service;
use types::swarm::task::Task;
use types::{ServiceId, Timestamp};

/// A service with its tasks, as a snapshot shares them.
#[derive(Debug, Clone, Default)]
pub(super) struct Sight {
    pub(super) service: Option<Arc<Service>>,
    pub(super) tasks: Vec<Arc<Task>>,
}

/// What was seen of everything.
#[derive(Debug, Default)]
pub(super) struct Desk {
    nodes: Vec<Arc<Node>>,
    networks: Vec<Arc<ClusterNetwork>>,
    services: Vec<Arc<Service>>,
    ready: BTreeMap<ServiceId, (Sight, Readiness)>,
    at_rest: BTreeMap<ServiceId, Rest>,
}

/// A service that nothing was to be done about.
#[derive(Debug)]
struct Rest {
    sight: Sight,
    needs: Vec<Option<Readiness>>,
    wake_at: Option<Timestamp>,
}

impl Sight {
    /// Every service that there is, or that tasks are left of.
    pub(super) fn all(state: &Snapshot) -> BTreeMap<ServiceId, Sight> {
        let mut all: BTreeMap<ServiceId, Sight> = BTreeMap::new();
        for service in state.services().iter() {
            all.entry(service.id.clone()).or_default().service = Some(Arc::clone(service));
        }
        for task in state.tasks().iter() {
            match all.get_mut(&task.service_id) {
                Some(sight) => sight.tasks.push(Arc::clone(task)),
                None => {
                    let sight = Sight { service: None, tasks: vec![Arc::clone(task)] };
                    all.insert(task.service_id.clone(), sight);
                }
            }
        }
        all
    }

    pub(super) fn tasks(&self) -> Vec<&Task> {
        self.tasks.iter().map(|task| &**task).collect()
    }

    fn is(&self, other: &Sight) -> bool {
        let service = match (&self.service, &other.service) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (one, two) => one.is_none() && two.is_none(),
        };
        service && same(&self.tasks, &other.tasks)
    }

    fn needs(&self, known: &BTreeMap<String, Readiness>) -> Vec<Option<Readiness>> {
        let wishes = self.service.iter().filter_map(|service| service.spec.sampan.as_ref());
        wishes
            .flat_map(|wishes| wishes.depends_on.keys())
            .map(|name| known.get(name).copied())
            .collect()
    }
}

fn same<T>(one: &[Arc<T>], two: &[Arc<T>]) -> bool {
    one.len() == two.len() && one.iter().zip(two).all(|(one, two)| Arc::ptr_eq(one, two))
}

impl Desk {
    /// Whether other nodes, or nodes in another state, make every service worth a look.
    pub(super) fn see_nodes(&mut self, state: &Snapshot) {
        let nodes: Vec<Arc<Node>> = state.nodes().iter().cloned().collect();
        if !same(&nodes, &self.nodes) {
            self.at_rest.clear();
            self.ready.clear();
            self.nodes = nodes;
        }
    }

    /// Whether what is given out may have to change.
    pub(super) fn see_owners(&mut self, state: &Snapshot) -> bool {
        let networks: Vec<Arc<ClusterNetwork>> = state.networks().iter().cloned().collect();
        let services: Vec<Arc<Service>> = state.services().iter().cloned().collect();
        let changed = !same(&networks, &self.networks) || !same(&services, &self.services);
        (self.networks, self.services) = (networks, services);
        changed
    }

    /// By name: how far each service is.
    pub(super) fn known(
        &mut self,
        all: &BTreeMap<ServiceId, Sight>,
        nodes: &Nodes<'_>,
    ) -> BTreeMap<String, Readiness> {
        let mut known = BTreeMap::new();
        for (id, sight) in all {
            let Some(service) = &sight.service else { continue };
            let seen =
                self.ready.get(id).filter(|(seen, _)| seen.is(sight)).map(|(_, ready)| *ready);
            let ready = seen.unwrap_or_else(|| readiness(service, &sight.tasks(), nodes));
            if seen.is_none() {
                self.ready.insert(id.clone(), (sight.clone(), ready));
            }
            known.insert(service.spec.name.clone(), ready);
        }
        known
    }

    /// When to look at the service again, if it is at rest since the last time.
    pub(super) fn rests(
        &self,
        id: &ServiceId,
        sight: &Sight,
        known: &BTreeMap<String, Readiness>,
        now: Timestamp,
    ) -> Option<Option<Timestamp>> {
        let rest = self.at_rest.get(id)?;
        let due = rest.wake_at.is_some_and(|wake| wake <= now);
        (!due && rest.sight.is(sight) && rest.needs == sight.needs(known)).then_some(rest.wake_at)
    }

    /// Nothing is to be done about the service until something changes, or until then.
    pub(super) fn rest(
        &mut self,
        id: ServiceId,
        sight: Sight,
        known: &BTreeMap<String, Readiness>,
        wake_at: Option<Timestamp>,
    ) {
        let needs = sight.needs(known);
        self.at_rest.insert(id, Rest { sight, needs, wake_at });
    }
}
