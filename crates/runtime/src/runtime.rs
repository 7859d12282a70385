//! Starting containers: the daemon's side of [`crate::shim::main`].

use crate::bundle::{self, Launch};
use crate::client::Shim;
use crate::error::RuntimeError;
use crate::program::{self, Program};
use crate::protocol::{Boot, Reply};
use crate::seccomp::Cache;
use crate::wire;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// Which OCI runtime a container's shim drives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kind {
    /// libcontainer, in the shim's forked child.
    #[default]
    Embedded,
    /// A command line such as runc's.
    Binary(PathBuf),
}

/// How shims are started.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// The program that calls [`crate::shim::main`]; `/proc/self/exe` for the daemon itself.
    pub shim: PathBuf,
    /// What makes it do so: `["shim"]`. The run directory follows.
    pub shim_args: Vec<OsString>,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        RuntimeConfig {
            shim: PathBuf::from("/proc/self/exe"),
            shim_args: vec![OsString::from("shim")],
        }
    }
}

/// Makes containers and finds them again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {
    program: Arc<Program>,
    /// What makes the program a shim.
    shim_args: Arc<[OsString]>,
    filters: Arc<Cache>,
}

impl Runtime {
    /// Fails when the kernel or this build lacks seccomp: containers would run without it unnoticed.
    pub fn new(config: RuntimeConfig) -> Result<Runtime, RuntimeError> {
        if !sys::seccomp::is_available() {
            return Err(RuntimeError::NoSeccomp);
        }
        let RuntimeConfig { shim, shim_args } = config;
        let program = Arc::new(Program::open(shim));
        Ok(Runtime { program, shim_args: shim_args.into(), filters: Arc::default() })
    }

    /// Writes the bundle, starts the shim and has it create the container, which then waits for
    /// [`Shim::start`]. On failure nothing runs and no cgroup is left; the run directory and what the
    /// caller has mounted stay the caller's to remove.
    pub async fn create(&self, launch: Launch) -> Result<Shim, RuntimeError> {
        let runtime = self.clone();
        let task = tokio::task::spawn_blocking(move || runtime.spawn(launch));
        let spawned =
            task.await.map_err(|err| shim_failed("start the shim", io::Error::other(err)))?;
        let Spawned { run_dir, child, socket, cgroup } = spawned?;
        let started = async {
            socket.set_nonblocking(true)?;
            let mut socket = UnixStream::from_std(socket)?;
            let reply = wire::receive(&mut socket).await?;
            io::Result::Ok((socket, reply))
        };
        let (socket, reply) =
            started.await.map_err(|err| shim_failed("create the container", err))?;
        match reply {
            Reply::Started { pid } => Ok(Shim::new(run_dir, cgroup, pid, socket, Some(child))),
            reply => Err(crate::client::unexpected("create the container", reply)),
        }
    }

    fn spawn(&self, mut launch: Launch) -> Result<Spawned, RuntimeError> {
        if let Some(process) = launch.spec.process_mut() {
            bundle::set_console(process, launch.io.tty, launch.io.console_size);
        }
        let seccomp = launch.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        let bpf = match (&launch.runtime, seccomp) {
            (Kind::Embedded, Some(profile)) => Some(self.filters.get(profile)?),
            _ => None,
        };
        bundle::write(&launch, bpf.as_deref())?;
        let lock = bundle::lock(&launch.run_dir)
            .map_err(|err| shim_failed("lock the run directory", err))?;
        let (ours, theirs) = StdStream::pair().map_err(|err| shim_failed("start the shim", err))?;
        let child = self
            .command(&launch.run_dir, theirs.into())
            .and_then(|mut command| command.spawn())
            .map_err(|err| shim_failed("start the shim", err))?;
        let (boot, mut fds) = Self::boot(&launch);
        fds.insert(0, lock.as_fd());
        send_boot(&ours, &boot, &fds).map_err(|err| shim_failed("start the shim", err))?;
        Ok(Spawned { cgroup: boot.cgroup, run_dir: launch.run_dir, child, socket: ours })
    }

    fn command(&self, run_dir: &Path, socket: OwnedFd) -> io::Result<Command> {
        let log =
            std::fs::File::options().create(true).append(true).open(run_dir.join("shim.log"))?;
        let mut command = Command::new(self.program.path());
        command.arg0(OsStr::from_bytes(program::NAME.to_bytes()));
        command.args(self.shim_args.iter()).arg(run_dir).env_clear();
        command.stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(Stdio::from(log));
        Ok(command)
    }

    fn boot(launch: &Launch) -> (Boot, Vec<BorrowedFd<'_>>) {
        let binary = match &launch.runtime {
            Kind::Embedded => None,
            Kind::Binary(path) => Some(path.to_string_lossy().into_owned()),
        };
        let user = launch.spec.process().as_ref().map(|process| process.user());
        let linux = launch.spec.linux().as_ref();
        let cgroup = linux.and_then(|linux| linux.cgroups_path().as_ref());
        let boot = Boot {
            id: launch.id.as_str().to_owned(),
            binary,
            cgroup: cgroup.map_or_else(String::new, |path| path.to_string_lossy().into_owned()),
            tty: launch.io.tty,
            open_stdin: launch.io.open_stdin,
            stdin_once: launch.io.stdin_once,
            log: launch.log.clone(),
            keep: launch.keep.iter().map(|(name, _)| name.clone()).collect(),
            uid: user.map_or(0, |user| user.uid()),
            gid: user.map_or(0, |user| user.gid()),
        };
        (boot, launch.keep.iter().map(|(_, fd)| fd.as_fd()).collect())
    }
}

/// A shim that has been told what to create.
struct Spawned {
    run_dir: PathBuf,
    child: Child,
    socket: StdStream,
    cgroup: String,
}

fn send_boot(socket: &StdStream, boot: &Boot, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    use std::io::Write;
    let frame = wire::encode(boot)?;
    let sent = sys::socket::send_with_fds(socket, &frame, fds)?;
    (&*socket).write_all(&frame[sent..])
}

pub(crate) fn shim_failed(action: &'static str, source: io::Error) -> RuntimeError {
    RuntimeError::Shim { action, source }
}
