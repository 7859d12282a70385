//! The key under which managers of a locked cluster keep their secrets at rest.

use crate::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256};
use std::fmt;

const PREFIX: &str = "SWMKEY-1-";

/// `SWMKEY-1-` and 32 bytes in base 64 without padding. Shown by [`UnlockKey::to_text`] only.
#[derive(Clone, PartialEq, Eq)]
pub struct UnlockKey([u8; 32]);

impl UnlockKey {
    pub fn new(random: [u8; 32]) -> Self {
        UnlockKey(random)
    }

    pub fn generate() -> Self {
        UnlockKey(rand::random())
    }

    /// Reads what a user typed.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let digits = text.strip_prefix(PREFIX).ok_or(Error::InvalidUnlockKey)?;
        let bytes = STANDARD_NO_PAD.decode(digits).map_err(|_| Error::InvalidUnlockKey)?;
        bytes.try_into().map(UnlockKey).map_err(|_| Error::InvalidUnlockKey)
    }

    /// The key as users see it.
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", STANDARD_NO_PAD.encode(self.0))
    }

    /// The key for one purpose; keys for different purposes tell nothing of each other.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        // The key is 256 random bits and the purposes are constants of ours: a hash of both is enough.
        Sha256::new().chain_update(self.0).chain_update(purpose).finalize().into()
    }
}

impl fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockKey(..)")
    }
}
