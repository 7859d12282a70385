//! What a manager's Raft is started with.

use crate::Keys;
use async_trait::async_trait;
use bytes::Bytes;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use types::NodeId;

/// Where one manager keeps its log, who it is and how it reaches the others.
#[derive(Clone)]
pub struct Options {
    /// Log and snapshots. Nothing else may write there.
    pub dir: PathBuf,
    pub node: NodeId,
    /// The address at which the others reach this manager, `host:port`.
    pub addr: String,
    pub keys: Keys,
    pub peers: Arc<dyn Peers>,
    pub tuning: Tuning,
}

/// Another manager, as the membership names it.
#[derive(
    Debug,
    Clone,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Peer {
    pub node: NodeId,
    /// `host:port`.
    pub addr: String,
}

/// Carries opaque requests to another manager's [`crate::Raft::handle`].
///
/// An error means that it is unknown whether the request arrived. A request may be lost, delayed or come
/// twice; none of that breaks anything. Calls are given up (dropped) when their time is over. Most
/// requests are a few hundred bytes; the largest carry one log entry or one chunk of a snapshot and stay
/// under [`Tuning::max_message`].
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    async fn call(&self, to: &Peer, request: Bytes) -> io::Result<Bytes>;
}

/// Times and sizes. The defaults suit managers in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// How often the leader says that it is there.
    pub beat: Duration,
    /// How long a follower hears nothing before it asks to be elected: at least this, and up to half
    /// as much again by chance. It must leave room for a busy machine, and it bounds fail-over.
    pub election: Duration,
    /// How long the leader's disk may stand still before the others choose another leader.
    pub stall: Duration,
    /// How long a proposal or a read is tried before it fails.
    pub patience: Duration,
    /// Snapshot after this many entries…
    pub snapshot_entries: u64,
    /// … or this many bytes of log, whichever comes first.
    pub snapshot_bytes: u64,
    /// Entries kept behind the snapshot for followers that lag a little.
    pub kept_entries: u64,
    /// Bytes of log in one file.
    pub segment_bytes: u64,
    /// No message is longer than this, and so no transaction.
    pub max_message: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            beat: Duration::from_millis(200),
            election: Duration::from_millis(900),
            stall: Duration::from_millis(1500),
            patience: Duration::from_secs(20),
            snapshot_entries: 10_000,
            snapshot_bytes: 32 << 20,
            kept_entries: 1_000,
            segment_bytes: 8 << 20,
            max_message: 64 << 20,
        }
    }
}
