//! Why a placement wish cannot be read.

use errdefs::{Classify, ErrorKind};
use types::swarm::constraint::ConstraintError;

/// A wish that no scheduler can read; the API refuses the spec with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// SwarmKit's words, alone.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    #[error(
        "operator '{0}' of a placement constraint is not one of UNIQUE, CLUSTER, GROUP_BY, LIKE, UNLIKE, MAX_PER"
    )]
    Operator(String),
    #[error("placement constraint '{0}' is not FIELD OPERATOR [VALUE]")]
    Shape(String),
    #[error("operator {operator} expects a {expected}, not '{value}'")]
    Value { operator: &'static str, expected: &'static str, value: String },
    #[error("an affinity names no service")]
    NoService,
    #[error("attribute '{0}' of an affinity is unknown")]
    Attribute(String),
}

impl Classify for PlacementError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidParameter
    }
}
