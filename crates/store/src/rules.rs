//! What may be written: names, references, and the fields that are written once or only grow.

use crate::index::service_refs;
use crate::{Kind, Object, RefKind, Snapshot, StoreError};
use std::collections::BTreeSet;
use types::swarm::Version;
use types::swarm::service::{Mode, Service, ServiceSpec};
use types::swarm::task::{Task, TaskState, TaskStatus};

/// Whether `new` may come into the store.
pub(crate) fn check_create(state: &Snapshot, new: &Object) -> Result<(), StoreError> {
    if state.object(new.kind(), new.id()).is_some() {
        return Err(StoreError::Exists { kind: new.kind(), id: new.id().to_owned() });
    }
    check_name(state, new)?;
    match new {
        Object::Service(service) => check_references(state, &service.spec),
        Object::Task(task) => {
            check_service(state, task)?;
            check_node(state, task)
        }
        _ => Ok(()),
    }
}

/// Whether `new` may take the place of the object it names.
pub(crate) fn check_update(state: &Snapshot, new: &Object) -> Result<(), StoreError> {
    let (kind, id) = (new.kind(), new.id());
    let old = state.object(kind, id).ok_or_else(|| not_found(kind, id))?;
    if old.meta().version != new.meta().version {
        return Err(StoreError::OutOfSequence { kind, id: id.to_owned() });
    }
    match (&old, new) {
        (Object::Service(old), Object::Service(new)) => check_service_update(state, old, new),
        (Object::Task(old), Object::Task(new)) => check_task_update(state, old, new),
        (Object::Secret(old), Object::Secret(new)) => {
            let same = old.spec.name == new.spec.name
                && old.spec.data == new.spec.data
                && old.spec.driver == new.spec.driver
                && old.spec.templating == new.spec.templating;
            if same { Ok(()) } else { Err(StoreError::OnlyLabels) }
        }
        (Object::Config(old), Object::Config(new)) => {
            // The data may change (not so in SwarmKit): agents swap the file in place.
            let same = old.spec.name == new.spec.name && old.spec.templating == new.spec.templating;
            if same { Ok(()) } else { Err(StoreError::OnlyLabels) }
        }
        _ => check_name(state, new),
    }
}

/// Whether the object may go. Answers it.
pub(crate) fn check_remove(
    state: &Snapshot,
    kind: Kind,
    id: &str,
    version: Option<Version>,
) -> Result<Object, StoreError> {
    let old = state.object(kind, id).ok_or_else(|| not_found(kind, id))?;
    if version.is_some_and(|version| version != old.meta().version) {
        return Err(StoreError::OutOfSequence { kind, id: id.to_owned() });
    }
    match &old {
        Object::Secret(secret) => {
            check_unused(state, kind, RefKind::Secret, id, &secret.spec.name)?
        }
        Object::Config(config) => {
            check_unused(state, kind, RefKind::Config, id, &config.spec.name)?
        }
        Object::Network(_) => check_network_unused(state, id)?,
        _ => {}
    }
    Ok(old)
}

/// Whether an agent's report may be written.
pub(crate) fn check_report(task: &Task, node: &str, status: &TaskStatus) -> Result<(), StoreError> {
    if task.node_id.as_str() != node {
        return Err(StoreError::NotAssigned { task: task.id.to_string(), node: node.to_owned() });
    }
    let (from, to) = (task.status.state, status.state);
    if from.is_terminal() && to != from {
        return Err(StoreError::WentBack { task: task.id.to_string(), from, to }); // how it ended is settled
    }
    check_growth(task, from, to)
}

/// Whether the object still has this version, or with `None` still is not there.
pub(crate) fn check_expect(
    state: &Snapshot,
    kind: Kind,
    id: &str,
    version: Option<Version>,
) -> Result<(), StoreError> {
    if state.object(kind, id).map(|object| object.meta().version) == version {
        return Ok(());
    }
    Err(StoreError::OutOfSequence { kind, id: id.to_owned() })
}

pub(crate) fn not_found(kind: Kind, id: &str) -> StoreError {
    StoreError::NotFound { kind, id: id.to_owned() }
}

fn check_name(state: &Snapshot, new: &Object) -> Result<(), StoreError> {
    let Some(name) = new.unique_name() else { return Ok(()) };
    match state.id_of_name(new.kind(), name) {
        Some(id) if id != new.id() => Err(name_conflict(new.kind(), name)),
        _ => Ok(()),
    }
}

fn name_conflict(kind: Kind, name: &str) -> StoreError {
    let name = name.to_owned();
    match kind {
        Kind::Secret | Kind::Config | Kind::Network => StoreError::NameTaken { kind, name },
        _ => StoreError::NameConflict { kind, name },
    }
}

fn check_service_update(state: &Snapshot, old: &Service, new: &Service) -> Result<(), StoreError> {
    if old.spec.name != new.spec.name {
        return Err(StoreError::Rename);
    }
    if mode_word(&old.spec.mode) != mode_word(&new.spec.mode) {
        return Err(StoreError::ModeChange);
    }
    check_references(state, &new.spec)
}

