//! The cluster's objects, on a node that is in no cluster: dockerd's refusals.

use crate::context::App;
use crate::failure::Reply;
use axum::Router;
use axum::routing::{any, get, post};
use engine::Error;

pub(crate) fn routes() -> Router<App> {
    let mut router = Router::new()
        .route("/swarm", get(not_a_manager))
        .route("/swarm/init", post(not_built_in))
        .route("/swarm/join", post(not_built_in))
        .route("/swarm/leave", post(not_a_member))
        .route("/swarm/update", post(not_a_manager))
        .route("/swarm/unlockkey", get(not_a_manager))
        .route("/swarm/unlock", post(not_a_manager));
    for object in ["nodes", "services", "tasks", "secrets", "configs"] {
        router = router
            .route(&format!("/{object}"), any(not_a_manager))
            .route(&format!("/{object}/{{id}}"), any(not_a_manager))
            .route(&format!("/{object}/{{id}}/{{operation}}"), any(not_a_manager));
    }
    router
}

async fn not_a_manager() -> Reply {
    Err(Error::unavailable(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node \
         to swarm and try again.",
    )
    .into())
}

async fn not_a_member() -> Reply {
    Err(Error::unavailable("This node is not part of a swarm").into())
}

async fn not_built_in() -> Reply {
    Err(Error::not_implemented("swarm mode is not part of this version").into())
}
