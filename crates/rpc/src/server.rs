//! The listener: TLS, then gRPC or HTTP by ALPN.
//!
//! One task accepts, one drives each connection; `Server` owns them all.

mod grpc;
mod http1;

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
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

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
    let handshake = timeout(HANDSHAKE_LIMIT, handshake(stream, &shared));
    let (stream, peer) = match shared.closing.run_until_cancelled(handshake).await {
        Some(Ok(Ok(done))) => done,
        Some(Ok(Err(err))) => {
            let reason = crate::explain::handshake(&err, &from.to_string(), None);
            return tracing::info!("refused a connection from {from}: {reason}");
        }
        Some(Err(_)) | None => return,
    };
    if let Some(reason) = peer.as_ref().and_then(|peer| peer.lapsed.as_deref()) {
        tracing::warn!("{from}: {reason}");
    }
    let is_grpc = stream.get_ref().1.alpn_protocol() == Some(ALPN_GRPC);
    let stream = Cuttable::new(stream, &shared.tasks);
    let ended = if is_grpc {
        grpc::serve(stream, peer, &shared).await
    } else {
        http1::serve(stream, peer, &shared).await
    };
    if let Err(err) = ended {
        tracing::debug!("connection from {from} ended: {}", errdefs::chain(&err));
    }
}

async fn handshake(
    stream: TcpStream,
    shared: &Shared,
) -> io::Result<(TlsStream<TcpStream>, Option<Peer>)> {
    stream.set_nodelay(true)?;
    let stream = shared.acceptor.accept(stream).await?;
    let peer = match stream.get_ref().1.peer_certificates() {
        Some(chain) if !chain.is_empty() => Some((shared.tls.identify)(chain)?),
        _ => None,
    };
    Ok((stream, peer))
}
