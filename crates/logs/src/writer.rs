//! The shim's side of a log: takes output as it comes, writes entries in batches, rotates.
//!
//! ```text
//!   write(bytes) ── lines ──► buffer ──(32 KiB, or flush)──► container-json.log ──(max-size)──► .1 ► .2 …
//!        └─ an unfinished line waits until its newline, 16 KiB, or the end of the stream
//! ```
//!
//! It reads no clock, blocks on nothing but the disk and never fails its caller: entries that the disk
//! refuses (ENOSPC) are dropped and counted. Whatever `flush` has written survives a kill -9 of the shim.

use crate::entry::{self, FIXED_TIME, Stream};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use types::Timestamp;

/// dockerd cuts longer lines into partial entries of this size.
const LINE_BYTES: usize = 16 * 1024;
/// Written out when this much is waiting: large enough to make the system call cheap.
const BATCH_BYTES: usize = 32 * 1024;
/// What an idle writer keeps of its buffer.
const IDLE_BYTES: usize = 8 * 1024;

/// When a log file is full and how many are kept, the one being written included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// `None` never rotates.
    pub max_bytes: Option<u64>,
    /// At least 1; with 1 a full file is thrown away.
    pub max_files: u32,
}

/// Appends one container's output to its log.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    rotation: Rotation,
    /// The JSON object that every entry carries, or empty.
    attrs: String,
    /// `None` while the file cannot be created: every flush tries again.
    file: Option<File>,
    /// Bytes in the file that are whole entries.
    written: u64,
    buffer: Vec<u8>,
    /// Entries in `buffer`.
    buffered: u64,
    dropped: u64,
    stdout: Pending,
    stderr: Pending,
    clock: Clock,
}

/// The unfinished line of one stream.
#[derive(Debug, Default)]
struct Pending {
    line: Vec<u8>,
    /// When the line's first partial entry came: all its parts carry that time, as dockerd's do.
    since: Option<Timestamp>,
}

/// The last time that was formatted: all lines of one wake-up share it.
#[derive(Debug)]
struct Clock {
    at: Timestamp,
    text: [u8; FIXED_TIME],
    len: usize,
}

