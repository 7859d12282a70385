//! Sockets that the service manager opened for us (`sd_listen_fds(3)`).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;

/// The sockets of this activation, in the unit's order; none when `LISTEN_PID` names another process.
///
/// To be called once, early in `main`: a second call finds the descriptors taken and returns none.
pub fn listen_fds() -> Vec<OwnedFd> {
    static TAKEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let read = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
    let ours =
        read("LISTEN_PID").and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id());
    if !ours || TAKEN.swap(true, std::sync::atomic::Ordering::SeqCst) {
        return Vec::new();
    }
    let count = read("LISTEN_FDS").unwrap_or(0);
    (FIRST..FIRST.saturating_add(count)).filter_map(take).collect()
}

/// Takes one descriptor, if it is open, and keeps it from programs we start.
fn take(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_SETFD changes no memory; on a closed descriptor it fails with EBADF.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return None;
    }
    // SAFETY: the descriptor is open (checked above), the service manager passed it to this process to
    // own, and `listen_fds` gives each out once.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}
