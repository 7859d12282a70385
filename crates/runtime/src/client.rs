//! A handle on a running shim: requests over short connections, and one monitor for its end.

use crate::error::RuntimeError;
use crate::protocol::{ExecWire, ExitStatus, Reply, Request};
use crate::runtime::shim_failed;
use crate::{adopt, bundle, wire};
use oci_spec::runtime::{LinuxResources, Process};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A container's shim. Clones share one monitor; when the last is dropped the shim and its container go
/// on, to be found again by [`crate::Runtime::adopt`].
#[derive(Debug, Clone)]
pub struct Shim {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    run_dir: PathBuf,
    pid: i32,
    exit: watch::Receiver<Option<ExitStatus>>,
    monitor: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.monitor.abort();
    }
}

/// Which streams to attach to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attach {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// A further process in the container.
#[derive(Debug, Clone)]
pub struct ExecRequest {
    /// Unique within the container's life; also a file name.
    pub id: String,
    /// Complete: arguments, environment, user, capabilities (see `ocispec::process`).
    pub process: Process,
    pub tty: bool,
    /// Streams not wanted are `/dev/null`.
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Rows, columns; `None` leaves the kernel's.
    pub console_size: Option<(u16, u16)>,
}

/// A started exec.
#[derive(Debug)]
pub struct ExecHandle {
    pub pid: i32,
    /// Docker's stream: framed, or raw with a terminal; `None` when nothing was attached. Its end means
    /// that everything was read.
    pub stream: Option<UnixStream>,
    pub end: ExecEnd,
}

/// The end of an exec, told on the connection that started it: unlike [`Shim::exec_wait`] it cannot come
/// too late for a container that ends meanwhile.
#[derive(Debug)]
pub struct ExecEnd(Replies);

impl ExecEnd {
    /// The exit code; waits for it.
    pub async fn wait(mut self) -> Result<i64, RuntimeError> {
        let action = "wait for the exec";
        match self.0.next().await.map_err(|err| shim_failed(action, err))? {
            Reply::ExecExited { exit_code } => Ok(exit_code),
            reply => Err(unexpected(action, reply)),
        }
    }
}

impl Shim {
    pub(crate) fn new(
        run_dir: PathBuf,
        cgroup: String,
        pid: i32,
        socket: UnixStream,
        child: Option<Child>,
    ) -> Shim {
        let (tell, exit) = watch::channel(None);
        let monitor = tokio::spawn(monitor(run_dir.clone(), cgroup, socket, child, tell));
        Shim { inner: Arc::new(Inner { run_dir, pid, exit, monitor }) }
    }

    /// The container's first process, on the host.
    pub fn pid(&self) -> i32 {
        self.inner.pid
    }

    /// Lets the created container run; its pid. What fails afterwards (a script without an interpreter, a
    /// file of another architecture) shows as Docker shows it: a line on stderr and exit code 255.
    pub async fn start(&self) -> Result<i32, RuntimeError> {
        self.ask("start the container", &Request::Start).await?;
        Ok(self.inner.pid)
    }

    /// How the container ended. Any number of callers; dropping the future loses nothing.
    pub async fn wait(&self) -> ExitStatus {
        let mut exit = self.inner.exit.clone();
        match exit.wait_for(Option::is_some).await.map(|status| status.clone()) {
            Ok(Some(status)) => status,
            // The monitor always tells before it ends, unless the whole process is ending.
            _ => std::future::pending().await,
        }
    }

