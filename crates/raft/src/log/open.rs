//! From the segments on the disk to a log: a torn end is cut, damage before the end is refused.

use super::frame::{self, BadHead, End, Head, Record, State};
use super::memory::Memory;
use super::writer::{self, Closed, Found, Hard, Place};
use crate::{Error, Keys, seal};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Takes the directory for this process, until the last handle is gone.
pub(super) fn take(dir: &Path) -> Result<File, Error> {
    let failed = |source| Error::Io { action: "lock", path: dir.to_owned(), source };
    let file = File::options().create(true).append(true).open(dir.join("lock")).map_err(failed)?;
    // A raft that was just dropped finishes what it is writing.
    for _ in 0..500 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(Error::InUse(dir.to_owned()))
}

/// Whether a log was ever begun in the directory.
pub(crate) fn exists(dir: &Path) -> io::Result<bool> {
    let files = match segments(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        files => files?,
    };
    if let [(_, only)] = files.as_slice() {
        let bytes = fs::read(only)?;
        let begun = |head: Head| !frame::scan(&bytes, head.first).0.is_empty();
        // Damage is not emptiness: only zeros are.
        return Ok(Head::decode(&bytes).is_ok_and(begun) || bytes.iter().any(|byte| *byte != 0));
    }
    Ok(!files.is_empty())
}

/// The segments of a directory, by number.
fn segments(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("log-"));
        if let Some(number) = number.and_then(|number| u64::from_str_radix(number, 16).ok()) {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// What the segments of `dir` hold together, and where the writer goes on.
pub(super) fn read_all(dir: &Path, keys: &Keys) -> Result<(Memory, Found), Error> {
    let failed = |source| Error::Io { action: "read", path: dir.to_owned(), source };
    let mut files = segments(dir).map_err(failed)?;
    let mut memory = Memory::default();
    let mut found: Option<Found> = None;
    let mut cut = false;
    if let Some((_, path)) = files.last().filter(|_| files.len() > 1)
        && is_cut(&fs::read(path).map_err(failed)?)
    {
        tracing::warn!(path = %path.display(), "a segment of the raft log is cut to nothing");
        fs::remove_file(path).map_err(failed)?;
        files.pop();
        cut = true;
    }
    let last = files.last().map(|(number, _)| *number);
    for (number, path) in files {
        let bytes = fs::read(&path).map_err(failed)?;
        let found_here = Reading { path: &path, keys, is_last: Some(number) == last };
        found = Some(found_here.segment(&bytes, number, found.take(), &mut memory)?);
    }
    let mut found = found.ok_or_else(|| Error::Empty(dir.to_owned()))?;
    memory.hard = found.hard;
    if let Some(purged) = found.hard.purged {
        memory.purge(purged);
    }
    memory.appended = 0;
    memory.evict();
    // Entries are numbered without gaps, from what was purged.
    let first = found.hard.purged.map_or(0, |id| id.index + 1);
    let gap = memory.slots.iter().zip(first..).find(|(slot, index)| slot.id.index != *index);
    if let Some((slot, index)) = gap {
        let what = format!("entry {index} is missing before entry {}", slot.id.index);
        return Err(Error::Damaged { path: dir.to_owned(), at: 0, what });
    }
    found.cut |= cut;
    found.torn |= cut;
    if found.torn {
        let before = found.hard.state;
        found.hard.state = State { lost: true, cut: before.cut || found.cut, ..before };
        memory.hard.state = found.hard.state;
    }
    Ok((memory, found))
}

/// Whether a segment has not even its first frame left, and nothing behind it.
fn is_cut(bytes: &[u8]) -> bool {
    match Head::decode(bytes) {
        Ok(head) => {
            let (frames, end) = frame::scan(bytes, head.first);
            frames.is_empty() && !matches!(end, End::Damaged(_))
        }
        Err(BadHead::Broken) => bytes.len() < frame::SEGMENT_HEADER,
        Err(BadHead::Newer(_)) => false,
    }
}

/// One segment being read.
struct Reading<'a> {
    path: &'a Path,
    keys: &'a Keys,
    is_last: bool,
}

impl Reading<'_> {
    fn segment(
        &self,
        bytes: &[u8],
        number: u64,
        before: Option<Found>,
        memory: &mut Memory,
    ) -> Result<Found, Error> {
        let head = Head::decode(bytes).map_err(|error| match error {
            BadHead::Newer(found) => Error::Newer { path: self.path.to_owned(), found },
            BadHead::Broken => self.damaged(0, "it has no head"),
        })?;
        let expected = before.as_ref().map(|found| (found.head.number + 1, found.sequence));
        if head.number != number || expected.is_some_and(|next| next != (number, head.first)) {
            return Err(self.damaged(0, "what was written before it is missing"));
        }
        let (frames, end) = frame::scan(bytes, head.first);
        let (at, torn) = match end {
            End::Damaged(at) => {
                return Err(self.damaged(at, "a record does not match its checksum"));
            }
            End::Torn(at) if !self.is_last => {
                return Err(self.damaged(at, "a record does not match its checksum"));
            }
            End::Torn(at) => (at, true),
            // A frame begins with its magic: four zeros prove that none was here.
            End::Clean(at) => (at, self.is_last && bytes.len() < at + 4),
        };
        if torn {
            tracing::warn!(path = %self.path.display(), at, "the end of the raft log is missing");
        }
        let key = self.keys.get(head.key).ok_or_else(|| {
            self.damaged(0, &format!("its data key {} is not in the key file", head.key))
        })?;
        let (closed, mut hard) = match before {
            Some(found) => {
                let Found { head, highest, mut closed, hard, .. } = found;
                closed.push(Closed { number: head.number, key: head.key, highest });
                (closed, hard)
            }
            None => (Vec::new(), Hard::default()),
        };
        let mut highest = 0;
        let sequence = head.first + frames.len() as u64;
        for frame in frames {
            let aad = writer::place_of(number, frame.sequence);
            let body = seal::open(&key, &aad, frame.body)
                .map_err(|_| self.damaged(frame.offset, "a record does not open with its key"))?;
            let records = Record::decode_all(body.into())
                .ok_or_else(|| self.damaged(frame.offset, "a record cannot be read"))?;
            let place = Place { segment: number, offset: frame.offset as u64 };
            for record in records {
                hard.take(&record);
                match record {
                    Record::Entry(entry) => {
                        highest = highest.max(entry.log_id.index);
                        memory.truncate(entry.log_id.index);
                        memory.push(&entry);
                        memory.placed(entry.log_id.index..entry.log_id.index + 1, place);
                    }
                    Record::Truncate(since) => memory.truncate(since),
                    Record::Purged(upto) => memory.purge(upto),
                    Record::Vote(_) | Record::Committed(_) | Record::State(_) => {}
                }
            }
        }
        // Space is claimed in whole pieces before it is used.
        let cut = torn && !(bytes.len() as u64).is_multiple_of(writer::PIECE);
        Ok(Found { head, at: at as u64, torn, cut, sequence, highest, closed, hard })
    }

    fn damaged(&self, at: usize, what: &str) -> Error {
        Error::Damaged { path: self.path.to_owned(), at: at as u64, what: what.to_owned() }
    }
}
