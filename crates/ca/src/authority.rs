//! The root: makes itself, signs nodes' requests, and signs its successor.

use crate::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use types::Timestamp;
use types::swarm::extension::RootAuthority;
use types::swarm::session::PeerIdentity;

/// SHA-256 of a certificate's DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of the first certificate in a PEM text.
    pub fn of_pem(certificate: &str) -> Result<Self, Error> {
        let _ = certificate;
        Err(Error::malformed("root certificate", "not built yet"))
    }

    /// 64 digits.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// 50 digits, as join tokens carry it.
    pub fn base36(&self) -> String {
        String::new()
    }
}

/// `sha256:` and hex, as records carry it.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let _ = text;
        Err(Error::malformed("digest", "not built yet"))
    }
}

/// A node's certificate as its manager made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// PEM: the certificate, and the cross-signed root above it during a rotation.
    pub chain: String,
    pub expires_at: Timestamp,
    /// Of the root that signed it.
    pub root: Digest,
}

/// A root that can sign.
pub struct Authority {
    digest: Digest,
}

impl Authority {
    /// A new root: ECDSA P-256, self-signed, for 20 years.
    pub fn create(now: Timestamp) -> Result<RootAuthority, Error> {
        let _ = now;
        Err(Error::malformed("root", "not built yet"))
    }

    /// Checks that key and certificate belong together.
    pub fn load(root: &RootAuthority) -> Result<Self, Error> {
        let _ = root;
        Err(Error::malformed("root", "not built yet"))
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Signs a node's request (PEM). Of the request only the key counts; names and role are the cluster's.
    pub fn issue(
        &self,
        request: &str,
        to: &PeerIdentity,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Issued, Error> {
        let _ = (request, to, lifetime, now);
        Err(Error::malformed("root", "not built yet"))
    }

    /// `next`'s certificate signed by this root, PEM: those who trust only this one then trust what `next` signs.
    pub fn cross_sign(&self, next: &RootAuthority, now: Timestamp) -> Result<String, Error> {
        let _ = (next, now);
        Err(Error::malformed("root", "not built yet"))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.digest)
    }
}
