//! `/sampan/…`: why things are as they are, what an update would do, what ails a node, the cluster's events and its
//! snapshots. Nothing of it is Docker's.

use super::forward::send;
use super::refused;
use crate::context::{App, Context};
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use cluster::doctor::{Checkup, Finding, Level, compare};
use cluster::{Line, Target};
use engine::Error;
use futures_util::future::join_all;
use manager::why::{Explanation, Subject, explain, subject};
use serde::Serialize;
use serde_json::json;
use std::time::{Duration, SystemTime};
use types::Timestamp;
use types::event::Event;
use types::stats::NodeUsage;
use types::swarm::request::InitRequest;

/// Above any cluster's snapshot.
const LARGEST_SNAPSHOT: usize = 1 << 30;
/// A node that does not answer within it is told as one.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Events in an answer to `why`, the newest.
const EVENTS: usize = 200;

/// What is answered wherever it is asked.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/sampan/doctor", get(doctor))
        .route("/sampan/usage/here", get(usage_here))
        .route("/sampan/cluster/snapshot", get(snapshot))
        .route("/sampan/cluster/snapshot/inspect", post(inspect))
        .route("/sampan/cluster/restore", post(restore))
}

/// What only managers can answer.
pub(crate) fn manager_routes(app: App) -> Router<App> {
    let why = Router::new()
        .route("/sampan/why/{name}", get(why))
        .route_layer(from_fn_with_state(app, to_the_leader));
    Router::new()
        .route("/sampan/services/{id}/plan", post(crate::services::plan))
        .route("/sampan/stacks/{name}/deployments", get(deployments))
        .route("/sampan/usage", get(usage))
        .route("/sampan/events", get(crate::events::of_the_cluster))
        .merge(why)
}

