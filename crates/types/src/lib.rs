//! The words of the product: ids, time, and Docker's objects as data.
//!
//! One set of types serves the wire and the disk: Docker's JSON is both our API and our record format
//! (see `docs/design/types.md` for why). No behaviour lives here beyond parsing and printing.

pub mod container;
pub mod event;
pub mod ids;
pub mod image;
pub mod json;
pub mod mount;
pub mod network;
pub mod port;
pub mod six;
pub mod stats;
pub mod subnet;
pub mod swarm;
pub mod system;
pub mod time;
pub mod volume;

pub use ids::{
    ClusterId, ConfigId, ContainerId, EndpointId, ExecId, ImageId, NetworkId, NodeId, SecretId,
    ServiceId, TaskId, VolumeId,
};
pub use time::Timestamp;
