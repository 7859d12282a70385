//! What outlives the agent: its assignments but for secrets, configs and credentials, and each task's last
//! status. Lines of JSON that are appended to, in one file; rewritten when it has grown.
//!
//! A crash may cost the end of the file. That is borne: managers repeat assignments, and the engine knows
//! how each container stands.

use crate::assigned::Share;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use types::swarm::session::{Assigned, Removed, TaskReport};
use types::swarm::task::TaskStatus;

const FILE: &str = "tasks";
/// Rewritten once it is this much and twice what is live.
const SLACK_BYTES: u64 = 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Put(Assigned),
    Removed(Removed),
    Status(TaskReport),
}

/// What an agent takes up.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) share: Share,
    pub(crate) statuses: BTreeMap<String, TaskStatus>,
}

pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    bytes: u64,
    live_bytes: u64,
    /// What the file holds is not known: it is to be written anew.
    broken: bool,
}

impl Journal {
    /// Reads what is there, whatever its state, and begins a fresh file with it.
    pub(crate) fn open(dir: &Path) -> io::Result<(Journal, Kept)> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let path = dir.join(FILE);
        let kept = match std::fs::read(&path) {
            Ok(text) => read(&text),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(err) => return Err(err),
        };
        let (file, bytes) = rewrite(&path, &kept)?;
        let journal =
            Journal { path, file, buffer: Vec::new(), bytes, live_bytes: bytes, broken: false };
        Ok((journal, kept))
    }

    pub(crate) fn put(&mut self, assigned: &Assigned) {
        if let Some(kept) = without_secrets(assigned) {
            self.line(&Line::Put(kept));
        }
    }
    pub(crate) fn removed(&mut self, removed: Removed) {
        self.line(&Line::Removed(removed));
    }
    pub(crate) fn status(&mut self, report: TaskReport) {
        self.line(&Line::Status(report));
    }

    fn line(&mut self, line: &Line) {
        if self.broken {
            return; // the file will be written anew, with this in it
        }
        // Our own types: writing them to memory does not fail.
        if serde_json::to_writer(&mut self.buffer, line).is_ok() {
            self.buffer.push(b'\n');
        }
    }

    /// Writes what has gathered, in one call. `kept` is what a rewritten file holds. After a failure the
    /// next call writes all of it anew: the end of the file may be torn.
    pub(crate) fn flush(&mut self, kept: impl FnOnce() -> Kept) -> io::Result<()> {
        if self.buffer.is_empty() && !self.broken {
            return Ok(());
        }
        let lines = std::mem::take(&mut self.buffer);
        self.bytes += lines.len() as u64;
        let grown = self.bytes > SLACK_BYTES && self.bytes > 2 * self.live_bytes;
        let written = match self.broken || grown {
            true => rewrite(&self.path, &kept()).map(|(file, bytes)| {
                (self.file, self.bytes, self.live_bytes) = (file, bytes, bytes);
            }),
            false => self.file.write_all(&lines),
        };
        self.broken = written.is_err();
        written
    }
}

/// What may lie on the disk of it: no secret, no credentials.
fn without_secrets(assigned: &Assigned) -> Option<Assigned> {
    match assigned {
        Assigned::Secret(_) | Assigned::Config(_) => None,
        Assigned::Task(task) => {
            let mut task = task.clone();
            let has = |task: &types::swarm::task::Task| {
                let spec = task.spec.container_spec.as_ref();
                spec.is_some_and(|spec| spec.pull_options.is_some())
            };
            if has(&task) {
                let task = Arc::make_mut(&mut task);
                if let Some(spec) = Arc::make_mut(&mut task.spec).container_spec.as_mut() {
                    spec.pull_options = None;
                }
            }
            Some(Assigned::Task(task))
        }
        other => Some(other.clone()),
    }
}

fn read(text: &[u8]) -> Kept {
    let mut kept = Kept::default();
    let mut unreadable = 0;
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Line>(line) {
            Ok(Line::Put(assigned)) => kept.share.put(assigned),
            Ok(Line::Removed(removed)) => {
                kept.share.remove(&removed);
                if let Removed::Task(id) = &removed {
                    kept.statuses.remove(id);
                }
            }
            Ok(Line::Status(report)) => {
                kept.statuses.insert(report.task.to_string(), report.status);
            }
            Err(_) => unreadable += 1,
        }
    }
    if unreadable > 0 {
        tracing::warn!(lines = unreadable, "a part of the agent's journal is lost");
    }
    kept.statuses.retain(|id, _| kept.share.tasks.contains_key(id));
    kept
}

