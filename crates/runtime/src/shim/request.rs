//! What clients of the shim ask for.

use super::conn::{Conn, Mode, Wanted};
use super::process::{self, Key};
use super::{Shim, Token};
use crate::oci::text;
use crate::protocol::{Reply, Request};
use crate::wire;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

impl Shim {
    /// Works off a connection's requests until one has to be waited for.
    pub(super) fn requests(&mut self, token: Token) {
        while let Some(conn) = self.conns.get_mut(&token)
            && conn.mode == Mode::Control
            && !conn.busy
        {
            let request = match wire::decode(&conn.input) {
                Ok(None) => return,
                Ok(Some((body, end))) => serde_json::from_slice(body).map(|request| (request, end)),
                Err(_) => return conn.close(),
            };
            let Ok((request, end)) = request else { return conn.close() };
            conn.input.drain(..end);
            conn.busy = true;
            if let Some(reply) = self.handle(token, request)
                && let Some(conn) = self.conns.get_mut(&token)
            {
                conn.busy = false;
                conn.send(&reply);
            }
        }
    }

    /// The reply, or `None` when it comes later or the connection has become a stream.
    fn handle(&mut self, token: Token, request: Request) -> Option<Reply> {
        let done = match request {
            Request::Start => self.start(token).map(|()| None),
            Request::Exec(exec) => return self.begin_exec(token, exec),
            Request::Update { resources } => self.update(token, resources).map(|()| None),
            Request::Attach { stdin, stdout, stderr } => {
                let wanted = Wanted { key: process::INIT, stdin, stdout, stderr };
                if self.finished {
                    return Some(refused("container is not running"));
                }
                let tty = self.boot.tty;
                self.reply(token, &Reply::Done);
                self.become_stream(token, Wanted { stdout: stdout || (tty && stderr), ..wanted });
                return None;
            }
            Request::Delete => {
                if let Some(conn) = self.conns.get_mut(&token) {
                    conn.watching = true;
                }
                return self.kill_everything().err().map(|err| refused(&err.to_string()));
            }
            Request::Watch => {
                self.conns.get_mut(&token)?.watching = true;
                if !self.processes.contains_key(&process::INIT) {
                    return None; // still being made: `answer_watchers` tells
                }
                Ok(Some(self.state()))
            }
            Request::ExecWait { id } => return self.wait_exec(token, &id),
            Request::TakeFd { name } => return Some(self.pass_fd(token, &name)),
            Request::State => Ok(Some(self.state())),
            request => self.perform(request).map(Some),
        };
        match done {
            Ok(reply) => reply,
            Err(err) => Some(Reply::Failed(text::failed("request", &err.to_string()))),
        }
    }

    /// The requests that are done at once.
    fn perform(&mut self, request: Request) -> io::Result<Reply> {
        let init = self.processes.get(&process::INIT);
        match request {
            Request::Signal { signal, all } => {
                let Some(init) = init.filter(|init| init.exit.is_none()) else {
                    return Ok(refused("container is not running"));
                };
                // Not yet reaped by us, so the pid cannot be another's.
                sys::process::kill(init.pid, signal)?;
                if all {
                    self.signal_others(signal);
                }
                if self.paused && signal == libc::SIGKILL {
                    self.cgroup.freeze(false)?;
                    self.paused = false;
                }
            }
            Request::Resize { rows, cols } => return Ok(self.resize(process::INIT, rows, cols)),
            Request::ExecResize { id, rows, cols } => {
                let Some(key) = self.exec_key(&id) else { return Ok(Reply::NotFound) };
                return Ok(self.resize(key, rows, cols));
            }
            Request::ExecSignal { id, signal } => {
                let exec = self.exec_key(&id).and_then(|key| self.processes.get(&key));
                match exec.filter(|exec| exec.exit.is_none()) {
                    Some(exec) => sys::process::kill(exec.pid, signal)?,
                    None => return Ok(Reply::NotFound),
                }
            }
            Request::Pause => {
                self.cgroup.freeze(true)?;
                self.paused = true;
            }
            Request::Resume => {
                self.cgroup.freeze(false)?;
                self.paused = false;
            }
            Request::ReopenLogs => {
                self.log = self.boot.log.as_ref().map(super::boot::open_log).transpose()?;
            }
            _ => return Ok(refused("unknown request")),
        }
        Ok(Reply::Done)
    }

    /// The container is made: who asked meanwhile, to watch it, is told.
    pub(super) fn answer_watchers(&mut self) {
        let early = |(token, conn): (&Token, &Conn)| (conn.watching && conn.busy).then_some(*token);
        let tokens: Vec<Token> = self.conns.iter().filter_map(early).collect();
        for token in tokens {
            self.reply(token, &self.state());
        }
    }

    fn state(&self) -> Reply {
        let pid = self.processes.get(&process::INIT).map_or(0, |init| init.pid);
        Reply::State { pid, started: self.started, paused: self.paused }
    }

