//! What happened in the cluster, as `GET /events` tells it: dockerd's attributes for each object, and tasks, which
//! dockerd does not tell of.

use crate::plan::{made, stopped};
use std::collections::BTreeMap;
use store::{EventKind, Object, Snapshot};
use types::Timestamp;
use types::event::Event;
use types::swarm::node::{Availability, Node, NodeState, Role};
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};

/// `None` for what is no news to a user. `now` dates removals; other events carry the object's own time.
pub fn event(state: &Snapshot, change: &store::Event, now: Timestamp) -> Option<Event> {
    let old = change.old.as_ref();
    let (kind, id, name, mut more) = match (&change.object, old) {
        (Object::Node(node), old) => {
            let old =
                old.and_then(|old| if let Object::Node(old) = old { Some(old) } else { None });
            let name = match node.spec.name.as_str() {
                "" => &node.description.hostname,
                name => name,
            };
            let more = old.map(|old| node_changes(old, node)).unwrap_or_default();
            ("node", node.id.as_str(), name, more)
        }
        (Object::Service(service), old) => {
            let old =
                old.and_then(|old| if let Object::Service(old) = old { Some(old) } else { None });
            let more = old.map(|old| service_changes(old, service)).unwrap_or_default();
            ("service", service.id.as_str(), service.spec.name.as_str(), more)
        }
        (Object::Network(network), _) => {
            ("network", network.id.as_str(), network.spec.name.as_str(), BTreeMap::new())
        }
        (Object::Secret(secret), _) => {
            ("secret", secret.id.as_str(), secret.spec.name.as_str(), BTreeMap::new())
        }
        (Object::Config(config), _) => {
            ("config", config.id.as_str(), config.spec.name.as_str(), BTreeMap::new())
        }
        (Object::Task(task), old) => {
            let old =
                old.and_then(|old| if let Object::Task(old) = old { Some(old) } else { None });
            let more = task_changes(state, old.map(|old| &**old), task)?;
            ("task", task.id.as_str(), "", more)
        }
        (Object::Cluster(_) | Object::Volume(_), _) => return None,
    };
    if !name.is_empty() {
        more.insert("name".to_owned(), name.to_owned());
    }
    let meta = change.object.meta();
    let (action, at) = match change.kind {
        EventKind::Created => ("create", meta.created_at),
        EventKind::Updated => ("update", meta.updated_at),
        EventKind::Removed => ("remove", now),
    };
    let mut event = Event::new(kind, action, id, more, at);
    event.scope = "swarm".to_owned();
    Some(event)
}

type Attributes = BTreeMap<String, String>;

fn differ<T: PartialEq>(more: &mut Attributes, name: &str, old: T, new: T, word: fn(&T) -> String) {
    if old != new {
        more.insert(format!("{name}.old"), word(&old));
        more.insert(format!("{name}.new"), word(&new));
    }
}

fn node_changes(old: &Node, new: &Node) -> Attributes {
    let mut more = Attributes::new();
    let availability = |word: &Availability| match word {
        Availability::Active => "active".to_owned(),
        Availability::Pause => "pause".to_owned(),
        Availability::Drain => "drain".to_owned(),
    };
    let role = |word: &Role| match word {
        Role::Worker => "worker".to_owned(),
        Role::Manager => "manager".to_owned(),
    };
    let state = |word: &NodeState| match word {
        NodeState::Unknown => "unknown".to_owned(),
        NodeState::Down => "down".to_owned(),
        NodeState::Ready => "ready".to_owned(),
        NodeState::Disconnected => "disconnected".to_owned(),
    };
    differ(&mut more, "availability", old.spec.availability, new.spec.availability, availability);
    differ(&mut more, "role", old.spec.role, new.spec.role, role);
    differ(&mut more, "state", old.status.state, new.status.state, state);
    if let (Some(old), Some(new)) = (&old.manager_status, &new.manager_status) {
        differ(&mut more, "leader", old.leader, new.leader, bool::to_string);
        differ(&mut more, "reachability", &old.reachability, &new.reachability, |word| {
            (*word).clone()
        });
    }
    more
}

fn service_changes(old: &Service, new: &Service) -> Attributes {
    let mut more = Attributes::new();
    let image = |service: &Service| {
        let container = service.spec.task_template.container_spec.as_ref();
        container.map(|container| container.image.clone()).unwrap_or_default()
    };
    let replicas = |service: &Service| {
        service.spec.mode.replicated.as_ref().map(|mode| mode.replicas.unwrap_or(1))
    };
    differ(&mut more, "image", image(old), image(new), String::clone);
    if let (Some(old), Some(new)) = (replicas(old), replicas(new)) {
        differ(&mut more, "replicas", old, new, u64::to_string);
    }
    let state = |service: &Service| service.update_status.as_ref().map(|s| s.state.clone());
    match (state(old), state(new)) {
        (None, Some(new)) => {
            more.insert("updatestate.new".to_owned(), new);
        }
        (Some(old), Some(new)) => differ(&mut more, "updatestate", old, new, String::clone),
        (_, None) => {}
    }
    more
}

/// `None` when neither its state nor what is wanted of it changed.
fn task_changes(state: &Snapshot, old: Option<&Task>, task: &Task) -> Option<Attributes> {
    let mut more = Attributes::new();
    if let Some(old) = old {
        differ(&mut more, "state", old.status.state, task.status.state, |s| s.as_str().to_owned());
        differ(&mut more, "desired", old.desired_state, task.desired_state, |s| {
            s.as_str().to_owned()
        });
        if more.is_empty() {
            return None;
        }
    }
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            more.insert(name.to_owned(), value.to_owned());
        }
    };
    put("name", &super::find::task_name(state, task));
    put("service", task.service_id.as_str());
    put("node", task.node_id.as_str());
    put("message", &task.status.message);
    put("error", &task.status.err);
    let told_to_stop = task.desired_state > TaskState::Complete;
    match old {
        None => put("why", made(task.record.cause)),
        Some(old) if told_to_stop && old.desired_state <= TaskState::Complete => {
            put("why", stopped(task.record.stop));
        }
        Some(_) => {}
    }
    Some(more)
}
