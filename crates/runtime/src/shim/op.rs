//! OCI operations under way: a forked child each, its report pipe, and what follows its outcome.

use super::process::{self, Ends, Key, Process};
use super::{Shim, Token};
use crate::bundle;
use crate::oci::{self, Operation, Outcome, Stdio, Streams, text};
use crate::protocol::{ExecWire, Failure, InitRecord, Reply};
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use sys::process::{Fork, close_all_except, exit_now, fork_single_threaded, restore_signals};

pub(super) struct Op {
    pub(super) pid: i32,
    pub(super) report: OwnedFd,
    heard: Vec<u8>,
    /// Who asked.
    token: Token,
    then: Then,
}

/// What is to be done with the outcome.
enum Then {
    Created(Connection),
    Started,
    Joined(Box<ExecWire>, Connection),
    Reply,
}

/// Our side of a new process's streams while it is being made.
enum Connection {
    Pipes(Ends),
    /// Takes the terminal's master, sent before the operation's end.
    Console(UnixListener, String),
}

/// Which streams a process gets, and whom they belong to.
struct Plan {
    tty: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    owner: (u32, u32),
    socket: String,
}

impl Shim {
    pub(super) fn create(&mut self, token: Token) -> io::Result<()> {
        let plan = Plan {
            tty: self.boot.tty,
            stdin: self.boot.open_stdin,
            stdout: true,
            stderr: true,
            owner: (self.boot.uid, self.boot.gid),
            socket: "console.sock".to_owned(),
        };
        let (streams, connection) = connect(plan)?;
        self.spawn(token, Operation::Create { streams }, Then::Created(connection))
    }

    pub(super) fn start(&mut self, token: Token) -> io::Result<()> {
        self.spawn(token, Operation::Start, Then::Started)
    }

    pub(super) fn exec(
        &mut self,
        token: Token,
        init: OwnedFd,
        mut exec: Box<ExecWire>,
    ) -> io::Result<()> {
        let plan = Plan {
            tty: exec.tty,
            stdin: exec.stdin,
            stdout: exec.stdout,
            stderr: exec.stderr,
            owner: (exec.uid, exec.gid),
            socket: format!("console-{}.sock", self.next_key),
        };
        let (streams, connection) = connect(plan)?;
        let process = std::mem::take(&mut exec.process);
        let operation = Operation::Exec { exec_id: exec.id.clone(), init, process, streams };
        self.spawn(token, operation, Then::Joined(exec, connection))
    }

    pub(super) fn update(&mut self, token: Token, resources: String) -> io::Result<()> {
        self.spawn(token, Operation::Update { resources }, Then::Reply)
    }

    /// Deletes the OCI runtime's state and waits for it: the last thing a shim does.
    pub(super) fn delete_state(&mut self) -> io::Result<()> {
        self.spawn(0, Operation::Delete, Then::Reply)?;
        if let Some(op) = self.ops.pop() {
            sys::process::reap_one(op.pid);
        }
        Ok(())
    }

    fn spawn(&mut self, token: Token, operation: Operation, then: Then) -> io::Result<()> {
        let (report, write) = pipe2(OFlag::O_CLOEXEC)?;
        process::set_nonblocking(&report);
        match fork_single_threaded()? {
            Fork::Child => {
                self.in_child(operation, write);
                exit_now(0)
            }
            Fork::Parent(child) => {
                let pid = child.as_raw();
                self.ops.push(Op { pid, report, heard: Vec::new(), token, then });
                Ok(())
            }
        }
    }

    /// The forked child: keeps nothing of the shim's open but what the operation needs, or a container
    /// that was created and never started would hold the shim's sockets.
    fn in_child(&self, operation: Operation, report: OwnedFd) {
        let mut keep: Vec<RawFd> = vec![report.as_raw_fd()];
        if let Operation::Exec { init, .. } = &operation {
            keep.push(init.as_raw_fd());
        }
        if let Operation::Create { streams: Streams::Pipes(stdio) }
        | Operation::Exec { streams: Streams::Pipes(stdio), .. } = &operation
        {
            keep.extend([&stdio.stdin, &stdio.stdout, &stdio.stderr].map(AsRawFd::as_raw_fd));
        }
        close_all_except(&keep);
        restore_signals();
        let boot = &self.boot;
        use std::os::fd::AsFd;
        let target = oci::Target { id: &boot.id, cgroup_path: &boot.cgroup, cgroup: &self.cgroup };
        oci::perform(boot.binary.as_deref(), target, operation, report.as_fd());
        exit_now(0)
    }

    /// Reads what there is of an operation's report; acts when a whole line is there.
    pub(super) fn hear(&mut self, pid: i32) {
        let Some(at) = self.ops.iter().position(|op| op.pid == pid) else { return };
        let op = &mut self.ops[at];
        let mut chunk = [0; 4096];
        // Non-blocking: until nothing more is there, for this may be the last time it is asked.
        while let Ok(count @ 1..) = read(&op.report, &mut chunk) {
            op.heard.extend_from_slice(&chunk[..count]);
        }
        if let Some(end) = op.heard.iter().position(|byte| *byte == b'\n') {
            let op = self.ops.remove(at);
            let outcome = serde_json::from_slice(&op.heard[..end]).unwrap_or_else(|_| unheard());
            self.conclude(op, outcome);
        }
    }

    /// An operation whose child has died without a word.
    pub(super) fn op_died(&mut self, pid: i32) {
        if let Some(at) = self.ops.iter().position(|op| op.pid == pid) {
            let op = self.ops.remove(at);
            self.conclude(op, unheard());
        }
    }

