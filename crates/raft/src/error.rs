//! What can go wrong, in SwarmKit's words where clients see it.

use crate::KeysError;
use errdefs::{Classify, ErrorKind};
use std::io;
use std::path::PathBuf;
use types::NodeId;

/// A proposal or read that did not happen, or (only [`ProposeError::Lost`]) may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// No manager leads, and none came to lead in time. Nothing was written.
    #[error(
        "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online."
    )]
    NoLeader,
    /// It is not known whether the transactions were or will be written: the majority was lost while
    /// they were under way. Proposing them again is safe when they carry versions.
    #[error(
        "rpc error: code = DeadlineExceeded desc = the managers lost their majority before the change was confirmed: it may or may not be made"
    )]
    Lost,
    #[error(
        "rpc error: code = Unavailable desc = raft: failed to process the request: node is stopped"
    )]
    ShuttingDown,
    /// The disk of the named manager has no room for the log. Nothing was written.
    #[error(
        "rpc error: code = ResourceExhausted desc = no space left for the log of manager {node}"
    )]
    Full { node: NodeId },
    /// Nothing was written.
    #[error(
        "rpc error: code = InvalidArgument desc = raft: raft message is too large and can't be sent"
    )]
    TooLarge,
    /// The log of this manager failed; it takes no part any more until it is started again.
    #[error("rpc error: code = Internal desc = the log of this manager failed: {0}")]
    Failed(String),
}

impl Classify for ProposeError {
    fn kind(&self) -> ErrorKind {
        match self {
            ProposeError::TooLarge => ErrorKind::InvalidParameter,
            ProposeError::NoLeader
            | ProposeError::Lost
            | ProposeError::ShuttingDown
            | ProposeError::Full { .. }
            | ProposeError::Failed(_) => ErrorKind::Unavailable,
        }
    }
}

/// Opening, changing the membership, saving and restoring.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// There is a log already where an empty directory was expected.
    #[error("{0} holds a raft log already")]
    NotEmpty(PathBuf),
    /// The first entry of a new cluster does not hold.
    #[error("the cluster's first objects were refused")]
    First(#[source] store::StoreError),
    /// There is no log to open.
    #[error("{0} holds no raft log")]
    Empty(PathBuf),
    /// Another process, or a raft of this one that has not ended, works there.
    #[error("{0} is in use by another raft")]
    InUse(PathBuf),
    /// Bytes in the middle of the log or of a snapshot are not those that were written.
    #[error("{path} is damaged at byte {at}: {what}")]
    Damaged { path: PathBuf, at: u64, what: String },
    #[error("{path} was written by a newer release (format {found})")]
    Newer { path: PathBuf, found: u32 },
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error(
        "rpc error: code = FailedPrecondition desc = can't remove member from the raft: this would result in a loss of quorum"
    )]
    Quorum,
    #[error("rpc error: code = NotFound desc = node {0} is not a manager of the raft")]
    NotMember(NodeId),
    /// The new manager could not be reached at its address, or did not catch up in time.
    #[error(
        "rpc error: code = Unavailable desc = could not connect to prospective new cluster member using its advertised address: {addr}: {why}"
    )]
    Unreachable { addr: String, why: String },
    /// Another manager has this address.
    #[error("rpc error: code = AlreadyExists desc = manager {node} already has the address {addr}")]
    AddressTaken { node: NodeId, addr: String },
    #[error("this is not a snapshot of a cluster: {0}")]
    NotArchive(String),
    #[error("raft: {0}")]
    Core(String),
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Propose(source) => source.kind(),
            Error::Keys(KeysError::Locked) => ErrorKind::Unavailable,
            Error::Quorum => ErrorKind::InvalidParameter,
            Error::NotMember(_) => ErrorKind::NotFound,
            Error::Unreachable { .. } => ErrorKind::Unavailable,
            Error::AddressTaken { .. } | Error::NotEmpty(_) | Error::InUse(_) => {
                ErrorKind::Conflict
            }
            Error::NotArchive(_) => ErrorKind::InvalidParameter,
            Error::Io { .. }
            | Error::Keys(_)
            | Error::Empty(_)
            | Error::First(_)
            | Error::Damaged { .. }
            | Error::Newer { .. }
            | Error::Core(_) => ErrorKind::System,
        }
    }
}
