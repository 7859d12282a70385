//! The digest by which a root is known: in join tokens, in records, to people (`openssl x509 -fingerprint -sha256`).

use crate::Error;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// Digits of 256 bits in base 36.
const BASE36_LENGTH: usize = 50;

/// SHA-256 of a certificate's DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    pub(crate) fn of_der(certificate: &[u8]) -> Self {
        Digest(Sha256::digest(certificate).into())
    }

    /// Of the first certificate in a PEM text.
    pub fn of_pem(certificate: &str) -> Result<Self, Error> {
        let blocks = certificates("root certificate", certificate)?;
        Ok(Digest::of_der(blocks[0].contents()))
    }

    /// 64 digits.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// 50 digits, zeros in front, as join tokens carry it.
    pub fn base36(&self) -> String {
        let mut rest = self.0;
        let mut digits = [b'0'; BASE36_LENGTH];
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[usize::from(divide(&mut rest, 36))];
        }
        digits.iter().map(|digit| char::from(*digit)).collect()
    }

    /// None unless `text` is 50 digits of base 36 that fit in 256 bits.
    pub(crate) fn from_base36(text: &str) -> Option<Self> {
        if text.len() != BASE36_LENGTH {
            return None;
        }
        let mut number = [0u8; 32];
        for character in text.chars() {
            if character.is_ascii_uppercase() {
                return None;
            }
            multiply_add(&mut number, 36, character.to_digit(36)?)?;
        }
        Some(Digest(number))
    }
}

/// `sha256:` and hex, as records carry it.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes)
            .map_err(|err| Error::malformed("root digest", err))?;
        Ok(Digest(bytes))
    }
}

/// The certificates of a PEM text, at least one.
pub(crate) fn certificates(what: &'static str, text: &str) -> Result<Vec<pem::Pem>, Error> {
    let blocks = pem::parse_many(text).map_err(|err| Error::malformed(what, err))?;
    if blocks.is_empty() || blocks.iter().any(|block| block.tag() != "CERTIFICATE") {
        return Err(Error::malformed(what, "no PEM of certificates"));
    }
    Ok(blocks)
}

/// Divides a big-endian number in place and returns the remainder.
fn divide(number: &mut [u8; 32], by: u16) -> u8 {
    let mut remainder = 0u16;
    for byte in number {
        let part = remainder << 8 | u16::from(*byte);
        *byte = (part / by) as u8;
        remainder = part % by;
    }
    remainder as u8
}

/// `number * by + add` in place; none when it does not fit.
fn multiply_add(number: &mut [u8; 32], by: u32, add: u32) -> Option<()> {
    let mut carry = add;
    for byte in number.iter_mut().rev() {
        let part = u32::from(*byte) * by + carry;
        *byte = (part & 0xff) as u8;
        carry = part >> 8;
    }
    (carry == 0).then_some(())
}