fn mode_word(mode: &Mode) -> &'static str {
    if mode.global.is_some() {
        "global"
    } else if mode.replicated_job.is_some() {
        "replicated-job"
    } else if mode.global_job.is_some() {
        "global-job"
    } else {
        "replicated"
    }
}

/// Everything that a service refers to must be there, or its tasks would wait for ever.
fn check_references(state: &Snapshot, spec: &ServiceSpec) -> Result<(), StoreError> {
    for wanted in [Kind::Secret, Kind::Config, Kind::Network] {
        let missing: BTreeSet<&str> = service_refs(spec)
            .into_iter()
            .filter(|(kind, id)| kind_of(*kind) == wanted && state.object(wanted, id).is_none())
            .map(|(_, id)| id)
            .collect();
        if !missing.is_empty() {
            let names = missing.into_iter().map(|id| name_of_reference(spec, wanted, id)).collect();
            return Err(StoreError::MissingReference { kind: wanted, names });
        }
    }
    Ok(())
}

fn kind_of(kind: RefKind) -> Kind {
    match kind {
        RefKind::Network => Kind::Network,
        RefKind::Secret => Kind::Secret,
        RefKind::Config => Kind::Config,
    }
}

/// The name by which the user wrote the reference; its id when there is none.
fn name_of_reference(spec: &ServiceSpec, kind: Kind, id: &str) -> String {
    let container = spec.task_template.container_spec.as_ref();
    let name = match kind {
        Kind::Secret => container
            .and_then(|container| container.secrets.iter().find(|secret| secret.secret_id == id))
            .map(|secret| &secret.secret_name),
        Kind::Config => container
            .and_then(|container| container.configs.iter().find(|config| config.config_id == id))
            .map(|config| &config.config_name),
        _ => None,
    };
    name.filter(|name| !name.is_empty()).map_or(id, |name| name.as_str()).to_owned()
}

/// A task decided from an old view must not outlive its service unseen. Tasks without a service are
/// network attachments.
fn check_service(state: &Snapshot, task: &Task) -> Result<(), StoreError> {
    let service = task.service_id.as_str();
    if service.is_empty() || state.services.get(service).is_some() {
        return Ok(());
    }
    Err(not_found(Kind::Service, service))
}

fn check_node(state: &Snapshot, task: &Task) -> Result<(), StoreError> {
    let node = task.node_id.as_str();
    if node.is_empty() || state.nodes.get(node).is_some() {
        return Ok(());
    }
    Err(not_found(Kind::Node, node))
}

fn check_task_update(state: &Snapshot, old: &Task, new: &Task) -> Result<(), StoreError> {
    check_growth(old, old.status.state, new.status.state)?;
    check_growth(old, old.desired_state, new.desired_state)?;
    let twice = |field| Err(StoreError::WrittenTwice { task: old.id.to_string(), field });
    if old.service_id != new.service_id {
        return twice("service");
    }
    if old.slot != new.slot {
        return twice("slot");
    }
    if old.node_id != new.node_id {
        if !old.node_id.as_str().is_empty() {
            return twice("node");
        }
        check_node(state, new)?;
    }
    Ok(())
}

fn check_growth(task: &Task, from: TaskState, to: TaskState) -> Result<(), StoreError> {
    if to >= from {
        return Ok(());
    }
    Err(StoreError::WentBack { task: task.id.to_string(), from, to })
}

fn check_unused(
    state: &Snapshot,
    kind: Kind,
    reference: RefKind,
    id: &str,
    name: &str,
) -> Result<(), StoreError> {
    let services: Vec<String> =
        state.services_referring(reference, id).map(|service| service.spec.name.clone()).collect();
    if services.is_empty() {
        return Ok(());
    }
    Err(StoreError::InUse { kind, name: name.to_owned(), services })
}

/// Tasks count too: one that shall run keeps its network, until its service has left. Then the leader is about to tell it so, and
/// whoever removes a service and its network in one breath, as `docker stack rm` does, is not refused by chance.
fn check_network_unused(state: &Snapshot, id: &str) -> Result<(), StoreError> {
    let in_use = |user, by: &str| {
        Err(StoreError::NetworkInUse { network: id.to_owned(), user, id: by.to_owned() })
    };
    if let Some(service) = state.services_referring(RefKind::Network, id).next() {
        return in_use(Kind::Service, service.id.as_str());
    }
    let live = |task: &&std::sync::Arc<Task>| {
        let is_doomed = !task.service_id.as_str().is_empty()
            && state.services().get(task.service_id.as_str()).is_none();
        !task.status.state.is_terminal() && task.desired_state <= TaskState::Running && !is_doomed
    };
    if let Some(task) = state.tasks_referring(RefKind::Network, id).find(live) {
        return in_use(Kind::Task, task.id.as_str());
    }
    Ok(())
}
