//! What can fail between the engine and a container, in Docker's words where clients see them.

use errdefs::{Classify, ErrorKind};
use std::io;
use std::path::PathBuf;

/// A failure of an operation on a container.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Seccomp is missing: starting containers without it would silently drop a defence.
    #[error("seccomp is not available in this kernel or this build")]
    NoSeccomp,
    /// The seccomp profile names something libseccomp does not know.
    #[error("failed to compile the seccomp profile")]
    Seccomp(#[source] crate::seccomp::CompileError),
    /// A file of the run directory.
    #[error("failed to {action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The specification cannot be written as JSON.
    #[error("failed to encode the container's specification")]
    Encode(#[source] serde_json::Error),
    /// The shim did not come up or went away in the middle of a request.
    #[error("failed to {action}: the container's shim does not answer")]
    Shim {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    /// The OCI runtime refused; `message` is complete and in dockerd's form. `exit_code` is what the
    /// container's state and the client's own exit code shall be (126, 127 or 128).
    #[error("{message}")]
    Oci { message: String, exit_code: i64 },
    /// The shim refused: no such exec, not running, wrong state.
    #[error("{0}")]
    Refused(String),
    /// The named exec or descriptor is not there (any more).
    #[error("{what} {name} not found")]
    NotFound { what: &'static str, name: String },
}

impl RuntimeError {
    /// The exit code to record for a container or exec that failed with this error.
    pub fn exit_code(&self) -> i64 {
        match self {
            RuntimeError::Oci { exit_code, .. } => *exit_code,
            _ => 128,
        }
    }
}

impl Classify for RuntimeError {
    fn kind(&self) -> ErrorKind {
        match self {
            // dockerd answers 400 when the command cannot be run, 500 to other runtime failures.
            RuntimeError::Oci { exit_code: 126 | 127, .. } => ErrorKind::InvalidParameter,
            RuntimeError::NotFound { .. } => ErrorKind::NotFound,
            RuntimeError::Refused(_) => ErrorKind::Conflict,
            RuntimeError::NoSeccomp
            | RuntimeError::Seccomp(_)
            | RuntimeError::File { .. }
            | RuntimeError::Encode(_)
            | RuntimeError::Shim { .. }
            | RuntimeError::Oci { .. } => ErrorKind::System,
        }
    }
}
