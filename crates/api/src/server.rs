//! Accepting connections and speaking HTTP on them, until told to stop.
//!
//! ```text
//! serve ─► one task per listener ─► one task per connection ─► one task per request (dispatch)
//!   stop: no new connections; idle ones close; running requests get DRAIN to end
//! ```

use crate::connection::{accept_until, secure, speak};
use crate::context::App;
use crate::dispatch::{Origin, dispatch, routes};
use crate::failure::Failure;
use crate::listen::{Listener, Listeners};
use crate::path::route;
use crate::socket::{Socket, Stream};
use crate::swarm::elsewhere::{Execs, is_for_nodes};
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use cluster::Cluster;
use engine::{Engine, Error};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::swarm::session::PeerIdentity;

/// How long running requests may take to end after the stop. Live streams end at once.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves the API on `listeners` until `stop` fires, then lets running requests end, within bounds.
///
/// Requests that other nodes send on are answered through `cluster`, until the same moment.
pub async fn serve(
    engine: Engine,
    cluster: Cluster,
    listeners: Listeners,
    stop: CancellationToken,
) {
    let execs = Execs::default();
    let app = App { engine, cluster, execs, stop: stop.clone(), tasks: TaskTracker::new() };
    let routes = routes(app.clone());
    app.cluster.serve_with(for_nodes(app.clone(), routes.clone()));
    let connections = TaskTracker::new();
    let accepting = TaskTracker::new();
    for listener in listeners.sockets {
        let (app, routes, connections) = (app.clone(), routes.clone(), connections.clone());
        accepting.spawn(accept(app, routes, connections, listener, listeners.tls.clone()));
    }
    accepting.close();
    accepting.wait().await;
    connections.close();
    app.tasks.close();
    let drained = async {
        connections.wait().await;
        app.tasks.wait().await;
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        let (open, running) = (connections.len(), app.tasks.len());
        tracing::warn!(connections = open, requests = running, "ending with work still running");
    }
}

/// What of the API other nodes of the cluster need, whose connections the cluster's port takes.
fn for_nodes(app: App, routes: Router) -> cluster::Serve {
    Arc::new(move |node, request| {
        let (app, routes) = (app.clone(), routes.clone());
        Box::pin(async move {
            let response = match admit(&app, &node, request.uri().path()) {
                Ok(()) => {
                    let request = request.map(Body::new);
                    let answered = dispatch(app, routes, Origin::Node, request).await;
                    answered.unwrap_or_else(|never| match never {})
                }
                Err(refusal) => Failure::from(refusal).into_response(),
            };
            response.map(|body| body.map_err(Into::into).boxed_unsync())
        })
    })
}

/// A certificate outlives its node's removal, and none makes its holder root on every other node.
fn admit(app: &App, peer: &PeerIdentity, path: &str) -> Result<(), Error> {
    let knows = |state: store::Snapshot| state.nodes().get(peer.node.as_str()).is_some();
    if app.cluster.control().is_ok_and(|control| !knows(control.snapshot())) {
        return Err(Error::forbidden(format!("node {} is not part of the swarm", peer.node)));
    }
    match is_for_nodes(&route(path).path) {
        true => Ok(()),
        false => Err(Error::forbidden(format!("{path} is not served to other nodes"))),
    }
}

async fn accept(
    app: App,
    routes: Router,
    connections: TaskTracker,
    listener: Listener,
    tls: Option<Arc<rustls::ServerConfig>>,
) {
    let tls = tls.filter(|_| listener.is_tcp());
    let each = |stream| {
        connections.spawn(connection(app.clone(), routes.clone(), tls.clone(), stream));
    };
    accept_until(&app.stop, || listener.accept(), each).await;
}

async fn connection(
    app: App,
    routes: Router,
    tls: Option<Arc<rustls::ServerConfig>>,
    stream: Stream,
) {
    let (socket, peer) = Socket::new(stream);
    let stop = app.stop.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let origin = Origin::Client(peer.clone());
        dispatch(app.clone(), routes.clone(), origin, request.map(Body::new))
    });
    match tls {
        None => speak(socket, service, stop).await,
        Some(tls) => {
            if let Some(secured) = secure(tls, socket).await {
                speak(secured, service, stop).await;
            }
        }
    }
}
