//! The log on the disk, and its newest part in memory.
//!
//! ```text
//! append ─► memory ─► writer thread: one frame, one fdatasync ─► acknowledged
//! open   ◄─ segments, frame by frame; a torn end is cut, damage before the end is refused
//! ```
//!
//! Measured against redb on the same disk: `docs/design/raft.md`. What an end that was cut means for the
//! cluster is decided above ([`State::lost`]); here it is only noticed and remembered.

mod frame;
mod memory;
mod open;
mod writer;

pub(crate) use frame::{Record, State, payload_bytes, payload_of};
pub(crate) use open::exists;
pub(crate) use writer::Place;

use crate::kinds::{Ballot, Id, Kinds, RaftEntry};
use crate::{Error, Keys, disk, seal};
use frame::Head;
use memory::Memory;
use open::{read_all, take};
use openraft::EntryPayload;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use writer::{Hard, Writer};

/// The log of one manager. Clones are handles to the same.
#[derive(Clone)]
pub(crate) struct Log {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

struct Shared {
    dir: PathBuf,
    keys: Keys,
    memory: Mutex<Memory>,
    /// Since when the writer has been at its present work.
    busy: Mutex<Option<Instant>>,
    failed: Mutex<Option<String>>,
    flushes: AtomicU64,
    /// The last claim of space failed.
    full: AtomicBool,
    /// Held as long as anything here may write: no second raft works in the directory.
    _lock: File,
    #[cfg(test)]
    pub(crate) faults: Faults,
}

/// What tests do to the disk.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) full: std::sync::atomic::AtomicBool,
    pub(crate) stalled: Mutex<bool>,
    pub(crate) moved: std::sync::Condvar,
}

type Done<T> = Box<dyn FnOnce(io::Result<T>) + Send>;

enum Command {
    Write { records: Vec<Record>, entries: Option<Range<u64>>, done: Done<()> },
    Reserve { bytes: u64, done: Done<()> },
    Purge { upto: Id, done: Done<()> },
    Roll { done: Done<()> },
    OldestKey { done: Done<u32> },
}

impl Log {
    /// A new log in an empty directory.
    pub(crate) fn create(
        dir: &Path,
        keys: &Keys,
        segment_bytes: u64,
        state: State,
    ) -> Result<Log, Error> {
        let lock_file = take(dir)?;
        let writer = Writer::create(dir, keys, segment_bytes, state)?;
        let memory = Memory { hard: Hard { state, ..Hard::default() }, ..Memory::default() };
        Log::start(dir, keys, writer, memory, lock_file)
    }

    /// Reads the log of `dir`. A torn end is cut, and [`State::lost`] says so from then on.
    pub(crate) fn open(dir: &Path, keys: &Keys, segment_bytes: u64) -> Result<Log, Error> {
        let lock_file = take(dir)?;
        let (memory, found) = read_all(dir, keys)?;
        let torn = found.torn;
        let mut writer = Writer::resume(dir, keys, segment_bytes, found)?;
        if torn {
            let failed = |source| Error::Io { action: "write", path: dir.to_owned(), source };
            writer.write(&[Record::State(memory.hard.state)]).map_err(failed)?;
        }
        Log::start(dir, keys, writer, memory, lock_file)
    }