    /// The end, if it is known by now.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.inner.exit.borrow().clone()
    }

    /// Sends a signal to the first process; any number, real-time ones included.
    pub async fn signal(&self, signal: i32) -> Result<(), RuntimeError> {
        self.ask("signal the container", &Request::Signal { signal, all: false }).await
    }

    /// Sends a signal to every process of the container.
    pub async fn signal_all(&self, signal: i32) -> Result<(), RuntimeError> {
        self.ask("signal the container", &Request::Signal { signal, all: true }).await
    }

    /// Sets the terminal's size.
    pub async fn resize(&self, rows: u16, cols: u16) -> Result<(), RuntimeError> {
        self.ask("resize the terminal", &Request::Resize { rows, cols }).await
    }

    /// Docker's attach stream: bytes written are stdin, bytes read are output in Docker's framing (raw
    /// with a terminal). Only what comes after attaching; the log has the rest. May come before `start`.
    pub async fn attach(&self, what: Attach) -> Result<UnixStream, RuntimeError> {
        let Attach { stdin, stdout, stderr } = what;
        let request = Request::Attach { stdin, stdout, stderr };
        match self.talk("attach to the container", &request).await? {
            (stream, Reply::Done) => Ok(stream),
            (_, reply) => Err(unexpected("attach to the container", reply)),
        }
    }

    /// Starts a further process.
    pub async fn exec(&self, request: ExecRequest) -> Result<ExecHandle, RuntimeError> {
        let action = "start the exec";
        let ExecRequest { stdin, stdout, stderr, .. } = request;
        let mut process = request.process;
        let size = request.console_size.map_or([0, 0], |(rows, cols)| [rows, cols]);
        bundle::set_console(&mut process, request.tty, size);
        let wire = ExecWire {
            id: request.id,
            uid: process.user().uid(),
            gid: process.user().gid(),
            process: serde_json::to_string(&process).map_err(RuntimeError::Encode)?,
            tty: request.tty,
            stdin,
            stdout,
            stderr,
        };
        let run = async {
            let mut replies = self.request(&Request::Exec(Box::new(wire))).await?;
            let reply = replies.next().await?;
            let stream = replies.fds.pop().map(StdStream::from);
            let stream = stream.map(|stream| {
                stream.set_nonblocking(true)?;
                UnixStream::from_std(stream)
            });
            io::Result::Ok((reply, stream.transpose()?, replies))
        };
        let (reply, stream, replies) = run.await.map_err(|err| shim_failed(action, err))?;
        match reply {
            Reply::Started { pid } => Ok(ExecHandle { pid, stream, end: ExecEnd(replies) }),
            reply => Err(unexpected(action, reply)),
        }
    }

    /// The exit code of an exec whose starter is gone; waits for its end. Kept for one asker, until the container ends; calls that
    /// wait at the same time are all answered.
    pub async fn exec_wait(&self, id: &str) -> Result<i64, RuntimeError> {
        let request = Request::ExecWait { id: id.to_owned() };
        match self.talk("wait for the exec", &request).await?.1 {
            Reply::ExecExited { exit_code } => Ok(exit_code),
            reply => Err(named("exec", id, "wait for the exec", reply)),
        }
    }

    /// Sets the size of an exec's terminal.
    pub async fn exec_resize(&self, id: &str, rows: u16, cols: u16) -> Result<(), RuntimeError> {
        let request = Request::ExecResize { id: id.to_owned(), rows, cols };
        match self.talk("resize the exec's terminal", &request).await?.1 {
            Reply::Done => Ok(()),
            reply => Err(named("exec", id, "resize the exec's terminal", reply)),
        }
    }

    /// Sends a signal to an exec.
    pub async fn exec_signal(&self, id: &str, signal: i32) -> Result<(), RuntimeError> {
        let request = Request::ExecSignal { id: id.to_owned(), signal };
        match self.talk("signal the exec", &request).await?.1 {
            Reply::Done => Ok(()),
            reply => Err(named("exec", id, "signal the exec", reply)),
        }
    }

    /// Freezes every process of the container.
    pub async fn pause(&self) -> Result<(), RuntimeError> {
        self.ask("pause the container", &Request::Pause).await
    }

    /// Lets a paused container go on.
    pub async fn resume(&self) -> Result<(), RuntimeError> {
        self.ask("unpause the container", &Request::Resume).await
    }

    /// Changes limits of the running container.
    pub async fn update(&self, resources: &LinuxResources) -> Result<(), RuntimeError> {
        let resources = serde_json::to_string(resources).map_err(RuntimeError::Encode)?;
        self.ask("update the container", &Request::Update { resources }).await
    }

    /// Has the log file opened anew, after it was moved away.
    pub async fn reopen_logs(&self) -> Result<(), RuntimeError> {
        self.ask("reopen the log", &Request::ReopenLogs).await
    }

    /// Whether the container has been started, and whether it is paused.
    pub async fn state(&self) -> Result<(bool, bool), RuntimeError> {
        match self.talk("ask for the container's state", &Request::State).await?.1 {
            Reply::State { started, paused, .. } => Ok((started, paused)),
            reply => Err(unexpected("ask for the container's state", reply)),
        }
    }

    /// A duplicate of a kept descriptor.
    pub async fn take_fd(&self, name: &str) -> Result<OwnedFd, RuntimeError> {
        let action = "take a kept descriptor";
        let run = async {
            let mut replies = self.request(&Request::TakeFd { name: name.to_owned() }).await?;
            io::Result::Ok((replies.next().await?, replies.fds.pop()))
        };
        let (reply, fd) = run.await.map_err(|err| shim_failed(action, err))?;
        match (reply, fd) {
            (Reply::Done, Some(fd)) => Ok(fd),
            (reply, _) => Err(named("descriptor", name, action, reply)),
        }
    }

    /// Kills whatever runs, deletes the container and waits for its end: also the way to drop one that
    /// was created and never started.
    pub async fn delete(&self) -> Result<(), RuntimeError> {
        match self.talk("delete the container", &Request::Delete).await {
            // A shim that is gone already has ended by itself or is being cleaned up after.
            Ok((_, Reply::Exited(_))) | Err(_) => {
                self.wait().await;
                Ok(())
            }
            Ok((_, reply)) => Err(unexpected("delete the container", reply)),
        }
    }

    async fn ask(&self, action: &'static str, request: &Request) -> Result<(), RuntimeError> {
        match self.talk(action, request).await?.1 {
            Reply::Done => Ok(()),
            reply => Err(unexpected(action, reply)),
        }
    }

    /// A connection of its own for a request whose reply brings a descriptor.
    async fn request(&self, request: &Request) -> io::Result<Replies> {
        let mut socket = connect(&self.inner.run_dir).await?;
        wire::send(&mut socket, request).await?;
        Ok(Replies { socket, input: Vec::new(), fds: Vec::new() })
    }

    async fn talk(
        &self,
        action: &'static str,
        request: &Request,
    ) -> Result<(UnixStream, Reply), RuntimeError> {
        let run = async {
            let mut stream = connect(&self.inner.run_dir).await?;
            wire::send(&mut stream, request).await?;
            let reply = wire::receive(&mut stream).await?;
            io::Result::Ok((stream, reply))
        };
        run.await.map_err(|err| shim_failed(action, err))
    }
}

