//! The run directory of one container, which is also its OCI bundle.
//!
//! | file | written by | is |
//! |---|---|---|
//! | `spec.json` | daemon | the whole OCI specification, as asked for |
//! | `config.json` | daemon | what the OCI runtime reads: the same, or reduced for the embedded one |
//! | `dev.json` | daemon | embedded only: what is mounted at `/dev` and below when it is not the container's own |
//! | `process.json` | daemon | embedded only: arguments, environment and privileges for our executor |
//! | `seccomp.bpf` | daemon | embedded only: the compiled filter |
//! | `state/` | OCI runtime | its own state |
//! | `init.json` | shim | pid and start time of the container's first process |
//! | `shim.sock` | shim | control socket |
//! | `shim.lock` | daemon | locked for as long as the shim lives, which holds it open |
//! | `exit.json` | shim, or the daemon for a lost shim | how it ended |

use crate::error::RuntimeError;
use crate::runtime::Kind;
use oci_spec::runtime::{BoxBuilder, Mount, Process, Spec};
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use types::ContainerId;

pub(crate) const SPEC: &str = "spec.json";
pub(crate) const CONFIG: &str = "config.json";
pub(crate) const DEV: &str = "dev.json";
pub(crate) const PROCESS: &str = "process.json";
pub(crate) const SECCOMP: &str = "seccomp.bpf";
pub(crate) const STATE: &str = "state";
pub(crate) const INIT: &str = "init.json";
pub(crate) const SOCKET: &str = "shim.sock";
pub(crate) const LOCK: &str = "shim.lock";
pub(crate) const EXIT: &str = "exit.json";

/// Everything needed to bring one container up.
#[derive(Debug)]
pub struct Launch {
    pub id: ContainerId,
    /// Private to this container; made by the caller, on a tmpfs such as `/run`.
    pub run_dir: PathBuf,
    pub spec: Spec,
    /// Which OCI runtime runs it.
    pub runtime: Kind,
    pub io: Io,
    /// Where output is recorded; `None` records nothing.
    pub log: Option<LogTarget>,
    /// Descriptors the shim keeps open under a name until the container ends.
    pub keep: Vec<(String, OwnedFd)>,
}

/// The container's standard streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Io {
    pub tty: bool,
    /// Without it stdin is `/dev/null`.
    pub open_stdin: bool,
    /// The end of the first attached stdin ends the container's.
    pub stdin_once: bool,
    /// Rows, columns; 0 leaves the kernel's.
    pub console_size: [u16; 2],
}

/// A log file in Docker's json-file format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTarget {
    pub path: PathBuf,
    /// Bytes after which the file is rotated; `None` never.
    pub max_size: Option<u64>,
    /// How many files, the current one included; at least 1.
    pub max_file: u32,
    /// Added to every entry (see `logs::LogOptions::attributes`).
    pub attributes: Vec<(String, String)>,
}

/// Writes the bundle. `bpf` is the compiled filter for the embedded runtime.
pub(crate) fn write(launch: &Launch, bpf: Option<&[u8]>) -> Result<(), RuntimeError> {
    let dir = &launch.run_dir;
    sweep(dir)?;
    put_json(dir, SPEC, &launch.spec)?;
    match &launch.runtime {
        Kind::Binary(_) => put_json(dir, CONFIG, &launch.spec),
        Kind::Embedded => {
            let mut spec = reduced(&launch.spec);
            let dev = take_dev(&mut spec);
            put_json(dir, CONFIG, &spec)?;
            dev.map_or(Ok(()), |dev| put_json(dir, DEV, &dev))?;
            put_json(dir, PROCESS, launch.spec.process())?;
            bpf.map_or(Ok(()), |bpf| put(dir, SECCOMP, bpf))
        }
    }
}

/// What an earlier run of the same container has left would be taken for this one's.
fn sweep(dir: &Path) -> Result<(), RuntimeError> {
    for name in [EXIT, INIT, SOCKET, LOCK, SECCOMP, DEV] {
        let path = dir.join(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(RuntimeError::File { action: "remove", path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Takes the lock that a new shim is to hold: by it another daemon knows that a shim lives which does not
/// answer yet. Not unlocked but by the closing of every copy.
pub(crate) fn lock(dir: &Path) -> std::io::Result<File> {
    let file = File::options().write(true).create(true).truncate(false).open(dir.join(LOCK))?;
    file.try_lock()?;
    Ok(file)
}

/// Whether a shim holds the lock of this run directory.
pub(crate) fn is_locked(dir: &Path) -> bool {
    File::options()
        .write(true)
        .open(dir.join(LOCK))
        .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// The specification without what our own executor does in libcontainer's place: the seccomp filter
/// (compiled beforehand), privileges, working directory and environment. See `oci::executor`.
fn reduced(spec: &Spec) -> Spec {
    let mut spec = spec.clone();
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(None);
    }
    let process = spec.process().as_ref().map(reduced_process);
    spec.set_process(process);
    spec
}

/// Takes what the user mounts at `/dev` and below out of the specification, if they bind something there: libcontainer would
/// make its links and device nodes in it. It gets a `/dev` of its own to fill, which is hidden in the end.
fn take_dev(spec: &mut Spec) -> Option<Vec<Mount>> {
    let mut mounts = spec.mounts().clone()?;
    let at = mounts.iter().position(|mount| mount.destination() == "/dev" && is_bind(mount))?;
    let (taken, mut left): (Vec<Mount>, Vec<Mount>) =
        mounts.drain(..).partition(|mount| mount.destination().starts_with("/dev"));
    let at = at.min(left.len());
    let own = |destination: &str, kind: &str, options: &[&str]| {
        let mut mount = Mount::default();
        mount
            .set_destination(PathBuf::from(destination))
            .set_typ(Some(kind.to_owned()))
            .set_source(Some(PathBuf::from(kind)))
            .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
        mount
    };
    left.splice(
        at..at,
        [
            own("/dev", "tmpfs", &["nosuid", "mode=755", "size=64k"]),
            own("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666"]),
        ],
    );
    spec.set_mounts(Some(left));
    Some(taken)
}

fn is_bind(mount: &Mount) -> bool {
    mount.typ().as_deref() == Some("bind")
}

/// See [`reduced`]. The environment must hold a HOME: libcontainer would otherwise look it up through
/// NSS, inside the container.
pub(crate) fn reduced_process(process: &Process) -> Process {
    let mut process = process.clone();
    process
        .set_capabilities(None)
        .set_no_new_privileges(None)
        .set_cwd(PathBuf::from("/"))
        .set_env(Some(vec!["HOME=/".to_owned()]));
    process
}

/// A terminal gets its size before the program runs, which may ask at once.
pub(crate) fn set_console(process: &mut Process, tty: bool, [rows, cols]: [u16; 2]) {
    process.set_terminal(tty.then_some(true));
    let size = BoxBuilder::default().height(rows).width(cols).build().ok();
    process.set_console_size(size.filter(|_| tty && rows > 0 && cols > 0));
}

/// Writes `value` to `dir/name`.
pub(crate) fn put_json(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), RuntimeError> {
    let text = serde_json::to_vec(value).map_err(RuntimeError::Encode)?;
    put(dir, name, &text)
}

fn put(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), RuntimeError> {
    let path = dir.join(name);
    // The environment is in here, and with it people's passwords.
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).open(&path)?.write_all(bytes)
    };
    write().map_err(|source| RuntimeError::File { action: "write", path: path.clone(), source })
}
