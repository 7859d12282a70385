//! Opening a connection: TCP, TLS, and whether the other end is whom we meant.

use super::connection::Connection;
use crate::cut::{Cuttable, Tasks};
use crate::peer::{ALPN_GRPC, ALPN_HTTP};
use crate::{Code, Error, Identify, Tls};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use types::NodeId;
use types::swarm::session::PeerIdentity;

/// TCP and TLS together; a machine that is gone says nothing.
const LIMIT: Duration = Duration::from_secs(10);
/// Of it, for one try of TCP: the kernel repeats a question without answer after 1, 3 and 7 s, which is long for a cluster
/// that waits for a cable to be plugged in again.
const TRY: Duration = Duration::from_secs(1);
/// In every manager's certificate: what is dialled when any manager will do.
const ANY_MANAGER: &str = "swarm-manager";

pub(super) type TlsTcp = Cuttable<TlsStream<TcpStream>>;

/// Opens connections with this node's certificate.
#[derive(Clone)]
pub(super) struct Dialler {
    grpc: TlsConnector,
    http: TlsConnector,
    /// None believes anyone.
    identify: Option<Arc<Identify>>,
}

impl Dialler {
    pub(super) fn new(tls: Tls) -> Self {
        Dialler { identify: Some(tls.identify), ..Dialler::stranger(&tls.client) }
    }

    /// Does not ask who the other end is: `config` must do with anyone.
    pub(super) fn stranger(config: &ClientConfig) -> Self {
        let connector = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        Dialler { grpc: connector(ALPN_GRPC), http: connector(ALPN_HTTP), identify: None }
    }

    /// For gRPC.
    pub(super) async fn grpc(
        &self,
        addr: &str,
        expect: Option<&NodeId>,
        tasks: &Tasks,
    ) -> Result<Connection, Error> {
        let (stream, _) = self
            .open(&self.grpc, addr, expect, tasks)
            .await
            .map_err(|err| Error::new(Code::Unavailable, err.to_string()))?;
        Connection::start(stream, addr, tasks).await
    }

    /// For HTTP/1.1, with `node` and nobody else.
    pub(super) async fn http(
        &self,
        addr: &str,
        expect: Option<&NodeId>,
        tasks: &Tasks,
    ) -> io::Result<(TlsTcp, PeerIdentity)> {
        let (stream, peer) = self.open(&self.http, addr, expect, tasks).await?;
        let unknown = || io::Error::other(format!("{addr} did not say who it is"));
        Ok((stream, peer.ok_or_else(unknown)?))
    }

    async fn open(
        &self,
        connector: &TlsConnector,
        addr: &str,
        expect: Option<&NodeId>,
        tasks: &Tasks,
    ) -> io::Result<(TlsTcp, Option<PeerIdentity>)> {
        let slow = |_| {
            let seconds = LIMIT.as_secs();
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("failed to connect to {addr}: no answer within {seconds} s"),
            )
        };
        timeout(LIMIT, self.attempt(connector, addr, expect, tasks)).await.map_err(slow)?
    }

    async fn attempt(
        &self,
        connector: &TlsConnector,
        addr: &str,
        expect: Option<&NodeId>,
        tasks: &Tasks,
    ) -> io::Result<(TlsTcp, Option<PeerIdentity>)> {
        let failed = |err: &io::Error, reason: &str| {
            io::Error::new(err.kind(), format!("failed to connect to {addr}: {reason}"))
        };
        let name = expect.map_or(ANY_MANAGER, NodeId::as_str).to_owned();
        let name = ServerName::try_from(name)
            .map_err(|err| io::Error::new(io::ErrorKind::InvalidInput, err))?;
        let stream = reach(addr).await.map_err(|err| failed(&err, &err.to_string()))?;
        stream.set_nodelay(true)?;
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|err| failed(&err, &crate::explain::handshake(&err, addr, expect)))?;
        let peer = match &self.identify {
            None => None,
            Some(identify) => {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                Some(identify(chain).map_err(|err| failed(&err, &err.to_string()))?.identity)
            }
        };
        Ok((Cuttable::new(stream, tasks), peer))
    }
}

/// Tries again while there is no answer at all; ends with the caller's patience.
async fn reach(addr: &str) -> io::Result<TcpStream> {
    loop {
        if let Ok(outcome) = timeout(TRY, TcpStream::connect(addr)).await {
            return outcome;
        }
    }
}
