//! The streams of one process in the container: its first, or an exec.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A process's number in the shim; never reused.
pub(super) type Key = u32;
/// The container's first process.
pub(super) const INIT: Key = 0;

/// Our ends of a process's streams.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub(super) stdin: Option<OwnedFd>,
    /// With a terminal: its master.
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

#[derive(Debug)]
pub(super) struct Process {
    /// Empty for the first.
    pub(super) exec_id: String,
    pub(super) pid: i32,
    pub(super) tty: bool,
    pub(super) ends: Ends,
    /// The end of a client's input ends stdin.
    pub(super) stdin_once: bool,
    waiting: Vec<u8>,
    stdin_ended: bool,
    pub(super) exit: Option<i64>,
}

impl Process {
    pub(super) fn new(
        exec_id: String,
        pid: i32,
        tty: bool,
        ends: Ends,
        stdin_once: bool,
    ) -> Process {
        for fd in [&ends.stdin, &ends.stdout, &ends.stderr].into_iter().flatten() {
            set_nonblocking(fd);
        }
        let (waiting, stdin_ended) = (Vec::new(), false);
        Process { exec_id, pid, tty, ends, stdin_once, waiting, stdin_ended, exit: None }
    }

    pub(super) fn is_running(&self, pid: i32) -> bool {
        self.pid == pid && self.exit.is_none()
    }

    pub(super) fn output(&self, stream: logs::Stream) -> Option<BorrowedFd<'_>> {
        self.end_of(stream).as_ref().map(AsFd::as_fd)
    }

    fn end_of(&self, stream: logs::Stream) -> &Option<OwnedFd> {
        match stream {
            logs::Stream::Stdout => &self.ends.stdout,
            logs::Stream::Stderr => &self.ends.stderr,
        }
    }

    /// Reads once: `Some(0)` at the end (then closed), `None` when nothing is there now.
    pub(super) fn read(&mut self, stream: logs::Stream, chunk: &mut [u8]) -> Option<usize> {
        let fd = self.end_of(stream).as_ref()?;
        match nix::unistd::read(fd, chunk) {
            Ok(0) => {}
            Ok(count) => return Some(count),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return None,
            // EIO: a terminal whose last user has left.
            Err(_) => {}
        }
        match stream {
            logs::Stream::Stdout => self.ends.stdout = None,
            logs::Stream::Stderr => self.ends.stderr = None,
        }
        Some(0)
    }

    /// Takes a client's input; dropped when the process has no stdin.
    pub(super) fn push_stdin(&mut self, bytes: &[u8]) {
        if self.ends.stdin.is_some() {
            self.waiting.extend_from_slice(bytes);
            self.feed();
        }
    }

    /// A client's input has ended.
    pub(super) fn end_stdin(&mut self) {
        if self.stdin_once {
            self.stdin_ended = true;
            self.feed();
        }
    }

    pub(super) fn stdin_waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn wanting_stdin(&self) -> Option<BorrowedFd<'_>> {
        if self.waiting.is_empty() { None } else { self.ends.stdin.as_ref().map(AsFd::as_fd) }
    }

    /// Writes what stdin takes now; closes it after the last byte of the last client.
    pub(super) fn feed(&mut self) {
        while let Some(fd) = &self.ends.stdin
            && !self.waiting.is_empty()
        {
            match nix::unistd::write(fd, &self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return,
                Err(_) => {
                    self.ends.stdin = None;
                    self.waiting = Vec::new();
                }
            }
        }
        self.waiting.shrink_to(4096);
        if self.stdin_ended {
            self.ends.stdin = None;
        }
    }
}

pub(super) fn set_nonblocking(fd: &OwnedFd) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    if let Ok(flags) = fcntl(fd, FcntlArg::F_GETFL) {
        let flags = OFlag::from_bits_truncate(flags) | OFlag::O_NONBLOCK;
        let _always_works = fcntl(fd, FcntlArg::F_SETFL(flags));
    }
}
