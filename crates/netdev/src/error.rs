//! What can go wrong. Applying goes on after a failure and reports all of them.

use errdefs::{Classify, ErrorKind};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use types::port::Protocol;

/// One step of a plan that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {step}: {source}")]
pub struct Failure {
    /// `create bridge br-0123456789ab`.
    pub step: String,
    pub source: io::Error,
}

/// The plan was applied but for these steps; the next apply tries them again.
#[derive(Debug)]
pub struct ApplyError {
    pub failures: Vec<Failure>,
}

impl std::fmt::Display for ApplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, failure) in self.failures.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{failure}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ApplyError {}

impl Classify for ApplyError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::System
    }
}

/// A sandbox could not be made, entered or removed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} network sandbox {}", path.display())]
pub struct SandboxError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

impl Classify for SandboxError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::System
    }
}

/// A host port could not be had.
#[derive(Debug)]
pub struct PortError {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) errno: nix::errno::Errno,
}

impl std::fmt::Display for PortError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PortError { address, port, protocol, errno } = self;
        // Go writes errors in lower case, and clients look for `address already in use`.
        let reason = errno.desc().to_lowercase();
        let reason = if *errno == nix::errno::Errno::EADDRNOTAVAIL {
            "cannot assign requested address"
        } else {
            &reason
        };
        let at = SocketAddr::new(*address, *port);
        write!(f, "failed to bind host port {at}/{}: {reason}", protocol.as_str())
    }
}

impl PortError {
    /// Another port may be free.
    pub fn is_in_use(&self) -> bool {
        self.errno == nix::errno::Errno::EADDRINUSE
    }

    /// The host does not know the address's family.
    pub fn is_unknown_family(&self) -> bool {
        self.errno == nix::errno::Errno::EAFNOSUPPORT
    }
}

impl std::error::Error for PortError {}

impl Classify for PortError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::System
    }
}
