//! BuildKit's doors, `/session` and `/grpc`: closed. `/_ping` has told clients so by `Builder-Version: 1`;
//! one that comes nevertheless learns what to do instead.

use crate::body;
use crate::context::App;
use crate::failure::Reply;
use axum::Router;
use axum::body::Body;
use axum::routing::post;
use engine::Error;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/session", post(refuse)).route("/grpc", post(refuse))
}

async fn refuse(request: Body) -> Reply {
    body::discard(request).await;
    Err(Error::not_implemented("BuildKit is not part of this engine: build with DOCKER_BUILDKIT=0")
        .into())
}
