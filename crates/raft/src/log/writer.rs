//! The one thread that writes the log: appends frames, makes them durable, starts and removes segments.
//!
//! Space is claimed ahead: the segment is filled with zeros a piece at a time, so that a write changes no
//! metadata (one disk flush instead of two) and a full disk is met when space is claimed ([`Writer::reserve`]),
//! never in the middle of an entry. The zeros also prove where the log ended: where none follow the last
//! frame, somebody cut the file.

use super::frame::{self, Head, Record, State};
use crate::disk;
use crate::kinds::{Ballot, Id};
use crate::seal;
use crate::{Error, Keys};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Space is claimed in pieces of this many bytes: large enough that claiming is rare.
pub(super) const PIECE: u64 = 512 << 10;
/// Always left claimed for what cannot wait: votes, a new leader's first entry, the membership.
const SLACK: u64 = 64 << 10;

/// Where an entry lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// A segment that is not written to any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closed {
    pub(super) number: u64,
    pub(super) key: u32,
    /// The highest entry index in it; 0 also when there is none.
    pub(super) highest: u64,
}

/// What every segment repeats at its beginning, so that those before it can go.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hard {
    pub(super) state: State,
    pub(super) vote: Option<Ballot>,
    pub(super) committed: Option<Id>,
    pub(super) purged: Option<Id>,
}

impl Hard {
    fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::State(self.state)];
        records.extend(self.vote.map(Record::Vote));
        records.extend(self.committed.map(Record::Committed));
        records.extend(self.purged.map(Record::Purged));
        records
    }
    pub(super) fn take(&mut self, record: &Record) {
        match record {
            Record::State(state) => self.state = *state,
            Record::Vote(vote) => self.vote = Some(*vote),
            Record::Committed(id) => self.committed = Some(*id),
            Record::Purged(id) => self.purged = Some(*id),
            Record::Entry(_) | Record::Truncate(_) => {}
        }
    }
}

pub(super) struct Writer {
    dir: PathBuf,
    keys: Keys,
    segment_bytes: u64,
    file: File,
    head: Head,
    /// The next byte to write, and how far the file reaches.
    at: u64,
    claimed: u64,
    sequence: u64,
    highest: u64,
    closed: Vec<Closed>,
    hard: Hard,
}

/// How a segment that goes on being written to was found.
pub(super) struct Found {
    pub(super) head: Head,
    pub(super) at: u64,
    /// Something lies behind `at` that must go.
    pub(super) torn: bool,
    /// The file is shorter than it was made.
    pub(super) cut: bool,
    pub(super) sequence: u64,
    pub(super) highest: u64,
    pub(super) closed: Vec<Closed>,
    pub(super) hard: Hard,
}

pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("log-{number:016x}"))
}

/// What is bound into each sealed frame: it opens nowhere else.
pub(super) fn place_of(segment: u64, sequence: u64) -> [u8; 19] {
    let mut place = [0; 19];
    place[..3].copy_from_slice(b"log");
    place[3..11].copy_from_slice(&segment.to_le_bytes());
    place[11..].copy_from_slice(&sequence.to_le_bytes());
    place
}

impl Writer {
    /// The first segment of a new log.
    pub(super) fn create(
        dir: &Path,
        keys: &Keys,
        segment_bytes: u64,
        state: State,
    ) -> Result<Writer, Error> {
        let hard = Hard { state, ..Hard::default() };
        let key = keys.current();
        let head = Head { number: 1, key: key.id, first: 1 };
        let path = path_of(dir, 1);
        let failed = |source| Error::Io { action: "make", path: path.clone(), source };
        let file = disk::create(&path.with_extension("new")).map_err(failed)?;
        let mut writer = Writer {
            dir: dir.to_owned(),
            keys: keys.clone(),
            segment_bytes,
            file,
            head,
            at: 0,
            claimed: 0,
            sequence: 1,
            highest: 0,
            closed: Vec::new(),
            hard,
        };
        writer.begin().map_err(failed)?;
        Ok(writer)
    }

    /// Goes on behind what was found; what lies there (a torn frame) is wiped.
    pub(super) fn resume(
        dir: &Path,
        keys: &Keys,
        segment_bytes: u64,
        found: Found,
    ) -> Result<Writer, Error> {
        let path = path_of(dir, found.head.number);
        let failed = |source| Error::Io { action: "open", path: path.clone(), source };
        let file = File::options().read(true).write(true).open(&path).map_err(failed)?;
        let file_bytes = file.metadata().map_err(failed)?.len();
        if found.torn {
            let rest = file_bytes.saturating_sub(found.at) as usize;
            file.write_all_at(&vec![0; rest], found.at).map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        let mut writer = Writer {
            dir: dir.to_owned(),
            keys: keys.clone(),
            segment_bytes,
            file,
            head: found.head,
            at: found.at,
            claimed: file_bytes,
            sequence: found.sequence,
            highest: found.highest,
            closed: found.closed,
            hard: found.hard,
        };
        match writer.claim(SLACK) {
            // A full disk must not keep a manager from starting: it can still be read and emptied.
            Err(error) if !disk::is_full(&error) => Err(failed(error)),
            _ => Ok(writer),
        }
    }

    /// Makes sure that `bytes` more of records fit without asking the disk for space.
    pub(super) fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        if self.at >= self.segment_bytes || self.keys.current().id != self.head.key {
            self.roll()?;
        }
        self.claim(bytes + SLACK)
    }

