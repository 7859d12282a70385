//! What a node shows and trusts, in memory: TLS configurations that follow it while connections and listeners live.
//!
//! TLS 1.3 only, no session resumption (a resumed session would outlive the certificate that it was opened with).

use crate::digest::certificates;
use crate::verify::{Clients, Servers, Strangers};
use crate::{Error, Identity, Standing, peer_standing};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use types::{ClusterId, Timestamp};

/// Reads the time: verification needs it, tests bring their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A node's certificate and roots. Clones share them; [`Credentials::set`] changes them for handshakes from then on.
#[derive(Clone)]
pub struct Credentials {
    current: Current,
    clock: Clock,
}

/// What is shown and trusted now.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) certified: Option<Arc<CertifiedKey>>,
    /// None trusts nobody.
    pub(crate) trust: Option<Trust>,
    cluster: Option<ClusterId>,
}

/// The roots, ready to verify with.
pub(crate) struct Trust {
    pub(crate) servers: Arc<WebPkiServerVerifier>,
    pub(crate) clients: Arc<dyn ClientCertVerifier>,
}

/// Shared by a [`Credentials`] and the configurations it gave out.
#[derive(Clone)]
pub(crate) struct Current(Arc<RwLock<Arc<Held>>>);

impl Current {
    pub(crate) fn get(&self) -> Arc<Held> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, held: Held) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
    }
}

impl Credentials {
    /// With an identity.
    pub fn new(identity: &Identity) -> Result<Self, Error> {
        let credentials = Credentials::stranger();
        credentials.set(identity)?;
        Ok(credentials)
    }

    /// Of a node that has roots (PEM) to trust and no certificate yet.
    pub fn joining(roots: &str) -> Result<Self, Error> {
        let credentials = Credentials::stranger();
        credentials.current.set(Held { trust: Some(Trust::new(roots)?), ..Held::default() });
        Ok(credentials)
    }

    /// Of a node that knows nothing yet: it trusts nobody but for [`Credentials::unverified_config`].
    pub fn stranger() -> Self {
        Credentials {
            current: Current(Arc::default()),
            clock: Arc::new(|| Timestamp::from(std::time::SystemTime::now())),
        }
    }

    /// With another clock.
    pub fn with_clock(self, clock: Clock) -> Self {
        Credentials { clock, ..self }
    }

    /// New certificate and roots for every handshake from now on; living connections stay.
    pub fn set(&self, identity: &Identity) -> Result<(), Error> {
        self.current.set(Held {
            certified: Some(Arc::new(certified(identity)?)),
            trust: Some(Trust::new(identity.roots())?),
            cluster: Some(identity.peer().cluster.clone()),
        });
        Ok(())
    }

    /// For the listener. A client may come without a certificate (to join); one with a certificate that is expired or
    /// not valid yet gets in, and [`Credentials::identify`] tells. A certificate of another root is refused.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let verifier = Arc::new(Clients { current: self.current.clone(), provider: provider() });
        let mut config = ServerConfig::builder_with_details(provider(), self.time())
            .with_protocol_versions(&[&TLS13])
            .unwrap_or_else(|_| unreachable!("ring speaks TLS 1.3"))
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Shown(self.current.clone())));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Arc::new(config)
    }

    /// For dialling. The server's certificate must be of this cluster's roots, valid now, and carry the name that is
    /// dialled: a node's id, or `swarm-manager` for any manager.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        self.client(Arc::new(Servers { current: self.current.clone(), provider: provider() }))
    }

    /// For the one call that fetches the root from a manager that nobody vouches for yet: trusts anyone, shows no
    /// certificate. The caller checks the answer by [`crate::JoinToken::check_root`].
    pub fn unverified_config(&self) -> Arc<ClientConfig> {
        let nobody = Credentials { current: Current(Arc::default()), clock: self.clock.clone() };
        nobody.client(Arc::new(Strangers { provider: provider() }))
    }

    /// Who the other end of a handshake is, and whether its certificate counts now. Refuses a node of another cluster.
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Result<Standing, Error> {
        let standing = peer_standing(chain, (self.clock)())?;
        match &self.current.get().cluster {
            Some(ours) if *ours != standing.identity.cluster => Err(Error::malformed(
                "certificate",
                format!("it is of cluster {}, this is {ours}", standing.identity.cluster),
            )),
            _ => Ok(standing),
        }
    }

    fn client(
        &self,
        verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>,
    ) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_details(provider(), self.time())
            .with_protocol_versions(&[&TLS13])
            .unwrap_or_else(|_| unreachable!("ring speaks TLS 1.3"))
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(Shown(self.current.clone())));
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }

    fn time(&self) -> Arc<dyn TimeProvider> {
        Arc::new(Time(self.clock.clone()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl Trust {
    pub(crate) fn new(roots: &str) -> Result<Self, Error> {
        let mut store = RootCertStore::empty();
        for root in certificates("root certificate", roots)? {
            let root = CertificateDer::from(root.into_contents());
            store.add(root).map_err(|err| Error::malformed("root certificate", err))?;
        }
        let (store, wrong) = (Arc::new(store), "root certificate");
        let clients = WebPkiClientVerifier::builder_with_provider(store.clone(), provider())
            .build()
            .map_err(|err| Error::malformed(wrong, err))?;
        let servers = WebPkiServerVerifier::builder_with_provider(store, provider())
            .build()
            .map_err(|err| Error::malformed(wrong, err))?;
        Ok(Trust { servers, clients })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certified(identity: &Identity) -> Result<CertifiedKey, Error> {
    let chain = certificates("certificate", identity.chain())?;
    let chain = chain.into_iter().map(|block| CertificateDer::from(block.into_contents()));
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key().der()?));
    let key = rustls::crypto::ring::sign::any_ecdsa_type(&key)
        .map_err(|err| Error::malformed("node key", err))?;
    Ok(CertifiedKey::new(chain.collect(), key))
}

/// Shows the current certificate.
struct Shown(Current);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.get().certified.clone()
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.get().certified.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.get().certified.is_some()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(..)")
    }
}

struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from((self.0)().seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time(..)")
    }
}
