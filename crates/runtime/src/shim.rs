//! The shim: one small single-threaded process per container, alive exactly as long as the container.
//!
//! ```text
//!             ┌───────────────────────── poll ─────────────────────────┐
//!   SIGCHLD ──┤ reap: init → finish;  exec → its waiters;  op → reply   │
//!   socket  ──┤ accept; requests; stdin of attached clients             ├─► log file
//!   pipes   ──┤ output of container and execs                           ├─► attached clients
//!   op pipe ──┤ outcome of a forked OCI operation                       ├─► exit.json, watchers
//!             └─────────────────────────────────────────────────────────┘
//! ```
//! Its working directory is the run directory, so no path it binds is long. It never calls an OCI runtime
//! in its own process (see [`crate::oci`]), starts no thread and blocks on nothing but the disk. A slow
//! client stops the reading of the stream it is attached to; one that is gone stops nothing.
//!
//! SIGTERM, SIGINT and SIGHUP are ignored: the end of the daemon's session or service is not the end of
//! the containers (under systemd the daemon's unit needs `KillMode=process`).

mod boot;
mod conn;
mod finish;
mod op;
mod process;
mod request;

pub(crate) use op::start_time;

use crate::cgroup::Cgroup;
use crate::protocol::{Boot, Reply};
use conn::{Conn, Mode};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use op::Op;
use process::{Key, Process};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use types::Timestamp;

/// What one read takes from a container's stream.
const CHUNK: usize = 16 << 10;

/// Runs the shim; `args` are those after the word `shim`: the run directory. Never returns. To be called
/// before anything starts a thread.
pub fn main(args: impl Iterator<Item = OsString>) -> ! {
    let code = match boot::boot(args).and_then(|mut shim| shim.run()) {
        Ok(()) => 0,
        Err(err) => {
            eprintln!("shim: {err}");
            1
        }
    };
    sys::process::exit_now(code)
}

/// A connection's number; never reused.
type Token = u32;

struct Shim {
    boot: Boot,
    cgroup: Cgroup,
    signals: SignalFd,
    listener: Option<UnixListener>,
    conns: BTreeMap<Token, Conn>,
    next_token: Token,
    /// The container's first process under key 0, and its execs.
    processes: BTreeMap<Key, Process>,
    next_key: Key,
    ops: Vec<Op>,
    /// Children that died before the operation that made them has reported their pid.
    unclaimed: Vec<(i32, i64)>,
    log: Option<logs::Writer>,
    keep: Vec<(String, OwnedFd)>,
    /// Tells a daemon that this shim lives; freed by its end, however that comes.
    _lock: OwnedFd,
    started: bool,
    paused: bool,
    finished: bool,
    chunk: Vec<u8>,
}

/// What a ready descriptor belongs to.
#[derive(Debug, Clone, Copy)]
enum Tag {
    Signals,
    Listener,
    Conn(Token),
    Output(Key, logs::Stream),
    Stdin(Key),
    Op(i32),
}

impl Shim {
    fn run(&mut self) -> io::Result<()> {
        while !self.is_over() {
            for (tag, ready) in self.wait()? {
                match tag {
                    Tag::Signals => self.reap()?,
                    Tag::Listener => self.accept(),
                    Tag::Conn(token) => self.serve(token, ready),
                    Tag::Output(key, stream) => {
                        self.pump(key, stream);
                    }
                    Tag::Stdin(key) => self.feed(key),
                    Tag::Op(pid) => self.hear(pid),
                }
            }
            // Operations under way answer first: a container may be dead before its start is reported.
            let init_is_dead = self.processes.get(&process::INIT).is_some_and(|p| p.exit.is_some());
            if init_is_dead && self.ops.is_empty() && !self.finished {
                self.finish();
            }
            if let Some(log) = &mut self.log {
                log.flush();
            }
            self.conns.retain(|_, conn| !conn.is_over());
        }
        Ok(())
    }

    /// After the container's end the shim stays only for clients that have not read everything yet.
    fn is_over(&self) -> bool {
        self.finished && self.conns.values().all(|conn| conn.output.is_empty())
    }

