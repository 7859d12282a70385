//! Who a certificate says its holder is, and whether it says so now.

use crate::Error;
use rustls::pki_types::CertificateDer;
use types::Timestamp;
use types::swarm::session::PeerIdentity;

/// Whether a certificate counts at a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Current,
    /// Ended then.
    Expired(Timestamp),
    /// Begins then: one of the two clocks is wrong.
    NotYet(Timestamp),
}

/// Who the other end is, and whether its certificate counts now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub identity: PeerIdentity,
    pub validity: Validity,
}

impl Standing {
    /// Why the certificate does not count now, in one sentence; none when it does.
    pub fn lapsed(&self, now: Timestamp) -> Option<String> {
        let _ = now;
        None
    }
}

/// Node, role and cluster from the subject of a chain's first certificate (CN, OU, O). Checks no signature: TLS did.
pub fn peer_identity(chain: &[CertificateDer<'_>]) -> Result<PeerIdentity, Error> {
    let _ = chain;
    Err(Error::malformed("certificate", "not built yet"))
}

/// As [`peer_identity`], with the certificate's validity at `now`.
pub fn peer_standing(chain: &[CertificateDer<'_>], now: Timestamp) -> Result<Standing, Error> {
    let _ = (chain, now);
    Err(Error::malformed("certificate", "not built yet"))
}
