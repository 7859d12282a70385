//! Why the cluster could not give something.

use errdefs::{Classify, ErrorKind};
use types::ServiceId;
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
}

impl Classify for ClusterAllocError {
    fn kind(&self) -> ErrorKind {
        match self {
            ClusterAllocError::OutOfRange { .. } | ClusterAllocError::PortInUse { .. } => {
                ErrorKind::InvalidParameter
            }
            ClusterAllocError::InUse { .. } | ClusterAllocError::Vni(_) => ErrorKind::Conflict,
            ClusterAllocError::BlocksExhausted { .. }
            | ClusterAllocError::VipsExhausted { .. }
            | ClusterAllocError::PortsExhausted { .. }
            | ClusterAllocError::VnisExhausted => ErrorKind::System,
        }
    }
}
