//! A node's identity on disk: `certificate.pem`, `key.pem` (mode 0600; encrypted when the cluster locks its managers),
//! `root.pem`. Replaced together or not at all, whenever the daemon is killed.

use crate::digest::certificates;
use crate::peer::{identity_of, parse, validity_of};
use crate::{Digest, Error, NodeKey, UnlockKey, folder, sealed};
use std::path::Path;
use types::Timestamp;
use types::swarm::session::PeerIdentity;

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
const ROOT: &str = "root.pem";

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
    /// From what a manager issued for `key`. Checks that they belong together; not that the roots signed it, for a
    /// node may hold on to what the cluster has moved on from, and must be able to say so.
    pub fn new(chain: &str, key: NodeKey, roots: &str) -> Result<Self, Error> {
        let blocks = certificates("certificate", chain)?;
        let certificate = parse("certificate", blocks[0].contents())?;
        if certificate.public_key().raw != key.public()? {
            return Err(Error::malformed("certificate", "it is not this key's"));
        }
        certificates("root certificate", roots)?;
        let (not_before, not_after) = validity_of(&certificate);
        Ok(Identity {
            peer: identity_of(&certificate)?,
            chain: chain.to_owned(),
            key,
            roots: roots.to_owned(),
            not_before,
            not_after,
        })
    }

    /// Writes it into `dir`, in place of what was there. The key is encrypted when an unlock key is given.
    pub fn save(&self, dir: &Path, lock: Option<&UnlockKey>) -> Result<(), Error> {
        let key = match lock {
            Some(lock) => sealed::seal(self.key.pem(), lock)?,
            None => self.key.pem().to_owned(),
        };
        folder::replace(dir, &[(CERTIFICATE, &self.chain), (KEY, &key), (ROOT, &self.roots)])
    }

    /// Reads it from `dir`; none when there is none. [`Error::Locked`] when the key is encrypted and `lock` is none.
    pub fn load(dir: &Path, lock: Option<&UnlockKey>) -> Result<Option<Self>, Error> {
        folder::settle(dir)?;
        let Some(key) = folder::read(dir, KEY)? else { return Ok(None) };
        let missing = |what| Error::malformed(what, "the file is not there, though the key is");
        let chain = folder::read(dir, CERTIFICATE)?.ok_or_else(|| missing("certificate"))?;
        let roots = folder::read(dir, ROOT)?.ok_or_else(|| missing("root certificate"))?;
        let key = match (sealed::is_sealed(&key), lock) {
            (false, _) => key,
            (true, Some(lock)) => sealed::open(&key, lock)?,
            (true, None) => return Err(Error::Locked),
        };
        Identity::new(&chain, NodeKey::from_pem(&key)?, &roots).map(Some)
    }

    /// Whether `dir` holds an identity whose key is encrypted.
    pub fn is_locked(dir: &Path) -> Result<bool, Error> {
        folder::settle(dir)?;
        Ok(folder::read(dir, KEY)?.is_some_and(|key| sealed::is_sealed(&key)))
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
        certificates("root certificate", roots)?;
        Ok(Identity { roots: roots.to_owned(), ..self.clone() })
    }

    /// When to renew; `jitter` is random in `0.0..1.0`, drawn once per certificate.
    pub fn renew_at(&self, jitter: f64) -> Timestamp {
        crate::renewal::due(self.not_before, self.not_after, jitter)
    }

    /// Whether the certificate was signed by the root with this digest (`sha256:…`). A root that this node does not
    /// know signed nothing of it.
    pub fn signed_by(&self, root: &str) -> bool {
        self.signers().is_ok_and(|signers| signers.iter().any(|it| it.to_string() == root))
    }

    /// The digests of those of its roots that signed its certificate.
    pub(crate) fn signers(&self) -> Result<Vec<Digest>, Error> {
        let blocks = certificates("certificate", &self.chain)?;
        let certificate = parse("certificate", blocks[0].contents())?;
        let mut signers = Vec::new();
        for root in certificates("root certificate", &self.roots)? {
            let parsed = parse("root certificate", root.contents())?;
            if certificate.verify_signature(Some(parsed.public_key())).is_ok() {
                signers.push(Digest::of_der(root.contents()));
            }
        }
        Ok(signers)
    }
}
