//! What happened in the cluster, for a month: each manager writes down the events that it applies.
//!
//! ```text
//! store's changes ─► events, as `GET /events` tells them ─► <data root>/swarm/history/<day>   one line each
//!                                                                └► read back by `since`, and by whom they are about
//! ```
//!
//! Every manager sees every change, so nothing of this is replicated. What happened while this manager was off, or
//! before it was one, is not in its files. They hold names and states: no secrets, no configs.

use manager::control::{Control, event};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use types::Timestamp;
use types::event::Event;

/// How long events are kept.
const DAYS: i64 = 30;
const DAY: i64 = 24 * 3600;
/// A cluster that fails and restarts all day must not fill its disk: beyond this the oldest day goes.
const MOST_BYTES: u64 = 256 << 20;
/// After a write failed: the disk may have room again.
const RETRY: Duration = Duration::from_secs(10);

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The store's version that the change made.
    pub version: u64,
    pub event: Event,
}

/// The directory. Clones are the same one.
#[derive(Debug, Clone)]
pub struct History {
    dir: Arc<PathBuf>,
}

impl History {
    pub(crate) fn new(dir: PathBuf) -> Self {
        History { dir: Arc::new(dir) }
    }

    /// Writes down what happens from now on, until it is dropped.
    pub(crate) async fn keep(self, control: Control) {
        let mut changes = control.changes();
        let mut seen = control.snapshot().version();
        let mut failing = false;
        while changes.changed().await.is_ok() {
            changes.borrow_and_update();
            let state = control.snapshot();
            let now: Timestamp = SystemTime::now().into();
            let events = control.changed_since(seen).unwrap_or_default();
            let told = events.iter().filter_map(|change| {
                let event = event::event(&state, change, now)?;
                Some(Line { version: change.version, event })
            });
            let lines: Vec<Line> = told.collect();
            seen = events.last().map_or_else(|| seen.max(state.version()), |last| last.version);
            if lines.is_empty() {
                continue;
            }
            // A few lines, not synced; and nothing goes on writing once this task is aborted.
            let written = self.write(&lines, now);
            if let Err(err) = &written
                && !failing
            {
                tracing::warn!("the cluster's events are not written down: {err}");
            }
            failing = written.is_err();
            if failing {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    fn write(&self, lines: &[Line], now: Timestamp) -> io::Result<()> {
        let path = self.dir.join(day(now));
        if !path.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(&*self.dir)?;
            self.tidy(now)?;
        }
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        // One write: a kill leaves at most the last line torn, and a reader passes over that.
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        file.write_all(&text)
    }

    /// Removes what is older than the month, or more than there may be.
    fn tidy(&self, now: Timestamp) -> io::Result<()> {
        let oldest = day(Timestamp((now.seconds() - DAYS * DAY).saturating_mul(1_000_000_000)));
        let (mut days, mut bytes) = (self.days()?, 0);
        days.reverse();
        for path in days {
            bytes += path.metadata()?.len();
            if name(&path) < oldest.as_str() || bytes > MOST_BYTES {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// The files, the oldest first.
    fn days(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(&*self.dir) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(err),
        };
        let mut days: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        days.sort();
        Ok(days)
    }

    /// Events from `since` on that `wanted` lets through, the newest `most` of them, oldest first. Blocks.
    pub fn read(
        &self,
        since: Timestamp,
        most: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> io::Result<Vec<Line>> {
        let first = day(since);
        let mut found: Vec<Line> = Vec::new();
        for path in self.days()?.into_iter().rev() {
            if name(&path) < first.as_str() || found.len() >= most {
                break;
            }
            let lines = BufReader::new(File::open(&path)?).lines().map_while(Result::ok);
            let lines = lines.filter_map(|line| serde_json::from_str::<Line>(&line).ok());
            let mut lines: Vec<Line> = lines
                .filter(|line| line.event.time_nano >= since.0 && wanted(&line.event))
                .collect();
            lines.append(&mut found);
            found = lines;
        }
        Ok(found.split_off(found.len().saturating_sub(most)))
    }
}

/// The day of a time, as in `2026-11-21`; sorts as the days do.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn line(version: u64, at: i64, id: &str) -> Line {
        let at = Timestamp(at * 1_000_000_000);
        Line { version, event: Event::new("task", "update", id, BTreeMap::new(), at) }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    fn versions(lines: &[Line]) -> Vec<u64> {
        lines.iter().map(|line| line.version).collect()
    }

    #[test]
    fn events_are_read_back_by_time_and_by_whom_they_are_about() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::new(dir.path().join("history"));
        assert_eq!(history.read(at(0), 10, |_| true).unwrap(), []);
        history.write(&[line(1, 100, "a"), line(2, 101, "b")], at(101)).unwrap();
        history.write(&[line(3, DAY + 5, "a")], at(DAY + 5)).unwrap();
        let read = |since, most, id: &str| {
            let found = history.read(at(since), most, |event| event.actor.id.starts_with(id));
            versions(&found.unwrap())
        };
        assert_eq!(read(0, 10, ""), [1, 2, 3]);
        assert_eq!(read(0, 2, ""), [2, 3]);
        assert_eq!(read(101, 10, ""), [2, 3]);
        assert_eq!(read(0, 10, "a"), [1, 3]);
    }

    #[test]
    fn a_line_torn_by_a_kill_costs_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::new(dir.path().to_owned());
        history.write(&[line(1, 100, "a")], at(100)).unwrap();
        let path = dir.path().join(day(at(100)));
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"version\":2,\"ev\n");
        std::fs::write(&path, text).unwrap();
        history.write(&[line(3, 102, "a")], at(102)).unwrap();
        assert_eq!(versions(&history.read(at(0), 10, |_| true).unwrap()), [1, 3]);
    }

    #[test]
    fn what_is_older_than_a_month_goes() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::new(dir.path().to_owned());
        history.write(&[line(1, 100, "a")], at(100)).unwrap();
        history.write(&[line(2, 20 * DAY, "a")], at(20 * DAY)).unwrap();
        history.write(&[line(3, 31 * DAY, "a")], at(31 * DAY)).unwrap();
        assert_eq!(versions(&history.read(at(0), 10, |_| true).unwrap()), [2, 3]);
    }
}
