//! A further process in a running container: joined here, without libcontainer.
//!
//! libcontainer's way there reads the whole specification again, forks twice and, on cgroup v1, writes to
//! `cgroup.procs`, which waits for a grace period of the whole machine; most of an exec's time went there.
//! The forked child of the shim joins the container's cgroup and namespaces itself and forks once, so that
//! nothing in the container ever sees a process that is only half inside.

use super::executor::Launcher;
use super::{Outcome, Stdio, Streams, tell, text};
use crate::cgroup::Cgroup;
use crate::protocol::Failure;
use libcontainer::oci_spec::runtime::{PosixRlimitType, Process};
use libcontainer::syscall::syscall::create_syscall;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::{set_dumpable, set_keepcaps};
use nix::unistd::{
    Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, pipe2, read, setgroups, setresgid, setresuid,
    setsid,
};
use std::fmt::Display;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use sys::process::{Fork, exit_now, fork_single_threaded};

/// Joins the container of `init` (a pidfd) and starts `launcher`'s process; its pid on the host.
pub(super) fn exec(
    cgroup: &Cgroup,
    init: &OwnedFd,
    streams: Streams,
    launcher: &Launcher,
    report: BorrowedFd<'_>,
) -> Result<i32, Failure> {
    let fail = |cause: &dyn Display| text::exec_failed(&cause.to_string());
    let streams = match streams {
        Streams::Pipes(stdio) => Connected::Pipes(stdio),
        Streams::Console(path) => {
            Connected::Console(UnixStream::connect(path).map_err(|err| fail(&err))?.into())
        }
    };
    enter(cgroup, init, &launcher.process).map_err(|cause| fail(&cause))?;
    let (executed, held) = pipe2(OFlag::O_CLOEXEC).map_err(|err| fail(&err))?;
    match fork_single_threaded().map_err(|err| fail(&format!("fork: {}", err.desc())))? {
        Fork::Child => {
            if let Err(cause) = become_user(&launcher.process, streams) {
                let cause = format!("unable to start container process: {cause}");
                tell(report, &Outcome::Failed((launcher.refuse)(&cause)));
                exit_now(255)
            }
            launcher.run()
        }
        Fork::Parent(pid) => {
            drop(held);
            // Its end, or its execve, closes the pipe; a refusal is told before.
            let _ended = read(&executed, &mut [0]);
            Ok(pid.as_raw())
        }
    }
}

/// What the new process's streams come from, as it is still known outside the container.
enum Connected {
    Pipes(Stdio),
    Console(OwnedFd),
}

/// This process goes in, all but into the pid namespace, which only its children enter.
fn enter(cgroup: &Cgroup, init: &OwnedFd, process: &Process) -> Result<(), String> {
    if let Some(score) = process.oom_score_adj() {
        std::fs::write("/proc/self/oom_score_adj", score.to_string())
            .map_err(|err| format!("failed to set oom_score_adj: {err}"))?;
    }
    cgroup.join().map_err(|err| format!("failed to join the cgroup: {err}"))?;
    // Until execve nothing in the container may look into what came from outside.
    set_dumpable(false).map_err(|err| err.desc().to_owned())?;
    let namespaces = CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWNS;
    setns(init, namespaces).map_err(|err| format!("failed to join namespaces: {}", err.desc()))
}

/// Session, streams, limits and identity: what libcontainer has done before it calls an executor.
fn become_user(process: &Process, streams: Connected) -> Result<(), String> {
    let words = |err: nix::errno::Errno| err.desc().to_lowercase();
    let syscall = create_syscall();
    setsid().map_err(words)?;
    match streams {
        Connected::Pipes(stdio) => {
            dup2_stdin(&stdio.stdin).map_err(words)?;
            dup2_stdout(&stdio.stdout).map_err(words)?;
            dup2_stderr(&stdio.stderr).map_err(words)?;
        }
        Connected::Console(socket) => {
            libcontainer::tty::setup_console(syscall.as_ref(), socket.into_raw_fd(), false)
                .map_err(|err| format!("failed to set up the terminal: {err}"))?;
        }
    }
    for limit in process.rlimits().iter().flatten() {
        let name = |kind: PosixRlimitType| format!("error setting rlimit type {}", kind as u32);
        syscall.set_rlimit(limit).map_err(|err| format!("{}: {err}", name(limit.typ())))?;
    }
    let user = process.user();
    if let Some(umask) = user.umask() {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(umask));
    }
    let groups: Vec<Gid> =
        user.additional_gids().iter().flatten().copied().map(Gid::from_raw).collect();
    setgroups(&groups).map_err(words)?;
    // As libcontainer hands over: the user's identity, and still every capability.
    set_keepcaps(true).map_err(words)?;
    let (gid, uid) = (Gid::from_raw(user.gid()), Uid::from_raw(user.uid()));
    setresgid(gid, gid, gid).map_err(words)?;
    setresuid(uid, uid, uid).map_err(words)?;
    set_keepcaps(false).map_err(words)?;
    let permitted = caps::read(None, caps::CapSet::Permitted).map_err(|err| err.to_string())?;
    caps::set(None, caps::CapSet::Effective, &permitted).map_err(|err| err.to_string())
}
