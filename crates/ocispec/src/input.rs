//! What the engine has resolved before a specification can be built.

use crate::user::ExecUser;
use std::collections::BTreeMap;
use std::path::Path;
use types::container::{Config, HostConfig};

/// Everything a specification is made of.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    pub config: &'a Config,
    pub host: &'a HostConfig,
    /// Entrypoint and command, complete.
    pub args: Vec<String>,
    /// Complete, see Docker's order: PATH, HOSTNAME, TERM, the image's and the user's. HOME is added.
    pub env: Vec<String>,
    /// Absolute; `/` when empty.
    pub cwd: &'a str,
    pub user: ExecUser,
    pub rootfs: &'a Path,
    /// Binds, volumes, tmpfs and the engine's own files (`/etc/hosts` …). A default mount at the same
    /// place gives way.
    pub mounts: Vec<Mount>,
    pub devices: Vec<Device>,
    /// The devices that `Blkio…Device` entries name by path.
    pub block_devices: BTreeMap<String, BlockDevice>,
    pub network: Namespace,
    pub pid: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub cgroupns: Namespace,
    pub shm: Shm,
    pub hostname: &'a str,
    /// As the kernel sees it from its root: `/docker/<id>`.
    pub cgroup_path: &'a str,
    pub init: Init,
    pub facts: &'a Facts,
}

/// Where a namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Namespace {
    /// One of its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// An existing one: `/proc/<pid>/ns/…` or a file it is bound to.
    Path(String),
}

/// What is mounted at `/dev/shm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shm {
    /// A tmpfs of `HostConfig.ShmSize`.
    Private,
    /// The host's, or another container's: a directory to bind.
    Bind(String),
    /// Nothing (`--ipc none`).
    Absent,
}

/// `--init`: who is the first process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Init {
    /// The command itself.
    #[default]
    Command,
    /// The runtime's own, which needs no file in the container. Embedded runtime only.
    BuiltIn,
    /// A static program on the host (tini), bound to `/sbin/docker-init`.
    File(String),
}

/// A mount as OCI has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    pub destination: String,
    /// `bind`, `tmpfs`, …
    pub kind: String,
    pub source: String,
    pub options: Vec<String>,
}

/// A device of the host, for the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// In the container.
    pub path: String,
    /// `c` or `b`.
    pub kind: char,
    pub major: i64,
    pub minor: i64,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Of `rwm`.
    pub access: String,
}

/// What cgroups can limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    Memory,
    Cpu,
    Cpuset,
    Pids,
    Io,
    /// A share of the disk's time: schedulers that know it have become rare.
    IoWeight,
}

/// The number of a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockDevice {
    pub major: i64,
    pub minor: i64,
}

/// What this machine and this daemon can give. Observed once at start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    pub cgroup_v2: bool,
    /// v1: the directories below `/sys/fs/cgroup` (`memory`, `cpu,cpuacct` …).
    pub cgroup_v1_mounts: Vec<String>,
    pub swap_limit: bool,
    /// What this machine's cgroups cannot limit.
    pub without: Vec<Controller>,
    /// `CAP_…` names in the daemon's bounding set.
    pub capabilities: Vec<String>,
    /// The daemon's hard limits by OCI name (`RLIMIT_NOFILE`); exceeding one needs CAP_SYS_RESOURCE.
    pub hard_limits: BTreeMap<String, u64>,
    /// The daemon's own: less needs CAP_SYS_RESOURCE.
    pub oom_score_adj: i64,
    /// As in Rust: `x86_64`, `aarch64`.
    pub arch: String,
}

impl Facts {
    /// Whether the daemon holds a capability.
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|name| name == capability)
    }
}
