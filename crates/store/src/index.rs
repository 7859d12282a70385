//! Secondary indexes. Flat sorted sets of composite keys: one entry costs its key, a lookup is a range.

use imbl::OrdSet;
use std::ops::Bound;
use std::sync::Arc;
use types::swarm::service::ServiceSpec;
use types::swarm::task::{Task, TaskSpec, TaskState};
use types::{NodeId, ServiceId, TaskId};

/// What an object can refer to by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefKind {
    Network,
    Secret,
    Config,
}

/// Which tasks belong to what.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskIndex {
    by_slot: OrdSet<(ServiceId, u64, TaskId)>,
    by_node: OrdSet<(NodeId, TaskId)>,
    by_desired: OrdSet<(TaskState, TaskId)>,
    by_ref: OrdSet<(RefKind, Arc<str>, TaskId)>,
}

impl TaskIndex {
    pub(crate) fn replace(&mut self, old: Option<&Task>, new: Option<&Task>) {
        if let (Some(old), Some(new)) = (old, new)
            && old.service_id == new.service_id
            && old.slot == new.slot
            && old.node_id == new.node_id
            && old.desired_state == new.desired_state
            && Arc::ptr_eq(&old.spec, &new.spec)
            && old.networks_attachments == new.networks_attachments
        {
            return; // a report of an agent, by far the most frequent change, touches no index
        }
        if let Some(task) = old {
            self.by_slot.remove(&(task.service_id.clone(), task.slot, task.id.clone()));
            self.by_node.remove(&(task.node_id.clone(), task.id.clone()));
            self.by_desired.remove(&(task.desired_state, task.id.clone()));
            for (kind, id) in task_refs(task) {
                self.by_ref.remove(&(kind, id.into(), task.id.clone()));
            }
        }
        if let Some(task) = new {
            self.by_slot.insert((task.service_id.clone(), task.slot, task.id.clone()));
            self.by_node.insert((task.node_id.clone(), task.id.clone()));
            self.by_desired.insert((task.desired_state, task.id.clone()));
            for (kind, id) in task_refs(task) {
                self.by_ref.insert((kind, id.into(), task.id.clone()));
            }
        }
    }

    /// By slot, then id.
    pub(crate) fn of_service<'a>(
        &'a self,
        service: &'a ServiceId,
    ) -> impl Iterator<Item = &'a TaskId> {
        let from = (service.clone(), 0, TaskId::default());
        range(&self.by_slot, from).take_while(move |key| key.0 == *service).map(|key| &key.2)
    }
    pub(crate) fn of_slot<'a>(
        &'a self,
        service: &'a ServiceId,
        slot: u64,
    ) -> impl Iterator<Item = &'a TaskId> {
        let from = (service.clone(), slot, TaskId::default());
        range(&self.by_slot, from)
            .take_while(move |key| key.0 == *service && key.1 == slot)
            .map(|key| &key.2)
    }
    pub(crate) fn of_node<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = &'a TaskId> {
        let from = (node.clone(), TaskId::default());
        range(&self.by_node, from).take_while(move |key| key.0 == *node).map(|key| &key.1)
    }
    pub(crate) fn desired(&self, state: TaskState) -> impl Iterator<Item = &TaskId> {
        let from = (state, TaskId::default());
        range(&self.by_desired, from).take_while(move |key| key.0 == state).map(|key| &key.1)
    }
    pub(crate) fn referring<'a>(
        &'a self,
        kind: RefKind,
        id: &'a str,
    ) -> impl Iterator<Item = &'a TaskId> {
        let from = (kind, id.into(), TaskId::default());
        range(&self.by_ref, from)
            .take_while(move |key| key.0 == kind && &*key.1 == id)
            .map(|key| &key.2)
    }
}

/// Which services refer to which networks, secrets and configs.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceIndex {
    by_ref: OrdSet<(RefKind, Arc<str>, ServiceId)>,
}

impl ServiceIndex {
    pub(crate) fn replace(
        &mut self,
        service: &ServiceId,
        old: Option<&ServiceSpec>,
        new: Option<&ServiceSpec>,
    ) {
        for (kind, id) in old.into_iter().flat_map(service_refs) {
            self.by_ref.remove(&(kind, id.into(), service.clone()));
        }
        for (kind, id) in new.into_iter().flat_map(service_refs) {
            self.by_ref.insert((kind, id.into(), service.clone()));
        }
    }
    pub(crate) fn referring<'a>(
        &'a self,
        kind: RefKind,
        id: &'a str,
    ) -> impl Iterator<Item = &'a ServiceId> {
        let from = (kind, id.into(), ServiceId::default());
        range(&self.by_ref, from)
            .take_while(move |key| key.0 == kind && &*key.1 == id)
            .map(|key| &key.2)
    }
}

fn range<K: Ord + Clone>(set: &OrdSet<K>, from: K) -> impl Iterator<Item = &K> {
    set.range((Bound::Included(from), Bound::Unbounded))
}

/// What a service refers to: by its task template, and networks also beside it (the older place).
pub(crate) fn service_refs(spec: &ServiceSpec) -> Vec<(RefKind, &str)> {
    let mut refs = spec_refs(&spec.task_template);
    for network in spec.networks.iter().flatten() {
        refs.push((RefKind::Network, network.target.as_str()));
    }
    refs
}

fn task_refs(task: &Task) -> Vec<(RefKind, &str)> {
    let mut refs = spec_refs(&task.spec);
    for attachment in &task.networks_attachments {
        refs.push((RefKind::Network, attachment.network.as_str()));
    }
    refs
}

fn spec_refs(spec: &TaskSpec) -> Vec<(RefKind, &str)> {
    let networks = spec.networks.iter().map(|network| (RefKind::Network, network.target.as_str()));
    let container = spec.container_spec.iter();
    let secrets = container
        .clone()
        .flat_map(|container| &container.secrets)
        .map(|secret| (RefKind::Secret, secret.secret_id.as_str()));
    let configs = container
        .flat_map(|container| &container.configs)
        .map(|config| (RefKind::Config, config.config_id.as_str()));
    networks.chain(secrets).chain(configs).collect()
}
