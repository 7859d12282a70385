//! How trust fails. Docker's words where Docker's clients see them.

use errdefs::{Classify, ErrorKind};
use std::io;
use std::path::PathBuf;

/// No variant carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("invalid join token")]
    InvalidToken,
    /// The request's token is no token of this cluster.
    #[error("A valid join token is necessary to join this cluster")]
    TokenRefused,
    /// The root that a manager showed is not the one that the token names.
    #[error("remote CA does not match fingerprint. Expected: {expected}")]
    Fingerprint { expected: String },
    #[error("invalid key string")]
    InvalidUnlockKey,
    /// The identity's key is encrypted and no key was given.
    #[error(
        "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it."
    )]
    Locked,
    /// The unlock key does not open the identity's key.
    #[error("swarm could not be unlocked: invalid key provided")]
    WrongUnlockKey,
    /// A root from elsewhere that no cluster can live under.
    #[error("{0}")]
    InvalidRoot(String),
    #[error("invalid certificate signing request: {0}")]
    InvalidRequest(String),
    /// A certificate, key or root that is not what it should be.
    #[error("{what}: {reason}")]
    Malformed { what: &'static str, reason: String },
    /// The peer's certificate counts only together with a valid token, and there was none.
    #[error("{0}")]
    Lapsed(String),
    #[error("failed to {action} {}", path.display())]
    Disk { action: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    pub(crate) fn malformed(what: &'static str, reason: impl ToString) -> Self {
        Error::Malformed { what, reason: reason.to_string() }
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::InvalidToken
            | Error::TokenRefused
            | Error::InvalidUnlockKey
            | Error::WrongUnlockKey
            | Error::InvalidRequest(_)
            | Error::InvalidRoot(_)
            | Error::Fingerprint { .. } => ErrorKind::InvalidParameter,
            Error::Locked => ErrorKind::Unavailable,
            Error::Lapsed(_) => ErrorKind::Unauthorized,
            Error::Malformed { .. } | Error::Disk { .. } => ErrorKind::System,
        }
    }
}
