//! A node's private key, and its request for a certificate.

use crate::Error;
use std::fmt;

/// An ECDSA P-256 key (PKCS#8, PEM). It never leaves its node.
#[derive(Clone)]
pub struct NodeKey(String);

impl NodeKey {
    pub fn generate() -> Result<Self, Error> {
        let _ = NodeKey(String::new());
        Err(Error::malformed("node key", "not built yet"))
    }

    /// The certificate signing request, PEM. It asks for no name: the cluster decides what is in the certificate.
    pub fn request(&self) -> Result<String, Error> {
        Err(Error::malformed("node key", "not built yet"))
    }

    pub(crate) fn pem(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(..)")
    }
}
