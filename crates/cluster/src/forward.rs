//! Requests of the Engine API between nodes, hijacked streams included.

use crate::node::Shared;
use crate::{Body, Serve, error, images, places};
use async_trait::async_trait;
use bytes::Bytes;
use engine::Error;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::{Arc, OnceLock, Weak};
use types::swarm::session::{ManagerAddress, PeerIdentity};

/// The Engine API of this node, for other nodes. 503 until the API has started.
pub(crate) struct Served {
    /// The port does not keep the node.
    pub(crate) node: Weak<Shared>,
    pub(crate) serve: Arc<OnceLock<Serve>>,
}

#[async_trait]
impl rpc::Http for Served {
    async fn serve(&self, request: Request<Incoming>) -> Response<Body> {
        let peer = request.extensions().get::<PeerIdentity>().cloned();
        if request.uri().path() == places::PATH
            && let Some(peer) = peer
        {
            let plane = self.node.upgrade().and_then(|node| node.running_plane());
            let control = plane.map(|plane| plane.control());
            return places::serve(control, peer.node, request).await;
        }
        if let Some(peer) = peer.as_ref().filter(|_| images::is_question(request.uri().path())) {
            return images::serve(self.node.upgrade(), &peer.node, &request).await;
        }
        match (self.serve.get(), peer) {
            (Some(serve), Some(peer)) => serve(peer, request).await,
            _ => starting(),
        }
    }
}

fn starting() -> Response<Body> {
    let text = "{\"message\":\"the daemon is starting\"}\n";
    let body = Full::from(text).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// Sends `request` to the first of `nodes` that answers. An upgrade of the caller's connection is joined to
/// the other node's.
///
/// # Errors
/// 503 when none can be reached: nothing was sent then.
pub(crate) async fn send(
    shared: &Shared,
    nodes: &[ManagerAddress],
    mut request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let ours = request.extensions_mut().remove::<OnUpgrade>();
    let mut failed = error::a_worker();
    for node in nodes {
        let expect = Some(&node.node).filter(|node| !node.as_str().is_empty());
        match shared.client.http_connect(&node.addr, expect).await {
            Ok(connection) => return exchange(connection, ours, request).await,
            Err(err) => {
                failed = Error::caused(format!("node {} cannot be reached", node.node), err)
                    .with_kind(errdefs::ErrorKind::Unavailable);
            }
        }
    }
    Err(failed)
}

/// All of a body, if it is not larger than `most`. Boxed: the compiler cannot prove a future that borrows nothing to be
/// `Send` when it lies within one that borrows (rust#102211).
pub(crate) fn whole(body: Body, most: usize) -> BoxFuture<'static, Result<Bytes, Error>> {
    Box::pin(async move {
        let lost = || Error::unavailable("the connection to the node was lost");
        let mut body = body;
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Err(lost()) };
            whole.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            if whole.len() > most {
                return Err(lost());
            }
        }
        Ok(Bytes::from(whole))
    })
}

async fn exchange(
    mut connection: rpc::HttpConnection,
    ours: Option<OnUpgrade>,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let lost = |err| {
        Error::caused("the connection to the node was lost", err)
            .with_kind(errdefs::ErrorKind::Unavailable)
    };
    let mut response = connection.send(request).await.map_err(lost)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(ours) = ours
    {
        let theirs = hyper::upgrade::on(&mut response);
        tokio::spawn(join(ours, theirs, connection));
        return Ok(response
            .map(|_| http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()));
    }
    Ok(response.map(|body| {
        let body = body.map_err(|err| Box::new(err) as Box<dyn std::error::Error + Send + Sync>);
        // The connection lives as long as what comes over it.
        Kept { body, _connection: connection }.boxed_unsync()
    }))
}

/// Carries bytes both ways until both ends have closed theirs.
async fn join(ours: OnUpgrade, theirs: OnUpgrade, _connection: rpc::HttpConnection) {
    if let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) {
        // Either end may go at any time; the other then sees its end.
        let _ =
            tokio::io::copy_bidirectional(&mut TokioIo::new(ours), &mut TokioIo::new(theirs)).await;
    }
}

struct Kept<B> {
    body: B,
    _connection: rpc::HttpConnection,
}

impl<B: hyper::body::Body + Unpin> hyper::body::Body for Kept<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<B::Data>, B::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
