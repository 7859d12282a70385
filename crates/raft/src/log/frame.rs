//! The log's bytes: segments of frames, frames of records. Pure.
//!
//! ```text
//! segment  header (64 B: magic, format, key, number, first frame) │ frame │ frame │ zeros …
//! frame    magic, length, sequence, crc of body, crc of header    │ body, sealed
//! body     record │ record │ …                                      what one write made durable
//! ```
//!
//! Frames count up through all segments. A frame is written and made durable before the next is begun, so
//! that only the very last one can be torn: a bad frame with a good one behind it is damage, not a crash.

use crate::kinds::{Ballot, Batch, Id, Members, RaftEntry};
use bytes::Bytes;
use openraft::{EntryPayload, LeaderId, Vote};

/// The form of segments and records that we write, and the newest that we read.
pub(crate) const FORMAT: u32 = 1;
pub(crate) const SEGMENT_HEADER: usize = 64;
pub(crate) const FRAME_HEADER: usize = 24;
const SEGMENT_MAGIC: &[u8; 8] = b"SMPNLOG\0";
const FRAME_MAGIC: [u8; 4] = *b"FRAM";

/// What a segment says at its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) number: u64,
    pub(crate) key: u32,
    /// The sequence number of its first frame.
    pub(crate) first: u64,
}

/// Why a head cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHead {
    Newer(u32),
    Broken,
}

impl Head {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.key.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
    pub(crate) fn decode(bytes: &[u8]) -> Result<Head, BadHead> {
        let bytes = bytes.first_chunk::<SEGMENT_HEADER>().ok_or(BadHead::Broken)?;
        let mut reader = Reader(&bytes[8..]);
        let (format, key) = (reader.u32(), reader.u32());
        let (number, first) = (reader.u64(), reader.u64());
        let crc = Reader(&bytes[60..]).u32();
        if &bytes[..8] != SEGMENT_MAGIC || crc != Some(crc32fast::hash(&bytes[..60])) {
            return Err(BadHead::Broken);
        }
        match (format, key, number, first) {
            (Some(format), ..) if format > FORMAT => Err(BadHead::Newer(format)),
            (_, Some(key), Some(number), Some(first)) => Ok(Head { number, key, first }),
            _ => Err(BadHead::Broken),
        }
    }
}

/// Puts a sealed body into its frame.
pub(crate) fn frame(sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME_HEADER + body.len());
    bytes.extend_from_slice(&FRAME_MAGIC);
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A whole frame: where it begins and its sealed body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) sequence: u64,
    pub(crate) offset: usize,
    pub(crate) body: &'a [u8],
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// After this byte there are zeros only.
    Clean(usize),
    /// From this byte on lies a frame that was not finished; nothing good follows.
    Torn(usize),
    /// At this byte is a bad frame, and good ones follow.
    Damaged(usize),
}

/// The frames of a segment in order, from sequence number `first`.
pub(crate) fn scan(bytes: &[u8], first: u64) -> (Vec<Frame<'_>>, End) {
    let (mut frames, mut at, mut expected) = (Vec::new(), SEGMENT_HEADER, first);
    while let Some(frame) = frame_at(bytes, at).filter(|frame| frame.sequence == expected) {
        at += FRAME_HEADER + frame.body.len();
        expected += 1;
        frames.push(frame);
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let end = if rest.iter().all(|byte| *byte == 0) {
        End::Clean(at)
    } else if follows(bytes, at, expected) {
        End::Damaged(at)
    } else {
        End::Torn(at)
    };
    (frames, end)
}

/// The frame that begins at `at`, if it is whole.
pub(crate) fn frame_at(bytes: &[u8], at: usize) -> Option<Frame<'_>> {
    let header = bytes.get(at..at.checked_add(FRAME_HEADER)?)?;
    let (checked, _) = header.split_at(FRAME_HEADER - 4);
    let mut reader = Reader(header.get(4..)?);
    let (length, sequence) = (reader.u32()? as usize, reader.u64()?);
    let (body_crc, header_crc) = (reader.u32()?, reader.u32()?);
    if !header.starts_with(&FRAME_MAGIC) || crc32fast::hash(checked) != header_crc {
        return None;
    }
    let body = bytes.get(at + FRAME_HEADER..(at + FRAME_HEADER).checked_add(length)?)?;
    (crc32fast::hash(body) == body_crc).then_some(Frame { sequence, offset: at, body })
}

