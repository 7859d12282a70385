//! Managed plugins: there are none.

use crate::context::App;
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use axum::Router;
use axum::extract::Path;
use axum::routing::{any, get, post};
use engine::Error;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/plugins", get(list))
        .route("/plugins/privileges", get(unsupported))
        .route("/plugins/pull", post(unsupported))
        .route("/plugins/create", post(unsupported))
        .route("/plugins/{name}", any(unknown))
        .route("/plugins/{name}/{operation}", any(unknown_operation))
}

async fn list(query: Query) -> Reply {
    query.filters()?.validate(&["enabled", "capability"])?;
    reply::json(&[(); 0])
}

async fn unsupported() -> Reply {
    Err(Error::not_implemented("managed plugins are not supported").into())
}

async fn unknown(Path(name): Path<String>) -> Reply {
    Err(Error::not_found(format!("plugin {name:?} not found")).into())
}

async fn unknown_operation(Path((name, _)): Path<(String, String)>) -> Reply {
    unknown(Path(name)).await
}
