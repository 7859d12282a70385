//! The replicated log: one [`store::Store`] on every manager, changed in the same order everywhere.
//!
//! The consensus is openraft's, behind types of our own; log, snapshots, encryption at rest, elections'
//! timing, forwarding and batching are ours. It knows no service, task or network: transactions go in,
//! snapshots come out. How bytes reach another manager is the caller's ([`Peers`]).
//!
//! ```text
//! propose ─► batch ─► (forward to the leader) ─► log, fdatasync ─► a majority has it ─► applied here
//! read    ─► ask the leader for its index ─► wait until it is applied here ─► snapshot
//! ```

mod archive;
mod beat;
mod disk;
mod elect;
mod error;
mod keep;
mod keys;
mod kinds;
mod log;
mod machine;
mod member;
mod network;
mod node;
mod options;
mod propose;
mod raft;
mod read;
mod seal;
mod serve;
mod snapshots;
mod storage;
mod wire;

pub use archive::{Archive, inspect, open_archive};
pub use error::{Error, ProposeError};
pub use keys::{Keys, KeysError};
pub use options::{Options, Peer, Peers, Tuning};
pub use raft::{Leadership, Member, Raft};
