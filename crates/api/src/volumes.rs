//! `/volumes/…`.

use crate::body::Document;
use crate::context::{App, Context};
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use crate::version::ApiVersion;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use engine::Error;
use types::volume::CreateRequest;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/volumes", get(list))
        .route("/volumes/create", post(create))
        .route("/volumes/prune", post(prune))
        .route("/volumes/{name}", get(inspect).put(update).delete(remove))
}

async fn list(State(app): State<App>, query: Query) -> Reply {
    reply::json(&app.engine.volume_list(query.filters()?).await?)
}

async fn create(State(app): State<App>, body: Document) -> Reply {
    let request: CreateRequest = body.read()?;
    reply::json_with(StatusCode::CREATED, &app.engine.volume_create(request).await?)
}

async fn inspect(State(app): State<App>, Path(name): Path<String>) -> Reply {
    reply::json(&app.engine.volume_inspect(&name).await?)
}

/// Only volumes of a cluster can be changed.
async fn update() -> Reply {
    Err(Error::unavailable(
        "volume update only valid for cluster volumes, but swarm is unavailable",
    )
    .into())
}

async fn remove(State(app): State<App>, Path(name): Path<String>, query: Query) -> Reply {
    app.engine.volume_remove(&name, query.flag("force")).await?;
    reply::no_content()
}

async fn prune(State(app): State<App>, context: Context, query: Query) -> Reply {
    let mut filters = query.filters()?;
    if context.version < ApiVersion(1, 42) {
        filters.add("all", "true");
    }
    reply::json(&app.engine.volume_prune(filters).await?)
}
