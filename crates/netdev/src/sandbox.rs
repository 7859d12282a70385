//! Sandboxes: network namespaces pinned by a bind mount, so that they outlive process and daemon.
//!
//! `<exec-root>/netns/<container id>` is both the pin and what the runtime joins.

use crate::SandboxError;
use crate::link::Route;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{FsType, statfs};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use types::ContainerId;

/// `NSFS_MAGIC` of linux/magic.h.
const NSFS: FsType = FsType(0x6e73_6673);

/// What Docker sets in a new sandbox: a container's root is not the host's, so ports below 1024 and ping
/// need no capability; and without IPv6 on its networks an interface gets no IPv6 address of its own.
const SYSCTLS: &[(&str, &str)] = &[
    ("net/ipv4/ip_unprivileged_port_start", "0"),
    ("net/ipv4/ping_group_range", "0 2147483647"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
];

/// The directory of sandboxes.
#[derive(Debug, Clone)]
pub struct Sandboxes {
    root: PathBuf,
}

impl Sandboxes {
    /// Below `exec_root`, which must not be on a `nodev`-only tmpfs of another owner; made when missing.
    pub fn open(exec_root: &Path) -> Result<Self, SandboxError> {
        let root = exec_root.join("netns");
        fs::create_dir_all(&root).map_err(|source| SandboxError {
            action: "make room for",
            path: root.clone(),
            source,
        })?;
        Ok(Sandboxes { root })
    }

    /// Where the sandbox of `id` is, or would be.
    pub fn path(&self, id: &ContainerId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// Makes the sandbox of `id` with its loopback up, or returns the one that is there.
    pub fn ensure(&self, id: &ContainerId) -> Result<PathBuf, SandboxError> {
        let path = self.path(id);
        let failed = |source| SandboxError { action: "create", path: path.clone(), source };
        if is_pinned(&path) {
            return Ok(path);
        }
        File::create(&path).map_err(failed)?;
        on_thread(|| pin_new(&path)).map_err(failed)?;
        Ok(path)
    }

    /// Removes the sandbox of `id`; fine when it is gone. The kernel frees it in the background.
    pub fn remove(&self, id: &ContainerId) -> Result<(), SandboxError> {
        let path = self.path(id);
        let unpinned = match umount2(&path, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        };
        let removed = match fs::remove_file(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        };
        unpinned.and(removed).map_err(|source| SandboxError { action: "remove", path, source })
    }

    /// The containers that have a sandbox, by what is pinned.
    pub fn list(&self) -> Result<Vec<ContainerId>, SandboxError> {
        let failed = |source| SandboxError { action: "list", path: self.root.clone(), source };
        let entries = fs::read_dir(&self.root).map_err(failed)?;
        Ok(entries
            .flatten()
            .map(|entry| ContainerId::new(entry.file_name().to_string_lossy()))
            .collect())
    }
}

/// Runs `work` on a thread of its own inside the namespace at `path`. Sockets it opens stay there.
pub fn run_in<T: Send>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> Result<T, SandboxError> {
    let entered = || {
        setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
        work()
    };
    on_thread(entered).map_err(|source| SandboxError {
        action: "work in",
        path: path.to_owned(),
        source,
    })
}

/// A thread that changes its namespace must not come back: it ends here.
fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("sandbox".to_owned()).stack_size(128 * 1024);
        let died = |_| io::Error::other("the thread panicked");
        thread.spawn_scoped(scope, work)?.join().unwrap_or_else(|panic| Err(died(panic)))
    })
}

fn pin_new(path: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    Route::open()?.raise_loopback()?;
    for (name, value) in SYSCTLS {
        match fs::write(Path::new("/proc/sys").join(name), value) {
            // A kernel without IPv6.
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome?,
        }
    }
    // Last, so that what is pinned is complete.
    mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

fn is_pinned(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == NSFS)
}
