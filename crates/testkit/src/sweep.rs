//! Ends and removes what carries a token: processes, mounts, cgroups, namespaces, directories. Only ever by token, so
//! that nobody else's is touched.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that carries a token in its command line, environment or cgroup, or descends from one that does.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) command: String,
    /// It runs in a cgroup of the daemon's: a container's process.
    pub(crate) in_cgroup: bool,
}

/// Clears away what dead makers left behind; returns their tokens.
pub fn sweep() -> Vec<String> {
    let mut tokens = BTreeSet::new();
    for dir in [PathBuf::from("/run/netns"), std::env::temp_dir()] {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            tokens.extend(token_of_the_dead(&entry.file_name().to_string_lossy()));
        }
    }
    tokens.iter().for_each(|token| clear(token));
    tokens.into_iter().collect()
}

/// `smp-4711-003-out` → `smp-4711-003`, when process 4711 is no more.
fn token_of_the_dead(name: &str) -> Option<String> {
    let mut parts = name.strip_prefix("smp-")?.split('-');
    let (maker, number) = (parts.next()?.parse::<u32>().ok()?, parts.next()?);
    let is_number = number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !Path::new(&format!("/proc/{maker}")).exists())
        .then(|| format!("smp-{maker}-{number}"))
}

/// Removes all that carries `token` (of this process's making, or of a dead one's), in the order that lets each step succeed.
pub fn clear(token: &str) {
    end_processes(token);
    for mount in mounts(token).iter().rev() {
        // What is busy is detached; what is gone needs nothing.
        let _ = umount2(mount, MntFlags::MNT_DETACH);
    }
    remove_all_cgroups(token);
    for pin in carrying(Path::new("/run/netns"), token) {
        let _ = umount2(&pin, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&pin);
    }
    for dir in carrying(&std::env::temp_dir(), token) {
        remove_dir(&dir);
    }
}

/// The last writes of a process that was just killed may come while its directory is being removed.
fn remove_dir(dir: &Path) {
    for _ in 0..100 {
        match fs::remove_dir_all(dir) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                std::thread::sleep(Duration::from_millis(20));
            }
            _ => return,
        }
    }
}

/// What is called `token` or `token-…` in a directory.
fn carrying(dir: &Path, token: &str) -> Vec<PathBuf> {
    let is_ours = |name: &str| {
        name.strip_prefix(token).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| is_ours(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect()
}

/// Kills all that carries `token`, again and again until none is left.
pub fn end_processes(token: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let left = processes(token);
        if left.is_empty() {
            return;
        }
        thaw(token);
        for process in left {
            let _ = kill(Pid::from_raw(process.pid.cast_signed()), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A paused container's processes do not end before they are thawed (cgroup v1's freezer).
fn thaw(token: &str) {
    for cgroup in crate::leaks::cgroups(token) {
        // Only the freezer's directories have it.
        let state = cgroup.join("freezer.state");
        if state.exists() {
            let _ = fs::write(state, "THAWED");
        }
    }
}

/// All live processes that carry `token`; never this one, nor those that it was started by: whoever wants a cluster cleared
/// may have its socket in the environment.
pub(crate) fn processes(token: &str) -> Vec<Process> {
    let mut found = Vec::new();
    let own = ancestors();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some(pid) = pid.filter(|pid| !own.contains(pid)) {
            found.extend(inspect(pid, &entry.path(), token));
        }
    }
    found
}

/// This process, its parent and so on.
fn ancestors() -> Vec<u32> {
    let mut found = vec![std::process::id()];
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // `pid (name) state parent …`
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    while let Some(next) = parent(found[found.len() - 1]).filter(|next| *next > 0) {
        found.push(next);
    }
    found
}

fn inspect(pid: u32, proc: &Path, token: &str) -> Option<Process> {
    let read = |file: &str| {
        fs::read(proc.join(file)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    // The kernel's own threads and the dead have none: nothing more is read of them.
    let command = read("cmdline").ok().filter(|command| !command.is_empty())?;
    let in_cgroup = read("cgroup").is_ok_and(|cgroup| cgroup.contains(token));
    let is_ours = in_cgroup
        || command.contains(token)
        || read("environ").is_ok_and(|env| env.contains(token));
    if !is_ours {
        return None;
    }
    let state = read("stat").ok()?;
    let is_zombie =
        state.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
    (!is_zombie).then(|| Process {
        pid,
        name: read("comm").unwrap_or_default().trim().to_owned(),
        command: command.replace('\0', " ").trim().to_owned(),
        in_cgroup,
    })
}

/// Mount points whose path carries `token`, in the order they were mounted. Pins of our own namespaces are not meant.
pub(crate) fn mounts(token: &str) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| point.contains(token) && !point.starts_with("/run/netns/"))
        .map(PathBuf::from)
        .collect()
}

/// The daemon's cgroup parent in every hierarchy that has it.
pub(crate) fn cgroup_roots(token: &str) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path());
    let dirs = std::iter::once(base.to_owned()).chain(hierarchies);
    dirs.flat_map(|dir| carrying(&dir, token)).filter(|dir| dir.is_dir()).collect()
}

/// Removes what is empty of the daemon's cgroups.
pub(crate) fn remove_all_cgroups(token: &str) {
    for root in cgroup_roots(token) {
        remove_cgroups(&root);
    }
}

fn remove_cgroups(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_and_who_started_it_are_spared() {
        let own = ancestors();
        assert_eq!(own[0], std::process::id());
        // None that can be seen where a namespace hides it.
        assert_eq!(own.get(1).copied().unwrap_or(0), std::os::unix::process::parent_id());
    }
}
