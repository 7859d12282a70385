//! `/swarm/…`: this node's part in a cluster, and the cluster's settings.

pub(crate) mod elsewhere;
pub(crate) mod forward;
pub(crate) mod insight;
pub(crate) mod list;

use crate::body::Document;
use crate::context::{App, Context};
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use crate::version::ApiVersion;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use engine::Error;
use manager::control::{self, cluster};
use serde::Serialize;
use types::swarm::cluster::{Cluster, ClusterSpec};
use types::swarm::request::{InitRequest, JoinRequest, UnlockKey};

/// What is answered wherever the request arrives.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/swarm/init", post(init))
        .route("/swarm/join", post(join))
        .route("/swarm/leave", post(leave))
        .route("/swarm/unlock", post(unlock))
}

/// What only managers can answer.
pub(crate) fn manager_routes() -> Router<App> {
    Router::new()
        .route("/swarm", get(inspect))
        .route("/swarm/update", post(update))
        .route("/swarm/unlockkey", get(unlock_key))
}

/// A refusal of the managers, with its own status.
pub(crate) fn refused(err: control::Error) -> Error {
    Error::from_lower(err)
}

async fn init(State(app): State<App>, context: Context, body: Document) -> Reply {
    let mut request: InitRequest = body.read()?;
    if context.version < ApiVersion(1, 39) {
        request.default_addr_pool.clear();
        request.subnet_size = 0;
    }
    if context.version < ApiVersion(1, 40) {
        request.data_path_port = 0;
    }
    reply::json(&app.cluster.init(request).await?)
}

async fn join(State(app): State<App>, body: Document) -> Reply {
    let request: JoinRequest = body.read()?;
    if request.remote_addrs.is_empty() {
        return Err(Error::invalid("at least 1 RemoteAddr is required to join").into());
    }
    app.cluster.join(request).await?;
    reply::empty()
}

async fn leave(State(app): State<App>, query: Query) -> Reply {
    app.cluster.leave(query.flag("force")).await?;
    reply::empty()
}

async fn unlock(State(app): State<App>, body: Document) -> Reply {
    let request: UnlockKey = body.read()?;
    app.cluster.unlock(&request.unlock_key).await?;
    reply::empty()
}

/// The cluster, and the tokens that only managers show.
#[derive(Serialize)]
struct Swarm {
    #[serde(flatten)]
    cluster: Cluster,
    #[serde(rename = "JoinTokens")]
    join_tokens: JoinTokens,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct JoinTokens {
    worker: String,
    manager: String,
}

async fn inspect(State(app): State<App>) -> Reply {
    let state = app.cluster.control()?.read().await.map_err(refused)?;
    let cluster = cluster::get(&state).map_err(refused)?;
    let record = cluster.record.clone().unwrap_or_default();
    let join_tokens = JoinTokens { worker: record.worker_token, manager: record.manager_token };
    reply::json(&Swarm { cluster: cluster::answer(cluster), join_tokens })
}

async fn update(State(app): State<App>, query: Query, body: Document) -> Reply {
    let spec: ClusterSpec = body.read()?;
    let update = cluster::Update {
        version: version(&query, "swarm")?,
        spec,
        rotate_worker_token: truth(&query, "rotateWorkerToken")?,
        rotate_manager_token: truth(&query, "rotateManagerToken")?,
        rotate_unlock_key: truth(&query, "rotateManagerUnlockKey")?,
    };
    app.cluster.control()?.update_swarm(update).await.map_err(refused)?;
    reply::empty()
}

async fn unlock_key(State(app): State<App>) -> Reply {
    let unlock_key = app.cluster.control()?.unlock_key().await.map_err(refused)?;
    reply::json(&UnlockKey { unlock_key })
}

/// Query `version`, in dockerd's words when it is no number.
pub(crate) fn version(query: &Query, object: &str) -> Result<u64, Error> {
    let text = query.get("version");
    text.parse().map_err(|_| {
        let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        Error::invalid(format!("invalid {object} version '{text}': {why}"))
    })
}

/// A parameter that is one of Go's words for true or false; false when absent.
pub(crate) fn truth(query: &Query, name: &str) -> Result<bool, Error> {
    match query.get(name) {
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        other => Err(Error::invalid(format!("invalid value for {name}: {other}"))),
    }
}
