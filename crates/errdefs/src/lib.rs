//! The classes of errors that Docker's API knows, and the one trait by which a failure names its class.
//!
//! Every crate keeps its own `thiserror` enum; the edge asks [`Classify::kind`] for the HTTP status and
//! [`chain`] for the text. Nothing here knows HTTP beyond the status number of a class.

use std::error::Error;

/// What went wrong, seen from the caller (moby's `errdefs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request makes no sense as it is (400).
    InvalidParameter,
    /// The credentials were refused (401).
    Unauthorized,
    /// The request is understood and refused (403).
    Forbidden,
    /// The object is not there (404).
    NotFound,
    /// The object's state does not allow it now (409).
    Conflict,
    /// Nothing to do: the object is in the wanted state already (304, no body).
    NotModified,
    /// This engine does not do it (501).
    NotImplemented,
    /// A peer or the cluster cannot be reached now (503).
    Unavailable,
    /// Our own failure (500).
    System,
}

impl ErrorKind {
    /// The HTTP status dockerd gives for this class.
    pub const fn status(self) -> u16 {
        match self {
            ErrorKind::NotModified => 304,
            ErrorKind::InvalidParameter => 400,
            ErrorKind::Unauthorized => 401,
            ErrorKind::Forbidden => 403,
            ErrorKind::NotFound => 404,
            ErrorKind::Conflict => 409,
            ErrorKind::System => 500,
            ErrorKind::NotImplemented => 501,
            ErrorKind::Unavailable => 503,
        }
    }
}

/// An error that knows its class.
pub trait Classify: Error {
    /// The class by which the edge picks a status.
    fn kind(&self) -> ErrorKind;
}

/// The error's text with its causes: `outer: cause: root cause`.
pub fn chain(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::io::Error);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("failed to open the log")
        }
    }
    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_chain_names_every_cause_once() {
        let err = Outer(std::io::Error::other("disk gone"));
        assert_eq!(chain(&err), "failed to open the log: disk gone");
    }
}
