//! A container's cgroups, without the OCI runtime: what is left after a lost shim, whether the kernel
//! killed for memory, freezing, removal.
//!
//! Works on every layout: on v1 and hybrid the same path below each controller's mount, on v2 one
//! directory. Refuses nothing: a missing directory is an empty cgroup.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a kill or removal is tried again while dying processes leave, and the pause between.
const TRIES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(2);

/// The directories of one cgroup path on this machine.
#[derive(Debug, Clone)]
pub struct Cgroup {
    /// Each controller's (v1) or the one (v2) directory; they need not exist.
    dirs: Vec<(PathBuf, Version)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Cgroup {
    /// Finds where `path` (as in the specification: `/docker/<id>`) is mounted.
    pub fn open(path: &str) -> io::Result<Cgroup> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(Cgroup { dirs: directories(&mounts, path) })
    }

    /// Moves this process in; it must be the only thread. On v1 "0" for the thread itself is written to
    /// `tasks`: moving a process by its pid waits for an RCU grace period of the whole machine.
    pub(crate) fn join(&self) -> io::Result<()> {
        for (dir, version) in &self.dirs {
            let file = dir.join(match version {
                Version::V1 => "tasks",
                Version::V2 => "cgroup.procs",
            });
            let write = || fs::File::options().write(true).open(file)?.write_all(b"0");
            match write() {
                // Not every hierarchy has it: the OCI runtime leaves out those without a controller.
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        Ok(())
    }

    /// Every process in it and below.
    pub fn pids(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self.existing().flat_map(pids_below).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Whether the kernel has killed a process of it for want of memory. To be asked before removal.
    pub fn oom_killed(&self) -> bool {
        self.existing().any(|dir| {
            ["memory.oom_control", "memory.events"].into_iter().any(|file| {
                fs::read_to_string(dir.join(file)).is_ok_and(|text| oom_kills(&text) > 0)
            })
        })
    }

    /// Stops (or lets go) every process in it; returns when the kernel says it has.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        for (dir, version) in &self.dirs {
            let (file, value) = match version {
                Version::V1 => ("freezer.state", if frozen { "FROZEN" } else { "THAWED" }),
                Version::V2 => ("cgroup.freeze", if frozen { "1" } else { "0" }),
            };
            let file = dir.join(file);
            if file.exists() {
                fs::write(&file, value)?;
                return self.await_frozen(dir, *version, frozen);
            }
        }
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn await_frozen(&self, dir: &Path, version: Version, frozen: bool) -> io::Result<()> {
        for _ in 0..TRIES {
            let reached = match version {
                Version::V1 => {
                    let state = fs::read_to_string(dir.join("freezer.state"))?;
                    state.trim() == if frozen { "FROZEN" } else { "THAWED" }
                }
                Version::V2 => {
                    let events = fs::read_to_string(dir.join("cgroup.events"))?;
                    events.lines().any(|line| line == if frozen { "frozen 1" } else { "frozen 0" })
                }
            };
            if reached {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(io::Error::from(io::ErrorKind::TimedOut))
    }

    /// Kills every process in it, also while they fork, and waits until they are gone.
    pub fn kill_all(&self) -> io::Result<()> {
        for (dir, version) in &self.dirs {
            if *version == Version::V2 && fs::write(dir.join("cgroup.kill"), "1").is_ok() {
                return self.await_empty();
            }
        }
        for _ in 0..TRIES {
            let pids = self.pids();
            if pids.is_empty() {
                return Ok(());
            }
            // Frozen, nothing can fork away; thawed, the pending SIGKILL is the first thing they see.
            let frozen = self.freeze(true).is_ok();
            for pid in self.pids() {
                match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(err) => return Err(err.into()),
                }
            }
            if frozen {
                self.freeze(false)?;
            }
            std::thread::sleep(PAUSE);
        }
        Err(io::Error::from(io::ErrorKind::TimedOut))
    }

    fn await_empty(&self) -> io::Result<()> {
        for _ in 0..TRIES {
            if self.pids().is_empty() {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(io::Error::from(io::ErrorKind::TimedOut))
    }

    /// Removes it and what is below. Goes on after a failure and returns the first.
    pub fn remove(&self) -> io::Result<()> {
        let mut result = Ok(());
        for (dir, _) in &self.dirs {
            if let Err(err) = remove_tree(dir) {
                result = result.and(Err(err));
            }
        }
        result
    }

    /// Its one directory where the machine has version 2 alone.
    pub(crate) fn unified(&self) -> Option<&Path> {
        match self.dirs.as_slice() {
            [(dir, Version::V2)] => Some(dir),
            _ => None,
        }
    }

    /// Whether any directory of it is there.
    pub fn exists(&self) -> bool {
        self.existing().next().is_some()
    }

    fn existing(&self) -> impl Iterator<Item = &Path> {
        self.dirs.iter().map(|(dir, _)| dir.as_path()).filter(|dir| dir.exists())
    }
}

/// `path` below every cgroup mount of `mountinfo`.
fn directories(mountinfo: &str, path: &str) -> Vec<(PathBuf, Version)> {
    let relative = path.trim_start_matches('/');
    let mut dirs = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let version = match right.split(' ').next() {
            Some("cgroup") => Version::V1,
            Some("cgroup2") => Version::V2,
            _ => continue,
        };
        if let Some(mount) = left.split(' ').nth(4) {
            dirs.push((Path::new(mount).join(relative), version));
        }
    }
    dirs
}

/// The `oom_kill` counter of `memory.oom_control` (v1) or `memory.events` (v2).
fn oom_kills(text: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.strip_prefix("oom_kill "))
        .find_map(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

fn pids_below(dir: &Path) -> Vec<i32> {
    let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<i32> = procs.lines().filter_map(|pid| pid.parse().ok()).collect();
    for below in subdirectories(dir) {
        pids.extend(pids_below(&below));
    }
    pids
}

fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for below in subdirectories(dir) {
        remove_tree(&below)?;
    }
    let mut result = Ok(());
    for _ in 0..TRIES {
        result = fs::remove_dir(dir);
        match &result {
            // A process that has just died still counts for a moment.
            Err(err) if err.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(PAUSE),
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            _ => return result,
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw";
    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn every_hierarchy_holds_the_same_path() {
        let dirs = directories(HYBRID, "/docker/a");
        assert_eq!(
            dirs,
            vec![
                (PathBuf::from("/sys/fs/cgroup/memory/docker/a"), Version::V1),
                (PathBuf::from("/sys/fs/cgroup/unified/docker/a"), Version::V2),
            ]
        );
        let dirs = directories(UNIFIED, "/docker/a");
        assert_eq!(dirs, vec![(PathBuf::from("/sys/fs/cgroup/docker/a"), Version::V2)]);
    }

    #[test]
    fn both_layouts_count_their_oom_kills() {
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
        assert_eq!(oom_kills("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"), 0);
    }
}