/// Whether a whole frame of a later number begins anywhere behind `at`.
fn follows(bytes: &[u8], at: usize, expected: u64) -> bool {
    let places = at + 1..bytes.len().saturating_sub(FRAME_HEADER);
    places
        .filter(|place| bytes[*place..].starts_with(&FRAME_MAGIC))
        .filter_map(|place| frame_at(bytes, place))
        .any(|frame| frame.sequence > expected)
}

/// One thing the log remembers.
#[derive(Debug, Clone)]
pub(crate) enum Record {
    Entry(RaftEntry),
    /// Entries from this index on are void.
    Truncate(u64),
    Vote(Ballot),
    Committed(Id),
    /// Entries up to here are in a snapshot.
    Purged(Id),
    State(State),
}

/// What is neither an entry nor openraft's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Drawn when the cluster was made, or made anew from one manager's disk: managers of another
    /// lineage are strangers. 0: not known yet.
    pub(crate) lineage: u64,
    /// The log lost its end: entries and votes that others count on may be gone.
    pub(crate) lost: bool,
    /// And not by a write that a crash interrupted, which nobody counts on yet: a disk that keeps its
    /// word does not do that.
    pub(crate) cut: bool,
}

impl Record {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Record::Entry(entry) => {
                out.push(1);
                put_id(out, &entry.log_id);
                let (kind, payload) = payload_bytes(&entry.payload);
                out.push(kind);
                out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
                out.extend_from_slice(&payload);
            }
            Record::Truncate(since) => {
                out.push(2);
                out.extend_from_slice(&since.to_le_bytes());
            }
            Record::Vote(vote) => {
                out.push(3);
                out.extend_from_slice(&vote.leader_id.term.to_le_bytes());
                out.extend_from_slice(&vote.leader_id.node_id.to_le_bytes());
                out.push(u8::from(vote.committed));
            }
            Record::Committed(id) => {
                out.push(4);
                put_id(out, id);
            }
            Record::Purged(id) => {
                out.push(5);
                put_id(out, id);
            }
            Record::State(state) => {
                out.push(6);
                out.extend_from_slice(&state.lineage.to_le_bytes());
                out.push(u8::from(state.lost) | u8::from(state.cut) << 1);
            }
        }
    }

    /// The records of one opened body; `None` when it is not ours.
    pub(crate) fn decode_all(body: Bytes) -> Option<Vec<Record>> {
        let (mut records, mut reader) = (Vec::new(), Reader(&body));
        while let Some(kind) = reader.u8() {
            records.push(match kind {
                1 => {
                    let log_id = reader.id()?;
                    let kind = reader.u8()?;
                    let length = reader.u32()? as usize;
                    let bytes = body.slice_ref(reader.take(length)?);
                    Record::Entry(RaftEntry { log_id, payload: payload_of(kind, bytes)? })
                }
                2 => Record::Truncate(reader.u64()?),
                3 => {
                    let leader_id = LeaderId { term: reader.u64()?, node_id: reader.u64()? };
                    Record::Vote(Vote { leader_id, committed: reader.u8()? == 1 })
                }
                4 => Record::Committed(reader.id()?),
                5 => Record::Purged(reader.id()?),
                6 => {
                    let (lineage, bits) = (reader.u64()?, reader.u8()?);
                    Record::State(State { lineage, lost: bits & 1 != 0, cut: bits & 2 != 0 })
                }
                _ => return None,
            });
        }
        Some(records)
    }
}

/// An entry's content as its kind and bytes, the same on disk and wire.
pub(crate) fn payload_bytes(payload: &EntryPayload<crate::kinds::Kinds>) -> (u8, Bytes) {
    match payload {
        EntryPayload::Blank => (0, Bytes::new()),
        EntryPayload::Normal(batch) => (1, batch.bytes().clone()),
        EntryPayload::Membership(members) => {
            (2, serde_json::to_vec(members).unwrap_or_default().into())
        }
    }
}

