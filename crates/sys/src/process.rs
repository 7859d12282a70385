//! Processes: a fork that refuses to run beside threads, leaving without unwinding, closing what a
//! child must not inherit.

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid, fork};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The caller, with its child's pid.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Forks. Fails with `EDEADLK` when this process has more than one thread: the child of a threaded
/// process may touch neither the allocator nor any lock.
pub fn fork_single_threaded() -> Result<Fork, Errno> {
    if !is_single_threaded()? {
        return Err(Errno::EDEADLK);
    }
    // SAFETY: this is the only thread, so the child gets a consistent copy of every lock and of the
    // allocator.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Whether this is the only thread: the kernel then lets it "leave" its thread group, which does nothing.
/// That also works where `/proc` is not this process's own; behind a seccomp filter that forbids it, the
/// number of links of `/proc/self/task` tells: two more than threads.
fn is_single_threaded() -> Result<bool, Errno> {
    match nix::sched::unshare(nix::sched::CloneFlags::CLONE_THREAD) {
        Ok(()) => Ok(true),
        Err(Errno::EINVAL) => Ok(false),
        Err(_) => Ok(nix::sys::stat::stat("/proc/self/task")?.st_nlink == 3),
    }
}

/// Ends this process at once: no destructors, no flushing of what the parent has buffered too.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from 3 up that is not in `keep`. For a freshly forked child only: whoever
/// still owns one of the closed descriptors must not use it again.
pub fn close_all_except(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    keep.sort_unstable();
    let mut from: u32 = 3;
    for fd in keep {
        if fd > from {
            close_range(from, fd - 1);
        }
        from = from.max(fd + 1);
    }
    close_range(from, u32::MAX);
}

/// One dead child, collected: its pid and exit code, 128 + n for death by signal n. `None` when no child
/// is dead now or there is none. Unlike nix's, it also understands real-time signals.
pub fn reap() -> Option<(i32, i64)> {
    let mut status = 0;
    loop {
        // SAFETY: waitpid writes one int to a valid pointer.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid > 0 {
            return Some((pid, exit_code(status)));
        }
        if pid == 0 || Errno::last() != Errno::EINTR {
            return None;
        }
    }
}

/// Waits until the child `pid` is dead and collects it. `None` when it is no child of this process.
pub fn reap_one(pid: i32) -> Option<i64> {
    let mut status = 0;
    loop {
        // SAFETY: waitpid writes one int to a valid pointer.
        let done = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if done == pid {
            return Some(exit_code(status));
        }
        if Errno::last() != Errno::EINTR {
            return None;
        }
    }
}

fn exit_code(status: libc::c_int) -> i64 {
    if libc::WIFSIGNALED(status) {
        128 + i64::from(libc::WTERMSIG(status))
    } else {
        i64::from(libc::WEXITSTATUS(status))
    }
}

/// A descriptor of the process `pid`, close-on-exec, to be polled or to join its namespaces with. The caller
/// knows that the pid is still the one it means: a child not yet collected, say.
pub fn open_pid(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open takes two integers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made it for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends any signal, real-time ones included.
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill touches no memory of ours.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Waits for one signal of `set` and takes it.
pub fn wait_signal(set: &nix::sys::signal::SigSet) -> Result<i32, Errno> {
    let mut signal = 0;
    // SAFETY: both pointers are valid for the call.
    match unsafe { libc::sigwait(set.as_ref(), &raw mut signal) } {
        0 => Ok(signal),
        err => Err(Errno::from_raw(err)),
    }
}

/// Gives back what a new program expects: no signal blocked, none ignored. Rust's runtime ignores SIGPIPE and
/// `nohup` SIGHUP, and execve would pass that on; a shell cannot trap what it was started with as ignored.
pub fn restore_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // Refused for SIGKILL, SIGSTOP and libc's own, which nobody can ignore.
        // SAFETY: the default disposition runs no code of ours.
        let _restored = unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let _unmasked = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// A descriptor known by its number only, because it was inherited across fork or exec; `None` when it is
/// not open now. It must stay open while it is used: for descriptors that nothing in the process closes.
pub fn inherited(fd: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: fcntl on any number is harmless.
    if fd < 0 || unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, and the caller uses it for descriptors that live as long as the process.
    Some(unsafe { BorrowedFd::borrow_raw(fd) })
}

fn close_range(first: u32, last: u32) {
    // SAFETY: the caller of `close_all_except` promises not to use what is closed; an error (an old
    // kernel) leaves descriptors open, which are all close-on-exec anyway.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_forked() {
        // The test harness runs each test in a thread of its own.
        assert_eq!(fork_single_threaded(), Err(Errno::EDEADLK));
    }

    #[test]
    fn a_new_program_ignores_nothing() {
        use std::os::unix::process::CommandExt;
        let mut cat = std::process::Command::new("cat");
        // SAFETY: both only change how this process, about to execute another program, takes signals.
        unsafe {
            cat.arg("/proc/self/status").pre_exec(|| {
                libc::signal(libc::SIGHUP, libc::SIG_IGN);
                libc::signal(libc::SIGPIPE, libc::SIG_IGN);
                restore_signals();
                Ok(())
            });
        }
        let status = String::from_utf8(cat.output().unwrap().stdout).unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        assert_eq!(ignored & 0x7fff_ffff, 0, "{ignored:x}");
    }
}
