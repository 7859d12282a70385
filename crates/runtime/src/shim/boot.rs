//! The shim's first moments: it makes itself independent of the daemon, reads what it is to run from
//! descriptor 0, opens its socket and log, and has the container created.

use super::conn::Conn;
use super::{CHUNK, Shim};
use crate::cgroup::Cgroup;
use crate::protocol::Boot;
use crate::{bundle, wire};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

pub(super) fn boot(mut args: impl Iterator<Item = OsString>) -> io::Result<Shim> {
    let run_dir = args.next().ok_or(io::ErrorKind::InvalidInput)?;
    std::env::set_current_dir(run_dir)?;
    let signals = detach()?;
    let socket = take_stdin()?;
    let Received { boot, lock, keep } = receive(&socket)?;
    socket.set_nonblocking(true)?;
    let log = boot.log.as_ref().map(open_log).transpose()?;
    let mut shim = Shim {
        cgroup: Cgroup::open(&boot.cgroup)?,
        boot,
        signals,
        listener: Some(listen()?),
        conns: BTreeMap::new(),
        next_token: 0,
        processes: BTreeMap::new(),
        next_key: super::process::INIT + 1,
        ops: Vec::new(),
        unclaimed: Vec::new(),
        log,
        keep,
        _lock: lock,
        started: false,
        paused: false,
        finished: false,
        chunk: vec![0; CHUNK],
    };
    let mut conn = Conn::new(socket);
    (conn.busy, conn.watching) = (true, true);
    let token = shim.add_conn(conn);
    shim.create(token)?;
    Ok(shim)
}

/// A session of its own, a subreaper, deaf to what ends the daemon.
fn detach() -> io::Result<SignalFd> {
    // The kernel would call it after the descriptor it was executed through.
    let _named = nix::sys::prctl::set_name(crate::program::NAME);
    nix::unistd::setsid()?;
    nix::sys::prctl::set_child_subreaper(true)?;
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        mask.add(signal);
    }
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// The daemon's socket moves from descriptor 0, which containers must not see, to one of its own.
fn take_stdin() -> io::Result<UnixStream> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket.into())
}

/// What the daemon sends first.
struct Received {
    boot: Boot,
    lock: OwnedFd,
    keep: Vec<(String, OwnedFd)>,
}

fn receive(socket: &UnixStream) -> io::Result<Received> {
    let (mut input, mut fds, mut chunk) = (Vec::new(), Vec::new(), [0; 4096]);
    loop {
        if let Some((body, _)) = wire::decode(&input)? {
            let boot: Boot = serde_json::from_slice(body)?;
            let mut fds = fds.into_iter();
            let lock = fds.next().ok_or(io::ErrorKind::InvalidData)?;
            let keep = boot.keep.iter().cloned().zip(fds).collect();
            return Ok(Received { boot, lock, keep });
        }
        match sys::socket::recv_with_fds(socket, &mut chunk, &mut fds)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => input.extend_from_slice(&chunk[..count]),
        }
    }
}

fn listen() -> io::Result<UnixListener> {
    let listener = UnixListener::bind(bundle::SOCKET)?;
    std::fs::set_permissions(bundle::SOCKET, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

pub(super) fn open_log(target: &bundle::LogTarget) -> io::Result<logs::Writer> {
    let rotation = logs::Rotation { max_bytes: target.max_size, max_files: target.max_file };
    let attributes = target.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    logs::Writer::open(&target.path, rotation, attributes)
}
