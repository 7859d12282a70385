//! Why a transaction was refused, in the words SwarmKit's managers use: clients match on them.

use crate::Kind;
use errdefs::{Classify, ErrorKind};
use types::swarm::task::TaskState;

/// A refused transaction. Nothing of it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("rpc error: code = NotFound desc = {kind} {id} not found")]
    NotFound { kind: Kind, id: String },
    /// An object of this id is there already.
    #[error("rpc error: code = AlreadyExists desc = object already exists: {kind} {id}")]
    Exists { kind: Kind, id: String },
    #[error(
        "rpc error: code = AlreadyExists desc = name conflicts with an existing object: {kind} {name} already exists"
    )]
    NameConflict { kind: Kind, name: String },
    /// The same for secrets, configs and networks, whose managers say less.
    #[error("rpc error: code = AlreadyExists desc = {kind} {name} already exists")]
    NameTaken { kind: Kind, name: String },
    /// The object has changed since the writer read it.
    #[error("rpc error: code = Unknown desc = update out of sequence")]
    OutOfSequence { kind: Kind, id: String },
    #[error(
        "rpc error: code = InvalidArgument desc = {kind} '{name}' is in use by the following {}: {}",
        if services.len() == 1 { "service" } else { "services" },
        services.join(", ")
    )]
    InUse { kind: Kind, name: String, services: Vec<String> },
    #[error(
        "rpc error: code = FailedPrecondition desc = network {network} is in use by {user} {id}"
    )]
    NetworkInUse { network: String, user: Kind, id: String },
    #[error(
        "rpc error: code = InvalidArgument desc = {kind}{} not found: {}",
        if names.len() == 1 { "" } else { "s" },
        names.join(", ")
    )]
    MissingReference { kind: Kind, names: Vec<String> },
    #[error("rpc error: code = Unimplemented desc = renaming services is not supported")]
    Rename,
    #[error("rpc error: code = Unimplemented desc = service mode change is not allowed")]
    ModeChange,
    #[error("rpc error: code = InvalidArgument desc = only updates to Labels are allowed")]
    OnlyLabels,
    /// A state that is behind the one the store holds.
    #[error("task {task} cannot go back from {from:?} to {to:?}")]
    WentBack { task: String, from: TaskState, to: TaskState },
    /// A field that is written once was written again.
    #[error("task {task} cannot change its {field}")]
    WrittenTwice { task: String, field: &'static str },
    /// A report from a node that the task is not assigned to.
    #[error("task {task} is not assigned to node {node}")]
    NotAssigned { task: String, node: String },
}

impl Classify for StoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            StoreError::NotFound { .. } => ErrorKind::NotFound,
            StoreError::Exists { .. }
            | StoreError::NameConflict { .. }
            | StoreError::NameTaken { .. } => ErrorKind::Conflict,
            StoreError::InUse { .. }
            | StoreError::NetworkInUse { .. }
            | StoreError::MissingReference { .. }
            | StoreError::OnlyLabels => ErrorKind::InvalidParameter,
            StoreError::Rename | StoreError::ModeChange => ErrorKind::NotImplemented,
            StoreError::OutOfSequence { .. }
            | StoreError::WentBack { .. }
            | StoreError::WrittenTwice { .. }
            | StoreError::NotAssigned { .. } => ErrorKind::System,
        }
    }
}
