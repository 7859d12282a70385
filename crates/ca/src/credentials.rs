//! What a node shows and trusts, in memory: TLS configurations that follow it while connections and listeners live.
//!
//! TLS 1.3 only, no session resumption (a resumed session would outlive the certificate that it was opened with).

use crate::{Error, Identity, Standing};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};
use std::sync::Arc;
use types::Timestamp;

/// Reads the time: verification needs it, tests bring their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A node's certificate and roots. Clones share them; [`Credentials::set`] changes them for handshakes from then on.
#[derive(Clone)]
pub struct Credentials {
    clock: Clock,
}

impl Credentials {
    /// With an identity.
    pub fn new(identity: &Identity) -> Result<Self, Error> {
        let _ = identity;
        Err(Error::malformed("identity", "not built yet"))
    }

    /// Of a node that has roots to trust and no certificate yet.
    pub fn joining(roots: &str) -> Result<Self, Error> {
        let _ = roots;
        Err(Error::malformed("identity", "not built yet"))
    }

    /// Of a node that knows nothing yet: trusts any server, for the one call that fetches the root, whose answer the
    /// token's digest checks.
    pub fn stranger() -> Self {
        Credentials { clock: Arc::new(|| Timestamp::from(std::time::SystemTime::now())) }
    }

    /// With another clock.
    pub fn with_clock(self, clock: Clock) -> Self {
        Credentials { clock }
    }

    /// New certificate and roots for every handshake from now on; living connections stay.
    pub fn set(&self, identity: &Identity) -> Result<(), Error> {
        let _ = identity;
        Err(Error::malformed("identity", "not built yet"))
    }

    /// For the listener. A client may come without a certificate (to join); one with a certificate that is expired or
    /// not valid yet gets in, and [`Credentials::identify`] tells. A certificate of another root is refused.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        unimplemented!("not built yet")
    }

    /// For dialling. The server's certificate must be a manager's or the named node's of this cluster and valid now.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        unimplemented!("not built yet")
    }

    /// Who the other end of a handshake is. Refuses a node of another cluster.
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Result<Standing, Error> {
        let _ = (chain, (self.clock)());
        Err(Error::malformed("certificate", "not built yet"))
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}
