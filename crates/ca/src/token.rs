//! Join tokens, in Docker's format: what a new node needs to trust the cluster and to be trusted by it.

use crate::digest::certificates;
use crate::{Digest, Error};
use sha2::{Digest as _, Sha256};
use std::fmt;
use types::ids::swarm_id;

const PREFIX: &str = "SWMTKN-1-";
/// 128 bits in base 36.
const SECRET_LENGTH: usize = 25;

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

    /// Reads what a user typed. Version 2 of the format (clusters that demand FIPS) is refused.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        let Some((digest, secret)) = parts else { return Err(Error::InvalidToken) };
        let digits = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase();
        if secret.len() != SECRET_LENGTH || !secret.chars().all(digits) {
            return Err(Error::InvalidToken);
        }
        let digest = Digest::from_base36(digest).ok_or(Error::InvalidToken)?;
        Ok(JoinToken { text: text.to_owned(), digest })
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
        same_secret(&self.text, typed)
    }

    /// The certificate among `roots` (PEM) that the token vouches for, as PEM: all that a joining node may trust of
    /// what a stranger sent. Fails with Docker's words when there is none.
    pub fn check_root(&self, roots: &str) -> Result<String, Error> {
        certificates("root certificate", roots)?
            .iter()
            .find(|root| Digest::of_der(root.contents()) == self.digest)
            .map(pem::encode)
            .ok_or_else(|| Error::Fingerprint { expected: self.digest.hex() })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(..)")
    }
}

/// Compares digests, so that neither the place of the first difference nor a length shows in the time taken. An empty
/// secret matches nothing.
pub(crate) fn same_secret(ours: &str, typed: &str) -> bool {
    let (ours_hash, typed_hash) = (Sha256::digest(ours), Sha256::digest(typed));
    let differences = ours_hash.iter().zip(&typed_hash).fold(0, |sum, (a, b)| sum | (a ^ b));
    !ours.is_empty() && std::hint::black_box(differences) == 0
}
