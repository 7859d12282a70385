//! What every handler shares ([`App`]) and what it knows of the request's connection ([`Context`]).

use crate::socket::Peer;
use crate::swarm::elsewhere::Execs;
use crate::version::ApiVersion;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use cluster::Cluster;
use engine::Engine;
use std::convert::Infallible;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The engine, this node's part in a cluster, and the life of the server.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) cluster: Cluster,
    /// Execs that were made on other nodes for clients of this one.
    pub(crate) execs: Execs,
    /// Fired once, when the server is to end: live streams end with it.
    pub(crate) stop: CancellationToken,
    /// Every request and every hijacked stream; shutdown waits for them, within bounds.
    pub(crate) tasks: TaskTracker,
}

/// One request's surroundings.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) version: ApiVersion,
    pub(crate) peer: Option<Peer>,
    pub(crate) stop: CancellationToken,
    /// Another node sent it on: it is answered here or nowhere.
    pub(crate) forwarded: bool,
}

impl Context {
    /// Resolves when nobody is there to read a live stream: the client has closed its side (dockerd takes
    /// that as a cancel, too), or the server ends.
    pub(crate) async fn over(self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = gone(self.peer) => {}
        }
    }
}

async fn gone(peer: Option<Peer>) {
    match peer {
        Some(peer) => peer.gone().await,
        None => std::future::pending().await,
    }
}

impl FromRequestParts<App> for Context {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let unknown = || Context {
            version: ApiVersion::MAX,
            peer: None,
            stop: app.stop.clone(),
            forwarded: false,
        };
        Ok(parts.extensions.get::<Context>().cloned().unwrap_or_else(unknown))
    }
}
