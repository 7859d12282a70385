//! The OCI runtime, as the shim sees it: one operation in one forked child, its outcome through a pipe.
//!
//! Two implementations over the same bundle: [`embedded`] calls libcontainer in the forked child (and
//! [`join`]s by itself for an exec), [`binary`] runs a command line such as runc's. Everything here runs in that child, never in the shim
//! itself: libcontainer changes process-wide state (working directory, dumpable, oom score).
//! The container's first process and every exec become the shim's children when the child ends, for the
//! shim is their subreaper.

pub(crate) mod binary;
mod dev;
mod devices;
pub(crate) mod embedded;
mod executor;
mod init;
mod join;
mod lookup;
pub(crate) mod text;

use crate::cgroup::Cgroup;
use crate::protocol::Failure;
use serde::{Deserialize, Serialize};
use std::os::fd::{BorrowedFd, OwnedFd};

/// The three streams a new process gets; without a console.
#[derive(Debug)]
pub(crate) struct Stdio {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// What a new process is connected to.
#[derive(Debug)]
pub(crate) enum Streams {
    Pipes(Stdio),
    /// The name of a unix socket in the run directory that takes the terminal's master.
    Console(String),
}

/// One operation for the forked child.
#[derive(Debug)]
pub(crate) enum Operation {
    Create {
        streams: Streams,
    },
    Start,
    /// `init` is a pidfd of the container's first process.
    Exec {
        exec_id: String,
        init: OwnedFd,
        process: String,
        streams: Streams,
    },
    Update {
        resources: String,
    },
    Delete,
}

/// The container an operation is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) id: &'a str,
    /// As in the specification.
    pub(crate) cgroup_path: &'a str,
    pub(crate) cgroup: &'a Cgroup,
}

/// What the child reports: the new process's pid (0 where there is none), or why not.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Pid(i32),
    Failed(Failure),
}

/// Performs `operation` in the current process, a forked child whose working directory is the run
/// directory, and writes the outcome to `report`.
pub(crate) fn perform(
    binary: Option<&str>,
    target: Target<'_>,
    operation: Operation,
    report: BorrowedFd<'_>,
) {
    let result = match binary {
        None => embedded::perform(target, operation, report),
        Some(path) => binary::perform(path, target.id, operation),
    };
    tell(report, &result.map_or_else(Outcome::Failed, Outcome::Pid));
}

/// Writes an outcome as one line. The shim believes the first it reads: our executor, inside the
/// container, may have told a better reason already.
pub(crate) fn tell(report: BorrowedFd<'_>, outcome: &Outcome) {
    if let Ok(mut line) = serde_json::to_vec(outcome) {
        line.push(b'\n');
        // Nobody is left to tell when this fails: the shim then sees the child's end without a word.
        let _unheard = nix::unistd::write(report, &line);
    }
}
