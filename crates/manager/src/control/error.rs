//! Why a request was refused: SwarmKit's sentences with their gRPC codes, and dockerd's own.
//!
//! There are some sixty of these sentences, each made at the place that refuses; clients match on them.

use errdefs::{Classify, ErrorKind};
use raft::ProposeError;
use std::fmt;
use store::StoreError;

/// A refused request. Nothing of it was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A manager's refusal, as dockerd hands it on.
    #[error("rpc error: code = {code} desc = {desc}")]
    Refused { code: Code, desc: String },
    /// dockerd's own refusal, before a manager is asked.
    #[error("{message}")]
    Daemon { kind: ErrorKind, message: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error(transparent)]
    Trust(#[from] ca::Error),
}

/// gRPC's codes, as far as managers use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    InvalidArgument,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    FailedPrecondition,
    Unimplemented,
    Unavailable,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Refused { code, .. } => match code {
                Code::InvalidArgument | Code::FailedPrecondition => ErrorKind::InvalidParameter,
                Code::NotFound => ErrorKind::NotFound,
                Code::AlreadyExists => ErrorKind::Conflict,
                Code::PermissionDenied => ErrorKind::Forbidden,
                Code::Unimplemented => ErrorKind::NotImplemented,
                Code::Unavailable => ErrorKind::Unavailable,
            },
            Error::Daemon { kind, .. } => *kind,
            Error::Store(err) => err.kind(),
            Error::Propose(err) => err.kind(),
            Error::Trust(err) => err.kind(),
        }
    }
}

/// A manager's refusal of what makes no sense.
pub(crate) fn invalid(desc: impl Into<String>) -> Error {
    Error::Refused { code: Code::InvalidArgument, desc: desc.into() }
}

/// A manager's refusal of what cannot be done as things are.
pub(crate) fn precondition(desc: impl Into<String>) -> Error {
    Error::Refused { code: Code::FailedPrecondition, desc: desc.into() }
}

/// A manager does not do it.
pub(crate) fn unimplemented(desc: impl Into<String>) -> Error {
    Error::Refused { code: Code::Unimplemented, desc: desc.into() }
}

/// dockerd's refusal of what makes no sense.
pub(crate) fn bad_request(message: impl Into<String>) -> Error {
    Error::Daemon { kind: ErrorKind::InvalidParameter, message: message.into() }
}

/// dockerd's refusals that it has given no class: clients get a 500.
pub(crate) fn unclassed(message: impl Into<String>) -> Error {
    Error::Daemon { kind: ErrorKind::System, message: message.into() }
}
