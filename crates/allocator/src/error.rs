//! Why an address or a subnet could not be given.

use errdefs::{Classify, ErrorKind};

/// A refused allocation, in dockerd's words (`libnetwork/ipamapi`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocError {
    #[error("all predefined address pools have been fully subnetted")]
    PoolsExhausted,
    #[error("Pool overlaps with other one on this address space")]
    PoolOverlaps,
    #[error("Address already in use")]
    InUse,
    #[error("requested address is out of range")]
    OutOfRange,
    #[error("no available IPv4 addresses on this network's address pools: {name} ({id})")]
    AddressesExhausted { name: String, id: String },
    #[error("failed to allocate {role}: {source}")]
    Reserved { role: Role, source: Box<AllocError> },
}

/// What a network keeps an address for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    Gateway(std::net::Ipv4Addr),
    Auxiliary(String, std::net::Ipv4Addr),
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Role::Gateway(address) => write!(f, "gateway ({address})"),
            Role::Auxiliary(name, address) => write!(f, "secondary ip address ({name}:{address})"),
        }
    }
}

impl Classify for AllocError {
    fn kind(&self) -> ErrorKind {
        match self {
            AllocError::PoolsExhausted | AllocError::OutOfRange => ErrorKind::InvalidParameter,
            AllocError::PoolOverlaps | AllocError::InUse => ErrorKind::Forbidden,
            AllocError::AddressesExhausted { .. } => ErrorKind::System,
            AllocError::Reserved { source, .. } => source.kind(),
        }
    }
}
