//! `/sampan/registry`: what a client of the registry is to be told. Only for those who may do anything here.

use crate::context::App;
use crate::failure::Reply;
use crate::reply;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::json;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/sampan/registry", get(access))
}

async fn access(State(app): State<App>) -> Reply {
    let access = app.cluster.registry_access()?;
    reply::json(&json!({ "Token": access.token, "Certificate": access.root }))
}
