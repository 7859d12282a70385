//! What managers have assigned to this node. Decides what a message changes; acts on nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::swarm::network::ClusterNetwork;
use types::swarm::secret::{Config, Secret};
use types::swarm::session::{Assigned, Assignments, Removed, ServiceFacts};
use types::swarm::task::Task;
use types::swarm::volume::ClusterVolume;

/// The node's share of the cluster's state, by id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Share {
    pub(crate) tasks: BTreeMap<String, Arc<Task>>,
    pub(crate) services: BTreeMap<String, Arc<ServiceFacts>>,
    pub(crate) secrets: BTreeMap<String, Arc<Secret>>,
    pub(crate) configs: BTreeMap<String, Arc<Config>>,
    pub(crate) networks: BTreeMap<String, Arc<ClusterNetwork>>,
    pub(crate) volumes: BTreeMap<String, Arc<ClusterVolume>>,
}

/// What a message asks for beyond keeping it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// New tasks, and tasks that changed.
    pub(crate) tasks: BTreeSet<String>,
    /// Tasks that are this node's no more.
    pub(crate) gone: BTreeSet<String>,
    /// Secrets and configs with other content than before.
    pub(crate) files: BTreeSet<String>,
}

impl Share {
    /// Takes a message in. The session has seen to it that the message fits what came before.
    pub(crate) fn take(&mut self, message: Assignments) -> Changed {
        let before = self.clone();
        if message.complete {
            *self = Share::default();
        }
        for removed in &message.removed {
            self.remove(removed);
        }
        for assigned in message.put {
            self.put(assigned);
        }
        self.changes_since(&before)
    }

    pub(crate) fn put(&mut self, assigned: Assigned) {
        match assigned {
            Assigned::Task(it) => drop(self.tasks.insert(it.id.to_string(), it)),
            Assigned::Service(it) => drop(self.services.insert(it.id.to_string(), it)),
            Assigned::Secret(it) => drop(self.secrets.insert(it.id.to_string(), it)),
            Assigned::Config(it) => drop(self.configs.insert(it.id.to_string(), it)),
            Assigned::Network(it) => drop(self.networks.insert(it.id.to_string(), it)),
            Assigned::Volume(it) => drop(self.volumes.insert(it.id.to_string(), it)),
        }
    }

    pub(crate) fn remove(&mut self, removed: &Removed) {
        match removed {
            Removed::Task(id) => drop(self.tasks.remove(id)),
            Removed::Service(id) => drop(self.services.remove(id)),
            Removed::Secret(id) => drop(self.secrets.remove(id)),
            Removed::Config(id) => drop(self.configs.remove(id)),
            Removed::Network(id) => drop(self.networks.remove(id)),
            Removed::Volume(id) => drop(self.volumes.remove(id)),
        }
    }

    fn changes_since(&self, before: &Share) -> Changed {
        let changed = |(id, task): (&String, &Arc<Task>)| {
            let same = before.tasks.get(id).is_some_and(|old| old == task);
            (!same).then(|| id.clone())
        };
        let content = |old: Option<&str>, new: &str| old.is_some_and(|old| old != new);
        let secrets = self.secrets.iter().filter(|(id, secret)| {
            let old = before.secrets.get(*id).map(|old| old.spec.data.as_str());
            content(old, &secret.spec.data)
        });
        let configs = self.configs.iter().filter(|(id, config)| {
            let old = before.configs.get(*id).map(|old| old.spec.data.as_str());
            content(old, &config.spec.data)
        });
        // Unknown before: the agent began anew, and files may be older than it.
        let new_secrets = self.secrets.keys().filter(|id| !before.secrets.contains_key(*id));
        let new_configs = self.configs.keys().filter(|id| !before.configs.contains_key(*id));
        Changed {
            tasks: self.tasks.iter().filter_map(changed).collect(),
            gone: before.tasks.keys().filter(|id| !self.tasks.contains_key(*id)).cloned().collect(),
            files: (secrets.map(|(id, _)| id).chain(configs.map(|(id, _)| id)))
                .chain(new_secrets)
                .chain(new_configs)
                .cloned()
                .collect(),
        }
    }

    /// What a task refers to and has not been assigned yet, as a sentence's end.
    pub(crate) fn missing(&self, task: &Task) -> Option<String> {
        if !self.services.contains_key(task.service_id.as_str()) {
            return Some(format!("service {}", task.service_id));
        }
        let spec = task.spec.container_spec.as_ref()?;
        let secret = spec.secrets.iter().find(|it| !self.secrets.contains_key(&it.secret_id));
        let config = spec.configs.iter().find(|it| !self.configs.contains_key(&it.config_id));
        let network =
            task.networks_attachments.iter().find(|it| !self.networks.contains_key(&it.network));
        secret
            .map(|it| format!("secret {}", it.secret_name))
            .or_else(|| config.map(|it| format!("config {}", it.config_name)))
            .or_else(|| network.map(|it| format!("network {}", it.network)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::swarm::secret::SecretSpec;
    use types::{SecretId, ServiceId, TaskId};

    fn task(id: &str) -> Assigned {
        let task = Task { id: TaskId::new(id), service_id: ServiceId::new("s"), ..Task::default() };
        Assigned::Task(Arc::new(task))
    }
    fn secret(data: &str) -> Assigned {
        let spec = SecretSpec { data: data.to_owned(), ..SecretSpec::default() };
        Assigned::Secret(Arc::new(Secret { id: SecretId::new("x"), spec, ..Secret::default() }))
    }
    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_complete_list_takes_away_what_it_does_not_name() {
        let mut share = Share::default();
        let whole = |put| Assignments { complete: true, put, ..Assignments::default() };
        share.take(whole(vec![task("a"), task("b")]));
        let changed = share.take(whole(vec![task("b"), task("c")]));
        assert_eq!((changed.tasks, changed.gone), (set(&["c"]), set(&["a"])));
    }

    #[test]
    fn a_change_names_only_what_is_other_than_before() {
        let mut share = Share::default();
        let change = |put, removed| Assignments { put, removed, ..Assignments::default() };
        share.take(change(vec![task("a"), secret("1")], Vec::new()));
        assert_eq!(
            share.take(change(vec![task("a"), secret("1")], Vec::new())),
            Changed::default()
        );
        let changed = share.take(change(vec![secret("2")], vec![Removed::Task("a".to_owned())]));
        assert_eq!((changed.gone, changed.files), (set(&["a"]), set(&["x"])));
    }

    #[test]
    fn a_task_waits_for_all_it_refers_to() {
        let mut share = Share::default();
        share.put(task("a"));
        let waits = share.missing(&share.tasks["a"]);
        assert_eq!(waits.as_deref(), Some("service s"));
        let facts = ServiceFacts { id: ServiceId::new("s"), ..ServiceFacts::default() };
        share.put(Assigned::Service(Arc::new(facts)));
        assert_eq!(share.missing(&share.tasks["a"]), None);
    }
}
