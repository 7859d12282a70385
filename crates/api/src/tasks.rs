//! `/tasks/…`.

use crate::context::App;
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use crate::services::logs;
use crate::swarm::list::{labelled, named};
use crate::swarm::refused;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use engine::{Error, Filters};
use manager::control::find;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::Snapshot;
use types::swarm::network::ClusterNetwork;
use types::swarm::task::Task;

pub(crate) fn manager_routes() -> Router<App> {
    Router::new()
        .route("/tasks", get(list))
        .route("/tasks/{id}", get(inspect))
        .route("/tasks/{id}/logs", get(logs::of_task))
}

const FILTERS: &[&str] =
    &["_up-to-date", "desired-state", "id", "label", "name", "node", "runtime", "service"];
const STATES: &[&str] = &[
    "new",
    "pending",
    "assigned",
    "accepted",
    "preparing",
    "ready",
    "starting",
    "running",
    "complete",
    "shutdown",
    "failed",
    "rejected",
    "remove",
    "orphaned",
];

async fn list(State(app): State<App>, query: Query) -> Reply {
    let filters = query.filters()?;
    filters.validate(FILTERS)?;
    let bad = filters
        .get("desired-state")
        .find(|word| !word.is_empty() && !STATES.contains(&word.to_ascii_lowercase().as_str()));
    if let Some(word) = bad {
        return Err(Error::system(format!("Invalid desired-state filter: '{word}'")).into());
    }
    let state = app.cluster.control()?.read().await.map_err(refused)?;
    let place = Place::read(&state, &filters)?;
    let tasks: Vec<Answer<'_>> = place
        .candidates(&state)
        .into_iter()
        .filter(|task| wanted(&filters, &state, task))
        .map(|task| Answer::of(&state, task))
        .collect();
    reply::json(&tasks)
}

/// The services and nodes that are asked for, by id.
struct Place {
    services: BTreeSet<String>,
    nodes: BTreeSet<String>,
}

impl Place {
    fn read(state: &Snapshot, filters: &Filters) -> Result<Self, Error> {
        let service = |key: &str| find::service(state, key).map(|service| service.id.to_string());
        let node = |key: &str| find::node(state, key).map(|node| node.id.to_string());
        Ok(Place {
            services: filters
                .get("service")
                .map(service)
                .collect::<Result<_, _>>()
                .map_err(refused)?,
            nodes: filters.get("node").map(node).collect::<Result<_, _>>().map_err(refused)?,
        })
    }

    /// By index where there is one: a cluster may have a million tasks.
    fn candidates<'a>(&self, state: &'a Snapshot) -> Vec<&'a Arc<Task>> {
        let on_node =
            |task: &&Arc<Task>| self.nodes.is_empty() || self.nodes.contains(task.node_id.as_str());
        if self.services.is_empty() && self.nodes.is_empty() {
            return state.tasks().iter().filter(|task| !task.is_attachment()).collect();
        }
        if self.services.is_empty() {
            let nodes = self.nodes.iter().filter_map(|id| state.nodes().get(id));
            let tasks = nodes.flat_map(|node| state.tasks_of_node(&node.id));
            return tasks.filter(|task| !task.is_attachment()).collect();
        }
        let services = self.services.iter().filter_map(|id| state.services().get(id));
        services.flat_map(|service| state.tasks_of_service(&service.id)).filter(on_node).collect()
    }
}

fn wanted(filters: &Filters, state: &Snapshot, task: &Task) -> bool {
    let service = state.services().get(task.service_id.as_str());
    let none = BTreeMap::new();
    let labels = service.map_or(&none, |service| &service.spec.labels);
    let current = || service.is_some_and(|service| !orchestrator::is_dirty(task, service));
    let desired = task.desired_state.as_str();
    named_task(filters, state, task)
        && labelled(filters, "label", labels)
        && filters.matches("desired-state", |word| word.eq_ignore_ascii_case(desired))
        && filters.matches("runtime", |word| matches!(word, "container" | ""))
        && (!filters.contains("_up-to-date") || current())
}

fn named_task(filters: &Filters, state: &Snapshot, task: &Task) -> bool {
    // Names are made only when they are asked for.
    let name = filters.contains("name").then(|| find::task_name(state, task));
    named(filters, name.as_deref().unwrap_or_default(), task.id.as_str())
}

async fn inspect(State(app): State<App>, Path(id): Path<String>) -> Reply {
    let state = app.cluster.control()?.read().await.map_err(refused)?;
    let task = find::task(&state, &id).map_err(refused)?;
    reply::json(&Answer::of(&state, task))
}

/// A task as users see it: with its networks in full, without credentials and the managers' notes.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    task: Task,
    #[serde(rename = "Labels")]
    labels: BTreeMap<&'a str, &'a str>,
    #[serde(rename = "NetworksAttachments", skip_serializing_if = "Vec::is_empty")]
    networks: Vec<Value>,
}

impl<'a> Answer<'a> {
    fn of(state: &'a Snapshot, task: &Task) -> Self {
        let mut task = task.clone();
        task.record = Default::default();
        let container = task.spec.container_spec.as_ref();
        if container.is_some_and(|container| container.pull_options.is_some())
            && let Some(container) = &mut Arc::make_mut(&mut task.spec).container_spec
        {
            container.pull_options = None;
        }
        let attachments = std::mem::take(&mut task.networks_attachments);
        let networks = attachments.iter().map(|attachment| {
            let network = state.networks().get(&attachment.network);
            json!({
                "Network": network.map(|network| network_object(network)),
                "Addresses": attachment.addresses,
            })
        });
        Answer { networks: networks.collect(), labels: BTreeMap::new(), task }
    }
}

/// A network as a task's answer holds it: SwarmKit's own form.
fn network_object(network: &ClusterNetwork) -> Value {
    let answer = manager::control::network::answer(network);
    let pools = answer.ipam.config.unwrap_or_default();
    json!({
        "ID": network.id,
        "Version": network.meta.version,
        "CreatedAt": network.meta.created_at,
        "UpdatedAt": network.meta.updated_at,
        "Spec": {
            "Name": answer.name,
            "Labels": answer.labels,
            "DriverConfiguration": {"Name": answer.driver},
            "Attachable": answer.attachable,
            "Ingress": answer.ingress,
            "Internal": answer.internal,
            "Scope": "swarm",
        },
        "DriverState": {"Name": answer.driver, "Options": answer.options},
        "IPAMOptions": {"Driver": {"Name": answer.ipam.driver}, "Configs": pools},
    })
}
