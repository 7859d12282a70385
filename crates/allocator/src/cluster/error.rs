//! Why the cluster could not give something.

use errdefs::{Classify, ErrorKind};
use types::ServiceId;
use types::six::SixSubnet;
use types::subnet::Subnet;

/// A refused allocation, for the task's or the service's status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterAllocError {
    #[error(
        "network {network} has no free block for a node in {subnet}: recreate it with a larger --subnet, or create networks with a larger --default-addr-pool-mask-length"
    )]
    BlocksExhausted { network: String, subnet: Subnet },
    #[error(
        "network {network} has no free virtual IP in {subnet}: recreate it with a larger --subnet, or use --endpoint-mode dnsrr"
    )]
    VipsExhausted { network: String, subnet: Subnet },
    #[error("address {address} does not belong to network {network} ({subnet})")]
    OutOfRange { network: String, subnet: Subnet, address: String },
    #[error("address {address} of network {network} is already in use")]
    InUse { network: String, address: String },
    /// SwarmKit's words.
    #[error("port '{port}' is already in use by service '{service}' as an ingress port")]
    PortInUse { port: u16, service: ServiceId },
    #[error(
        "no free published port for {protocol} between 30000 and 32767: publish the port under a number of its own"
    )]
    PortsExhausted { protocol: String },
    #[error("all VXLAN network identifiers are in use: remove networks that nothing uses")]
    VnisExhausted,
    #[error("VXLAN network identifier {0} is in use or out of range")]
    Vni(u32),
    #[error(
        "network {network}: no subnet is free in the cluster's address pools: name one with --subnet, or remove networks that nothing uses"
    )]
    SubnetsExhausted { network: String },
    /// Docker's words after the name.
    #[error("network {network}: Pool overlaps with other one on this address space")]
    Overlaps { network: String },
    #[error("network {network}: {what} '{text}' is invalid")]
    Invalid { network: String, what: &'static str, text: String },
    #[error("network {network}: IPv6 subnet {six} has no room for the addresses of {subnet}")]
    SixTooSmall { network: String, six: SixSubnet, subnet: Subnet },
    /// It may come: the caller waits.
    #[error("network {0} not found")]
    NoNetwork(String),
    #[error("network {0} has no subnet yet")]
    NoSubnet(String),
}

impl Classify for ClusterAllocError {
    fn kind(&self) -> ErrorKind {
        match self {
            ClusterAllocError::OutOfRange { .. }
            | ClusterAllocError::PortInUse { .. }
            | ClusterAllocError::SixTooSmall { .. }
            | ClusterAllocError::Invalid { .. } => ErrorKind::InvalidParameter,
            ClusterAllocError::NoNetwork(_) => ErrorKind::NotFound,
            ClusterAllocError::Overlaps { .. } => ErrorKind::Forbidden,
            ClusterAllocError::NoSubnet(_) => ErrorKind::Unavailable,
            ClusterAllocError::InUse { .. } | ClusterAllocError::Vni(_) => ErrorKind::Conflict,
            ClusterAllocError::BlocksExhausted { .. }
            | ClusterAllocError::VipsExhausted { .. }
            | ClusterAllocError::PortsExhausted { .. }
            | ClusterAllocError::SubnetsExhausted { .. }
            | ClusterAllocError::VnisExhausted => ErrorKind::System,
        }
    }
}
