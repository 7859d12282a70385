//! `/configs/…`.

use crate::body::LargeDocument;
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
use types::swarm::secret::{Config, ConfigSpec};

pub(crate) fn manager_routes() -> Router<App> {
    Router::new()
        .route("/configs", get(list))
        .route("/configs/create", post(create))
        .route("/configs/{id}", get(inspect).delete(remove))
        .route("/configs/{id}/update", post(update))
}

const FILTERS: &[&str] = &["id", "label", "name", "names"];

async fn list(State(app): State<App>, query: Query) -> Reply {
    let filters = query.filters()?;
    filters.validate(FILTERS)?;
    let state = app.cluster.control()?.read().await.map_err(refused)?;
    let configs = state.configs().iter().filter(|config| wanted(&filters, config));
    reply::json(&configs.collect::<Vec<_>>())
}

fn wanted(filters: &Filters, config: &Config) -> bool {
    named(filters, &config.spec.name, config.id.as_str())
        && filters.matches("names", |name| name == config.spec.name)
        && labelled(filters, "label", &config.spec.labels)
}

async fn inspect(State(app): State<App>, Path(id): Path<String>) -> Reply {
    let state = app.cluster.control()?.read().await.map_err(refused)?;
    reply::json(find::config(&state, &id).map_err(refused)?)
}

async fn create(State(app): State<App>, body: LargeDocument) -> Reply {
    let spec: ConfigSpec = body.read()?;
    let id = app.cluster.control()?.create_config(&spec).await.map_err(refused)?;
    reply::json_with(StatusCode::CREATED, &json!({ "ID": id }))
}

async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Query,
    body: LargeDocument,
) -> Reply {
    let spec: ConfigSpec = body.read()?;
    let version = query.get("version").parse();
    let version = version.map_err(|_| Error::invalid("invalid config version"))?;
    app.cluster.control()?.update_config(&id, version, &spec).await.map_err(refused)?;
    reply::empty()
}

async fn remove(State(app): State<App>, Path(id): Path<String>) -> Reply {
    app.cluster.control()?.remove_config(&id).await.map_err(refused)?;
    reply::no_content()
}
