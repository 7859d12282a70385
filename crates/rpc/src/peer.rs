//! Who is at the other end, and what TLS needs to find out.

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};
use std::io;
use std::sync::Arc;
use types::swarm::session::PeerIdentity;

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub identity: PeerIdentity,
    /// Why its certificate does not count now (expired, or a clock is wrong). Such a peer is served by [`crate::Trust`]
    /// alone.
    pub lapsed: Option<String>,
}

/// Reads a verified chain: who is it. An error refuses the connection.
pub type Identify = dyn Fn(&[CertificateDer<'_>]) -> io::Result<Peer> + Send + Sync;

/// This node's side of TLS. The configurations may answer with other certificates from one handshake to the next.
#[derive(Clone)]
pub struct Tls {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
    pub identify: Arc<Identify>,
}
