//! One daemon per pid file, and one per data root.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// For so long a daemon that starts takes the one before it for dying rather than for running: a process that was
/// killed keeps its pid and its locks until the last of its threads has come back from the disk.
const DYING: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);

/// The pid file of this process; removed when dropped.
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Writes our pid, unless the file names a process that runs.
    pub(crate) fn claim(path: &Path) -> Result<Self> {
        let start = Instant::now();
        while let Some(pid) = running(path) {
            if start.elapsed() > DYING {
                bail!(
                    "failed to start daemon, ensure sampan is not running or delete {}: process with PID {pid} is \
                     still running",
                    path.display()
                );
            }
            std::thread::sleep(PAUSE);
        }
        let fail = || format!("failed to write the pid file {}", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(fail)?;
        }
        std::fs::write(path, std::process::id().to_string()).with_context(fail)?;
        Ok(PidFile(path.to_owned()))
    }
}

/// The process that `path` names, if it runs and is not we ourselves (in a container, pids repeat).
fn running(path: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state …`; a zombie only waits for its parent.
    let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    (pid != std::process::id() && !state.starts_with('Z')).then_some(pid)
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(err) = std::fs::remove_file(&self.0) {
            tracing::debug!("failed to remove {}: {err}", self.0.display());
        }
    }
}

/// Locks a data root for this process's life: two daemons on one would destroy each other's state.
pub(crate) fn lock_data_root(dir: &Path) -> Result<Flock<File>> {
    std::fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    let path = dir.join("daemon.lock");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("failed to open {}", path.display()))?;
    let start = Instant::now();
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) if start.elapsed() < DYING => file,
            Err((_, Errno::EWOULDBLOCK)) => bail!(
                "failed to start daemon: another daemon is using the data root {}",
                dir.display()
            ),
            Err((_, err)) => {
                return Err(err).with_context(|| format!("failed to lock {}", path.display()));
            }
        };
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_of_a_running_process_is_refused_and_a_stale_one_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        std::fs::write(&path, "1").unwrap();
        let refused = PidFile::claim(&path).err().unwrap().to_string();
        assert!(refused.ends_with("process with PID 1 is still running"), "{refused}");
        std::fs::write(&path, "4194999").unwrap();
        let claimed = PidFile::claim(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        drop(claimed);
        assert!(!path.exists());
    }

    #[test]
    fn a_data_root_is_locked_once() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock_data_root(dir.path()).unwrap();
        assert!(lock_data_root(dir.path()).is_err());
        drop(held);
        assert!(lock_data_root(dir.path()).is_ok());
    }

    #[test]
    fn a_daemon_that_dies_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock_data_root(dir.path()).unwrap();
        let mut before = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pid = dir.path().join("pid");
        std::fs::write(&pid, before.id().to_string()).unwrap();
        std::thread::scope(|scope| {
            let claim = scope.spawn(|| PidFile::claim(&pid).map(|_| ()));
            let lock = scope.spawn(|| lock_data_root(dir.path()).map(|_| ()));
            before.kill().unwrap();
            before.wait().unwrap();
            drop(held);
            claim.join().unwrap().unwrap();
            lock.join().unwrap().unwrap();
        });
    }
}
