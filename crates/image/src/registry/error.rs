//! What can go wrong between us and a registry, in dockerd's words.

use crate::Digest;
use errdefs::{Classify, ErrorKind};
use http::StatusCode;
use std::io;

/// A failed exchange with a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Go's `url.Error`: method and address, then the cause.
    #[error("{method} \"{url}\": {cause}")]
    Request { method: &'static str, url: String, cause: Cause },
    #[error("{}access denied for {name}, repository does not exist or may require 'docker login': {detail}", prefix(.push))]
    Denied { push: bool, name: String, detail: String },
    #[error("manifest for {name} not found: {detail}")]
    ManifestUnknown { name: String, detail: String },
    #[error("no matching manifest for {platform} in the manifest list entries")]
    NoPlatform { platform: String },
    #[error(
        "image with reference {name} was found but its platform ({its}) does not match the specified platform ({wanted})"
    )]
    PlatformMismatch { name: String, its: String, wanted: String },
    #[error("unauthorized: {0}")]
    Unauthorized(String),
    #[error("login attempt to {url} failed with status: {status}")]
    Login { url: String, status: StatusCode },
    #[error("{0}")]
    TooManyRequests(String),
    /// A status that none of the above covers, with the registry's own words.
    #[error("received unexpected HTTP status: {status}{detail}")]
    Status { status: StatusCode, detail: String },
    #[error("error parsing HTTP {status} response body: {detail}")]
    Body { status: StatusCode, detail: String },
    #[error("manifest verification failed for digest {0}")]
    ManifestDigest(Digest),
    #[error("unsupported manifest: {0}")]
    Manifest(&'static str),
    /// Neither a search nor a catalog: what the search was answered with.
    #[error("Unexpected status code {}", .0.as_u16())]
    Search(StatusCode),
    #[error("invalid registry address {0:?}")]
    Address(String),
    #[error("{action}: {}", crate::error::reason(.cause))]
    Disk { action: &'static str, cause: io::Error },
    #[error("tag does not exist: {0}")]
    NoTag(String),
    #[error("An image does not exist locally with the tag: {0}")]
    NoImage(String),
}

fn prefix(push: &bool) -> &'static str {
    if *push { "push " } else { "pull " }
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("dial tcp {address}: connect: {}", crate::error::reason(.cause))]
    Dial { address: String, cause: io::Error },
    #[error("dial tcp: lookup {host}: no such host")]
    Lookup { host: String },
    #[error("tls: {0}")]
    Tls(io::Error),
    #[error("http: server gave HTTP response to HTTPS client")]
    PlainHttp,
    #[error("{0}")]
    Exchange(hyper::Error),
    #[error("net/http: timeout awaiting response headers")]
    Timeout,
    #[error("stopped after 10 redirects")]
    Redirects,
    #[error("no basic auth credentials")]
    NoCredentials,
}

impl RegistryError {
    /// Whether the same request may succeed in a moment.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            RegistryError::Request { cause, .. } => {
                !matches!(
                    cause,
                    Cause::Lookup { .. } | Cause::Redirects | Cause::PlainHttp | Cause::Tls(_)
                ) && !matches!(cause, Cause::Dial { cause, .. } if cause.kind() == io::ErrorKind::ConnectionRefused)
            }
            RegistryError::Status { status, .. } | RegistryError::Body { status, .. } => {
                status.is_server_error() || *status == StatusCode::REQUEST_TIMEOUT
            }
            _ => false,
        }
    }
}

impl Classify for RegistryError {
    fn kind(&self) -> ErrorKind {
        match self {
            RegistryError::Denied { .. }
            | RegistryError::ManifestUnknown { .. }
            | RegistryError::NoPlatform { .. }
            | RegistryError::PlatformMismatch { .. }
            | RegistryError::NoTag(_)
            | RegistryError::NoImage(_) => ErrorKind::NotFound,
            RegistryError::Unauthorized(_) => ErrorKind::Unauthorized,
            RegistryError::Login { status, .. } if *status == StatusCode::UNAUTHORIZED => {
                ErrorKind::Unauthorized
            }
            RegistryError::Address(_) => ErrorKind::InvalidParameter,
            RegistryError::Request { .. }
            | RegistryError::TooManyRequests(_)
            | RegistryError::Login { .. }
            | RegistryError::Status { .. }
            | RegistryError::Search(_)
            | RegistryError::Body { .. }
            | RegistryError::ManifestDigest(_)
            | RegistryError::Manifest(_)
            | RegistryError::Disk { .. } => ErrorKind::System,
        }
    }
}