/// Connects to the shim of `run_dir`, whose path may be longer than a socket's address.
pub(crate) async fn connect(run_dir: &Path) -> io::Result<UnixStream> {
    let dir = std::fs::File::open(run_dir)?;
    let short = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), bundle::SOCKET);
    UnixStream::connect(short).await
}

/// Reads the shim's first connection until the end is known; a shim that is gone without a word has its
/// container's remains removed.
async fn monitor(
    run_dir: PathBuf,
    cgroup: String,
    mut socket: UnixStream,
    child: Option<Child>,
    tell: watch::Sender<Option<ExitStatus>>,
) {
    let status = match wire::receive(&mut socket).await {
        Ok(Reply::Exited(status)) => status,
        _ => {
            let end = tokio::task::spawn_blocking(move || adopt::end_of(&run_dir, &cgroup)).await;
            end.unwrap_or_default()
        }
    };
    tell.send_replace(Some(status));
    if let Some(mut child) = child {
        let _reaped = child.wait().await;
    }
}

/// Replies of one connection, and the descriptors that came with them.
#[derive(Debug)]
struct Replies {
    socket: UnixStream,
    input: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Replies {
    /// A descriptor comes with its reply's first byte.
    async fn next(&mut self) -> io::Result<Reply> {
        let mut chunk = [0; 256];
        loop {
            if let Some((body, end)) = wire::decode(&self.input)? {
                let reply = serde_json::from_slice(body)?;
                self.input.drain(..end);
                return Ok(reply);
            }
            let (socket, fds) = (&self.socket, &mut self.fds);
            let read = || Ok(sys::socket::recv_with_fds(socket, &mut chunk, fds)?);
            match socket.async_io(Interest::READABLE, read).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.input.extend_from_slice(&chunk[..count]),
            }
        }
    }
}

fn named(what: &'static str, name: &str, action: &'static str, reply: Reply) -> RuntimeError {
    match reply {
        Reply::NotFound => RuntimeError::NotFound { what, name: name.to_owned() },
        reply => unexpected(action, reply),
    }
}

pub(crate) fn unexpected(action: &'static str, reply: Reply) -> RuntimeError {
    match reply {
        Reply::Failed(failure) => {
            RuntimeError::Oci { message: failure.message, exit_code: failure.exit_code }
        }
        Reply::Refused { message } => RuntimeError::Refused(message),
        Reply::Exited(_) => RuntimeError::Refused("container is not running".to_owned()),
        _ => shim_failed(action, io::Error::from(io::ErrorKind::InvalidData)),
    }
}
