//! `/distribution/{name}/json`: what a registry says of an image, without pulling it.

use crate::context::App;
use crate::failure::Reply;
use crate::{images, reply};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::get;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/distribution/{name}/json", get(inspect))
}

async fn inspect(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Reply {
    reply::json(&app.engine.distribution_inspect(&name, images::registry_auth(&headers)).await?)
}
