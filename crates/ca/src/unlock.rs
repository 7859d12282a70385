//! The key under which managers of a locked cluster keep their secrets at rest.

use crate::Error;
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
        let _ = (text, PREFIX);
        Err(Error::InvalidUnlockKey)
    }

    /// The key as users see it.
    pub fn to_text(&self) -> String {
        String::new()
    }

    /// To derive other keys from.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockKey(..)")
    }
}
