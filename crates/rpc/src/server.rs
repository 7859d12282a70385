//! The listener: TLS, then gRPC or HTTP by ALPN.
//!
//! One task accepts, one drives each connection; `Server` owns them all.

mod grpc;
mod http1;
mod told;

use crate::cut::{Cuttable, Tasks};
use crate::peer::{ALPN_GRPC, ALPN_HTTP};
use crate::{Peer, Services, Tls};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use told::Told;
use types::swarm::session::PeerIdentity;

/// The body of an HTTP answer.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

/// A stranger may not hold a connection for longer without a handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// What calls under way get to end in when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// Before accepting again when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running server. Dropped or stopped, it closes its listener and every connection.
pub struct Server {
    addr: SocketAddr,
    shared: Shared,
}

/// What every connection's task has.
#[derive(Clone)]
struct Shared {
    tls: Tls,
    acceptor: TlsAcceptor,
    services: Arc<RwLock<Services>>,
    tasks: Tasks,
    told: Told,
    /// Connections take no further calls.
    closing: CancellationToken,
}

impl Shared {
    fn services(&self) -> Services {
        self.services.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Server {
    /// Serves what comes in on `listener`.
    pub fn start(listener: TcpListener, tls: Tls, services: Services) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let mut config = (*tls.server).clone();
        config.alpn_protocols = vec![ALPN_GRPC.to_vec(), ALPN_HTTP.to_vec()];
        let shared = Shared {
            tls,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            services: Arc::new(RwLock::new(services)),
            tasks: Tasks::default(),
            told: Told::default(),
            closing: CancellationToken::new(),
        };
        shared.tasks.spawn(accept(listener, shared.clone()));
        Ok(Server { addr, shared })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Replaces the services: a node's role changed. Calls and streams under way end in the services they began in.
    pub fn set_services(&self, services: Services) {
        *self.shared.services.write().unwrap_or_else(PoisonError::into_inner) = services;
    }

    /// Stops listening, gives calls under way a moment, then closes every connection.
    pub async fn stop(self) {
        self.shared.closing.cancel();
        if timeout(STOP_GRACE, self.shared.tasks.ended()).await.is_err() {
            tracing::debug!("closing connections of the cluster that are still in use");
        }
        self.shared.tasks.stop().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.closing.cancel();
        self.shared.tasks.cut.cancel();
    }
}

/// Runs until the server closes.
async fn accept(listener: TcpListener, shared: Shared) {
    while let Some(accepted) = shared.closing.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, from)) => {
                shared.tasks.spawn(connection(stream, from, shared.clone()));
            }
            // A connection that was gone before it was accepted is nobody's loss; out of descriptors is worth a wait.
            Err(err) => {
                tracing::warn!("failed to accept a connection of the cluster: {err}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection from handshake to end. Its failure is its own.
async fn connection(stream: TcpStream, from: SocketAddr, shared: Shared) {
    let handshake = timeout(HANDSHAKE_LIMIT, handshake(stream, from, &shared));
    let Some(Ok(Some(stream))) = shared.closing.run_until_cancelled(handshake).await else {
        return;
    };
    let caller = Caller::of(&stream, &shared.tls);
    if let Caller::Refused(reason) | Caller::Lapsed(_, reason) = &caller {
        tracing::warn!("{from}: {reason}");
    }
    let is_grpc = stream.get_ref().1.alpn_protocol() == Some(ALPN_GRPC);
    let stream = Cuttable::new(stream, &shared.tasks);
    let ended = if is_grpc {
        grpc::serve(stream, caller, &shared).await
    } else {
        http1::serve(stream, caller, &shared).await
    };
    if let Err(err) = ended {
        tracing::debug!("connection from {from} ended: {}", errdefs::chain(&err));
    }
}

/// None when the other end was refused; it has been told by an alert.
async fn handshake(
    stream: TcpStream,
    from: SocketAddr,
    shared: &Shared,
) -> Option<TlsStream<TcpStream>> {
    stream.set_nodelay(true).ok()?;
    let (err, mut stream) = match shared.acceptor.accept(stream).into_fallible().await {
        Ok(stream) => return Some(stream),
        Err(refused) => refused,
    };
    let reason = crate::explain::handshake(&err, &from.to_string(), None);
    tracing::info!("refused a connection from {from}: {reason}");
    // What it has sent by now is read to the end: closed with data unread, the kernel would reset the connection, and
    // the alert could be lost on the way.
    stream.shutdown().await.ok()?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
    None
}

/// Whoever is at the other end of a connection.
#[derive(Clone)]
enum Caller {
    /// It showed no certificate.
    Stranger,
    Node(PeerIdentity),
    /// Its certificate does not count now, and why.
    Lapsed(PeerIdentity, String),
    /// Its certificate is of the root, and yet nobody wants it; and why.
    Refused(String),
}

impl Caller {
    fn of(stream: &TlsStream<TcpStream>, tls: &Tls) -> Self {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        if chain.is_empty() {
            return Caller::Stranger;
        }
        match (tls.identify)(chain) {
            Ok(Peer { identity, lapsed: None }) => Caller::Node(identity),
            Ok(Peer { identity, lapsed: Some(reason) }) => Caller::Lapsed(identity, reason),
            Err(err) => Caller::Refused(err.to_string()),
        }
    }

    /// The node, if its certificate counts; else why it is not served.
    fn node(&self) -> Result<&PeerIdentity, &str> {
        match self {
            Caller::Node(identity) => Ok(identity),
            Caller::Stranger => Err("only nodes of the cluster are served here"),
            Caller::Lapsed(_, reason) | Caller::Refused(reason) => Err(reason),
        }
    }

    /// For [`crate::Trust`], which serves those whose certificate lapsed too.
    fn peer(&self) -> Result<Option<Peer>, &str> {
        match self {
            Caller::Stranger => Ok(None),
            Caller::Node(identity) => Ok(Some(Peer { identity: identity.clone(), lapsed: None })),
            Caller::Lapsed(identity, reason) => {
                Ok(Some(Peer { identity: identity.clone(), lapsed: Some(reason.clone()) }))
            }
            Caller::Refused(reason) => Err(reason),
        }
    }
}
