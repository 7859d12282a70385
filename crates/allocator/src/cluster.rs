//! What the cluster gives out: a network's VIPs and its nodes' blocks, published ports, VNIs.
//!
//! [`Allocator`] keeps all the books together, follows the store's objects and answers with what to write. Each
//! book is rebuilt from what the store's objects say they hold (`claim`), and gives the lowest that is free: the
//! same objects give the same answer on every manager. Refusals say what ran out and how to widen it.

mod allocator;
mod blocks;
mod error;
mod network;
mod ports;
mod vni;

pub use allocator::{Allocator, DEFAULT_POOL, DEFAULT_SUBNET_SIZE};
pub use blocks::{BLOCK_PREFIX, NetworkBlocks};
pub use error::ClusterAllocError;
pub use ports::{DYNAMIC_PORTS, PublishedPorts};
pub use vni::{FIRST_VNI, Vnis};