fn rewrite(path: &Path, kept: &Kept) -> io::Result<(File, u64)> {
    let mut text = Vec::new();
    let share = &kept.share;
    let objects = (share.services.values().cloned().map(Assigned::Service))
        .chain(share.networks.values().cloned().map(Assigned::Network))
        .chain(share.volumes.values().cloned().map(Assigned::Volume))
        .chain(share.tasks.values().cloned().map(Assigned::Task));
    for assigned in objects.filter_map(|assigned| without_secrets(&assigned)) {
        serde_json::to_writer(&mut text, &Line::Put(assigned))?;
        text.push(b'\n');
    }
    for (id, status) in &kept.statuses {
        let report = TaskReport { task: types::TaskId::new(id.as_str()), status: status.clone() };
        serde_json::to_writer(&mut text, &Line::Status(report))?;
        text.push(b'\n');
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut fresh = tempfile::Builder::new().prefix(".tmp-").tempfile_in(parent)?;
    fresh.write_all(&text)?;
    fresh.as_file().sync_data()?;
    fresh.persist(path)?;
    let file = OpenOptions::new().append(true).mode(0o600).open(path)?;
    Ok((file, text.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::swarm::secret::Secret;
    use types::swarm::task::{ContainerSpec, PullOptions, Task, TaskSpec, TaskState};
    use types::{SecretId, TaskId};

    fn task(id: &str) -> Assigned {
        let auth = PullOptions { registry_auth: "hush".to_owned() };
        let spec = ContainerSpec { pull_options: Some(auth), ..ContainerSpec::default() };
        let spec = TaskSpec { container_spec: Some(spec), ..TaskSpec::default() };
        Assigned::Task(Arc::new(Task {
            id: TaskId::new(id),
            spec: Arc::new(spec),
            ..Task::default()
        }))
    }
    fn status(id: &str, state: TaskState) -> TaskReport {
        let status = TaskStatus { state, ..TaskStatus::default() };
        TaskReport { task: TaskId::new(id), status }
    }

    #[test]
    fn what_was_written_is_read_again_but_for_what_is_secret() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        let secret = Secret { id: SecretId::new("hush"), ..Secret::default() };
        for assigned in [task("a"), task("b"), Assigned::Secret(Arc::new(secret))] {
            journal.put(&assigned);
        }
        journal.status(status("a", TaskState::Running));
        journal.removed(Removed::Task("b".to_owned()));
        journal.flush(Kept::default).unwrap();
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert!(!text.contains("hush"), "{text}");
        let (_, kept) = Journal::open(dir.path()).unwrap();
        assert_eq!(kept.share.tasks.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(kept.statuses["a"].state, TaskState::Running);
    }

    #[test]
    fn a_torn_end_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        journal.put(&task("a"));
        journal.put(&task("b"));
        journal.flush(Kept::default).unwrap();
        let path = dir.path().join(FILE);
        let text = std::fs::read(&path).unwrap();
        for cut in 0..text.len() {
            std::fs::write(&path, &text[..cut]).unwrap();
            let (_, kept) = Journal::open(dir.path()).unwrap();
            assert!(kept.share.tasks.len() <= 2, "cut at {cut}");
        }
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        let (_, kept) = Journal::open(dir.path()).unwrap();
        assert_eq!(kept.share.tasks.keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_could_not_be_written_is_written_later_without_more_to_say() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        journal.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut share = Share::default();
        share.put(task("a"));
        let kept = || Kept { share: share.clone(), ..Kept::default() };
        journal.put(&task("a"));
        journal.flush(kept).unwrap_err();
        journal.flush(kept).unwrap();
        let (_, kept) = Journal::open(dir.path()).unwrap();
        assert_eq!(kept.share.tasks.keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_grown_file_is_rewritten_with_what_is_live() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        let mut share = Share::default();
        share.put(task("a"));
        for _ in 0..20_000 {
            journal.put(&task("a"));
            journal.flush(|| Kept { share: share.clone(), ..Kept::default() }).unwrap();
        }
        assert!(std::fs::metadata(dir.path().join(FILE)).unwrap().len() < 2 * SLACK_BYTES);
        let (_, kept) = Journal::open(dir.path()).unwrap();
        assert_eq!(kept.share.tasks.len(), 1);
    }
}
