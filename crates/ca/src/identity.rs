//! A node's identity on disk: `certificate.pem`, `key.pem` (mode 0600; encrypted when the cluster locks its managers),
//! `root.pem`. Replaced together or not at all, whenever the daemon is killed.

use crate::{Error, NodeKey, UnlockKey};
use std::path::Path;
use types::Timestamp;
use types::swarm::session::PeerIdentity;

/// A certificate, its key and the roots that the node trusts.
#[derive(Debug, Clone)]
pub struct Identity {
    peer: PeerIdentity,
    chain: String,
    key: NodeKey,
    roots: String,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Identity {
    /// From what a manager issued for `key`. Checks that they belong together.
    pub fn new(chain: &str, key: NodeKey, roots: &str) -> Result<Self, Error> {
        let _ = (chain, key, roots);
        Err(Error::malformed("identity", "not built yet"))
    }

    /// Writes it into `dir`, in place of what was there. The key is encrypted when an unlock key is given.
    pub fn save(&self, dir: &Path, lock: Option<&UnlockKey>) -> Result<(), Error> {
        let _ = (dir, lock);
        Err(Error::malformed("identity", "not built yet"))
    }

    /// Reads it from `dir`; none when there is none. [`Error::Locked`] when the key is encrypted and `lock` is none.
    pub fn load(dir: &Path, lock: Option<&UnlockKey>) -> Result<Option<Self>, Error> {
        let _ = (dir, lock);
        Ok(None)
    }

    /// Whether `dir` holds an identity whose key is encrypted.
    pub fn is_locked(dir: &Path) -> Result<bool, Error> {
        let _ = dir;
        Ok(false)
    }

    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }
    /// PEM: the certificate first.
    pub fn chain(&self) -> &str {
        &self.chain
    }
    /// PEM.
    pub fn roots(&self) -> &str {
        &self.roots
    }
    pub fn key(&self) -> &NodeKey {
        &self.key
    }
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
    /// The same identity with other roots.
    pub fn with_roots(&self, roots: &str) -> Result<Self, Error> {
        let _ = roots;
        Err(Error::malformed("identity", "not built yet"))
    }
    /// When to renew; `jitter` is random in `0.0..1.0`, drawn once per certificate.
    pub fn renew_at(&self, jitter: f64) -> Timestamp {
        crate::renewal::due(self.not_before, self.not_after, jitter)
    }
    /// Whether the certificate was signed by the root with this digest (`sha256:…`).
    pub fn signed_by(&self, root: &str) -> bool {
        let _ = (root, self.key.pem());
        false
    }
}
