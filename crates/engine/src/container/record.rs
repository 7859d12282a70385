//! What is kept on disk of a container, and the object around it in memory.
//!
//! `containers/<id>/container.json` is written by this module only, atomically, before an answer that
//! depends on it is given.

use crate::attach::PendingAttach;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use types::container::{Config, HostConfig, State, Status, WaitResponse};
use types::mount::{Mount, MountPoint};
use types::network::{EndpointSettings, NetworkSettings};
use types::{ContainerId, Timestamp};

/// A container as it survives a restart of the daemon.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Record {
    pub(crate) id: ContainerId,
    /// Without the leading slash.
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    /// The image's id.
    pub(crate) image: String,
    pub(crate) platform: String,
    /// The user's configuration merged with the image's.
    pub(crate) config: Config,
    pub(crate) host_config: HostConfig,
    pub(crate) state: State,
    pub(crate) restart_count: i64,
    /// The user stopped or killed it, so that only `always` starts it again.
    pub(crate) stopped_by_user: bool,
    /// It has been started at least once.
    pub(crate) has_run: bool,
    pub(crate) mounts: Vec<MountRecord>,
    /// The networks it is to join, and, while it runs, what came of it.
    pub(crate) networks: BTreeMap<String, EndpointSettings>,
    /// What the last start made of the network; empty when it does not run.
    pub(crate) network_settings: NetworkSettings,
}

/// One mount: what `inspect` shows and what the start needs beside it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct MountRecord {
    pub(crate) point: MountPoint,
    /// The `--mount` entry it came from, for its options.
    pub(crate) spec: Mount,
    /// Made for this container alone: `rm -v` and `--rm` take it along.
    pub(crate) anonymous: bool,
    /// The image's content is copied into the volume while that is empty.
    pub(crate) copy_up: bool,
    /// A missing source directory is made (`-v`), not refused (`--mount`).
    pub(crate) create_source: bool,
}

impl Record {
    /// As `inspect` and `ps` list them: what `--tmpfs` mounts stands in `HostConfig.Tmpfs` alone, and the options of a
    /// tmpfs are nobody's mode.
    pub(crate) fn shown_mounts(&self) -> Vec<MountPoint> {
        let by_flag =
            self.host_config.tmpfs.iter().flatten().map(|(target, _)| super::clean(target));
        let by_flag: Vec<String> = by_flag.collect();
        let points = self.mounts.iter().map(|mount| mount.point.clone());
        points
            .filter(|point| point.kind != "tmpfs" || !by_flag.contains(&point.destination))
            .map(|point| match point.kind.as_str() {
                "tmpfs" => MountPoint { mode: String::new(), ..point },
                _ => point,
            })
            .collect()
    }
}

/// One container in memory.
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    /// `<data-root>/containers/<id>`.
    pub(crate) dir: PathBuf,
    /// `<exec-root>/c/<id>`: bundle, shim's socket and exit file.
    pub(crate) run_dir: PathBuf,
    record: Mutex<Arc<Record>>,
    /// Held while the record is written.
    writing: Mutex<()>,
    /// Held by start, exit handling, remove, rename, connect: one change of life at a time.
    pub(crate) op: tokio::sync::Mutex<()>,
    /// The shim of the running container.
    pub(crate) shim: Mutex<Option<runtime::Shim>>,
    /// Attaches granted before the container runs.
    pub(crate) pending: Mutex<Vec<PendingAttach>>,
    /// What waiters look at.
    pub(crate) life: watch::Sender<Life>,
    /// Wakes a monitor that waits to restart, and the health checks.
    pub(crate) cancel_restart: tokio::sync::Notify,
    /// `restart` calls under way: the stop in the middle of one is no end that `--rm` waits for.
    restarts_by_hand: AtomicUsize,
    /// Who looks into the file system of the container while it does not run.
    pub(crate) rootfs_holds: AtomicUsize,
}

/// What a waiter needs to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    pub(crate) running: bool,
    /// Number of exits since the daemon knows the container.
    pub(crate) exits: u64,
    pub(crate) last: WaitResponse,
    pub(crate) removed: bool,
}