    /// Waits for anything to do. A stream is not asked while a client attached to it is behind.
    fn wait(&self) -> io::Result<Vec<(Tag, PollFlags)>> {
        let mut tags = vec![Tag::Signals];
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let mut add = |tag, fd, flags| {
            tags.push(tag);
            fds.push(PollFd::new(fd, flags));
        };
        if let Some(listener) = &self.listener {
            add(Tag::Listener, listener.as_fd(), PollFlags::POLLIN);
        }
        for (token, conn) in &self.conns {
            add(Tag::Conn(*token), conn.socket.as_fd(), conn.interest(&self.processes));
        }
        for (key, process) in &self.processes {
            for stream in [logs::Stream::Stdout, logs::Stream::Stderr] {
                if let Some(fd) = process.output(stream)
                    && !self.conns.values().any(|conn| conn.is_behind(*key, stream))
                {
                    add(Tag::Output(*key, stream), fd, PollFlags::POLLIN);
                }
            }
            if let Some(fd) = process.wanting_stdin() {
                add(Tag::Stdin(*key), fd, PollFlags::POLLOUT);
            }
        }
        for op in &self.ops {
            add(Tag::Op(op.pid), op.report.as_fd(), PollFlags::POLLIN);
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(err) => return Err(err.into()),
        }
        let ready = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::POLLERR));
        Ok(tags.into_iter().zip(ready).filter(|(_, ready)| !ready.is_empty()).collect())
    }

    /// Collects every dead child.
    fn reap(&mut self) -> io::Result<()> {
        while self.signals.read_signal()?.is_some() {}
        while let Some((pid, code)) = sys::process::reap() {
            self.bury(pid, code);
        }
        Ok(())
    }

    fn bury(&mut self, pid: i32, code: i64) {
        if self.ops.iter().any(|op| op.pid == pid) {
            self.hear(pid);
            self.op_died(pid);
            return;
        }
        let Some((key, process)) = self.processes.iter_mut().find(|(_, p)| p.is_running(pid))
        else {
            if !self.ops.is_empty() {
                self.unclaimed.push((pid, code));
            }
            return;
        };
        let key = *key;
        process.exit = Some(code);
        if key != process::INIT {
            self.end_exec(key);
        }
    }

    fn accept(&mut self) {
        while let Some(Ok((socket, _))) = self.listener.as_ref().map(UnixListener::accept) {
            if socket.set_nonblocking(true).is_ok() {
                self.add_conn(Conn::new(socket));
            }
        }
    }

    fn add_conn(&mut self, conn: Conn) -> Token {
        let token = self.next_token;
        self.next_token += 1;
        self.conns.insert(token, conn);
        token
    }

    /// Moves what a connection has ready: requests or stdin in, output out.
    fn serve(&mut self, token: Token, ready: PollFlags) {
        let Some(conn) = self.conns.get_mut(&token) else { return };
        if ready.contains(PollFlags::POLLOUT) {
            conn.flush();
        }
        if ready.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            conn.fill(&mut self.chunk);
            match conn.mode {
                Mode::Control => self.requests(token),
                Mode::Stream(_) => self.take_stdin(token),
            }
        }
    }

    fn reply(&mut self, token: Token, reply: &Reply) {
        if let Some(conn) = self.conns.get_mut(&token) {
            conn.busy = false;
            conn.send(reply);
        }
        // A request that came while this one was being worked on is next.
        self.requests(token);
    }

    /// One read of a stream, passed to log and clients. False at its end or when nothing is there now.
    fn pump(&mut self, key: Key, stream: logs::Stream) -> bool {
        let Some(process) = self.processes.get_mut(&key) else { return false };
        let Some(count) = process.read(stream, &mut self.chunk) else { return false };
        let bytes = &self.chunk[..count];
        if count == 0 {
            if let (process::INIT, Some(log)) = (key, &mut self.log) {
                log.end(stream, now());
            }
            return false;
        }
        if let (process::INIT, Some(log)) = (key, &mut self.log) {
            log.write(stream, bytes, now());
        }
        let tty = process.tty;
        for conn in self.conns.values_mut() {
            conn.offer(key, stream, tty, bytes);
        }
        true
    }

    /// Passes waiting stdin on.
    fn feed(&mut self, key: Key) {
        if let Some(process) = self.processes.get_mut(&key) {
            process.feed();
        }
    }
}

/// The one place where the shim reads the clock.
fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}
