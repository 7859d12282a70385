//! Sealing bytes under a data key: XChaCha20-Poly1305, a fresh random nonce in front of each.
//!
//! The nonce has 192 bits, so that random ones never meet. What the bytes are (which file, which place)
//! goes in as associated data: a block that was moved or swapped does not open.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

const NONCE: usize = 24;

/// 32 random bytes that never leave this machine.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DataKey {
    /// Grows with each rotation.
    pub(crate) id: u32,
    pub(crate) secret: [u8; 32],
}

/// The bytes are not those that were sealed, or the key is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotOurs;

pub(crate) fn seal(key: &DataKey, place: &[u8], plain: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE] = rand::random();
    let cipher = XChaCha20Poly1305::new(&Key::from(key.secret));
    let mut sealed = nonce.to_vec();
    // It fails only on more than 256 GiB at once.
    let payload = Payload { msg: plain, aad: place };
    sealed.extend(cipher.encrypt(&XNonce::from(nonce), payload).unwrap_or_default());
    sealed
}

pub(crate) fn open(key: &DataKey, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotOurs> {
    let (nonce, body) = sealed.split_first_chunk::<NONCE>().ok_or(NotOurs)?;
    let cipher = XChaCha20Poly1305::new(&Key::from(key.secret));
    let payload = Payload { msg: body, aad: place };
    cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| NotOurs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_block_opens_only_with_its_key_and_in_its_place() {
        let key = DataKey { id: 1, secret: [7; 32] };
        let sealed = seal(&key, b"here", b"secret");
        assert_eq!(sealed.len(), NONCE + 16 + 6);
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(open(&key, b"here", &sealed).unwrap(), b"secret");
        assert_eq!(open(&key, b"there", &sealed), Err(NotOurs));
        assert_eq!(open(&DataKey { id: 1, secret: [8; 32] }, b"here", &sealed), Err(NotOurs));
        assert_eq!(open(&key, b"here", &sealed[..20]), Err(NotOurs));
    }
}
