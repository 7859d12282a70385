//! Who gets which address: subnets for networks, addresses inside a network.
//!
//! Pure: what is in use comes in as an argument, a refusal goes out in dockerd's words. Nothing here is
//! kept on disk; a space is rebuilt from the endpoints that exist.

pub mod cluster;
mod error;
mod ipam;
mod pool;
mod space;

pub use error::{AllocError, Role};
pub use ipam::{IpamError, check_ipam};
pub use pool::{Pool, PoolError, choose_subnet, default_pools};
pub use space::AddressSpace;
