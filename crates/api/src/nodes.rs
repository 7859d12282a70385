//! `/nodes/…`.

use crate::body::Document;
use crate::context::App;
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use crate::swarm::list::{labelled, named};
use crate::swarm::{refused, version};
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use engine::{Error, Filters};
use manager::control::{find, node::Wish};
use serde::Deserialize;
use std::collections::BTreeMap;
use store::Snapshot;
use types::swarm::node::{ManagerStatus, Node, Role};

pub(crate) fn manager_routes() -> Router<App> {
    Router::new()
        .route("/nodes", get(list))
        .route("/nodes/{id}", get(inspect).delete(remove))
        .route("/nodes/{id}/update", post(update))
}

const FILTERS: &[&str] = &["id", "label", "membership", "name", "node.label", "role"];

async fn list(State(app): State<App>, query: Query) -> Reply {
    let filters = query.filters()?;
    filters.validate(FILTERS)?;
    check_words(&filters)?;
    let control = app.cluster.control()?;
    let state = control.read().await.map_err(refused)?;
    let members = control.members();
    let nodes = state.nodes().iter().filter(|node| wanted(&filters, node));
    let nodes: Vec<Node> = nodes.map(|node| answer(node, &members)).collect();
    reply::json(&nodes)
}

/// dockerd has given these refusals no class.
fn check_words(filters: &Filters) -> Result<(), Error> {
    let bad = |name: &str, known: &[&str]| {
        let word = filters
            .get(name)
            .find(|word| !word.is_empty() && !known.contains(&word.to_ascii_lowercase().as_str()));
        word.map_or(Ok(()), |word| Err(Error::system(format!("Invalid {name} filter: '{word}'"))))
    };
    bad("role", &["worker", "manager"])?;
    bad("membership", &["pending", "accepted"])
}

fn wanted(filters: &Filters, node: &Node) -> bool {
    let role = match node.spec.role {
        Role::Worker => "worker",
        Role::Manager => "manager",
    };
    named(filters, &node.description.hostname, node.id.as_str())
        && labelled(filters, "label", &node.description.engine.labels)
        && labelled(filters, "node.label", &node.spec.labels)
        && filters.matches("role", |wanted| wanted.eq_ignore_ascii_case(role))
        && filters.matches("membership", |wanted| wanted.eq_ignore_ascii_case("accepted"))
}

/// The node as users see it. Who leads is asked of the log, which knows it first.
fn answer(node: &Node, members: &[raft::Member]) -> Node {
    let mut node = node.clone();
    node.record = None;
    if let Some(member) = members.iter().find(|member| member.node == node.id) {
        let reachability = if member.reachable { "reachable" } else { "unreachable" };
        node.manager_status = Some(ManagerStatus {
            leader: member.leader,
            reachability: reachability.to_owned(),
            addr: member.addr.clone(),
        });
    }
    node
}

async fn inspect(State(app): State<App>, Path(id): Path<String>) -> Reply {
    let control = app.cluster.control()?;
    let state = control.read().await.map_err(refused)?;
    let node = find::node(&state, &own(&app, &state, id)).map_err(refused)?;
    reply::json(&answer(node, &control.members()))
}

/// `self` is whoever is asked, unless a node has the name.
fn own(app: &App, state: &Snapshot, key: String) -> String {
    match app.cluster.node_id() {
        Some(id) if key == "self" && find::node(state, &key).is_err() => id.to_string(),
        _ => key,
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Spec {
    name: String,
    labels: BTreeMap<String, String>,
    role: String,
    availability: String,
}

async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Query,
    body: Document,
) -> Reply {
    let Spec { name, labels, role, availability } = body.read()?;
    let version = version(&query, "node")?;
    let control = app.cluster.control()?;
    let key = own(&app, &control.snapshot(), id);
    let wish = Wish { name, labels, role, availability };
    control.update_node(&key, version, wish).await.map_err(refused)?;
    reply::empty()
}

async fn remove(State(app): State<App>, Path(id): Path<String>, query: Query) -> Reply {
    let control = app.cluster.control()?;
    let key = own(&app, &control.snapshot(), id);
    control.remove_node(&key, query.flag("force")).await.map_err(refused)?;
    reply::empty()
}
