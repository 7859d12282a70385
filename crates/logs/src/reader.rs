//! The daemon's side of a log: an asynchronous stream of what Docker's `logs` sends.
//!
//! ```text
//!   files ── whole lines ──► select (stream, since, until) ──► frames ──► one Bytes per batch
//!     ▲                                                                        │ nothing left
//!     └──────────── directory changed, container ended, or `until` passed ◄────┘ (following)
//! ```

use crate::entry::{self, Entry, FIXED_TIME, Stream as Output};
use crate::files::{Extent, Files};
use crate::watch::Watch;
use bytes::Bytes;
use futures_util::Stream;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use types::Timestamp;

/// Docker's header of a frame: the stream, three zeros, the length.
const HEADER_BYTES: usize = 8;
/// A joined frame that has as much is not added to: clients keep a whole frame in memory.
const JOINED_BYTES: usize = 32 * 1024;

/// How entries are laid out for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// For a container without a tty: each entry after Docker's eight-byte header (stream, length).
    Multiplexed,
    /// The same, with one header for neighbouring entries of one stream: for clients that are known to read headers as
    /// what they are. Those that cut eight bytes off each line need `Multiplexed`.
    Joined,
    /// For a container with a tty: the text alone.
    Raw,
}

/// What of the log is wanted.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    pub stdout: bool,
    pub stderr: bool,
    /// Nothing that was logged before.
    pub since: Option<Timestamp>,
    /// Nothing that was logged after; a follower ends then.
    pub until: Option<Timestamp>,
    /// The last N entries, counted before any of the other selections, as dockerd does.
    pub tail: Option<u64>,
    /// Each entry begins with its time, with nine digits.
    pub timestamps: bool,
    /// Each entry begins with its attributes.
    pub details: bool,
    pub framing: Framing,
}

/// Reads the log at `path`: what is there now, or with `ended` all that comes until the container's log
/// is closed (`true`, or the sender gone) and everything was read. A log that does not exist is empty.
pub fn read(
    path: &Path,
    options: ReadOptions,
    ended: Option<watch::Receiver<bool>>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let start = Some(State::Unopened { path: path.to_owned(), options, ended });
    futures_util::stream::unfold(start, |state| async move {
        match step(state?).await {
            Ok(Some((batch, next))) => Some((Ok(batch), Some(next))),
            Ok(None) => None,
            Err(err) => Some((Err(err), None)),
        }
    })
}

enum State {
    Unopened { path: PathBuf, options: ReadOptions, ended: Option<watch::Receiver<bool>> },
    Open(Box<Cursor>, Option<Follow>),
}

/// What the blocking half owns.
struct Cursor {
    files: Files,
    selection: Selection,
    done: bool,
}

struct Follow {
    ended: watch::Receiver<bool>,
    changes: Watch,
    until: Option<Timestamp>,
}

/// The options in the form that needs no conversion per entry.
struct Selection {
    options: ReadOptions,
    since: Option<[u8; FIXED_TIME]>,
    until: Option<[u8; FIXED_TIME]>,
    /// Of the batch under way: where its last frame begins, and of which stream.
    open_frame: Option<(usize, Output)>,
}

/// The next batch that is not empty; `None` at the end.
async fn step(state: State) -> io::Result<Option<(Bytes, State)>> {
    let (mut cursor, mut follow) = match state {
        State::Open(cursor, follow) => (cursor, follow),
        State::Unopened { path, options, ended } => open(path, options, ended).await?,
    };
    loop {
        // Asked before reading: what was written before the end is then certainly read.
        let ended = follow.as_ref().is_none_or(Follow::has_ended);
        let batch;
        (cursor, batch) = blocking(move || cursor.next_batch()).await?;
        if !batch.is_empty() {
            return Ok(Some((batch, State::Open(cursor, follow))));
        }
        match &mut follow {
            Some(follow) if !ended && !cursor.done => follow.wait().await?,
            _ => return Ok(None),
        }
    }
}

