//! `--init` without a file in the image: the container's first process forks the command and stays to
//! reap orphans and pass on signals, as tini does.
//!
//! It is our own program's text, never executed anew, so it is kept non-dumpable: nothing in the
//! container can open it through `/proc/1/exe`. Privileges and the seccomp filter are in place already.

use nix::sys::signal::SigSet;
use nix::unistd::{Pid, setpgid, tcsetpgrp};
use sys::process::{
    Fork, exit_now, fork_single_threaded, kill, reap, restore_signals, wait_signal,
};

/// Forks; `exec` runs in the child (and reports its own failure). The caller never returns: it leaves
/// with the command's exit code.
pub(crate) fn run(exec: impl FnOnce()) -> ! {
    let _named = nix::sys::prctl::set_name(c"docker-init");
    let _hidden = nix::sys::prctl::set_dumpable(false);
    let all = SigSet::all();
    let _masked = all.thread_set_mask();
    match fork_single_threaded() {
        Ok(Fork::Child) => {
            // A group of its own, in the foreground if there is a terminal, as tini does.
            let _grouped = setpgid(Pid::from_raw(0), Pid::from_raw(0));
            let _foreground = tcsetpgrp(std::io::stdin(), nix::unistd::getpid());
            restore_signals();
            exec();
            exit_now(255)
        }
        Ok(Fork::Parent(command)) => supervise(command.as_raw(), &all),
        Err(_) => exit_now(255),
    }
}

fn supervise(command: i32, all: &SigSet) -> ! {
    loop {
        match wait_signal(all) {
            Ok(libc::SIGCHLD) => collect(command),
            Ok(libc::SIGTTIN | libc::SIGTTOU) | Err(_) => {}
            Ok(signal) => {
                // The command may be gone already: the next SIGCHLD tells.
                let _passed = kill(command, signal);
            }
        }
    }
}

/// Collects every dead child; leaves when the command is among them.
fn collect(command: i32) {
    while let Some((pid, code)) = reap() {
        if pid == command {
            exit_now(i32::try_from(code).unwrap_or(255));
        }
    }
}
