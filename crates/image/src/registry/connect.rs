//! One HTTP exchange: connect, TLS, send, wait for the head of the reply.
//!
//! A connection serves one exchange. Registries answer blobs with redirects to other hosts anyway, and
//! a pull makes a few dozen exchanges at most; a pool would earn little.

use super::endpoint::{Endpoint, Scheme};
use super::error::Cause;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What is sent: nothing, a manifest, or a blob as it is read.
pub(crate) type Outgoing = UnsyncBoxBody<Bytes, io::Error>;

/// As dockerd's transport has them.
const DIAL: Duration = Duration::from_secs(30);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A registry may take long to accept the end of a large upload.
const HEAD: Duration = Duration::from_secs(180);

/// Sends `request` (path only, with `Host`) to `endpoint`.
pub(crate) async fn exchange(
    endpoint: &Endpoint,
    certs_dir: Option<&Path>,
    request: Request<Outgoing>,
) -> Result<Response<Incoming>, Cause> {
    let (host, port) = host_and_port(endpoint);
    let tcp = dial(&host, port).await?;
    match endpoint.scheme {
        Scheme::Http => send(tcp, request).await,
        Scheme::Https => {
            let config = tls_config(endpoint, certs_dir)?;
            let name =
                ServerName::try_from(host).map_err(|err| Cause::Tls(io::Error::other(err)))?;
            let connector = tokio_rustls::TlsConnector::from(config);
            let handshake = tokio::time::timeout(HANDSHAKE, connector.connect(name, tcp)).await;
            let tls = handshake.map_err(|_| Cause::Timeout)?.map_err(tls_cause)?;
            send(tls, request).await
        }
    }
}

fn host_and_port(endpoint: &Endpoint) -> (String, u16) {
    let default = endpoint.scheme.default_port();
    let (host, port) = match endpoint.authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(default)),
        _ => (endpoint.authority.as_str(), default),
    };
    (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port)
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, Cause> {
    let lookup = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<_> = lookup.map_err(|_| Cause::Lookup { host: host.to_owned() })?.collect();
    let mut last = Cause::Lookup { host: host.to_owned() };
    for address in addresses {
        match tokio::time::timeout(DIAL, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _only_slower = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(cause)) => last = Cause::Dial { address: address.to_string(), cause },
            Err(_) => {
                let cause = io::ErrorKind::TimedOut.into();
                last = Cause::Dial { address: address.to_string(), cause };
            }
        }
    }
    Err(last)
}

async fn send<S>(stream: S, request: Request<Outgoing>) -> Result<Response<Incoming>, Cause>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(Cause::Exchange)?;
    // Ends by itself when the reply's body is read or dropped, since `sender` goes with this function.
    tokio::spawn(async move {
        if let Err(err) = connection.await {
            tracing::debug!(error = %err, "registry connection ended");
        }
    });
    let reply = tokio::time::timeout(HEAD, sender.send_request(request)).await;
    reply.map_err(|_| Cause::Timeout)?.map_err(Cause::Exchange)
}

/// A plain HTTP server answers a TLS greeting with text, which dockerd names as such.
fn tls_cause(err: io::Error) -> Cause {
    let inner = err.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) => Cause::PlainHttp,
        _ => Cause::Tls(err),
    }
}

fn tls_config(endpoint: &Endpoint, certs_dir: Option<&Path>) -> Result<Arc<ClientConfig>, Cause> {
    static TRUSTING: LazyLock<Arc<rustls::crypto::CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    let failed = |err: rustls::Error| Cause::Tls(io::Error::other(err));
    let builder = ClientConfig::builder_with_provider(TRUSTING.clone())
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    if !endpoint.verify {
        let verifier = Arc::new(Unverified(TRUSTING.clone()));
        let config = builder.dangerous().with_custom_certificate_verifier(verifier);
        return Ok(Arc::new(config.with_no_client_auth()));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let own = certs_dir.map(|dir| dir.join(&endpoint.authority));
    for path in own.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten() {
        if path.path().extension().is_some_and(|extension| extension == "crt") {
            let certs = CertificateDer::pem_file_iter(path.path()).into_iter().flatten();
            roots.add_parsable_certificates(certs.filter_map(Result::ok));
        }
    }
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// For registries that the administrator declared insecure.
#[derive(Debug)]
struct Unverified(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
