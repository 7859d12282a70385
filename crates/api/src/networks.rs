//! `/networks/…`: this node's networks and the cluster's.

use crate::body::Document;
use crate::context::App;
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use engine::{Error, Filters};
use manager::control::network::{DRIVER, answer_of_nodes};
use serde_json::json;
use types::network::{
    ConnectRequest, CreateRequest, DisconnectRequest, HostRequest, Network, PoliciesRequest,
};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/networks", get(list))
        .route("/networks/create", post(create))
        .route("/networks/prune", post(prune))
        .route("/networks/{id}", get(inspect).delete(remove))
        .route("/networks/{id}/policies", put(policies))
        .route("/networks/{id}/policies/log", get(policy_log))
        .route("/networks/{id}/attach-host", post(attach_host).delete(detach_host))
        .route("/networks/{id}/connect", post(connect))
        .route("/networks/{id}/disconnect", post(disconnect))
}

async fn list(State(app): State<App>, query: Query) -> Reply {
    let filters = query.filters()?;
    let mut networks = app.engine.network_list(filters.clone()).await?;
    // Without a manager, what this node knows of the cluster's.
    let Ok(shared) = app.cluster.networks().await else { return reply::json(&networks) };
    // The cluster's own are shown as the cluster has them, also when this node still holds one that is gone.
    networks.retain(|network| network.scope != "swarm");
    networks.extend(shared.into_iter().filter(|network| wanted(&filters, network)));
    reply::json(&networks)
}

/// The engine's filters, for networks that the engine does not keep.
fn wanted(filters: &Filters, network: &Network) -> bool {
    filters.matches("name", |part| network.name.contains(part))
        && filters.matches("id", |part| network.id.as_str().contains(part))
        && filters.matches("driver", |driver| driver == network.driver)
        && filters.matches("scope", |scope| scope == network.scope)
        && filters.matches("type", |kind| kind == "custom")
        && filters.matches("dangling", |dangling| matches!(dangling, "0" | "false"))
        && filters.matches_labels("label", &network.labels)
}

async fn create(State(app): State<App>, body: Document) -> Reply {
    let request: CreateRequest = body.read()?;
    if request.driver != DRIVER && request.scope != "swarm" {
        check_free(&app, &request.name).await?;
        let created = app.engine.network_create(request).await?;
        return reply::json_with(StatusCode::CREATED, &created);
    }
    check_free(&app, &request.name).await?;
    // The beginning of an id is no name.
    let known = app.engine.network_inspect(&request.name, "local").await;
    if known.is_ok_and(|network| network.name == request.name) {
        return Err(taken(&request.name).into());
    }
    let id = app.cluster.create_network(&request).await?;
    reply::json_with(StatusCode::CREATED, &json!({ "Id": id, "Warning": "" }))
}

/// Docker refuses a second network of a name, whichever of the two kinds it is.
async fn check_free(app: &App, name: &str) -> Result<(), Error> {
    match app.cluster.network(name, false).await {
        Ok(Some(network)) if network.name == name => Err(taken(name)),
        // Without a manager a node still makes networks of its own.
        _ => Ok(()),
    }
}

fn taken(name: &str) -> Error {
    Error::conflict(format!("network with name {name} already exists"))
}

async fn prune(State(app): State<App>, query: Query) -> Reply {
    let filters = query.filters()?;
    let mut removed = app.engine.network_prune(filters.clone()).await?;
    removed.extend(prune_shared(&app, &filters).await);
    reply::json(&json!({ "NetworksDeleted": (!removed.is_empty()).then_some(removed) }))
}

/// The cluster's networks that nothing uses. dockerd prunes them on managers.
async fn prune_shared(app: &App, filters: &Filters) -> Vec<String> {
    // With `until` only this node's own are pruned.
    if filters.contains("until") {
        return Vec::new();
    }
    let shared = app.cluster.networks().await.unwrap_or_default();
    let wanted = shared.into_iter().filter(|network| {
        !network.ingress
            && filters.matches_labels("label", &network.labels)
            && !(filters.contains("label!") && filters.matches_labels("label!", &network.labels))
    });
    let mut removed = Vec::new();
    for network in wanted {
        match app.cluster.remove_network(network.id.as_str()).await {
            Ok(()) => removed.push(network.name),
            Err(err) => tracing::debug!(network = network.name, error = %err, "not pruned"),
        }
    }
    removed
}