/// The leader's loop knows what waits for what; another manager asks it, if nobody has asked for this manager.
async fn to_the_leader(
    State(app): State<App>,
    context: Context,
    request: Request,
    next: Next,
) -> Response {
    let elsewhere =
        app.cluster.leader().filter(|leader| Some(leader) != app.cluster.node_id().as_ref());
    match elsewhere.filter(|_| !context.forwarded) {
        Some(leader) => send(&app, &context, Target::Node(leader), request)
            .await
            .unwrap_or_else(IntoResponse::into_response),
        None => next.run(request).await,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Why {
    #[serde(flatten)]
    explanation: Explanation,
    /// Oldest first.
    events: Vec<Event>,
}

async fn why(State(app): State<App>, Path(name): Path<String>) -> Reply {
    let state = app.cluster.control()?.read().await.map_err(refused)?;
    let about = subject(&state, &name).map_err(refused)?;
    let known = match about {
        Subject::Node(_) => None,
        _ => app.cluster.why(about.id()).await,
    };
    let explanation = explain(&state, &about, known.as_ref());
    let history = app.cluster.history()?;
    let id = about.id().to_owned();
    let concerns = move |event: &Event| {
        let named = |key: &str| event.actor.attributes.get(key).is_some_and(|have| *have == id);
        event.actor.id == id || named("service") || named("node")
    };
    let read = move || history.read(Timestamp::default(), EVENTS, concerns);
    let lines = tokio::task::spawn_blocking(read).await;
    let lines = lines
        .unwrap_or_else(|err| Err(std::io::Error::other(err)))
        .map_err(|err| Error::caused("failed to read the cluster's history", err))?;
    let events = lines.into_iter().map(|Line { event, .. }| event).collect();
    reply::json(&Why { explanation, events })
}

/// What came of a stack's deployments, oldest first.
async fn deployments(State(app): State<App>, Path(name): Path<String>) -> Reply {
    let state = app.cluster.control()?.read().await.map_err(refused)?;
    reply::json(&manager::control::stack::deployments(&state, &name))
}

/// What tasks use of each node that can be asked, now.
async fn usage(State(app): State<App>, context: Context) -> Reply {
    let path = format!("/v{}/sampan/usage/here", context.version);
    let others = app.cluster.others().into_iter().map(|node| async {
        let asked = tokio::time::timeout(ANSWER_WITHIN, app.cluster.ask(node, &path));
        serde_json::from_slice::<NodeUsage>(&asked.await.ok()?.ok()?).ok()
    });
    let (own, others) = tokio::join!(own_usage(&app), join_all(others));
    let all: Vec<NodeUsage> = std::iter::once(own).chain(others.into_iter().flatten()).collect();
    reply::json(&all)
}

async fn usage_here(State(app): State<App>) -> Reply {
    reply::json(&own_usage(&app).await)
}

async fn own_usage(app: &App) -> NodeUsage {
    let node = app.cluster.node_id().map(|id| id.to_string()).unwrap_or_default();
    NodeUsage { node, ..app.engine.usage().await }
}

/// Looks at this node and, unless `local`, at all others that it can ask.
async fn doctor(State(app): State<App>, context: Context, query: Query) -> Reply {
    let mut own = app.cluster.checkup().await;
    if context.forwarded || query.flag("local") {
        return reply::json(&own);
    }
    let others = app.cluster.others();
    let asked = others.into_iter().map(|node| ask(&app, &context, node));
    let mut nodes = Vec::new();
    for answer in join_all(asked).await {
        match answer {
            Ok((other, sent, came)) => {
                own.findings.extend(compare(&own, &other, sent, came));
                nodes.push(other);
            }
            Err(finding) => own.findings.push(finding),
        }
    }
    nodes.insert(0, own);
    reply::json(&json!({ "Nodes": nodes }))
}

/// Another node's checkup, and this node's clock before and after.
async fn ask(
    app: &App,
    context: &Context,
    node: types::NodeId,
) -> Result<(Checkup, Timestamp, Timestamp), Finding> {
    let failed = |why: String| Finding {
        level: Level::Problem,
        check: "node".to_owned(),
        text: format!("node {node} does not answer: {why}"),
    };
    let path = format!("/v{}/sampan/doctor?local=1", context.version);
    let sent = SystemTime::now().into();
    let answered = async {
        let answer = app.cluster.ask(node.clone(), &path).await;
        let answer = answer.map_err(|err| failed(errdefs::chain(&err)))?;
        serde_json::from_slice::<Checkup>(&answer).map_err(|err| failed(err.to_string()))
    };
    let answer = tokio::time::timeout(ANSWER_WITHIN, answered).await;
    let other = answer.unwrap_or_else(|_| Err(failed("timeout".to_owned())))?;
    Ok((other, sent, SystemTime::now().into()))
}

/// The cluster as this manager holds it, in one file (`raft::open_archive` reads it). Every secret and the root's
/// key are in it, in the clear: other nodes get no answer (`elsewhere::is_for_nodes`).
async fn snapshot(State(app): State<App>) -> Reply {
    let archive = app.cluster.save().await?;
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, Body::from(archive)).into_response())
}

async fn inspect(body: Body) -> Reply {
    let archive = whole(body).await?;
    let about = raft::inspect(archive.as_ref()).map_err(Error::from_lower)?;
    reply::json(&about)
}

async fn restore(State(app): State<App>, query: Query, body: Body) -> Reply {
    let listen = query.text("listenAddr").unwrap_or_else(|| "0.0.0.0:2377".to_owned());
    let request = InitRequest {
        listen_addr: listen,
        advertise_addr: query.get("advertiseAddr").to_owned(),
        data_path_addr: query.get("dataPathAddr").to_owned(),
        ..InitRequest::default()
    };
    let archive = whole(body).await?;
    reply::json(&app.cluster.restore(archive, request).await?)
}

async fn whole(body: Body) -> Result<bytes::Bytes, Error> {
    to_bytes(body, LARGEST_SNAPSHOT)
        .await
        .map_err(|err| Error::invalid(format!("the snapshot cannot be read: {err}")))
}
