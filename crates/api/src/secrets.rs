//! `/secrets/…`.

use crate::body::Document;
use crate::context::App;
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use crate::swarm::list::{labelled, named};
use crate::swarm::refused;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use engine::{Error, Filters};
use manager::control::find;
use serde_json::json;
use types::swarm::secret::{Secret, SecretSpec};

pub(crate) fn manager_routes() -> Router<App> {
    Router::new()
        .route("/secrets", get(list))
        .route("/secrets/create", post(create))
        .route("/secrets/{id}", get(inspect).delete(remove))
        .route("/secrets/{id}/update", post(update))
}

const FILTERS: &[&str] = &["id", "label", "name", "names"];

async fn list(State(app): State<App>, query: Query) -> Reply {
    let filters = query.filters()?;
    filters.validate(FILTERS)?;
    let state = app.cluster.control()?.read().await.map_err(refused)?;
    let secrets = state.secrets().iter().filter(|secret| wanted(&filters, secret));
    let secrets: Vec<Secret> = secrets.map(|secret| answer(secret)).collect();
    reply::json(&secrets)
}

fn wanted(filters: &Filters, secret: &Secret) -> bool {
    named(filters, &secret.spec.name, secret.id.as_str())
        && filters.matches("names", |name| name == secret.spec.name)
        && labelled(filters, "label", &secret.spec.labels)
}

async fn inspect(State(app): State<App>, Path(id): Path<String>) -> Reply {
    let state = app.cluster.control()?.read().await.map_err(refused)?;
    reply::json(&answer(find::secret(&state, &id).map_err(refused)?))
}

async fn create(State(app): State<App>, body: Document) -> Reply {
    let spec: SecretSpec = body.read()?;
    let id = app.cluster.control()?.create_secret(&spec).await.map_err(refused)?;
    reply::json_with(StatusCode::CREATED, &json!({ "ID": id }))
}

async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Query,
    body: Document,
) -> Reply {
    let spec: SecretSpec = body.read()?;
    let version = query.get("version").parse();
    let version = version.map_err(|_| Error::invalid("invalid secret version"))?;
    app.cluster.control()?.update_secret(&id, version, &spec).await.map_err(refused)?;
    reply::empty()
}

async fn remove(State(app): State<App>, Path(id): Path<String>) -> Reply {
    app.cluster.control()?.remove_secret(&id).await.map_err(refused)?;
    reply::no_content()
}

/// Without its data: those never leave a manager but to agents.
fn answer(secret: &Secret) -> Secret {
    let mut secret = secret.clone();
    secret.spec.data.clear();
    secret
}
