//! Where the daemon is: flags first, then the environment, then the sockets that exist.
//!
//! Pure apart from the one `exists` probe of the default socket; no connection is made here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::ClientError;

/// Our daemon's socket, preferred when it exists.
pub(crate) const SAMPAN_SOCKET: &str = "/run/sampan.sock";
/// The socket every Docker client falls back to.
pub(crate) const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// What flags and environment say about the connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectOptions {
    /// `-H`, else SAMPAN_HOST, else DOCKER_HOST.
    pub(crate) host: Option<String>,
    /// `--tls`: encrypt.
    pub(crate) tls: bool,
    /// `--tlsverify` or DOCKER_TLS_VERIFY.
    pub(crate) tls_verify: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// DOCKER_API_VERSION: no negotiation.
    pub(crate) api_version: Option<String>,
}

/// A daemon's address, ready to be dialled.
#[derive(Clone)]
pub(crate) enum Address {
    Unix(PathBuf),
    Tcp { host: String, port: u16, tls: Option<Arc<rustls::ClientConfig>> },
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp { host, port, .. } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

impl ConnectOptions {
    /// The address these options mean on this machine.
    pub(crate) fn resolve(&self) -> Result<Address, ClientError> {
        match self.host.as_deref().filter(|host| !host.is_empty()) {
            Some(host) => self.parse(host),
            None if Path::new(SAMPAN_SOCKET).exists() => Ok(Address::Unix(SAMPAN_SOCKET.into())),
            None if Path::new(DOCKER_SOCKET).exists() => Ok(Address::Unix(DOCKER_SOCKET.into())),
            None => Ok(Address::Unix(SAMPAN_SOCKET.into())),
        }
    }

    fn parse(&self, text: &str) -> Result<Address, ClientError> {
        let bad = |reason: &str| ClientError::Address {
            address: text.to_owned(),
            reason: reason.to_owned(),
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        let rest = rest.trim_end_matches('/');
        match scheme {
            "unix" if rest.is_empty() => Ok(Address::Unix(DOCKER_SOCKET.into())),
            "unix" => Ok(Address::Unix(PathBuf::from(rest))),
            "tcp" | "http" | "https" => {
                let encrypted = self.tls || self.tls_verify || scheme == "https";
                let default_port = if encrypted { 2376 } else { 2375 };
                let (host, port) = split_port(rest, default_port)
                    .ok_or_else(|| bad("the port is not a number"))?;
                let tls = if encrypted { Some(Arc::new(self.tls_config()?)) } else { None };
                Ok(Address::Tcp { host, port, tls })
            }
            _ => Err(bad("use unix:///path or tcp://host:port")),
        }
    }

    /// Client TLS: the daemon's certificate is always verified against the CA file.
    fn tls_config(&self) -> Result<rustls::ClientConfig, ClientError> {
        let ca = self.ca.clone().unwrap_or_else(|| PathBuf::from("ca.pem"));
        let mut roots = rustls::RootCertStore::empty();
        for cert in read_certs(&ca)? {
            roots.add(cert).map_err(|err| tls_error(&ca, err))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|err| tls_error(&ca, err))?
            .with_root_certificates(roots);
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) if cert.exists() && key.exists() => {
                let private =
                    PrivateKeyDer::from_pem_file(key).map_err(|err| tls_error(key, err))?;
                builder
                    .with_client_auth_cert(read_certs(cert)?, private)
                    .map_err(|err| tls_error(cert, err))
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }
}

fn split_port(text: &str, default: u16) -> Option<(String, u16)> {
    let text = text.split('/').next().unwrap_or(text);
    let host = |h: &str| {
        let h = h.trim_start_matches('[').trim_end_matches(']');
        if h.is_empty() { "127.0.0.1".to_owned() } else { h.to_owned() }
    };
    match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => Some((host(name), port.parse().ok()?)),
        _ => Some((host(text), default)),
    }
}

fn read_certs(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|err| tls_error(path, err))
}

fn tls_error(path: &Path, reason: impl std::fmt::Display) -> ClientError {
    ClientError::Tls { path: path.display().to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(host: &str) -> String {
        let options = ConnectOptions { host: Some(host.to_owned()), ..Default::default() };
        match options.resolve() {
            Ok(address) => address.to_string(),
            Err(err) => err.to_string(),
        }
    }

    #[test]
    fn hosts_are_read_as_docker_reads_them() {
        assert_eq!(shown("unix:///run/x.sock"), "unix:///run/x.sock");
        assert_eq!(shown("unix://"), "unix:///var/run/docker.sock");
        assert_eq!(shown("tcp://h:1234"), "tcp://h:1234");
        assert_eq!(shown("h"), "tcp://h:2375");
        assert_eq!(shown("tcp://[::1]:99"), "tcp://::1:99");
    }

    #[test]
    fn a_foreign_scheme_is_refused_with_the_allowed_ones() {
        assert_eq!(
            shown("ftp://h"),
            "invalid daemon address \"ftp://h\": use unix:///path or tcp://host:port"
        );
    }
}