impl Container {
    pub(crate) fn new(record: Record, dir: PathBuf, run_dir: PathBuf) -> Self {
        let life = Life {
            running: record.state.running,
            last: WaitResponse { status_code: record.state.exit_code, error: None },
            ..Life::default()
        };
        Container {
            id: record.id.clone(),
            dir,
            run_dir,
            record: Mutex::new(Arc::new(record)),
            writing: Mutex::default(),
            op: tokio::sync::Mutex::default(),
            shim: Mutex::default(),
            pending: Mutex::default(),
            life: watch::Sender::new(life),
            cancel_restart: tokio::sync::Notify::new(),
            restarts_by_hand: AtomicUsize::new(0),
            rootfs_holds: AtomicUsize::new(0),
        }
    }

    /// Reads a container from its directory.
    pub(crate) fn load(dir: &Path, run_dir: PathBuf) -> Result<Self> {
        let path = dir.join("container.json");
        let text = std::fs::read(&path)
            .map_err(|err| Error::caused(format!("failed to read {}", path.display()), err))?;
        let record = serde_json::from_slice(&text)
            .map_err(|err| Error::caused(format!("failed to decode {}", path.display()), err))?;
        Ok(Container::new(record, dir.to_owned(), run_dir))
    }

    /// The record as it is now. A value, not a lock: whoever reads cannot block a writer, nor himself.
    pub(crate) fn record(&self) -> Arc<Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A copy of the record, to be changed.
    pub(crate) fn snapshot(&self) -> Record {
        Record::clone(&self.record())
    }

    /// Changes the record in memory; the next `update` writes it.
    pub(crate) fn modify<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(Arc::make_mut(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Changes the record and writes it. The change stands in memory even when the disk refuses it.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Record) -> T) -> Result<T> {
        crate::blocking::run(|| {
            // Writers of one container follow each other to the disk in the order of their changes.
            let _in_order = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = self.modify(change);
            let text = serde_json::to_vec(&*self.record())
                .map_err(|err| Error::caused("failed to encode the container", err))?;
            write_atomically(&self.dir.join("container.json"), &text).map_err(|err| {
                Error::caused(format!("failed to save container {}", self.id.short()), err)
            })?;
            Ok(answer)
        })
    }

    pub(crate) fn is_restarting_by_hand(&self) -> bool {
        self.restarts_by_hand.load(Ordering::SeqCst) > 0
    }

    /// Says that a `restart` is under way, for as long as the answer lives.
    pub(crate) fn restarting_by_hand(self: &Arc<Self>) -> ByHand {
        self.restarts_by_hand.fetch_add(1, Ordering::SeqCst);
        ByHand(self.clone())
    }

    pub(crate) fn name(&self) -> String {
        self.record().name.clone()
    }

    pub(crate) fn status(&self) -> Status {
        self.record().state.status
    }

    /// The shim of a running container, or Docker's refusal.
    pub(crate) fn running_shim(&self) -> Result<runtime::Shim> {
        let shim = self.shim.lock().unwrap_or_else(PoisonError::into_inner).clone();
        shim.filter(|_| self.record().state.running)
            .ok_or_else(|| Error::conflict(format!("container {} is not running", self.id)))
    }

    /// Attributes of the container's events.
    pub(crate) fn attributes(&self) -> BTreeMap<String, String> {
        let record = self.record();
        let mut attributes = record.config.labels.clone().unwrap_or_default();
        attributes.insert("image".to_owned(), record.config.image.clone());
        attributes.insert("name".to_owned(), record.name.clone());
        attributes
    }
}

/// See [`Container::restarting_by_hand`].
pub(crate) struct ByHand(Arc<Container>);

impl Drop for ByHand {
    fn drop(&mut self) {
        self.0.restarts_by_hand.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Replaces `path` by `content` so that a crash leaves the old or the new one.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(parent)?;
    file.write_all(content)?;
    file.as_file().sync_data()?;
    file.persist(path)?;
    Ok(())
}