    fn begin_exec(&mut self, token: Token, exec: Box<crate::protocol::ExecWire>) -> Option<Reply> {
        if self.finished || !self.started {
            return Some(refused("container is not running"));
        }
        if self.paused {
            return Some(refused("container is paused, unpause the container before exec"));
        }
        let Some(init) = self.processes.get(&process::INIT).filter(|init| init.exit.is_none())
        else {
            return Some(refused("container is not running"));
        };
        // Not yet collected by us, so the pid cannot be another's.
        let init = sys::process::open_pid(init.pid);
        let result = init.map_err(io::Error::from).and_then(|init| self.exec(token, init, exec));
        result.err().map(|err| Reply::Failed(text::exec_failed(&err.to_string())))
    }

    fn wait_exec(&mut self, token: Token, id: &str) -> Option<Reply> {
        let Some(key) = self.exec_key(id) else { return Some(Reply::NotFound) };
        match self.processes.get(&key).and_then(|exec| exec.exit) {
            Some(exit_code) => {
                self.processes.remove(&key);
                Some(Reply::ExecExited { exit_code })
            }
            None => {
                self.conns.get_mut(&token)?.awaiting = Some(key);
                None
            }
        }
    }

    /// An exec's end: its last output, the end of its streams, its waiters.
    pub(super) fn end_exec(&mut self, key: Key) {
        for stream in [logs::Stream::Stdout, logs::Stream::Stderr] {
            while self.pump(key, stream) {}
        }
        let Some(exec) = self.processes.get_mut(&key) else { return };
        exec.ends = process::Ends::default();
        let Some(exit_code) = exec.exit else { return };
        let mut told = false;
        for conn in self.conns.values_mut() {
            if matches!(conn.mode, Mode::Stream(wanted) if wanted.key == key) {
                conn.close();
            }
            if conn.awaiting == Some(key) {
                (conn.awaiting, conn.busy) = (None, false);
                conn.send(&Reply::ExecExited { exit_code });
                told |= conn.has_delivered();
            }
        }
        // Kept for whoever asks later, once.
        if told {
            self.processes.remove(&key);
        }
    }

    fn resize(&mut self, key: Key, rows: u16, cols: u16) -> Reply {
        let process = self.processes.get(&key).filter(|process| process.tty);
        match process.and_then(|process| process.ends.stdout.as_ref()) {
            Some(master) => match sys::tty::set_window_size(master, rows, cols) {
                Ok(()) => Reply::Done,
                Err(err) => refused(err.desc()),
            },
            // As with runc: what has no terminal has no size.
            None if self.processes.contains_key(&key) => Reply::Done,
            None => refused("no such process"),
        }
    }

    fn pass_fd(&mut self, token: Token, name: &str) -> Reply {
        let kept = self.keep.iter().find(|(kept, _)| kept == name);
        match kept.map(|(_, fd)| fd.try_clone()) {
            Some(Ok(fd)) => {
                if let Some(conn) = self.conns.get_mut(&token) {
                    conn.passing = Some(fd);
                }
                Reply::Done
            }
            Some(Err(err)) => refused(&err.to_string()),
            None => Reply::NotFound,
        }
    }

    fn exec_key(&self, id: &str) -> Option<Key> {
        self.processes.iter().find(|(_, p)| !id.is_empty() && p.exec_id == id).map(|(key, _)| *key)
    }

    /// A connection of its own for a process's streams: the client's end of it.
    pub(super) fn open_stream(&mut self, wanted: Wanted) -> io::Result<OwnedFd> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let token = self.add_conn(Conn::new(ours));
        self.become_stream(token, wanted);
        Ok(theirs.into())
    }

    /// From here on the connection carries raw bytes.
    fn become_stream(&mut self, token: Token, wanted: Wanted) {
        if let Some(conn) = self.conns.get_mut(&token) {
            conn.mode = Mode::Stream(wanted);
        }
        self.take_stdin(token);
    }

    /// Passes a client's input on to its process.
    pub(super) fn take_stdin(&mut self, token: Token) {
        let Some(conn) = self.conns.get_mut(&token) else { return };
        let Mode::Stream(wanted) = conn.mode else { return };
        let (bytes, ended) = (std::mem::take(&mut conn.input), conn.input_ended);
        let Some(process) = self.processes.get_mut(&wanted.key) else { return };
        if wanted.stdin {
            process.push_stdin(&bytes);
            if ended {
                process.end_stdin();
            }
        }
    }

    fn signal_others(&self, signal: i32) {
        let init = self.processes.get(&process::INIT).map(|init| init.pid);
        for pid in self.cgroup.pids() {
            if Some(pid) != init {
                let _may_have_ended = sys::process::kill(pid, signal);
            }
        }
    }

    /// Kills the container; its end then takes the usual way.
    fn kill_everything(&self) -> io::Result<()> {
        if let Some(init) = self.processes.get(&process::INIT).filter(|init| init.exit.is_none()) {
            sys::process::kill(init.pid, libc::SIGKILL)?;
        }
        self.cgroup.kill_all()
    }
}

fn refused(message: &str) -> Reply {
    Reply::Refused { message: message.to_owned() }
}