    /// Writes records as one frame. Durable when it returns.
    pub(super) fn write(&mut self, records: &[Record]) -> io::Result<Place> {
        self.take_key()?;
        let mut body = Vec::new();
        for record in records {
            record.encode(&mut body);
            self.hard.take(record);
            if let Record::Entry(entry) = record {
                self.highest = self.highest.max(entry.log_id.index);
            }
        }
        let offset = self.at;
        self.put(&body)?;
        self.file.sync_data()?;
        Ok(Place { segment: self.head.number, offset })
    }

    /// Removes the segments that hold nothing but entries up to `upto`. The log says so first.
    pub(super) fn purge(&mut self, upto: Id) -> io::Result<()> {
        self.write(&[Record::Purged(upto)])?;
        if self.at >= self.segment_bytes {
            // Best effort: without space the segment goes on for a while.
            let _ = self.roll();
        }
        while let Some(oldest) = self.closed.first().filter(|oldest| oldest.highest <= upto.index) {
            match fs::remove_file(path_of(&self.dir, oldest.number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.closed.remove(0),
            };
        }
        Ok(())
    }

    /// The oldest data key that is still needed to read the log.
    pub(super) fn oldest_key(&self) -> u32 {
        self.closed.iter().map(|closed| closed.key).chain([self.head.key]).min().unwrap_or(0)
    }

    /// Goes on under the current data key.
    pub(super) fn take_key(&mut self) -> io::Result<()> {
        match self.keys.current().id == self.head.key {
            true => Ok(()),
            false => self.roll(),
        }
    }

    /// Begins a new segment. On a failure the old one goes on.
    fn roll(&mut self) -> io::Result<()> {
        let head = Head {
            number: self.head.number + 1,
            key: self.keys.current().id,
            first: self.sequence,
        };
        let path = path_of(&self.dir, head.number);
        let file = disk::create(&path.with_extension("new"))?;
        let old = Closed { number: self.head.number, key: self.head.key, highest: self.highest };
        let before = (
            std::mem::replace(&mut self.file, file),
            std::mem::replace(&mut self.head, head),
            std::mem::take(&mut self.at),
            std::mem::take(&mut self.claimed),
            std::mem::take(&mut self.highest),
        );
        let sequence = self.sequence;
        if let Err(error) = self.begin() {
            (self.file, self.head, self.at, self.claimed, self.highest) = before;
            self.sequence = sequence;
            let _ = fs::remove_file(path.with_extension("new"));
            return Err(error);
        }
        self.closed.push(old);
        Ok(())
    }

    /// Head and first frame of a segment, durable. Only then it gets its name: a segment without them was
    /// cut.
    fn begin(&mut self) -> io::Result<()> {
        self.claim(SLACK)?;
        self.file.write_all_at(&self.head.encode(), 0)?;
        self.at = frame::SEGMENT_HEADER as u64;
        let mut body = Vec::new();
        self.hard.records().iter().for_each(|record| record.encode(&mut body));
        self.put(&body)?;
        self.file.sync_all()?;
        let path = path_of(&self.dir, self.head.number);
        fs::rename(path.with_extension("new"), &path)?;
        disk::sync_parent(&path)
    }

    fn put(&mut self, body: &[u8]) -> io::Result<()> {
        let key = self.keys.get(self.head.key).ok_or(io::ErrorKind::NotFound)?;
        let place = place_of(self.head.number, self.sequence);
        let bytes = frame::frame(self.sequence, &seal::seal(&key, &place, body));
        self.claim(bytes.len() as u64)?;
        self.file.write_all_at(&bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.sequence += 1;
        Ok(())
    }

    /// Fills the file with zeros until `bytes` fit behind the last frame.
    fn claim(&mut self, bytes: u64) -> io::Result<()> {
        let wanted = (self.at + bytes).div_ceil(PIECE) * PIECE;
        if wanted <= self.claimed {
            return Ok(());
        }
        let zeros = vec![0; PIECE as usize];
        let mut end = self.claimed;
        while end < wanted {
            let piece = (wanted - end).min(PIECE) as usize;
            if let Err(error) = self.file.write_all_at(&zeros[..piece], end) {
                let _ = self.file.set_len(self.claimed);
                return Err(error);
            }
            end += piece as u64;
        }
        self.file.flush()?;
        // The blocks are taken now or not at all: a file system may otherwise find out too late.
        if let Err(error) = self.file.sync_all() {
            let _ = self.file.set_len(self.claimed);
            return Err(error);
        }
        self.claimed = wanted;
        Ok(())
    }
}
