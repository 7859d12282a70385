//! The whole state at one version. A clone is O(1) and never changes, so that readers wait for nobody.

pub use crate::index::RefKind;
use crate::index::{ServiceIndex, TaskIndex};
use crate::{Kind, Object, Table};
use imbl::OrdMap;
use std::sync::Arc;
use types::swarm::cluster::Cluster;
use types::swarm::network::ClusterNetwork;
use types::swarm::node::Node;
use types::swarm::secret::{Config, Secret};
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskSpec, TaskState};
use types::swarm::volume::ClusterVolume;
use types::{NodeId, ServiceId, TaskId};

/// All tables at one version.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(crate) version: u64,
    pub(crate) clusters: Table<Cluster>,
    pub(crate) nodes: Table<Node>,
    pub(crate) services: Table<Service>,
    pub(crate) tasks: Table<Task>,
    pub(crate) networks: Table<ClusterNetwork>,
    pub(crate) secrets: Table<Secret>,
    pub(crate) configs: Table<Config>,
    pub(crate) volumes: Table<ClusterVolume>,
    task_index: TaskIndex,
    service_index: ServiceIndex,
    /// The spec last seen in a task of each service, for [`Snapshot::share`]. Says nothing by itself.
    specs: OrdMap<ServiceId, Arc<TaskSpec>>,
}

impl Snapshot {
    /// Grows by one with each transaction that wrote something.
    pub fn version(&self) -> u64 {
        self.version
    }
    pub fn clusters(&self) -> &Table<Cluster> {
        &self.clusters
    }
    pub fn nodes(&self) -> &Table<Node> {
        &self.nodes
    }
    pub fn services(&self) -> &Table<Service> {
        &self.services
    }
    pub fn tasks(&self) -> &Table<Task> {
        &self.tasks
    }
    pub fn networks(&self) -> &Table<ClusterNetwork> {
        &self.networks
    }
    pub fn secrets(&self) -> &Table<Secret> {
        &self.secrets
    }
    pub fn configs(&self) -> &Table<Config> {
        &self.configs
    }
    pub fn volumes(&self) -> &Table<ClusterVolume> {
        &self.volumes
    }

