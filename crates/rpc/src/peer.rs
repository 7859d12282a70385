//! Who is at the other end, and what TLS needs to find out.

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use types::swarm::session::PeerIdentity;

pub(crate) const ALPN_GRPC: &[u8] = b"h2";
pub(crate) const ALPN_HTTP: &[u8] = b"http/1.1";

/// A connection is asked this often whether it is alive, …
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// … and is lost when it does not answer within this.
pub(crate) const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// What may be under way of one message, and of all on a connection: enough for a gigabit at 30 ms.
pub(crate) const STREAM_WINDOW: u32 = 2 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 4 << 20;

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub identity: PeerIdentity,
    /// Why its certificate does not count now (expired, or a clock is wrong). Such a peer is served by [`crate::Trust`]
    /// alone.
    pub lapsed: Option<String>,
}

/// Reads a verified chain: who is it. An error refuses the connection: of another cluster, or of a node that was
/// removed from this one.
pub type Identify = dyn Fn(&[CertificateDer<'_>]) -> io::Result<Peer> + Send + Sync;

/// This node's side of TLS. The configurations may answer with other certificates from one handshake to the next.
#[derive(Clone)]
pub struct Tls {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
    pub identify: Arc<Identify>,
}