    fn start(
        dir: &Path,
        keys: &Keys,
        writer: Writer,
        memory: Memory,
        lock_file: File,
    ) -> Result<Log, Error> {
        let (commands, inbox) = mpsc::channel();
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            keys: keys.clone(),
            memory: Mutex::new(memory),
            busy: Mutex::default(),
            failed: Mutex::default(),
            flushes: AtomicU64::new(0),
            full: AtomicBool::new(false),
            _lock: lock_file,
            #[cfg(test)]
            faults: Faults::default(),
        });
        let theirs = shared.clone();
        // It ends when the last handle is gone.
        std::thread::Builder::new()
            .name("raft-log".to_owned())
            .spawn(move || run(writer, &inbox, &theirs))
            .map_err(|source| Error::Io { action: "start", path: dir.to_owned(), source })?;
        Ok(Log { shared, commands })
    }

    pub(crate) fn state(&self) -> State {
        self.lock().hard.state
    }
    pub(crate) fn vote(&self) -> Option<Ballot> {
        self.lock().hard.vote
    }
    pub(crate) fn committed(&self) -> Option<Id> {
        let memory = self.lock();
        memory.committed_since.max(memory.hard.committed)
    }
    pub(crate) fn purged(&self) -> Option<Id> {
        self.lock().hard.purged
    }
    /// The last entry, or what was purged last when there is none.
    pub(crate) fn last(&self) -> Option<Id> {
        let memory = self.lock();
        memory.slots.back().map(|slot| slot.id).or(memory.hard.purged)
    }
    /// Bytes of entries appended since the log was opened.
    pub(crate) fn appended(&self) -> u64 {
        self.lock().appended
    }
    /// How often the disk was asked to make something durable.
    #[cfg(test)]
    pub(crate) fn flushes(&self) -> u64 {
        self.shared.flushes.load(Ordering::Relaxed)
    }
    #[cfg(test)]
    pub(crate) fn faults(&self) -> &Faults {
        &self.shared.faults
    }
    /// How long the disk has been at one piece of work.
    pub(crate) fn stalled(&self) -> Duration {
        lock(&self.shared.busy).map_or(Duration::ZERO, |since| since.elapsed())
    }
    /// Whether the disk had no room for more when it was last asked.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Relaxed)
    }
    pub(crate) fn dir(&self) -> &Path {
        &self.shared.dir
    }
    /// Why nothing can be written any more.
    pub(crate) fn failed(&self) -> Option<String> {
        lock(&self.shared.failed).clone()
    }

    /// Entries of a range, as many as fit into `limit` bytes but at least one.
    pub(crate) fn entries(&self, range: Range<u64>, limit: usize) -> io::Result<Vec<RaftEntry>> {
        let (mut entries, mut bytes, mut missing) = (Vec::new(), 0, Vec::new());
        {
            let memory = self.lock();
            let Some(first) = memory.slots.front().map(|slot| slot.id.index) else {
                return Ok(entries);
            };
            let from = range.start.max(first);
            for slot in memory.slots.iter().skip((from - first) as usize) {
                if slot.id.index >= range.end || (bytes + slot.bytes > limit && !entries.is_empty())
                {
                    break;
                }
                bytes += slot.bytes;
                let payload = slot.payload.clone().unwrap_or_else(|| {
                    missing.push((entries.len(), slot.place));
                    EntryPayload::Blank
                });
                entries.push(RaftEntry { log_id: slot.id, payload });
            }
        }
        for (at, place) in missing {
            let entry: &mut RaftEntry = &mut entries[at];
            entry.payload = self.read(place, entry.log_id)?;
        }
        Ok(entries)
    }

    /// Appends entries; `done` is called when they are durable.
    pub(crate) fn append(&self, entries: Vec<RaftEntry>, done: Done<()>) {
        let range = match (entries.first(), entries.last()) {
            (Some(first), Some(last)) => first.log_id.index..last.log_id.index + 1,
            _ => return done(Ok(())),
        };
        let mut records = Vec::with_capacity(entries.len() + 1);
        {
            let mut memory = self.lock();
            records.extend(memory.committed_since.take().map(|id| {
                memory.hard.committed = Some(id);
                Record::Committed(id)
            }));
            for entry in entries {
                memory.push(&entry);
                records.push(Record::Entry(entry));
            }
        }
        self.send(Command::Write { records, entries: Some(range), done });
    }

    /// Remembers what is committed, on the disk with the next write.
    pub(crate) fn save_committed(&self, id: Option<Id>) {
        self.lock().committed_since = id;
    }

    pub(crate) async fn save_vote(&self, vote: Ballot) -> io::Result<()> {
        self.lock().hard.vote = Some(vote);
        self.record(vec![Record::Vote(vote)]).await
    }
    pub(crate) async fn save_state(&self, state: State) -> io::Result<()> {
        self.lock().hard.state = state;
        self.record(vec![Record::State(state)]).await
    }
    /// Forgets entries from `since` on.
    pub(crate) async fn truncate(&self, since: u64) -> io::Result<()> {
        self.lock().truncate(since);
        self.record(vec![Record::Truncate(since)]).await
    }
    /// The oldest data key that is still needed to read the log.
    pub(crate) async fn oldest_key(&self) -> io::Result<u32> {
        self.ask(|done| Command::OldestKey { done }).await
    }
    /// Forgets entries up to `upto`.
    pub(crate) async fn purge(&self, upto: Id) -> io::Result<()> {
        self.lock().purge(upto);
        self.ask(|done| Command::Purge { upto, done }).await
    }
    /// Makes sure that `bytes` more of entries find room. The error of a full disk
    /// ([`crate::disk::is_full`]) leaves the log as it was.
    pub(crate) async fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.ask(|done| Command::Reserve { bytes, done }).await
    }
    /// Writes under the current data key from here on.
    pub(crate) async fn take_key(&self) -> io::Result<()> {
        self.ask(|done| Command::Roll { done }).await
    }
    /// Writes what waits for the next write.
    pub(crate) async fn flush(&self) -> io::Result<()> {
        let waiting = self.lock().committed_since.take();
        match waiting {
            Some(id) => {
                self.lock().hard.committed = Some(id);
                self.record(vec![Record::Committed(id)]).await
            }
            None => Ok(()),
        }
    }

    async fn record(&self, records: Vec<Record>) -> io::Result<()> {
        self.ask(|done| Command::Write { records, entries: None, done }).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        command: impl FnOnce(Done<T>) -> Command,
    ) -> io::Result<T> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.send(command(Box::new(move |result| {
            // Who asked may have gone.
            let _ = answer.send(result);
        })));
        answered.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn send(&self, command: Command) {
        if let Err(mpsc::SendError(command)) = self.commands.send(command) {
            command.refuse();
        }
    }

    fn read(&self, place: Option<Place>, id: Id) -> io::Result<EntryPayload<Kinds>> {
        let place = place.ok_or(io::ErrorKind::NotFound)?;
        let path = writer::path_of(&self.shared.dir, place.segment);
        let file = File::open(path)?;
        let mut head = [0; frame::SEGMENT_HEADER];
        file.read_exact_at(&mut head, 0)?;
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the log is damaged");
        let head = Head::decode(&head).map_err(|_| damaged())?;
        let mut header = [0; frame::FRAME_HEADER];
        file.read_exact_at(&mut header, place.offset)?;
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let mut bytes = vec![0; frame::FRAME_HEADER + length as usize];
        file.read_exact_at(&mut bytes, place.offset)?;
        let whole = frame::frame_at(&bytes, 0).ok_or_else(damaged)?;
        let key = self.shared.keys.get(head.key).ok_or_else(damaged)?;
        let aad = writer::place_of(place.segment, whole.sequence);
        let body = seal::open(&key, &aad, whole.body).map_err(|_| damaged())?;
        let records = Record::decode_all(body.into()).ok_or_else(damaged)?;
        let entry = records.into_iter().find_map(|record| match record {
            Record::Entry(entry) if entry.log_id == id => Some(entry.payload),
            _ => None,
        });
        entry.ok_or_else(damaged)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        lock(&self.shared.memory)
    }
}

