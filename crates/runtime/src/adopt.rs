//! Finding containers again after the daemon was gone, and cleaning up after a shim that is.

use crate::bundle;
use crate::cgroup::Cgroup;
use crate::client::{self, Shim};
use crate::error::RuntimeError;
use crate::protocol::{ExitStatus, InitRecord, Reply, Request};
use crate::runtime::{Runtime, shim_failed};
use crate::shim::start_time;
use crate::wire;
use oci_spec::runtime::Spec;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use types::Timestamp;

/// How long a shim may take to answer a daemon that has come up: it may still be making its container, on a
/// machine that starts everything at once.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// How often one that holds its lock and does not listen yet is asked.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// What a run directory held.
#[derive(Debug)]
pub enum Adopted {
    /// The shim answers: the container runs, unless it was never `started`. What it said is of the moment it was
    /// found; when it has ended since, [`Shim::wait`] knows how.
    Running { shim: Shim, started: bool, paused: bool },
    /// It ended while nobody looked.
    Exited(ExitStatus),
    /// The shim was killed: what was left of the container has been killed and removed. Exit code 255.
    Lost,
    /// Nothing was ever created here.
    Absent,
}

impl Runtime {
    /// Looks into `run_dir` after a restart of the daemon. Never starts anything.
    pub async fn adopt(&self, run_dir: &Path) -> Result<Adopted, RuntimeError> {
        let spec = run_dir.join(bundle::SPEC);
        if !spec.exists() {
            return Ok(Adopted::Absent);
        }
        let cgroup = cgroup_of(&spec);
        match tokio::time::timeout(ANSWERS_WITHIN, find(run_dir)).await {
            Ok(Some(Found { socket, pid, started, paused })) => {
                let shim = Shim::new(run_dir.to_owned(), cgroup, pid, socket, None);
                return Ok(Adopted::Running { shim, started, paused });
            }
            Ok(None) => {}
            Err(_) => tracing::warn!(run_dir = %run_dir.display(), "the shim does not answer"),
        }
        if let Some(status) = read_exit(run_dir) {
            return Ok(Adopted::Exited(status));
        }
        let dir = run_dir.to_owned();
        let cleaned = tokio::task::spawn_blocking(move || end_of(&dir, &cgroup)).await;
        cleaned.map_err(|err| shim_failed("clean up after a lost shim", io::Error::other(err)))?;
        Ok(Adopted::Lost)
    }
}

/// A shim that answers, and what it said.
struct Found {
    socket: UnixStream,
    pid: i32,
    started: bool,
    paused: bool,
}

/// The shim of `run_dir`; `None` when none lives, or when it is in its last moments and `exit.json` is there.
async fn find(run_dir: &Path) -> Option<Found> {
    loop {
        match greet(run_dir).await {
            Ok(found) => return Some(found),
            Err(err) if bundle::is_locked(run_dir) && read_exit(run_dir).is_none() => {
                tracing::debug!(run_dir = %run_dir.display(), %err, "a shim is coming or going");
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(err) => {
                tracing::debug!(run_dir = %run_dir.display(), %err, "no shim answers");
                return None;
            }
        }
    }
}

/// Watches the shim of `run_dir`, which answers when its container is made.
async fn greet(run_dir: &Path) -> io::Result<Found> {
    let mut socket = client::connect(run_dir).await?;
    wire::send(&mut socket, &Request::Watch).await?;
    match wire::receive(&mut socket).await? {
        Reply::State { pid, started, paused } => Ok(Found { socket, pid, started, paused }),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// How a container whose shim is gone ended. Kills and removes what the shim left. Blocking.
pub(crate) fn end_of(run_dir: &Path, cgroup: &str) -> ExitStatus {
    if let Some(status) = read_exit(run_dir) {
        return status;
    }
    let mut status = ExitStatus {
        exit_code: 255,
        oom_killed: false,
        finished_at: Timestamp::from(std::time::SystemTime::now()),
        error: Some("shim lost".to_owned()),
    };
    if let Err(err) = clean(run_dir, cgroup, &mut status) {
        tracing::warn!(run_dir = %run_dir.display(), %err, "failed to clean up after a lost shim");
    }
    let written = bundle::put_json(run_dir, bundle::EXIT, &status);
    if let Err(err) = written {
        tracing::warn!(%err, "failed to record the end of a lost shim's container");
    }
    status
}

fn clean(run_dir: &Path, cgroup: &str, status: &mut ExitStatus) -> io::Result<()> {
    kill_init(run_dir);
    // An empty path would be the root of every hierarchy.
    if !cgroup.trim_matches('/').is_empty() {
        let cgroup = Cgroup::open(cgroup)?;
        cgroup.kill_all()?;
        status.oom_killed = cgroup.oom_killed();
        cgroup.remove()?;
    }
    for path in [bundle::STATE, bundle::SOCKET] {
        let path = run_dir.join(path);
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        match removed {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => {}
        }
    }
    Ok(())
}

/// Kills the recorded first process if the pid is still its own: a created container's may not yet be in
/// its cgroup, and with it goes its whole pid namespace.
fn kill_init(run_dir: &Path) {
    let Ok(text) = std::fs::read(run_dir.join(bundle::INIT)) else { return };
    let Ok(record) = serde_json::from_slice::<InitRecord>(&text) else { return };
    if start_time(record.pid) == Some(record.start_time) {
        let _may_have_ended = sys::process::kill(record.pid, libc::SIGKILL);
    }
}

fn read_exit(run_dir: &Path) -> Option<ExitStatus> {
    let text = std::fs::read(run_dir.join(bundle::EXIT)).ok()?;
    serde_json::from_slice(&text).ok()
}

fn cgroup_of(spec: &Path) -> String {
    let spec = Spec::load(spec).ok();
    let path = spec.as_ref().and_then(|s| s.linux().as_ref()?.cgroups_path().as_ref());
    path.map_or_else(String::new, |path| path.to_string_lossy().into_owned())
}