    fn conclude(&mut self, op: Op, outcome: Outcome) {
        let token = op.token;
        let pid = match outcome {
            Outcome::Pid(pid) => pid,
            Outcome::Failed(failure) if matches!(op.then, Then::Created(_)) => {
                // It may still be cleaning up itself.
                sys::process::reap_one(op.pid);
                return self.abandon(token, &Reply::Failed(failure));
            }
            Outcome::Failed(failure) => return self.reply(token, &Reply::Failed(failure)),
        };
        match op.then {
            Then::Created(connection) => self.created(token, pid, connection),
            Then::Joined(exec, connection) => self.joined(token, pid, *exec, connection),
            Then::Started => {
                self.started = true;
                self.reply(token, &Reply::Done);
            }
            Then::Reply => self.reply(token, &Reply::Done),
        }
        if self.ops.is_empty() {
            self.unclaimed.clear();
        }
    }

    fn created(&mut self, token: Token, pid: i32, connection: Connection) {
        let ends = finish_connection(connection, self.boot.open_stdin);
        let (tty, once) = (self.boot.tty, self.boot.stdin_once);
        self.add_process(process::INIT, Process::new(String::new(), pid, tty, ends, once));
        let record = InitRecord { pid, start_time: start_time(pid).unwrap_or(0) };
        let written = serde_json::to_vec(&record)
            .map_err(io::Error::from)
            .and_then(|text| std::fs::write(bundle::INIT, text));
        match written {
            Ok(()) => {
                self.reply(token, &Reply::Started { pid });
                self.answer_watchers();
            }
            Err(err) => {
                let failure = text::create_failed(&err.to_string());
                self.abandon(token, &Reply::Failed(failure));
            }
        }
    }

    fn joined(&mut self, token: Token, pid: i32, exec: ExecWire, connection: Connection) {
        let ends = finish_connection(connection, exec.stdin);
        let key = self.next_key;
        self.next_key += 1;
        let streaming = exec.stdin || exec.stdout || exec.stderr;
        self.add_process(key, Process::new(exec.id, pid, exec.tty, ends, true));
        let wanted = super::conn::Wanted {
            key,
            stdin: exec.stdin,
            stdout: exec.stdout || exec.tty,
            stderr: exec.stderr,
        };
        // Without a stream its client sees the end of it at once.
        let stream = if streaming { self.open_stream(wanted).ok() } else { None };
        if let Some(conn) = self.conns.get_mut(&token) {
            (conn.passing, conn.awaiting) = (stream, Some(key));
            conn.send(&Reply::Started { pid });
        }
        if self.processes.get(&key).is_some_and(|process| process.exit.is_some()) {
            self.end_exec(key);
        }
    }

    /// Remembers a process, with its end when that was seen before its pid was known.
    fn add_process(&mut self, key: Key, mut process: Process) {
        if let Some(at) = self.unclaimed.iter().position(|(pid, _)| *pid == process.pid) {
            process.exit = Some(self.unclaimed.remove(at).1);
        }
        self.processes.insert(key, process);
    }
}

/// Our ends, once the process is there.
fn finish_connection(connection: Connection, stdin: bool) -> Ends {
    match connection {
        Connection::Pipes(ends) => ends,
        Connection::Console(listener, path) => {
            let master = receive_master(&listener);
            let _tidied = std::fs::remove_file(path);
            let Some(master) = master else { return Ends::default() };
            let stdin = if stdin { master.try_clone().ok() } else { None };
            Ends { stdin, stdout: Some(master), stderr: None }
        }
    }
}

fn unheard() -> Outcome {
    Outcome::Failed(Failure {
        message: "OCI runtime ended without a word".to_owned(),
        exit_code: 128,
    })
}

fn connect(plan: Plan) -> io::Result<(Streams, Connection)> {
    if plan.tty {
        let _stale = std::fs::remove_file(&plan.socket);
        let listener = UnixListener::bind(&plan.socket)?;
        listener.set_nonblocking(true)?;
        return Ok((
            Streams::Console(plan.socket.clone()),
            Connection::Console(listener, plan.socket),
        ));
    }
    let mut ends = Ends::default();
    let (stdin, ours) =
        stream(plan.stdin, plan.owner)?.map_or_else(null, |(r, w)| Ok((r, Some(w))))?;
    ends.stdin = ours;
    let (stdout, ours) =
        stream(plan.stdout, plan.owner)?.map_or_else(null, |(r, w)| Ok((w, Some(r))))?;
    ends.stdout = ours;
    let (stderr, ours) =
        stream(plan.stderr, plan.owner)?.map_or_else(null, |(r, w)| Ok((w, Some(r))))?;
    ends.stderr = ours;
    Ok((Streams::Pipes(Stdio { stdin, stdout, stderr }), Connection::Pipes(ends)))
}

/// A pipe that the container's user may open anew as `/dev/stdout`.
fn stream(wanted: bool, owner: (u32, u32)) -> io::Result<Option<(OwnedFd, OwnedFd)>> {
    if !wanted {
        return Ok(None);
    }
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    let (uid, gid) = (Some(owner.0.into()), Some(owner.1.into()));
    nix::unistd::fchown(&read, uid, gid)?;
    Ok(Some((read, write)))
}

fn null() -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    let file = File::options().read(true).write(true).open("/dev/null")?;
    Ok((file.into(), None))
}

fn receive_master(listener: &UnixListener) -> Option<OwnedFd> {
    let (socket, _) = listener.accept().ok()?;
    let (mut buf, mut fds) = ([0; 4096], Vec::new());
    sys::socket::recv_with_fds(&socket, &mut buf, &mut fds).ok()?;
    fds.into_iter().next()
}

/// Field 22 of `/proc/<pid>/stat`: ticks since boot at which it began.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in brackets and may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