impl Command {
    /// The writer has failed, or is gone.
    fn refuse(self) {
        let error = || io::Error::from(io::ErrorKind::BrokenPipe);
        match self {
            Command::Write { done, .. }
            | Command::Reserve { done, .. }
            | Command::Purge { done, .. }
            | Command::Roll { done } => done(Err(error())),
            Command::OldestKey { done } => done(Err(error())),
        }
    }
}

/// The writer thread. After a failed write it writes no more: what is on the disk then is not known.
fn run(mut writer: Writer, inbox: &mpsc::Receiver<Command>, shared: &Shared) {
    while let Ok(command) = inbox.recv() {
        if lock(&shared.failed).is_some() {
            command.refuse();
            continue;
        }
        *lock(&shared.busy) = Some(Instant::now());
        #[cfg(test)]
        shared.faults.wait();
        let fail = |error: io::Error| {
            tracing::error!(%error, dir = %shared.dir.display(), "the raft log cannot be written");
            *lock(&shared.failed) = Some(format!("{}: {error}", shared.dir.display()));
            error
        };
        match command {
            Command::Write { records, entries, done } => {
                let result = writer.write(&records).map_err(fail).map(|place| {
                    shared.flushes.fetch_add(1, Ordering::Relaxed);
                    if let Some(range) = entries {
                        lock(&shared.memory).placed(range, place);
                    }
                });
                *lock(&shared.busy) = None;
                done(result);
            }
            // These fail without harm: nothing was promised yet.
            Command::Reserve { bytes, done } => {
                #[cfg(test)]
                let result = shared.faults.reserve().and_then(|()| writer.reserve(bytes));
                #[cfg(not(test))]
                let result = writer.reserve(bytes);
                let full = result.as_ref().is_err_and(disk::is_full);
                shared.full.store(full, Ordering::Relaxed);
                *lock(&shared.busy) = None;
                done(result);
            }
            Command::Roll { done } => done(writer.take_key()),
            Command::Purge { upto, done } => {
                let result = writer.purge(upto).map_err(fail);
                done(result);
            }
            Command::OldestKey { done } => done(Ok(writer.oldest_key())),
        }
        *lock(&shared.busy) = None;
    }
}

#[cfg(test)]
impl Faults {
    fn wait(&self) {
        let mut stalled = lock(&self.stalled);
        while *stalled {
            stalled = self.moved.wait(stalled).unwrap_or_else(PoisonError::into_inner);
        }
    }
    fn reserve(&self) -> io::Result<()> {
        match self.full.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
    pub(crate) fn stall(&self, stalled: bool) {
        *lock(&self.stalled) = stalled;
        self.moved.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
