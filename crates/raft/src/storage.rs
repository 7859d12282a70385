//! The log as openraft asks for it.

use crate::kinds::{Ballot, Id, Kinds, RaftEntry};
use crate::log::Log;
use crate::machine::io_error;
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{ErrorSubject, ErrorVerb, OptionalSend, RaftLogReader, StorageError};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

/// Entries are sent to a follower in messages of about this size.
const MESSAGE_BYTES: usize = 1 << 20;

impl RaftLogReader<Kinds> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<RaftEntry>, StorageError<u64>> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(start..end, usize::MAX).map_err(|error| failed(ErrorVerb::Read, &error))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RaftEntry>, StorageError<u64>> {
        self.entries(start..end, MESSAGE_BYTES).map_err(|error| failed(ErrorVerb::Read, &error))
    }
}

impl RaftLogStorage<Kinds> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<Kinds>, StorageError<u64>> {
        Ok(LogState { last_purged_log_id: self.purged(), last_log_id: self.last() })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Ballot) -> Result<(), StorageError<u64>> {
        let saved = Log::save_vote(self, *vote).await;
        saved.map_err(|error| io_error(ErrorSubject::Vote, ErrorVerb::Write, &error))
    }

    /// A restarted manager never leads at once: it may have lost the end of its log, and must not give
    /// the same place in it to another entry. It asks the others first.
    async fn read_vote(&mut self) -> Result<Option<Ballot>, StorageError<u64>> {
        Ok(self.vote().map(|vote| Ballot { committed: false, ..vote }))
    }

    async fn save_committed(&mut self, committed: Option<Id>) -> Result<(), StorageError<u64>> {
        Log::save_committed(self, committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<Id>, StorageError<u64>> {
        Ok(self.committed().min(self.last()))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Kinds>,
    ) -> Result<(), StorageError<u64>>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let done = Box::new(move |result| callback.log_io_completed(result));
        Log::append(self, entries.into_iter().collect(), done);
        Ok(())
    }

    async fn truncate(&mut self, since: Id) -> Result<(), StorageError<u64>> {
        Log::truncate(self, since.index).await.map_err(|error| failed(ErrorVerb::Delete, &error))
    }

    async fn purge(&mut self, upto: Id) -> Result<(), StorageError<u64>> {
        let purged = Log::purge(self, upto).await;
        purged.map_err(|error| failed(ErrorVerb::Delete, &error))
    }
}

fn failed(verb: ErrorVerb, error: &io::Error) -> StorageError<u64> {
    io_error(ErrorSubject::Logs, verb, error)
}