/// The other way.
pub(crate) fn payload_of(kind: u8, bytes: Bytes) -> Option<EntryPayload<crate::kinds::Kinds>> {
    match kind {
        0 => Some(EntryPayload::Blank),
        1 => Some(EntryPayload::Normal(Batch::from_bytes(bytes))),
        2 => {
            let members: Members = serde_json::from_slice(&bytes).ok()?;
            Some(EntryPayload::Membership(members))
        }
        _ => None,
    }
}

fn put_id(out: &mut Vec<u8>, id: &Id) {
    out.extend_from_slice(&id.leader_id.term.to_le_bytes());
    out.extend_from_slice(&id.leader_id.node_id.to_le_bytes());
    out.extend_from_slice(&id.index.to_le_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
    fn id(&mut self) -> Option<Id> {
        let leader_id = openraft::CommittedLeaderId::new(self.u64()?, self.u64()?);
        Some(Id { leader_id, index: self.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(bodies: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Head { number: 3, key: 1, first: 10 }.encode().to_vec();
        for (place, body) in bodies.iter().enumerate() {
            bytes.extend(frame(10 + place as u64, body));
        }
        bytes
    }

    #[test]
    fn whole_frames_are_found_and_zeros_behind_them_are_the_end() {
        let mut bytes = segment(&[b"one", b"two"]);
        let end = bytes.len();
        bytes.resize(end + 100, 0);
        let (frames, found) = scan(&bytes, 10);
        assert_eq!(frames.iter().map(|frame| frame.body).collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!(found, End::Clean(end));
        assert_eq!(Head::decode(&bytes).unwrap(), Head { number: 3, key: 1, first: 10 });
    }

    #[test]
    fn every_cut_of_the_last_frame_is_a_torn_end() {
        let whole = segment(&[b"one", b"two"]);
        let second = segment(&[b"one"]).len();
        for cut in second + 1..whole.len() {
            let (frames, end) = scan(&whole[..cut], 10);
            assert_eq!((frames.len(), end), (1, End::Torn(second)), "cut at {cut}");
        }
        assert_eq!(scan(&whole[..second], 10).1, End::Clean(second));
    }

    #[test]
    fn any_flipped_bit_before_a_good_frame_is_damage() {
        let whole = segment(&[b"one", b"two"]);
        let second = segment(&[b"one"]).len();
        for byte in SEGMENT_HEADER..second {
            let mut bytes = whole.clone();
            bytes[byte] ^= 0x10;
            assert_eq!(scan(&bytes, 10).1, End::Damaged(SEGMENT_HEADER), "byte {byte}");
        }
        let mut wiped = whole;
        wiped[SEGMENT_HEADER..second].fill(0);
        assert_eq!(scan(&wiped, 10).1, End::Damaged(SEGMENT_HEADER));
    }

    #[test]
    fn heads_of_newer_releases_and_broken_ones_are_told_apart() {
        let mut bytes = Head { number: 1, key: 1, first: 1 }.encode();
        bytes[8] = 9;
        assert_eq!(Head::decode(&bytes), Err(BadHead::Broken));
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Head::decode(&bytes), Err(BadHead::Newer(9)));
        assert_eq!(Head::decode(&bytes[..30]), Err(BadHead::Broken));
    }

    #[test]
    fn records_come_back_as_they_were() {
        let id = Id { leader_id: openraft::CommittedLeaderId::new(4, 5), index: 6 };
        let batch = Batch::from_bytes(Bytes::from_static(b"payload"));
        let records = [
            Record::Entry(RaftEntry { log_id: id, payload: EntryPayload::Normal(batch) }),
            Record::Entry(RaftEntry { log_id: id, payload: EntryPayload::Blank }),
            Record::Truncate(7),
            Record::Vote(Vote { leader_id: LeaderId { term: 8, node_id: 9 }, committed: true }),
            Record::Committed(id),
            Record::Purged(id),
            Record::State(State { lineage: 11, lost: true, cut: true }),
        ];
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        let again = Record::decode_all(bytes.clone().into()).unwrap();
        let mut twice = Vec::new();
        again.iter().for_each(|record| record.encode(&mut twice));
        assert_eq!((again.len(), &twice), (records.len(), &bytes));
        bytes.pop();
        assert!(Record::decode_all(bytes.into()).is_none());
    }
}
