//! TLS from PEM files, as `--tls`, `--tlsverify` and their files say.

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The server's identity, and whose clients it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Clients must show a certificate of this authority; anyone may connect when `None`.
    pub client_ca: Option<PathBuf>,
}

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("could not read {what} {path:?}")]
    Read { what: &'static str, path: PathBuf, source: pem::Error },
    #[error("no certificate in {0:?}")]
    Empty(PathBuf),
    #[error("could not use the CA certificate")]
    Authority(#[source] rustls::Error),
    #[error("could not verify clients")]
    Verifier(#[from] VerifierBuilderError),
    #[error("could not load X509 key pair")]
    KeyPair(#[source] rustls::Error),
}

impl TlsFiles {
    pub(crate) fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::KeyPair)?;
        let builder = match &self.client_ca {
            Some(path) => {
                let roots = Arc::new(authorities(path)?);
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(roots, provider).build()?,
                )
            }
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| TlsError::Read {
            what: "key",
            path: self.key.clone(),
            source,
        })?;
        let chain = certificates("certificate", &self.certificate)?;
        let mut config = builder.with_single_cert(chain, key).map_err(TlsError::KeyPair)?;
        // Hijacked streams exist in HTTP/1.1 only.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("CA certificate", path)? {
        roots.add(certificate).map_err(TlsError::Authority)?;
    }
    Ok(roots)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |source| TlsError::Read { what, path: path.to_owned(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(fail)?
        .collect::<Result<_, _>>()
        .map_err(fail)?;
    if found.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(found) }
}
