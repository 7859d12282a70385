//! One client connection of the shim: frames until it becomes a stream, never blocking either way.

use super::process::{Key, Process};
use crate::wire;
use nix::poll::PollFlags;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Unread output of one client above which its container stream is no longer read.
const BEHIND: usize = 1 << 20;
/// Unwritten stdin above which the client is no longer read.
const STDIN_AHEAD: usize = 64 << 10;
/// What an idle connection keeps of its buffers.
const IDLE: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Control,
    Stream(Wanted),
}

/// What a stream connection is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) key: Key,
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

pub(super) struct Conn {
    pub(super) socket: UnixStream,
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
    /// Descriptor to send with the first byte of `output`.
    pub(super) passing: Option<OwnedFd>,
    pub(super) mode: Mode,
    /// A request is being worked on: later ones wait.
    pub(super) busy: bool,
    /// Told of the container's end unasked.
    pub(super) watching: bool,
    /// Waits for this exec's end.
    pub(super) awaiting: Option<Key>,
    /// The client sends no more.
    pub(super) input_ended: bool,
    /// Nothing more is to be sent after `output`.
    pub(super) closing: bool,
    gone: bool,
}

impl Conn {
    pub(super) fn new(socket: UnixStream) -> Conn {
        Conn {
            socket,
            input: Vec::new(),
            output: Vec::new(),
            passing: None,
            mode: Mode::Control,
            busy: false,
            watching: false,
            awaiting: None,
            input_ended: false,
            closing: false,
            gone: false,
        }
    }

    /// Whether it can be forgotten.
    pub(super) fn is_over(&self) -> bool {
        let done = self.output.is_empty();
        let hung_up = self.input_ended && self.mode == Mode::Control && !self.busy;
        self.gone || (done && (self.closing || hung_up))
    }

    /// What to poll for.
    pub(super) fn interest(&self, processes: &BTreeMap<Key, Process>) -> PollFlags {
        let mut flags = PollFlags::empty();
        if !self.output.is_empty() {
            flags |= PollFlags::POLLOUT;
        }
        let takes_input = match self.mode {
            Mode::Control => !self.busy,
            Mode::Stream(wanted) => processes
                .get(&wanted.key)
                .is_none_or(|process| process.stdin_waiting() < STDIN_AHEAD),
        };
        if takes_input && !self.input_ended {
            flags |= PollFlags::POLLIN;
        }
        flags
    }

    /// Whether it holds up this stream.
    pub(super) fn is_behind(&self, key: Key, stream: logs::Stream) -> bool {
        self.output.len() > BEHIND && !self.gone && self.wants(key, stream)
    }

    fn wants(&self, key: Key, stream: logs::Stream) -> bool {
        match self.mode {
            Mode::Stream(wanted) if wanted.key == key => match stream {
                logs::Stream::Stdout => wanted.stdout,
                logs::Stream::Stderr => wanted.stderr,
            },
            _ => false,
        }
    }

    /// Output of a process, framed as Docker does unless it comes from a terminal.
    pub(super) fn offer(&mut self, key: Key, stream: logs::Stream, tty: bool, bytes: &[u8]) {
        if self.closing || !self.wants(key, stream) {
            return;
        }
        if !tty {
            let number = match stream {
                logs::Stream::Stdout => 1,
                logs::Stream::Stderr => 2,
            };
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
            self.output.extend_from_slice(&[number, 0, 0, 0]);
            self.output.extend_from_slice(&length);
        }
        self.output.extend_from_slice(bytes);
        self.flush();
    }

    pub(super) fn send(&mut self, message: &impl Serialize) {
        match wire::encode(message) {
            Ok(frame) => self.output.extend_from_slice(&frame),
            Err(_) => self.gone = true,
        }
        self.flush();
    }

    /// Writes what the socket takes now.
    pub(super) fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.output.len() {
            let result = match self.passing.take() {
                Some(fd) => {
                    use std::os::fd::AsFd;
                    sys::socket::send_with_fds(&self.socket, &self.output[sent..], &[fd.as_fd()])
                        .map_err(io::Error::from)
                }
                None => (&self.socket).write(&self.output[sent..]),
            };
            match result {
                Ok(count) => sent += count,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => break,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
        }
        self.output.drain(..sent);
        self.output.shrink_to(IDLE);
        if self.closing && self.output.is_empty() {
            let _already_gone = self.socket.shutdown(Shutdown::Write);
        }
    }

    /// Whether all that was sent has left, to a client that was there to take it.
    pub(super) fn has_delivered(&self) -> bool {
        self.output.is_empty() && !self.gone
    }

    /// No more output will come.
    pub(super) fn close(&mut self) {
        self.closing = true;
        self.flush();
    }

    /// Reads what the client has sent.
    pub(super) fn fill(&mut self, chunk: &mut [u8]) {
        if self.input_ended {
            // Polled as hung up while output was waiting: the client is gone for good.
            self.gone |= self.peer_is_gone();
            return;
        }
        loop {
            match (&self.socket).read(chunk) {
                Ok(0) => {
                    self.input_ended = true;
                    return;
                }
                Ok(count) => {
                    self.input.extend_from_slice(&chunk[..count]);
                    if self.input.len() >= STDIN_AHEAD {
                        return;
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
    }

    /// A peer that has closed altogether, rather than its sending half only.
    fn peer_is_gone(&self) -> bool {
        use nix::poll::{PollFd, PollTimeout, poll};
        use std::os::fd::AsFd;
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
        let _polled = poll(&mut fds, PollTimeout::ZERO);
        fds[0].revents().is_some_and(|r| r.intersects(PollFlags::POLLHUP | PollFlags::POLLERR))
    }
}
