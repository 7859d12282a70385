//! gRPC from other nodes: who may call what, and the generated services in front of ours.

use super::told::Told;
use super::{Caller, Shared};
use crate::cut::{Cuttable, Tasks};
use crate::frame::pb::consensus_server::{self, ConsensusServer};
use crate::frame::pb::dispatch_server::{self, DispatchServer};
use crate::frame::pb::membership_server::{self, MembershipServer};
use crate::frame::pb::trust_server::{self, TrustServer};
use crate::frame::{self, Frame, LARGEST_FROM_STRANGERS};
use crate::{Consensus, Dispatch, Membership, Services, Trust};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tonic::{Request, Status, Streaming};
use tower::Service as _;
use types::swarm::node::Role;
use types::swarm::session::{ManagerMessage, PeerIdentity};

type Frames = BoxStream<'static, Result<Frame, Status>>;
type Answer<T> = Result<tonic::Response<T>, Status>;

/// Messages of an agent that wait for its dispatcher; a full queue holds up the agent's stream.
const QUEUE: usize = 16;

/// Drives a connection to its end.
pub(super) async fn serve(
    stream: Cuttable<TlsStream<TcpStream>>,
    caller: Caller,
    shared: &Shared,
) -> hyper::Result<()> {
    let service = service_fn(|mut request: http::Request<Incoming>| {
        let (services, tasks) = (shared.services(), shared.tasks.clone());
        let told = shared.told.clone();
        request.extensions_mut().insert(caller.clone());
        async move { Ok::<_, Infallible>(route(request, services, tasks, told).await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(shared.tasks.clone())
        .timer(TokioTimer::new())
        .keep_alive_interval(crate::peer::KEEP_ALIVE)
        .keep_alive_timeout(crate::peer::KEEP_ALIVE_TIMEOUT)
        .initial_stream_window_size(crate::peer::STREAM_WINDOW)
        .initial_connection_window_size(crate::peer::CONNECTION_WINDOW)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = shared.closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn route(
    request: http::Request<Incoming>,
    services: Services,
    tasks: Tasks,
    told: Told,
) -> Response<tonic::body::Body> {
    let absent = || Status::unimplemented("this node is not a manager").into_http();
    let service = request.uri().path().split('/').nth(1).unwrap_or_default().to_owned();
    let answer = match service.as_str() {
        trust_server::SERVICE_NAME => {
            let Some(service) = services.trust else { return absent() };
            TrustServer::new(TrustSide(service))
                .max_decoding_message_size(LARGEST_FROM_STRANGERS)
                .call(request)
                .await
        }
        dispatch_server::SERVICE_NAME => {
            let Some(service) = services.dispatch else { return absent() };
            DispatchServer::new(DispatchSide { service, tasks, told }).call(request).await
        }
        consensus_server::SERVICE_NAME => {
            let Some(service) = services.consensus else { return absent() };
            ConsensusServer::new(ConsensusSide(service)).call(request).await
        }
        membership_server::SERVICE_NAME => {
            let Some(service) = services.membership else { return absent() };
            MembershipServer::new(MembershipSide(service)).call(request).await
        }
        _ => return Status::unimplemented(format!("unknown service {service}")).into_http(),
    };
    match answer {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The caller, if its certificate is of this cluster and counts now.
fn node<T>(request: &Request<T>) -> Result<PeerIdentity, Status> {
    caller(request).node().cloned().map_err(Status::unauthenticated)
}

fn caller<T>(request: &Request<T>) -> &Caller {
    request.extensions().get().unwrap_or(&Caller::Stranger)
}

/// The caller, if its certificate says that it is a manager.
fn manager<T>(request: &Request<T>) -> Result<PeerIdentity, Status> {
    let peer = node(request)?;
    match peer.role {
        Role::Manager => Ok(peer),
        Role::Worker => Err(Status::permission_denied(format!(
            "Permission denied: only managers may call this, node {} is a worker",
            peer.node
        ))),
    }
}

struct TrustSide(Arc<dyn Trust>);

#[async_trait]
impl trust_server::Trust for TrustSide {
    async fn root(&self, _: Request<Frame>) -> Answer<Frame> {
        let root = self.0.root().await?;
        Ok(tonic::Response::new(frame::single(&root)?))
    }

    async fn issue(&self, request: Request<Frame>) -> Answer<Frame> {
        let peer = caller(&request).peer().map_err(Status::unauthenticated)?;
        let request = frame::alone(request.into_inner())?;
        let issued = self.0.issue(peer, request).await?;
        Ok(tonic::Response::new(frame::single(&issued)?))
    }
}

struct DispatchSide {
    service: Arc<dyn Dispatch>,
    tasks: Tasks,
    told: Told,
}

#[async_trait]
impl dispatch_server::Dispatch for DispatchSide {
    type SessionStream = Frames;

    async fn session(&self, request: Request<Streaming<Frame>>) -> Answer<Frames> {
        let peer = node(&request)?;
        let (messages, inbox) = mpsc::channel(QUEUE);
        let outbox = self.service.session(peer, inbox).await?;
        self.tasks.spawn(receive(request.into_inner(), messages));
        Ok(tonic::Response::new(send(outbox, self.told.clone())))
    }
}

/// Hands an agent's messages to the dispatcher until either goes away.
async fn receive<M: serde::de::DeserializeOwned>(
    mut stream: Streaming<Frame>,
    messages: mpsc::Sender<M>,
) {
    loop {
        let payload = tokio::select! {
            payload = frame::next(&mut stream) => payload,
            () = messages.closed() => return,
        };
        let message = match payload {
            Ok(Some(payload)) => frame::decode(&payload),
            Ok(None) => return,
            Err(status) => return tracing::debug!("an agent's stream ended: {}", status.message()),
        };
        let Ok(message) = message.inspect_err(|err| tracing::warn!("from an agent: {err}")) else {
            return;
        };
        if messages.send(message).await.is_err() {
            return;
        }
    }
}

/// A queue of messages as frames; the stream ends with the queue.
fn send(messages: mpsc::Receiver<ManagerMessage>, told: Told) -> Frames {
    let messages = stream::unfold(messages, |mut messages| async {
        messages.recv().await.map(|message| (message, messages))
    });
    let frames = messages.flat_map(move |message| {
        let frames = match told.encode(&message) {
            Ok(payload) => frame::pieces(payload).into_iter().map(Ok).collect(),
            Err(err) => vec![Err(Status::from(err))],
        };
        stream::iter(frames)
    });
    frames.boxed()
}

struct ConsensusSide(Arc<dyn Consensus>);

#[async_trait]
impl consensus_server::Consensus for ConsensusSide {
    type CallStream = Frames;

    async fn call(&self, request: Request<Streaming<Frame>>) -> Answer<Frames> {
        let from = manager(&request)?;
        let request = frame::next(&mut request.into_inner()).await?;
        let request =
            request.ok_or_else(|| Status::invalid_argument("a call without a request"))?;
        let answer: Bytes = self.0.call(from, request).await?;
        Ok(tonic::Response::new(stream::iter(frame::pieces(answer).into_iter().map(Ok)).boxed()))
    }
}

struct MembershipSide(Arc<dyn Membership>);

#[async_trait]
impl membership_server::Membership for MembershipSide {
    async fn join(&self, request: Request<Frame>) -> Answer<Frame> {
        let from = manager(&request)?;
        let addr = frame::alone(request.into_inner())?;
        let members = self.0.join(from, addr).await?;
        Ok(tonic::Response::new(frame::single(&members)?))
    }

    async fn leave(&self, request: Request<Frame>) -> Answer<Frame> {
        let from = manager(&request)?;
        self.0.leave(from).await?;
        Ok(tonic::Response::new(frame::single(&())?))
    }
}
