//! A private key encrypted under the unlock key: a PEM block of our own, XChaCha20-Poly1305.

use crate::{Error, UnlockKey};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};

/// Not `ENCRYPTED PRIVATE KEY`: that is PKCS#8's, which other programs would take it for.
const TAG: &str = "SAMPAN LOCKED PRIVATE KEY";
const PURPOSE: &str = "node key";
const NONCE_LENGTH: usize = 24;

pub(crate) fn is_sealed(text: &str) -> bool {
    text.trim_start().starts_with(&format!("-----BEGIN {TAG}-----"))
}

pub(crate) fn seal(key: &str, lock: &UnlockKey) -> Result<String, Error> {
    let nonce: [u8; NONCE_LENGTH] = rand::random();
    let payload = Payload { msg: key.as_bytes(), aad: TAG.as_bytes() };
    let sealed = cipher(lock)
        .encrypt(&nonce.into(), payload)
        .map_err(|_| Error::malformed("node key", "it cannot be encrypted"))?;
    Ok(pem::encode(&pem::Pem::new(TAG, [nonce.as_slice(), &sealed].concat())))
}

/// [`Error::WrongUnlockKey`] when the key is another one, or somebody changed the file.
pub(crate) fn open(text: &str, lock: &UnlockKey) -> Result<String, Error> {
    let block = pem::parse(text).map_err(|err| Error::malformed("node key", err))?;
    let (nonce, sealed) = block
        .contents()
        .split_first_chunk::<NONCE_LENGTH>()
        .ok_or_else(|| Error::malformed("node key", "the file is cut short"))?;
    let payload = Payload { msg: sealed, aad: TAG.as_bytes() };
    let key = cipher(lock).decrypt(&(*nonce).into(), payload).map_err(|_| Error::WrongUnlockKey)?;
    String::from_utf8(key).map_err(|err| Error::malformed("node key", err))
}

fn cipher(lock: &UnlockKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&lock.derive(PURPOSE).into())
}
