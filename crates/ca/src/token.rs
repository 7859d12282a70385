//! Join tokens, in Docker's format: what a new node needs to trust the cluster and to be trusted by it.

use crate::{Digest, Error};
use std::fmt;
use types::ids::swarm_id;

const PREFIX: &str = "SWMTKN-1-";
/// Digits of a 256-bit digest in base 36.
const DIGEST_LENGTH: usize = 50;

/// `SWMTKN-1-<50 digits of the root's digest>-<25 digits of secret>`, base 36. Whoever holds it may join with the role
/// that it was made for, so it is shown by [`JoinToken::as_str`] only, and never by `Debug`.
#[derive(Clone)]
pub struct JoinToken {
    text: String,
    digest: Digest,
}

impl JoinToken {
    /// A token for a root out of 128 bits of randomness.
    pub fn new(root: &Digest, secret: [u8; 16]) -> Self {
        let text = format!("{PREFIX}{}-{}", root.base36(), swarm_id(secret));
        JoinToken { text, digest: *root }
    }

    /// A token with a fresh secret.
    pub fn generate(root: &Digest) -> Self {
        Self::new(root, rand::random())
    }

    /// Reads what a user typed.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let _ = text;
        Err(Error::InvalidToken)
    }

    /// The root that the token vouches for.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The token as users see it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `typed` is this token, in time that does not depend on where they differ.
    pub fn matches(&self, typed: &str) -> bool {
        let _ = typed;
        false
    }

    /// The certificate among `roots` (PEM) that the token vouches for, as PEM: all that a joining node may trust of
    /// what a stranger sent. Fails with Docker's words when there is none.
    pub fn check_root(&self, roots: &str) -> Result<String, Error> {
        let _ = (roots, DIGEST_LENGTH);
        Err(Error::Fingerprint { expected: self.digest.hex() })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(..)")
    }
}
