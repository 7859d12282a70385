//! A node's private key, and its request for a certificate.

use crate::Error;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData};
use std::fmt;

/// An ECDSA P-256 key (PKCS#8, PEM). It never leaves its node.
#[derive(Clone)]
pub struct NodeKey(String);

impl NodeKey {
    pub fn generate() -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(|err| Error::malformed("node key", err))?;
        Ok(NodeKey(key.serialize_pem()))
    }

    /// The certificate signing request, PEM. It asks for no name: the cluster decides what is in the certificate.
    pub fn request(&self) -> Result<String, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .serialize_request(&self.pair()?)
            .and_then(|request| request.pem())
            .map_err(|err| Error::malformed("certificate signing request", err))
    }

    pub(crate) fn from_pem(text: &str) -> Result<Self, Error> {
        let key = NodeKey(text.to_owned());
        key.pair()?;
        Ok(key)
    }

    pub(crate) fn pem(&self) -> &str {
        &self.0
    }

    pub(crate) fn der(&self) -> Result<Vec<u8>, Error> {
        Ok(self.pair()?.serialize_der())
    }

    /// SubjectPublicKeyInfo, DER.
    pub(crate) fn public(&self) -> Result<Vec<u8>, Error> {
        Ok(self.pair()?.subject_public_key_info())
    }

    fn pair(&self) -> Result<KeyPair, Error> {
        KeyPair::from_pem(&self.0).map_err(|err| Error::malformed("node key", err))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(..)")
    }
}
