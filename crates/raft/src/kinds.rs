//! What openraft is made of here, and what one log entry of ours holds.
//!
//! A batch is the transactions that several callers proposed, written once as JSON by the leader (a
//! version byte first) and carried as those bytes through logs and wires. It names its callers, so that
//! each finds its own outcome when the batch is applied on its manager, and the leader that wrote it: a
//! batch that another leader than that one got into the log is void everywhere. That is what makes a
//! proposal safe to repeat: it counts in one leadership only.

use crate::Peer;
use bytes::Bytes;
use openraft::{CommittedLeaderId, LogId, Membership, Vote};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::{Arc, OnceLock};
use store::Transaction;
use types::Timestamp;

openraft::declare_raft_types!(
    pub(crate) Kinds:
        D = Batch,
        R = (),
        NodeId = u64,
        Node = Peer,
        SnapshotData = Image,
);

pub(crate) type RaftEntry = openraft::Entry<Kinds>;
pub(crate) type Id = LogId<u64>;
pub(crate) type Ballot = Vote<u64>;
pub(crate) type LeaderOf = CommittedLeaderId<u64>;
pub(crate) type Members = Membership<u64, Peer>;
pub(crate) type Meta = openraft::SnapshotMeta<u64, Peer>;
pub(crate) type StoredMembers = openraft::StoredMembership<u64, Peer>;
pub(crate) type Metrics = openraft::RaftMetrics<u64, Peer>;

/// The newest form of a batch that we read, and the one we write.
const FORMAT: u8 = 1;

/// A compressed state of the store, as it travels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image(pub(crate) Bytes);

/// One log entry.
#[derive(Clone)]
pub(crate) struct Batch {
    bytes: Bytes,
    decoded: Arc<OnceLock<Decoded>>,
}

/// Who proposed something: a number that is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// [`types::NodeId::raft_id`].
    pub(crate) node: u64,
    /// Drawn when the manager started.
    pub(crate) boot: u64,
    pub(crate) number: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Proposal {
    pub(crate) from: Origin,
    pub(crate) transactions: Vec<Transaction>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Decoded {
    pub(crate) at: Timestamp,
    /// The leadership in which it counts.
    pub(crate) term: u64,
    pub(crate) leader: u64,
    pub(crate) proposals: Vec<Proposal>,
}

/// Why a log entry cannot be read: a newer release wrote it.
#[derive(Debug, thiserror::Error)]
#[error("a log entry of form {0} cannot be read by this release")]
pub(crate) struct UnknownForm(u8);

impl Batch {
    /// Joins proposals whose transactions are JSON already.
    pub(crate) fn encode(at: Timestamp, leader: &LeaderOf, proposals: &[(Origin, &[u8])]) -> Batch {
        let size: usize = proposals.iter().map(|(_, json)| json.len() + 128).sum();
        let mut bytes = Vec::with_capacity(size + 128);
        bytes.push(FORMAT);
        let (term, node) = (leader.term, leader.node_id);
        let head = format!(r#"{{"at":"{at}","term":{term},"leader":{node},"proposals":["#);
        bytes.extend_from_slice(head.as_bytes());
        for (place, (from, json)) in proposals.iter().enumerate() {
            if place > 0 {
                bytes.push(b',');
            }
            let Origin { node, boot, number } = from;
            let head = format!(
                r#"{{"from":{{"node":{node},"boot":{boot},"number":{number}}},"transactions":"#
            );
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(json);
            bytes.push(b'}');
        }
        bytes.extend_from_slice(b"]}");
        Batch::from_bytes(bytes.into())
    }
    pub(crate) fn from_bytes(bytes: Bytes) -> Batch {
        Batch { bytes, decoded: Arc::default() }
    }
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
    pub(crate) fn decode(&self) -> Result<&Decoded, BadBatch> {
        if let Some(decoded) = self.decoded.get() {
            return Ok(decoded);
        }
        let decoded = match self.bytes.split_first() {
            Some((&FORMAT, json)) => serde_json::from_slice(json)?,
            Some((&form, _)) => return Err(UnknownForm(form).into()),
            None => return Err(UnknownForm(0).into()),
        };
        Ok(self.decoded.get_or_init(|| decoded))
    }
}

/// Why a batch cannot be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadBatch {
    #[error(transparent)]
    Unknown(#[from] UnknownForm),
    #[error("a log entry cannot be read")]
    Json(#[from] serde_json::Error),
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never its bytes: secrets are in them.
        write!(f, "Batch({} bytes)", self.bytes.len())
    }
}

// openraft asks for these; our wire and disk carry the bytes themselves.
impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes)
    }
}
impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Batch, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(|bytes| Batch::from_bytes(bytes.into()))
    }
}
