//! `/networks/…`.

use crate::body::Document;
use crate::context::App;
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::json;
use types::network::{ConnectRequest, CreateRequest, DisconnectRequest};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/networks", get(list))
        .route("/networks/create", post(create))
        .route("/networks/prune", post(prune))
        .route("/networks/{id}", get(inspect).delete(remove))
        .route("/networks/{id}/connect", post(connect))
        .route("/networks/{id}/disconnect", post(disconnect))
}

async fn list(State(app): State<App>, query: Query) -> Reply {
    reply::json(&app.engine.network_list(query.filters()?).await?)
}

async fn create(State(app): State<App>, body: Document) -> Reply {
    let request: CreateRequest = body.read()?;
    reply::json_with(StatusCode::CREATED, &app.engine.network_create(request).await?)
}

async fn prune(State(app): State<App>, query: Query) -> Reply {
    let removed = app.engine.network_prune(query.filters()?).await?;
    reply::json(&json!({ "NetworksDeleted": (!removed.is_empty()).then_some(removed) }))
}

async fn inspect(State(app): State<App>, Path(id): Path<String>, query: Query) -> Reply {
    reply::json(&app.engine.network_inspect(&id, query.get("scope")).await?)
}

async fn remove(State(app): State<App>, Path(id): Path<String>) -> Reply {
    app.engine.network_remove(&id).await?;
    reply::no_content()
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
