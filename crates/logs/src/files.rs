//! The rotated files of one log, read as one: oldest first, from a point counted back from the end, and
//! on into files that did not exist yet. Blocking; the reader runs it on tokio's blocking threads.

use crate::writer::{numbered, whole_lines};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Read at once. Large, because each batch costs a hop between threads and a write to the client.
const CHUNK_BYTES: usize = 256 * 1024;
/// A longer line is no entry: 16 KiB, six bytes for each, and the attributes of a generous user.
const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;
/// Rotated files are looked for up to this number; gaps end the row earlier.
const MAX_FILES: u32 = 1000;

/// A position in the log. Only forward.
#[derive(Debug)]
pub(crate) struct Files {
    path: PathBuf,
    /// `None` while the log does not exist.
    current: Option<File>,
    offset: u64,
    /// Newer than `current`, oldest first. While there are any, nobody writes `current` any more.
    queue: VecDeque<File>,
    /// Stop there in the newest file: its size when it was opened. `None` when following.
    limit: Option<u64>,
    chunk: Vec<u8>,
}

/// Whether a position follows the log as it grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What is there now.
    Snapshot,
    /// And all that comes.
    Growing,
}

impl Files {
    /// The whole log, or its last `tail` entries.
    pub(crate) fn open(path: &Path, tail: Option<u64>, extent: Extent) -> io::Result<Self> {
        let mut newest_first = Vec::new();
        let mut last_inode = None;
        for number in 0..MAX_FILES {
            match File::open(numbered(path, number)) {
                // Rotated between two of our calls: the same file again, under its next number.
                Ok(file) if last_inode == Some(inode(&file)?) => {}
                Ok(file) => {
                    last_inode = Some(inode(&file)?);
                    newest_first.push(file);
                }
                // The writer is between moving the file away and making the next one.
                Err(err) if err.kind() == io::ErrorKind::NotFound && number == 0 => {}
                Err(err) if err.kind() == io::ErrorKind::NotFound => break,
                Err(err) => return Err(err),
            }
        }
        let limit = match (extent, newest_first.first()) {
            (Extent::Snapshot, Some(newest)) => Some(newest.metadata()?.len()),
            (Extent::Snapshot, None) => Some(0),
            (Extent::Growing, _) => None,
        };
        let offset = match tail {
            Some(tail) => seek_back(&mut newest_first, tail)?,
            None => 0,
        };
        let mut queue: VecDeque<File> = newest_first.into_iter().rev().collect();
        let current = queue.pop_front();
        Ok(Files { path: path.to_owned(), current, offset, queue, limit, chunk: Vec::new() })
    }

    /// The next whole lines, ending with a newline; empty when there are none now.
    pub(crate) fn next_lines(&mut self) -> io::Result<&[u8]> {
        loop {
            if self.read_chunk()? {
                let end = memchr::memrchr(b'\n', &self.chunk).map_or(0, |at| at + 1);
                self.offset += end as u64;
                return Ok(&self.chunk[..end]);
            }
            if let Some(newer) = self.queue.pop_front() {
                (self.current, self.offset) = (Some(newer), 0);
            } else if self.limit.is_some() || !self.find_newer()? {
                return Ok(&[]);
            }
        }
    }

    /// Fills the chunk from the current offset; false when it holds no whole line.
    fn read_chunk(&mut self) -> io::Result<bool> {
        let Some(file) = &self.current else { return Ok(false) };
        let mut want = CHUNK_BYTES;
        loop {
            let left = match self.limit.filter(|_| self.queue.is_empty()) {
                Some(limit) => limit.saturating_sub(self.offset),
                None => u64::MAX,
            };
            self.chunk.resize(want.min(usize::try_from(left).unwrap_or(want)), 0);
            let count = read_up_to(file, &mut self.chunk, self.offset)?;
            let full = count == want;
            self.chunk.truncate(count);
            if memchr::memchr(b'\n', &self.chunk).is_some() {
                return Ok(true);
            }
            if !full {
                return Ok(false);
            }
            if want >= MAX_LINE_BYTES {
                // Not a log: zeros after a power failure, perhaps. Go on behind it.
                self.offset += count as u64;
                want = CHUNK_BYTES;
            } else {
                want *= 4;
            }
        }
    }

    /// Queues the file that the writer went on with when it has left the current one. True when the
    /// current file has to be looked at once more: it may have grown before it was left.
    fn find_newer(&mut self) -> io::Result<bool> {
        let Some(current) = &self.current else {
            self.current = open_if_there(&self.path)?;
            self.offset = 0;
            return Ok(self.current.is_some());
        };
        let ours = inode(current)?;
        let mut newer = VecDeque::new();
        for number in 0..MAX_FILES {
            match open_if_there(&numbered(&self.path, number))? {
                Some(file) if inode(&file)? == ours => break,
                Some(file) => newer.push_front(file),
                None if number == 0 => {}
                // Ours was thrown away already: go on with the oldest that is left.
                None => break,
            }
        }
        self.queue = newer;
        Ok(!self.queue.is_empty())
    }
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

fn inode(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.ino())
}

fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(done)
}

/// Drops the files that the last `tail` lines do not reach into; returns where they begin in the oldest
/// that is left.
fn seek_back(newest_first: &mut Vec<File>, tail: u64) -> io::Result<u64> {
    let mut wanted = tail;
    for (index, file) in newest_first.iter().enumerate() {
        let size = whole_lines(file, file.metadata()?.len())?;
        match start_of_last(file, size, wanted)? {
            Ok(start) => {
                newest_first.truncate(index + 1);
                return Ok(start);
            }
            Err(lines) => wanted -= lines,
        }
    }
    Ok(0)
}

/// Where the last `wanted` lines of the first `size` bytes begin, or how many lines there are if fewer.
fn start_of_last(file: &File, size: u64, wanted: u64) -> io::Result<Result<u64, u64>> {
    let mut chunk = vec![0; CHUNK_BYTES];
    // The newline that ends line `wanted + 1` from the back is the one before the first we want.
    let (mut seen, mut end) = (0, size);
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        for at in memchr::memrchr_iter(b'\n', part) {
            if seen == wanted {
                return Ok(Ok(start + at as u64 + 1));
            }
            seen += 1;
        }
        end = start;
    }
    Ok(if seen == wanted && size > 0 && wanted > 0 { Ok(0) } else { Err(seen) })
}
