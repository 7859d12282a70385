//! What cannot be turned into a specification, and what was turned into less than was asked for.

use errdefs::{Classify, ErrorKind};

/// The request makes no sense; in dockerd's words.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("invalid {field}: unknown capability: {name:?}")]
    UnknownCapability { field: &'static str, name: String },
    #[error("invalid --security-opt 1: {0:?}")]
    SecurityOption(String),
    #[error("invalid --security-opt 2: {0:?}")]
    SecurityOptionKey(String),
    #[error("Decoding seccomp profile failed")]
    SeccompProfile(#[source] serde_json::Error),
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
    #[error("Unable to find group {0}")]
    UnknownAdditionalGroup(String),
    #[error("uids and gids must be in range 0-2147483647")]
    IdRange,
    #[error("invalid device cgroup rule: {0:?}")]
    DeviceRule(String),
    #[error("invalid ulimit type: {0}")]
    Ulimit(String),
    #[error("the specification is not valid")]
    Invalid(#[source] serde_json::Error),
}

impl Classify for SpecError {
    fn kind(&self) -> ErrorKind {
        match self {
            SpecError::UnknownCapability { .. }
            | SpecError::SecurityOption(_)
            | SpecError::SecurityOptionKey(_)
            | SpecError::SeccompProfile(_)
            | SpecError::DeviceRule(_)
            | SpecError::Ulimit(_)
            | SpecError::IdRange
            | SpecError::UnknownUser(_)
            | SpecError::UnknownGroup(_)
            | SpecError::UnknownAdditionalGroup(_) => ErrorKind::InvalidParameter,
            SpecError::Invalid(_) => ErrorKind::System,
        }
    }
}

/// Something this machine cannot give; the container runs without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    #[error("The daemon lacks {}; the container runs without.", .0.join(", "))]
    Capabilities(Vec<String>),
    #[error("The daemon may not raise ulimit {name} above {given}; {asked} was asked for.")]
    Ulimit { name: String, asked: i64, given: u64 },
    #[error("The daemon may not lower the OOM score adjustment to {asked}; {given} is used.")]
    OomScore { asked: i64, given: i64 },
    #[error(
        "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
    )]
    SwapLimit,
    #[error("Your kernel does not support {} or the cgroup is not mounted. {} discarded.", .0.0, .0.1)]
    Discarded((&'static str, &'static str)),
}
