//! The engine's one error: a class and the sentence that dockerd gives.
//!
//! Clients match on these sentences, and there are some two hundred of them, each made at the place that
//! refuses. An enum variant for each would only repeat the sentence (see `docs/design/engine.md`).

use errdefs::{Classify, ErrorKind};
use std::error::Error as StdError;

/// A refused or failed engine call.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        impl Error {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self {
                Error { kind: ErrorKind::$kind, message: message.into(), source: None }
            })*
        }
    };
}

constructors! {
    /// 400: the request makes no sense as it is.
    invalid => InvalidParameter;
    /// 403: understood and refused.
    forbidden => Forbidden;
    /// 404: not there.
    not_found => NotFound;
    /// 409: not in this state.
    conflict => Conflict;
    /// 304: it is so already.
    not_modified => NotModified;
    /// 500: our own failure.
    system => System;
    /// 501: not done here.
    not_implemented => NotImplemented;
    /// 503: cannot be reached now.
    unavailable => Unavailable;
}

impl Error {
    /// `message`, caused by `source`, with the class of our own failure.
    pub fn caused(
        message: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Error { kind: ErrorKind::System, message: message.into(), source: Some(Box::new(source)) }
    }
    /// Any classed failure of a lower floor, kept as it is.
    pub fn from_lower(err: impl Classify + Send + Sync + 'static) -> Self {
        Error { kind: err.kind(), message: errdefs::chain(&err), source: None }
    }
    /// The same failure under another class.
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }
    /// The same failure with a sentence before it: `prefix: message`.
    pub fn context(mut self, prefix: impl std::fmt::Display) -> Self {
        self.message = format!("{prefix}: {}", self.message);
        self
    }
    /// Docker's sentence for an unknown container.
    pub fn no_such_container(name: &str) -> Self {
        Error::not_found(format!("No such container: {name}"))
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}
