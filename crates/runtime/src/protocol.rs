//! What daemon and shim say to each other: frames of a big-endian `u32` length and JSON.
//!
//! A connection carries requests, each with one reply. After the reply to `Attach` it carries raw bytes
//! instead. The reply to `Exec` brings the stream as a descriptor of its own, and is followed by
//! [`Reply::ExecExited`] when the process has ended: whoever started it need not ask. The connection on which the shim was started, and any that asked
//! to `Watch`, receives [`Reply::Exited`] unasked when the container has ended.

use serde::{Deserialize, Serialize};
use types::Timestamp;

/// The longest frame either side accepts: an exec's process with a large environment fits.
pub(crate) const MAX_FRAME: usize = 4 << 20;

/// The first frame on the shim's descriptor 0. The locked `shim.lock` comes with it, and the kept
/// descriptors in the order of `keep`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Boot {
    pub(crate) id: String,
    /// An OCI command line to run, or `None` for the embedded runtime.
    pub(crate) binary: Option<String>,
    /// As in the specification: `/docker/<id>`.
    pub(crate) cgroup: String,
    pub(crate) tty: bool,
    pub(crate) open_stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) log: Option<crate::bundle::LogTarget>,
    pub(crate) keep: Vec<String>,
    /// Owner of the stdio pipes.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Start,
    Signal {
        signal: i32,
        all: bool,
    },
    Resize {
        rows: u16,
        cols: u16,
    },
    Attach {
        stdin: bool,
        stdout: bool,
        stderr: bool,
    },
    Exec(Box<ExecWire>),
    ExecSignal {
        id: String,
        signal: i32,
    },
    ExecResize {
        id: String,
        rows: u16,
        cols: u16,
    },
    ExecWait {
        id: String,
    },
    Watch,
    TakeFd {
        name: String,
    },
    Pause,
    Resume,
    /// `LinuxResources` as JSON.
    Update {
        resources: String,
    },
    ReopenLogs,
    State,
    /// Kills what runs, deletes the container and ends the shim.
    Delete,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecWire {
    pub(crate) id: String,
    /// The OCI `Process` as JSON; only the forked child reads it.
    pub(crate) process: String,
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    /// Of boot and exec; an exec's stream comes with it.
    Started {
        pid: i32,
    },
    /// The OCI runtime's refusal, complete and in dockerd's form.
    Failed(Failure),
    /// The shim's own refusal.
    Refused {
        message: String,
    },
    NotFound,
    State {
        pid: i32,
        started: bool,
        paused: bool,
    },
    ExecExited {
        exit_code: i64,
    },
    Exited(ExitStatus),
}

/// Why an OCI operation failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) exit_code: i64,
}

/// How a container ended; also the content of `exit.json`. Written by the shim, or by the daemon for a
/// lost shim.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// 128 + n for death by signal n; 255 when the shim was lost.
    pub exit_code: i64,
    pub oom_killed: bool,
    pub finished_at: Timestamp,
    /// Why the exit code is not the program's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `init.json`: which process is the container's first. Written by the shim once it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InitRecord {
    pub(crate) pid: i32,
    /// Field 22 of `/proc/<pid>/stat`: tells a reused pid from the recorded process.
    pub(crate) start_time: u64,
}
