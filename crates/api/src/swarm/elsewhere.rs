//! Containers of tasks on other nodes: `docker exec`, `logs`, `inspect` … work from any node.
//!
//! ```text
//! client ─► worker ─► manager ─► the task's node        a manager knows where the task runs, a worker asks one
//! ```
//!
//! An exec belongs to the node that made it: which one that is, is remembered here, for as long as clients use it.

use super::forward::send;
use crate::context::{App, Context};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cluster::Target;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// What of a container is served from elsewhere. The rest (stop, remove, rename …) is the service's business.
const OPERATIONS: &[&str] = &[
    "json", "logs", "top", "stats", "changes", "archive", "export", "resize", "attach", "wait",
    "exec",
];
/// The shortest id that stands for a container on another node.
const SHORTEST: usize = 4;
/// Execs that are remembered; the oldest is forgotten.
const EXECS: usize = 1024;
/// Above any answer to `POST /containers/{id}/exec`.
const ANSWER: usize = 64 << 10;

/// Which node made which exec.
#[derive(Clone, Default)]
pub(crate) struct Execs(Arc<Mutex<VecDeque<(String, Target)>>>);

impl Execs {
    fn remember(&self, id: String, at: Target) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.push_back((id, at));
        if known.len() > EXECS {
            known.pop_front();
        }
    }
    fn find(&self, id: &str) -> Option<Target> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(exec, _)| exec == id).map(|(_, at)| at.clone())
    }
}

/// Whether other nodes may ask this node for it: the cluster's objects and what is listed above, nothing else.
pub(crate) fn is_for_nodes(path: &str) -> bool {
    match segments(path).as_slice() {
        ["nodes" | "services" | "tasks" | "secrets" | "configs", ..] => true,
        ["sampan", "doctor" | "events" | "usage"]
        | ["sampan", "usage", "here"]
        | ["sampan", "why", _]
        | ["sampan", "stacks", _, "deployments"]
        | ["sampan", "services", _, "plan"] => true,
        ["containers", _, "attach", "ws"] | ["exec", _, _] => true,
        ["containers", _, operation] => OPERATIONS.contains(operation),
        _ => false,
    }
}

/// Lets this node answer for its own containers, and another for its.
pub(crate) async fn to_its_node(
    State(app): State<App>,
    context: Context,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let segments = segments(&path);
    let target = match segments.as_slice() {
        ["exec", id, _] => app.execs.find(id),
        ["containers", id, operation] if OPERATIONS.contains(operation) => {
            elsewhere(&app, &context, id)
        }
        _ => None,
    };
    let Some(target) = target else { return next.run(request).await };
    let answer = send(&app, &context, target.clone(), request).await;
    let answer = answer.unwrap_or_else(IntoResponse::into_response);
    match segments.as_slice() {
        ["containers", _, "exec"] => made(&app, target, answer).await,
        _ => answer,
    }
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}

/// Where the container is, when it is not here. A worker that was asked by a client asks a manager.
fn elsewhere(app: &App, context: &Context, id: &str) -> Option<Target> {
    if app.engine.container_exists(id) {
        return None;
    }
    let Ok(control) = app.cluster.control() else {
        return (app.cluster.is_worker() && !context.forwarded).then_some(Target::Manager);
    };
    let state = control.snapshot();
    let by_name = id.rsplit('.').next().and_then(|task| state.tasks().get(task));
    let is_it = |container: &str| id.len() >= SHORTEST && container.starts_with(id);
    let task = by_name.or_else(|| {
        state.tasks().iter().find(|task| {
            task.status.container_status.as_ref().is_some_and(|status| is_it(&status.container_id))
        })
    })?;
    (Some(&task.node_id) != app.cluster.node_id().as_ref())
        .then(|| Target::Node(task.node_id.clone()))
}

/// Remembers where an exec was made.
async fn made(app: &App, at: Target, answer: Response) -> Response {
    let (parts, body) = answer.into_parts();
    let Ok(body) = to_bytes(body, ANSWER).await else {
        return engine_failed();
    };
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(id) = said["Id"].as_str() {
        app.execs.remember(id.to_owned(), at);
    }
    Response::from_parts(parts, Body::from(body))
}

fn engine_failed() -> Response {
    let lost = engine::Error::unavailable("the connection to the node was lost");
    crate::failure::Failure::from(lost).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_nodes_get_no_more_than_they_need() {
        for path in [
            "/services/create",
            "/sampan/why/web",
            "/sampan/doctor",
            "/sampan/usage",
            "/sampan/usage/here",
            "/sampan/stacks/web/deployments",
            "/containers/x/logs",
            "/exec/x/start",
            "/containers/x/attach/ws",
        ] {
            assert!(is_for_nodes(path), "{path}");
        }
        for path in [
            "/containers/create",
            "/sampan/cluster/snapshot",
            "/sampan/cluster/restore",
            "/containers/x/stop",
            "/containers/json",
            "/swarm",
            "/swarm/unlockkey",
            "/swarm/leave",
            "/images/create",
            "/build",
            "/",
        ] {
            assert!(!is_for_nodes(path), "{path}");
        }
    }

    #[test]
    fn the_oldest_exec_is_forgotten() {
        let execs = Execs::default();
        (0..=EXECS).for_each(|number| execs.remember(format!("e{number}"), Target::Manager));
        assert_eq!(execs.find("e0"), None);
        assert_eq!(execs.find("e1"), Some(Target::Manager));
    }
}
