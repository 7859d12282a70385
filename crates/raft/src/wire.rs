//! What managers ask each other, as bytes.
//!
//! ```text
//! version │ lineage │ length │ JSON (what) │ payload (entries, snapshot chunks, transactions)
//! ```
//!
//! Payloads stay the bytes they are in the log. A request of a newer version or of another lineage is
//! refused in words, never misread.

use crate::Peer;
use crate::kinds::{Ballot, Id, LeaderOf, Meta, Origin, RaftEntry};
use crate::log::{payload_bytes, payload_of};
use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use types::NodeId;

/// The version that we speak, and the newest that we understand.
const VERSION: u8 = 1;
const HEAD: usize = 1 + 8 + 4;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Entries (the payload holds their contents), or none: the commit index, a heartbeat.
    Append {
        vote: Ballot,
        prev: Option<Id>,
        commit: Option<Id>,
        entries: Vec<Sent>,
    },
    Vote {
        vote: Ballot,
        last: Option<Id>,
    },
    /// Would you vote for me? Changes nothing.
    Poll {
        last: Option<Id>,
    },
    /// The leader is there.
    Beat(Beat),
    /// Stand for election now: the leader wants to hand over.
    Stand,
    /// One chunk of a snapshot, in the payload.
    Chunk {
        vote: Ballot,
        meta: Meta,
        offset: u64,
        total: u64,
    },
    /// Transactions as JSON in the payload, for the leader of that leadership only. Proposals of the
    /// same manager below `floor` are settled there.
    Propose {
        leader: LeaderOf,
        from: Origin,
        floor: u64,
        count: usize,
    },
    /// The index that a read must see.
    ReadIndex,
    Add(Peer),
    Remove(NodeId),
    Transfer,
    /// You are not a manager any more, says this entry of the log.
    Removed {
        by: Id,
    },
}

/// The head of an entry on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sent {
    id: Id,
    kind: u8,
    bytes: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Beat {
    pub(crate) vote: Ballot,
    /// How long the leader's disk has stood still, ms.
    pub(crate) stalled_ms: u64,
    pub(crate) last: Option<Id>,
    /// The members that the leader hears, by number.
    pub(crate) reachable: Vec<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Reply {
    Append(Appended),
    Vote {
        vote: Ballot,
        granted: bool,
        last: Option<Id>,
    },
    Poll {
        agrees: bool,
        /// It hears no leader.
        quiet: bool,
        last: Option<Id>,
        term: u64,
    },
    Beat {
        vote: Ballot,
        applied: Option<Id>,
        full: bool,
    },
    Done,
    Chunk {
        vote: Ballot,
        have: u64,
    },
    Written(Option<Id>),
    Index(Option<Id>),
    /// Not the leader (of that leadership): nothing was done.
    NotLeader,
    /// It is not known whether it will be written.
    Unknown,
    /// The disk is full: nothing was done.
    Full {
        node: NodeId,
    },
    TooLarge,
    /// Of another cluster, or from before this one was made anew.
    Stranger,
    /// The sender was taken out of the cluster, says this entry of the log.
    Removed {
        by: Id,
    },
    Quorum,
    NotMember(NodeId),
    Unreachable {
        addr: String,
        why: String,
    },
    AddressTaken {
        node: NodeId,
        addr: String,
    },
    Failed(String),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Appended {
    Success,
    Partial(Option<Id>),
    Conflict,
    Higher(Ballot),
}

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadMessage {
    #[error("a message of version {0}, newer than {VERSION}")]
    Newer(u8),
    #[error("a message that cannot be read")]
    Unreadable,
}

pub(crate) fn encode(lineage: u64, what: &impl Serialize, payload: &[Bytes]) -> Bytes {
    let json = serde_json::to_vec(what).unwrap_or_default();
    let size: usize = payload.iter().map(Bytes::len).sum();
    let mut bytes = BytesMut::with_capacity(HEAD + json.len() + size);
    bytes.put_u8(VERSION);
    bytes.put_u64_le(lineage);
    bytes.put_u32_le(json.len() as u32);
    bytes.put_slice(&json);
    payload.iter().for_each(|part| bytes.put_slice(part));
    bytes.freeze()
}

/// Lineage, message, payload.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &Bytes) -> Result<(u64, T, Bytes), BadMessage> {
    match bytes.first() {
        Some(&version) if version > VERSION => return Err(BadMessage::Newer(version)),
        _ if bytes.len() < HEAD => return Err(BadMessage::Unreadable),
        _ => {}
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let (lineage, length) = (number(1, 9), number(9, HEAD) as usize);
    let json = bytes.get(HEAD..HEAD.saturating_add(length)).ok_or(BadMessage::Unreadable)?;
    let what = serde_json::from_slice(json).map_err(|_| BadMessage::Unreadable)?;
    Ok((lineage, what, bytes.slice(HEAD + length..)))
}

pub(crate) fn pack_entries(entries: &[RaftEntry]) -> (Vec<Sent>, Vec<Bytes>) {
    let contents = entries.iter().map(|entry| payload_bytes(&entry.payload));
    let sent = entries.iter().zip(contents).map(|(entry, (kind, bytes))| {
        (Sent { id: entry.log_id, kind, bytes: bytes.len() as u32 }, bytes)
    });
    sent.unzip()
}

pub(crate) fn unpack_entries(
    sent: &[Sent],
    mut payload: Bytes,
) -> Result<Vec<RaftEntry>, BadMessage> {
    let mut entries = Vec::with_capacity(sent.len());
    for Sent { id, kind, bytes } in sent {
        if payload.len() < *bytes as usize {
            return Err(BadMessage::Unreadable);
        }
        let content = payload.split_to(*bytes as usize);
        let payload = payload_of(*kind, content).ok_or(BadMessage::Unreadable)?;
        entries.push(RaftEntry { log_id: *id, payload });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_and_newer_or_cut_ones_are_refused() {
        let payload = [Bytes::from_static(b"pay"), Bytes::from_static(b"load")];
        let bytes = encode(7, &Request::ReadIndex, &payload);
        let (lineage, request, rest) = decode::<Request>(&bytes).unwrap();
        assert!(matches!(request, Request::ReadIndex));
        assert_eq!((lineage, rest), (7, Bytes::from_static(b"payload")));
        for cut in 0..HEAD + 3 {
            assert!(decode::<Request>(&bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        let mut newer = bytes.to_vec();
        newer[0] = 9;
        assert!(matches!(decode::<Request>(&newer.into()), Err(BadMessage::Newer(9))));
    }
}
