//! Accepting connections and speaking HTTP on them, until told to stop.
//!
//! ```text
//! serve ─► one task per listener ─► one task per connection ─► one task per request (dispatch)
//!   stop: no new connections; idle ones close; running requests get DRAIN to end
//! ```

use crate::context::App;
use crate::dispatch::{Origin, dispatch, routes};
use crate::failure::Failure;
use crate::listen::{Listener, Listeners};
use crate::path::route;
use crate::socket::{Peer, Socket, Stream};
use crate::swarm::elsewhere::{Execs, is_for_nodes};
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use cluster::Cluster;
use engine::{Engine, Error};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::swarm::session::PeerIdentity;

/// How long running requests may take to end after the stop. Live streams end at once.
const DRAIN: Duration = Duration::from_secs(5);
/// A client that does not finish its TLS handshake by then is dropped.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after a failed accept (no file descriptors left), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    let tls = tls.filter(|_| listener.is_tcp()).map(TlsAcceptor::from);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = app.stop.cancelled() => return,
        };
        match accepted {
            Ok(stream) => {
                connections.spawn(connection(app.clone(), routes.clone(), tls.clone(), stream));
            }
            Err(err) => {
                tracing::warn!("failed to accept a connection: {err}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(app: App, routes: Router, tls: Option<TlsAcceptor>, stream: Stream) {
    let (socket, peer) = Socket::new(stream);
    let Some(tls) = tls else { return speak(app, routes, peer, socket).await };
    match tokio::time::timeout(HANDSHAKE, tls.accept(socket)).await {
        Ok(Ok(secured)) => speak(app, routes, peer, secured).await,
        Ok(Err(err)) => tracing::info!("TLS handshake error: {err}"),
        Err(_) => tracing::info!("TLS handshake error: timeout"),
    }
}

async fn speak<IO>(app: App, routes: Router, peer: Peer, io: IO)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stop = app.stop.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let origin = Origin::Client(peer.clone());
        dispatch(app.clone(), routes.clone(), origin, request.map(Body::new))
    });
    // Half-close: a client may end its side and still read; `Peer` notices those that left.
    let connection = http1::Builder::new()
        .half_close(true)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(err) = ended {
        tracing::debug!("connection ended: {err}");
    }
}
