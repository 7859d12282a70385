//! The verifiers behind [`crate::Credentials`]: webpki with whatever roots are trusted at the time of the handshake.

use crate::credentials::{Current, Trust};
use crate::peer::{parse, validity_of};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// For dialling.
pub(crate) struct Servers {
    pub(crate) current: Current,
    pub(crate) provider: Arc<CryptoProvider>,
}

/// For the listener.
pub(crate) struct Clients {
    pub(crate) current: Current,
    pub(crate) provider: Arc<CryptoProvider>,
}

/// Trusts anyone. What is learnt from a stranger must be proved by other means.
pub(crate) struct Strangers {
    pub(crate) provider: Arc<CryptoProvider>,
}

/// What both of rustls's verifier traits want beside the certificate's trust: the peer holds its key. The provider
/// knows how to tell.
macro_rules! signatures_by_provider {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls12_signature(message, leaf, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, leaf, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let held = self.current.get();
        let trust = held.trust.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        trust.servers.verify_server_cert(leaf, above, name, ocsp, now).map_err(foreign)
    }

    signatures_by_provider!();
}

impl ServerCertVerifier for Strangers {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures_by_provider!();
}

impl ClientCertVerifier for Clients {
    /// A node that joins has none.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No hints: a node has one certificate.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let held = self.current.get();
        let trust = held.trust.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        trust
            .clients
            .verify_client_cert(leaf, above, now)
            .or_else(|err| verify_lapsed(trust, leaf, above, now, err))
            .map_err(foreign)
    }

    signatures_by_provider!();
}

/// Accepts a certificate that would be good at a time of its own: an alert could not tell its holder what to do, and
/// a node with an expired one may join again. Services see that it lapsed.
fn verify_lapsed(
    trust: &Trust,
    leaf: &CertificateDer<'_>,
    above: &[CertificateDer<'_>],
    now: UnixTime,
    err: Error,
) -> Result<ClientCertVerified, Error> {
    let Error::InvalidCertificate(
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. },
    ) = err
    else {
        return Err(err);
    };
    let certificate = parse("certificate", leaf).map_err(|_| CertificateError::BadEncoding)?;
    let (from, until) = validity_of(&certificate);
    let seconds = |at: types::Timestamp| u64::try_from(at.seconds()).unwrap_or(0);
    let then = now.as_secs().clamp(seconds(from), seconds(until).max(seconds(from)));
    let then = UnixTime::since_unix_epoch(Duration::from_secs(then));
    trust.clients.verify_client_cert(leaf, above, then)
}

/// Every root has the same name, so a foreign one shows as a signature that does not fit.
fn foreign(err: Error) -> Error {
    match err {
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            CertificateError::UnknownIssuer.into()
        }
        other => other,
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Servers(..)")
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clients(..)")
    }
}

impl fmt::Debug for Strangers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Strangers(..)")
    }
}