    /// A service's tasks by slot, then id.
    pub fn tasks_of_service<'a>(
        &'a self,
        service: &'a ServiceId,
    ) -> impl Iterator<Item = &'a Arc<Task>> {
        self.rows(self.task_index.of_service(service))
    }
    /// A slot's tasks by id. Slot 0 holds all tasks of a global service.
    pub fn tasks_of_slot<'a>(
        &'a self,
        service: &'a ServiceId,
        slot: u64,
    ) -> impl Iterator<Item = &'a Arc<Task>> {
        self.rows(self.task_index.of_slot(service, slot))
    }
    /// A node's tasks by id; of the empty id: all that are not assigned.
    pub fn tasks_of_node<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = &'a Arc<Task>> {
        self.rows(self.task_index.of_node(node))
    }
    /// Tasks whose desired state is `state`, by id.
    pub fn tasks_desired(&self, state: TaskState) -> impl Iterator<Item = &Arc<Task>> {
        self.rows(self.task_index.desired(state))
    }
    /// Tasks that use a network, secret or config, by id.
    pub fn tasks_referring<'a>(
        &'a self,
        kind: RefKind,
        id: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Task>> {
        self.rows(self.task_index.referring(kind, id))
    }
    /// Services that use a network, secret or config, by id.
    pub fn services_referring<'a>(
        &'a self,
        kind: RefKind,
        id: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Service>> {
        self.service_index
            .referring(kind, id)
            .filter_map(|service| self.services.get(service.as_str()))
    }
    /// An object of any kind by its full id.
    pub fn object(&self, kind: Kind, id: &str) -> Option<Object> {
        match kind {
            Kind::Cluster => self.clusters.get(id).cloned().map(Object::Cluster),
            Kind::Node => self.nodes.get(id).cloned().map(Object::Node),
            Kind::Service => self.services.get(id).cloned().map(Object::Service),
            Kind::Task => self.tasks.get(id).cloned().map(Object::Task),
            Kind::Network => self.networks.get(id).cloned().map(Object::Network),
            Kind::Secret => self.secrets.get(id).cloned().map(Object::Secret),
            Kind::Config => self.configs.get(id).cloned().map(Object::Config),
            Kind::Volume => self.volumes.get(id).cloned().map(Object::Volume),
        }
    }

    fn rows<'a>(
        &'a self,
        ids: impl Iterator<Item = &'a TaskId>,
    ) -> impl Iterator<Item = &'a Arc<Task>> {
        ids.filter_map(|id| self.tasks.get(id.as_str()))
    }

    /// The id of the object of this kind and name, whatever the name's case.
    pub(crate) fn id_of_name(&self, kind: Kind, name: &str) -> Option<String> {
        match kind {
            Kind::Cluster => self.clusters.by_name(name).map(|row| row.id.to_string()),
            Kind::Service => self.services.by_name(name).map(|row| row.id.to_string()),
            Kind::Network => self.networks.by_name(name).map(|row| row.id.to_string()),
            Kind::Secret => self.secrets.by_name(name).map(|row| row.id.to_string()),
            Kind::Config => self.configs.by_name(name).map(|row| row.id.to_string()),
            Kind::Volume => self.volumes.by_name(name).map(|row| row.id.to_string()),
            Kind::Node | Kind::Task => None,
        }
    }

    /// Writes an object with its indexes and answers the one it replaced. Checks nothing.
    pub(crate) fn put(&mut self, object: Object) -> Option<Object> {
        match object {
            Object::Cluster(row) => self.clusters.put(row).map(Object::Cluster),
            Object::Node(row) => self.nodes.put(row).map(Object::Node),
            Object::Service(row) => {
                let old = self.services.put(row.clone());
                let old_spec = old.as_ref().map(|old| &old.spec);
                self.service_index.replace(&row.id, old_spec, Some(&row.spec));
                old.map(Object::Service)
            }
            Object::Task(row) => {
                let row = self.share(row);
                let old = self.tasks.put(row.clone());
                self.task_index.replace(old.as_deref(), Some(&row));
                old.map(Object::Task)
            }
            Object::Network(row) => self.networks.put(row).map(Object::Network),
            Object::Secret(row) => self.secrets.put(row).map(Object::Secret),
            Object::Config(row) => self.configs.put(row).map(Object::Config),
            Object::Volume(row) => self.volumes.put(row).map(Object::Volume),
        }
    }

    /// Removes an object with its indexes and answers it.
    pub(crate) fn remove(&mut self, kind: Kind, id: &str) -> Option<Object> {
        match kind {
            Kind::Cluster => self.clusters.remove(id).map(Object::Cluster),
            Kind::Node => self.nodes.remove(id).map(Object::Node),
            Kind::Service => {
                let old = self.services.remove(id)?;
                self.specs.remove(&old.id);
                self.service_index.replace(&old.id, Some(&old.spec), None);
                Some(Object::Service(old))
            }
            Kind::Task => {
                let old = self.tasks.remove(id)?;
                self.task_index.replace(Some(&old), None);
                Some(Object::Task(old))
            }
            Kind::Network => self.networks.remove(id).map(Object::Network),
            Kind::Secret => self.secrets.remove(id).map(Object::Secret),
            Kind::Config => self.configs.remove(id).map(Object::Config),
            Kind::Volume => self.volumes.remove(id).map(Object::Volume),
        }
    }

    /// Lets a task's spec and ids share the memory of the rows they came from: a decoded log entry brings
    /// copies of its own, and a million of them would be most of the store.
    fn share(&mut self, mut row: Arc<Task>) -> Arc<Task> {
        let known = self.specs.get(&row.service_id);
        if known.is_some_and(|known| Arc::ptr_eq(known, &row.spec)) {
            return row;
        }
        match known.filter(|known| **known == row.spec).cloned() {
            Some(known) => Arc::make_mut(&mut row).spec = known,
            None => {
                self.specs.insert(row.service_id.clone(), row.spec.clone());
            }
        }
        let task = Arc::make_mut(&mut row);
        if let Some(service) = self.services.get(task.service_id.as_str()) {
            task.service_id = service.id.clone();
        }
        if let Some(node) = self.nodes.get(task.node_id.as_str()) {
            task.node_id = node.id.clone();
        }
        row
    }
}