async fn inspect(State(app): State<App>, Path(id): Path<String>, query: Query) -> Reply {
    let (scope, verbose) = (query.get("scope"), query.strict_flag("verbose")?);
    let here = app.engine.network_inspect(&id, scope).await;
    let shared = match scope {
        "" | "swarm" => app.cluster.network(&id, verbose).await,
        _ => Ok(None),
    };
    let shared = match shared {
        Ok(None) if scope == "swarm" => Ok(answer_of_nodes(&id)),
        shared => shared,
    };
    match (here, shared) {
        // Its containers on this node are the engine's to tell.
        (Ok(here), Ok(Some(shared))) if here.id == shared.id => {
            let policy_drops = app.engine.policy_drops(&here.id).await;
            let host_address = app.engine.host_address(&here.id).await;
            let host_address = host_address.map(|it| it.to_string()).unwrap_or_default();
            let externals = app.engine.outside_health(&here.id).await;
            reply::json(&Network {
                containers: here.containers,
                policy_drops,
                externals,
                host_address,
                ..shared
            })
        }
        (Ok(here), _) if here.id.as_str() == id || here.name == id => reply::json(&here),
        (_, Ok(Some(shared))) => reply::json(&shared),
        (here, _) => reply::json(&here?),
    }
}

async fn remove(State(app): State<App>, Path(id): Path<String>) -> Reply {
    let here = app.engine.network_inspect(&id, "local").await;
    if here.is_ok_and(|here| here.id.as_str() == id || here.name == id) {
        app.engine.network_remove(&id).await?;
        return reply::no_content();
    }
    match app.cluster.network(&id, false).await? {
        Some(network) => app.cluster.remove_network(network.id.as_str()).await?,
        None => app.engine.network_remove(&id).await?,
    }
    reply::no_content()
}

/// Ours: who may talk to whom on a network of the cluster. `{"Policies": […]}`, all of them.
async fn policies(State(app): State<App>, Path(id): Path<String>, body: Document) -> Reply {
    let request: PoliciesRequest = body.read()?;
    if app.cluster.network(&id, false).await?.is_none() {
        let here = app.engine.network_inspect(&id, "").await?;
        return Err(takes_none(&here.name).into());
    }
    app.cluster.set_policies(&id, request.policies).await?;
    reply::no_content()
}

/// Ours: the host itself joins a network of the cluster.
async fn attach_host(State(app): State<App>, Path(id): Path<String>, body: Document) -> Reply {
    let request: HostRequest = body.read()?;
    let address = app.engine.attach_host(&id, request).await?;
    reply::json(&json!({ "Address": address }))
}

/// Ours: and leaves it.
async fn detach_host(State(app): State<App>, Path(id): Path<String>) -> Reply {
    app.engine.detach_host(&id).await?;
    reply::no_content()
}

/// Ours: what the network's policies refused on this node of late.
async fn policy_log(State(app): State<App>, Path(id): Path<String>) -> Reply {
    let Some(network) = app.cluster.network(&id, false).await? else {
        let here = app.engine.network_inspect(&id, "").await?;
        return Err(takes_none(&here.name).into());
    };
    reply::json(&app.engine.policy_log(&network.id).await?)
}

fn takes_none(name: &str) -> Error {
    Error::forbidden(format!("network {name} is not the cluster's: it takes no policies"))
}

async fn connect(State(app): State<App>, Path(id): Path<String>, body: Document) -> Reply {
    let request: ConnectRequest = body.read()?;
    app.engine.network_connect(&id, request).await?;
    reply::empty()
}

async fn disconnect(State(app): State<App>, Path(id): Path<String>, body: Document) -> Reply {
    let request: DisconnectRequest = body.read()?;
    app.engine.network_disconnect(&id, request).await?;
    reply::empty()
}
