//! How image operations fail. The sentences are dockerd's: clients show and match them.

use crate::{Digest, ReferenceError};
use errdefs::{Classify, ErrorKind};
use std::io;
use std::path::{Path, PathBuf};

/// How an image operation ends.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A refused or failed image operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("No such image: {0}")]
    NoSuchImage(String),
    #[error("ambiguous reference: image id prefix {0} matches more than one image")]
    AmbiguousPrefix(String),
    #[error("refusing to create a tag with a digest reference")]
    TagWithDigest,
    #[error("refusing to create an ambiguous tag using digest algorithm as name")]
    TagNamedSha256,
    #[error("conflict: {0}")]
    Conflict(String),
    #[error("invalid filter '{name}={value}'")]
    Filter { name: &'static str, value: String },

    #[error("filesystem layer verification failed for digest {0}")]
    Verification(Digest),
    #[error("layers from manifest don't match image configuration")]
    LayerMismatch,
    #[error("invalid diffID for layer {index}: expected \"{expected}\", got \"{got}\"")]
    DiffId { index: usize, expected: Digest, got: Digest },
    #[error("invalid archive: {0}")]
    Archive(&'static str),
    #[error("failed to register layer")]
    RegisterLayer(#[source] LayerError),
    #[error("max depth exceeded")]
    MaxDepth,
    #[error("{action} {}: {}", path.display(), reason(cause))]
    Io { action: &'static str, path: PathBuf, cause: io::Error },
    #[error("failed to read {}", path.display())]
    Record { path: PathBuf, source: serde_json::Error },
    #[error("image store {} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("blob {0} is not in the store")]
    MissingBlob(Digest),
    #[error("failed to mount overlay over {}", path.display())]
    Mount { path: PathBuf, source: io::Error },
    #[error("no writable layer for container {0}")]
    NoRwLayer(String),
    #[error("the stream ended early")]
    Stream(#[source] io::Error),
    #[error("invalid image configuration")]
    Config(#[source] serde_json::Error),
    #[error(transparent)]
    Registry(#[from] crate::registry::error::RegistryError),
    #[error("the managers do not tell which images services need: nothing is removed")]
    Needs(#[source] io::Error),
    #[error("{have} of {wanted} copies could be made: no other node takes one")]
    TooFewCopies { have: usize, wanted: usize },
    #[error("operation was canceled")]
    Cancelled,
}

/// Why a layer could not be unpacked or packed.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("{action} {}: {}", path.display(), reason(cause))]
    Entry { action: &'static str, path: PathBuf, cause: io::Error },
    #[error("{} is outside of the layer's root", .0.display())]
    Escape(PathBuf),
    #[error("unhandled tar header type {kind} of {}", path.display())]
    Unsupported { path: PathBuf, kind: u8 },
    #[error("error processing tar file: {}", reason(.0))]
    Tar(io::Error),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |cause| Error::Io { action, path, cause }
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Reference(_)
            | Error::AmbiguousPrefix(_)
            | Error::TagWithDigest
            | Error::TagNamedSha256
            | Error::Filter { .. }
            | Error::Config(_)
            | Error::Archive(_) => ErrorKind::InvalidParameter,
            Error::NoSuchImage(_) | Error::NoRwLayer(_) => ErrorKind::NotFound,
            Error::Conflict(_) => ErrorKind::Conflict,
            Error::Registry(err) => err.kind(),
            Error::Needs(_) | Error::TooFewCopies { .. } => ErrorKind::Unavailable,
            Error::Verification(_)
            | Error::LayerMismatch
            | Error::DiffId { .. }
            | Error::RegisterLayer(_)
            | Error::MaxDepth
            | Error::Io { .. }
            | Error::Record { .. }
            | Error::InUse(_)
            | Error::MissingBlob(_)
            | Error::Mount { .. }
            | Error::Stream(_)
            | Error::Cancelled => ErrorKind::System,
        }
    }
}

/// An OS error in Go's spelling, which Docker's clients know: `no space left on device`.
pub(crate) fn reason(err: &io::Error) -> String {
    let text = err.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if err.raw_os_error().is_some() => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}