impl Clock {
    fn text(&mut self, at: Timestamp) -> &str {
        if self.at != at || self.len == 0 {
            (self.text, self.len) = entry::trimmed(&entry::format_time(at.0));
            self.at = at;
        }
        std::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

impl Writer {
    /// Opens or creates the log at `path` and cuts off what a crash left of a last line. `attrs` are
    /// added to every entry (see [`crate::LogOptions::attributes`]).
    pub fn open<'a>(
        path: &Path,
        rotation: Rotation,
        attrs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> io::Result<Self> {
        let (file, written) = open_repaired(path)?;
        Ok(Writer {
            path: path.to_owned(),
            rotation,
            attrs: entry::attributes(attrs),
            file: Some(file),
            written,
            buffer: Vec::new(),
            buffered: 0,
            dropped: 0,
            stdout: Pending::default(),
            stderr: Pending::default(),
            clock: Clock { at: Timestamp::ZERO, text: [0; FIXED_TIME], len: 0 },
        })
    }

    /// Takes output that was read at `now`. Complete lines are in the file after the next [`flush`].
    ///
    /// [`flush`]: Writer::flush
    pub fn write(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = LINE_BYTES - self.pending(stream).line.len();
            let window = &rest[..room.min(rest.len())];
            match memchr::memchr(b'\n', window) {
                Some(end) => {
                    self.append(stream, &window[..end], true, now);
                    rest = &rest[end + 1..];
                }
                None if window.len() == room => {
                    self.append(stream, window, false, now);
                    rest = &rest[room..];
                }
                None => {
                    self.pending(stream).line.extend_from_slice(window);
                    return;
                }
            }
        }
    }

    /// The stream has ended: its unfinished line becomes an entry without a newline.
    pub fn end(&mut self, stream: Stream, now: Timestamp) {
        if !self.pending(stream).line.is_empty() {
            self.append(stream, &[], false, now);
        }
        *self.pending(stream) = Pending::default();
    }

    /// Writes out everything that is complete. Call it before sleeping.
    pub fn flush(&mut self) {
        self.write_out();
        self.buffer.shrink_to(IDLE_BYTES);
    }

    /// Entries that the disk refused so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn pending(&mut self, stream: Stream) -> &mut Pending {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// One entry: what was pending of the line, then `tail`.
    fn append(&mut self, stream: Stream, tail: &[u8], complete: bool, now: Timestamp) {
        if self.is_full() {
            self.write_out();
            self.rotate();
        }
        let pending = self.pending(stream);
        let at = pending.since.unwrap_or(now);
        pending.since = if complete { None } else { Some(at) };
        let mut head = std::mem::take(&mut pending.line);
        let line = if head.is_empty() {
            tail
        } else {
            head.extend_from_slice(tail);
            &head
        };
        let time = self.clock.text(at);
        entry::encode(&mut self.buffer, line, complete, stream, &self.attrs, time);
        head.clear();
        if head.capacity() <= IDLE_BYTES {
            self.pending(stream).line = head;
        }
        self.buffered += 1;
        if self.buffer.len() >= BATCH_BYTES {
            self.write_out();
        }
    }

    fn is_full(&self) -> bool {
        let size = self.written + self.buffer.len() as u64;
        self.rotation.max_bytes.is_some_and(|max| size >= max)
    }

    /// Appends the buffer to the file, or drops it; never leaves half an entry behind.
    fn write_out(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if self.file.is_none()
            && let Ok((file, written)) = open_repaired(&self.path)
        {
            (self.file, self.written) = (Some(file), written);
        }
        let outcome = match &mut self.file {
            Some(file) => append_whole(file, self.written, &self.buffer),
            None => 0,
        };
        self.written += outcome as u64;
        if outcome < self.buffer.len() {
            let kept = self.buffer[..outcome].iter().filter(|byte| **byte == b'\n').count();
            self.dropped += self.buffered - kept as u64;
        }
        self.buffer.clear();
        self.buffered = 0;
    }

    /// Moves every file one number up and begins a new one. What cannot be moved stays in use.
    fn rotate(&mut self) {
        for number in (1..self.rotation.max_files).rev() {
            let from = numbered(&self.path, number - 1);
            // A gap in the row is normal: not every number has been reached yet.
            let _missing = std::fs::rename(from, numbered(&self.path, number));
        }
        if self.rotation.max_files < 2 {
            // A new inode, and not a truncated one, tells followers that this is another file.
            let _missing = std::fs::remove_file(&self.path);
        }
        self.file = None;
        self.written = 0;
        if let Ok((file, written)) = open_repaired(&self.path) {
            (self.file, self.written) = (Some(file), written);
        }
    }
}

/// `path` itself, or `path.N`.
pub(crate) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The file, ready to append to, and its length after a torn last line was cut off.
fn open_repaired(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
    let size = file.metadata()?.len();
    let whole = whole_lines(&file, size)?;
    if whole < size {
        file.set_len(whole)?;
    }
    Ok((file, whole))
}

/// How much of the first `size` bytes ends with a newline.
pub(crate) fn whole_lines(file: &File, size: u64) -> io::Result<u64> {
    let mut end = size;
    let mut chunk = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Appends as many whole lines of `bytes` as the disk takes; returns their length.
fn append_whole(file: &mut File, written: u64, bytes: &[u8]) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        match file.write(&bytes[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    if done == bytes.len() {
        return done;
    }
    let whole = memchr::memrchr(b'\n', &bytes[..done]).map_or(0, |at| at + 1);
    // Shrinking needs no space. Should it fail all the same, readers skip the torn line.
    let _torn = file.set_len(written + whole as u64);
    whole
}

#[cfg(test)]
mod tests;
