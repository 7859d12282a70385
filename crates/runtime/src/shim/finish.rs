//! The container's end, in an order in which a crash at any line loses nothing that can be known: kill what
//! is left, ask for the OOM counter, drain the streams, delete cgroup and state, write `exit.json`, tell.

use super::conn::Mode;
use super::{Shim, Token, now, process};
use crate::bundle;
use crate::protocol::{ExitStatus, Reply};
use std::io;

impl Shim {
    pub(super) fn finish(&mut self) {
        let finished_at = now();
        // The first process's pid namespace has taken the rest along, unless it was shared.
        let mut error = self.cgroup.kill_all().err().map(|err| format!("failed to kill: {err}"));
        let oom_killed = self.cgroup.oom_killed();
        self.end_execs();
        for stream in [logs::Stream::Stdout, logs::Stream::Stderr] {
            while self.pump(process::INIT, stream) {}
            if let Some(log) = &mut self.log {
                log.end(stream, finished_at);
            }
        }
        if let Some(log) = &mut self.log {
            log.flush();
        }
        if let Err(err) = self.remove() {
            error.get_or_insert(format!("failed to remove the container's cgroup or state: {err}"));
        }
        let exit_code =
            self.processes.get(&process::INIT).and_then(|init| init.exit).unwrap_or(255);
        let status = ExitStatus { exit_code, oom_killed, finished_at, error };
        if let Err(err) = write_exit(&status) {
            eprintln!("shim: failed to write {}: {err}", bundle::EXIT);
        }
        self.tell(&status);
    }

    /// Their processes are dead; their exit codes and last output are not to be lost.
    fn end_execs(&mut self) {
        let execs: Vec<_> =
            self.processes.keys().copied().filter(|k| *k != process::INIT).collect();
        for key in execs {
            if let Some(exec) = self.processes.get_mut(&key)
                && exec.exit.is_none()
            {
                exec.exit = Some(sys::process::reap_one(exec.pid).unwrap_or(137));
                self.end_exec(key);
            }
        }
    }

    fn remove(&mut self) -> io::Result<()> {
        let cgroup = self.cgroup.remove();
        match self.boot.binary {
            Some(_) => self.delete_state()?,
            None => match std::fs::remove_dir_all(bundle::STATE) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            },
        }
        cgroup
    }

    fn tell(&mut self, status: &ExitStatus) {
        self.finished = true;
        self.listener = None;
        let _gone_with_us = std::fs::remove_file(bundle::SOCKET);
        self.keep.clear();
        for conn in self.conns.values_mut() {
            if conn.mode == Mode::Control && conn.watching {
                conn.send(&Reply::Exited(status.clone()));
            }
            conn.close();
        }
    }

    /// A container that could not be created leaves nothing behind; only then is it reported.
    pub(super) fn abandon(&mut self, token: Token, reply: &Reply) {
        let _nothing_may_be_there = self.cgroup.kill_all().and_then(|()| self.remove());
        self.finished = true;
        self.listener = None;
        let _gone_with_us = std::fs::remove_file(bundle::SOCKET);
        self.reply(token, reply);
        for conn in self.conns.values_mut() {
            conn.close();
        }
    }
}

/// Atomically: a reader sees all of it or nothing.
pub(crate) fn write_exit(status: &ExitStatus) -> io::Result<()> {
    let temporary = "exit.json.tmp";
    std::fs::write(temporary, serde_json::to_vec(status)?)?;
    std::fs::rename(temporary, bundle::EXIT)
}