async fn open(
    path: PathBuf,
    options: ReadOptions,
    ended: Option<watch::Receiver<bool>>,
) -> io::Result<(Box<Cursor>, Option<Follow>)> {
    // Subscribed before the files are opened, so that no change falls between.
    let follow = ended.map(|ended| Follow {
        ended,
        changes: Watch::new(path.parent().unwrap_or(Path::new("."))),
        until: options.until,
    });
    let extent = if follow.is_some() { Extent::Growing } else { Extent::Snapshot };
    let cursor = blocking(move || {
        let files = Files::open(&path, options.tail, extent)?;
        Ok(Box::new(Cursor { files, selection: Selection::new(options), done: false }))
    })
    .await?;
    Ok((cursor, follow))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

impl Follow {
    fn has_ended(&self) -> bool {
        *self.ended.borrow()
            || self.ended.has_changed().is_err()
            || self.left() == Some(Duration::ZERO)
    }

    /// How long until `until`.
    fn left(&self) -> Option<Duration> {
        self.until.map(|until| until.since(SystemTime::now().into()))
    }

    /// Until there may be more to read, or the end has come.
    async fn wait(&mut self) -> io::Result<()> {
        let left = self.left();
        let deadline = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.changes.changed() => changed,
            // An error means that the sender is gone; `has_ended` sees that too.
            _ = self.ended.changed() => Ok(()),
            () = deadline => Ok(()),
        }
    }
}

impl Cursor {
    /// Reads on until something is selected or nothing is left now.
    fn next_batch(mut self: Box<Self>) -> io::Result<(Box<Self>, Bytes)> {
        let mut out = Vec::new();
        while !self.done && out.is_empty() {
            let lines = self.files.next_lines()?;
            if lines.is_empty() {
                break;
            }
            // The text shrinks by its JSON and grows by its headers; nearly always this is enough.
            out.reserve(lines.len());
            self.selection.open_frame = None;
            self.done = self.selection.copy(lines, &mut out);
        }
        Ok((self, out.into()))
    }
}

impl Selection {
    fn new(options: ReadOptions) -> Self {
        let fixed = |at: Option<Timestamp>| at.map(|at| entry::format_time(at.0));
        let (since, until) = (fixed(options.since), fixed(options.until));
        Selection { since, until, options, open_frame: None }
    }

    /// Appends the wanted entries of `lines`; true when all that follows is too late.
    fn copy(&mut self, lines: &[u8], out: &mut Vec<u8>) -> bool {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', lines) {
            // A line that is no entry was torn by a crash: skipped.
            if let Some(entry) = Entry::decode(&lines[start..end])
                && self.copy_entry(&entry, out)
            {
                return true;
            }
            start = end + 1;
        }
        false
    }

    fn copy_entry(&mut self, entry: &Entry<'_>, out: &mut Vec<u8>) -> bool {
        let timed = self.since.is_some() || self.until.is_some() || self.options.timestamps;
        let time = if timed { entry.fixed_time() } else { None };
        if let Some(time) = time {
            if self.until.is_some_and(|until| time > until) {
                return true;
            }
            if self.since.is_some_and(|since| time < since) {
                return false;
            }
        }
        let wanted = match entry.stream {
            Output::Stdout => self.options.stdout,
            Output::Stderr => self.options.stderr,
        };
        if wanted {
            self.frame(entry, time.as_ref(), out);
        }
        false
    }

    fn frame(&mut self, entry: &Entry<'_>, time: Option<&[u8; FIXED_TIME]>, out: &mut Vec<u8>) {
        let head = self.head(entry.stream, out);
        if let Some(time) = time.filter(|_| self.options.timestamps) {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        if self.options.details {
            entry::details(out, entry.attrs);
            out.push(b' ');
        }
        entry::unescape(out, entry.log);
        if let Some(head) = head {
            let body = head + HEADER_BYTES;
            let length = u32::try_from(out.len() - body).unwrap_or(u32::MAX);
            out[head + 4..body].copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Where the header of an entry's frame is: a new one at the end of `out`, or the last one.
    fn head(&mut self, stream: Output, out: &mut Vec<u8>) -> Option<usize> {
        match (self.options.framing, self.open_frame) {
            (Framing::Raw, _) => return None,
            (Framing::Joined, Some((head, of)))
                if of == stream && out.len() - head < JOINED_BYTES =>
            {
                return Some(head);
            }
            _ => {}
        }
        let head = out.len();
        out.extend_from_slice(&[1 + u8::from(stream == Output::Stderr), 0, 0, 0]);
        out.extend_from_slice(&[0; 4]);
        self.open_frame = Some((head, stream));
        Some(head)
    }
}

#[cfg(test)]
mod tests;
