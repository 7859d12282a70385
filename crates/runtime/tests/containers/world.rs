//! One private container world per test: a busybox root, a run directory, a cgroup.

use nix::sys::socket::{getsockopt, sockopt};
use oci_spec::runtime::{Process, Spec};
use runtime::{
    ExecRequest, Io, Kind, Launch, LogTarget, Runtime, RuntimeConfig, RuntimeError, Shim,
};
use serde_json::{Value, json};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use types::ContainerId;

/// Defines each test twice: for the embedded runtime and for runc.
macro_rules! both {
    ($(async fn $name:ident($world:pat_param in World) $body:block)*) => {
        mod embedded {
            use super::*;
            $(#[tokio::test] async fn $name() {
                let $world = World::new(Which::Embedded);
                in_time(async move { $body }).await;
            })*
        }
        mod runc {
            use super::*;
            $(#[tokio::test] async fn $name() {
                let $world = World::new(Which::Runc);
                in_time(async move { $body }).await;
            })*
        }
    };
}
pub(crate) use both;

/// Far longer than any test takes, on however loaded a machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

/// A test that waits for ever fails instead.
pub(crate) async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(PATIENCE, test).await.expect("took too long");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Embedded,
    Runc,
}

pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) id: ContainerId,
    pub(crate) runtime: Runtime,
    pub(crate) which: Which,
    pub(crate) runc: PathBuf,
    /// As JSON, to be changed before the launch.
    pub(crate) spec: Value,
    pub(crate) io: Io,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl World {
    pub(crate) fn new(which: Which) -> World {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("smp-{}-{number}", std::process::id());
        // The path is longer than a socket's address may be.
        let dir = tempfile::Builder::new().prefix(&"long".repeat(30)).tempdir().unwrap();
        make_rootfs(&dir.path().join("rootfs"));
        std::fs::create_dir(dir.path().join("run")).unwrap();
        let spec = base_spec(&dir.path().join("rootfs"), &id);
        let runtime = runtime();
        let runc = PathBuf::from("/usr/sbin/runc");
        World { dir, id: ContainerId::new(id), runtime, which, runc, spec, io: Io::default() }
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// The log as it is now.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Another container with the same specification.
    pub(crate) fn again(&self) -> World {
        let mut world = World::new(self.which);
        world.spec["process"] = self.spec["process"].clone();
        world
    }

    /// Waits until the log has `text`.
    pub(crate) async fn logs(&self, text: &str) {
        self.until(|| self.logged().contains(text)).await;
    }

    pub(crate) async fn log_is_larger_than(&self, bytes: usize) {
        self.until(|| self.log().len() > bytes).await;
    }

    /// Polls the disk, giving way in between; the test harness's own patience is the limit.
    async fn until(&self, reached: impl Fn() -> bool) {
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(2));
        while !reached() {
            tick.tick().await;
        }
    }

    /// The shim's pid. Its socket knows which process it is: processes that it has forked and that execute
    /// nothing new look just like it.
    pub(crate) fn shim_pid(&self) -> i32 {
        getsockopt(&self.connect().unwrap(), sockopt::PeerCredentials).unwrap().pid()
    }

    /// Kills the shim as the kernel's OOM killer would.
    pub(crate) async fn kill_shim(&self) {
        sys::process::kill(self.shim_pid(), libc::SIGKILL).unwrap();
        self.until(|| self.connect().is_err()).await;
    }

    fn connect(&self) -> std::io::Result<UnixStream> {
        // The path is longer than a socket's address may be.
        let dir = std::fs::File::open(self.run_dir())?;
        UnixStream::connect(format!("/proc/self/fd/{}/shim.sock", dir.as_raw_fd()))
    }

    /// Waits until the shim is there to be spoken to.
    pub(crate) async fn listens(&self) {
        self.until(|| self.connect().is_ok()).await;
    }

    /// Waits until no process is left that knows this world: the shim, or what it has forked.
    pub(crate) async fn is_deserted(&self) {
        self.until(|| self.processes().is_empty()).await;
    }

    /// Processes with this world's directory on their command line. Those that the shim has forked and
    /// that have not executed anything are among them, zombies are not.
    fn processes(&self) -> Vec<i32> {
        let name = self.dir.path().as_os_str().as_encoded_bytes();
        let names_us = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(name.len()).any(|part| part == name)
        };
        let entries = std::fs::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(names_us).collect()
    }

    pub(crate) fn write_executable(&self, path: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.rootfs().join(path.trim_start_matches('/'));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// All that was logged, the entries' texts joined.
    pub(crate) fn logged(&self) -> String {
        let text = |line: &str| {
            let entry: Value = serde_json::from_str(line).unwrap();
            entry["log"].as_str().unwrap().to_owned()
        };
        self.log().lines().map(text).collect()
    }

    pub(crate) async fn create(&self, args: &[&str]) -> Result<Shim, RuntimeError> {
        self.create_keeping(args, Vec::new()).await
    }

    pub(crate) async fn create_keeping(
        &self,
        args: &[&str],
        keep: Vec<(String, OwnedFd)>,
    ) -> Result<Shim, RuntimeError> {
        let mut spec = self.spec.clone();
        spec["process"]["args"] = args.into();
        if self.io.tty {
            spec["process"]["terminal"] = true.into();
        }
        let log = LogTarget {
            path: self.dir.path().join("log"),
            max_size: None,
            max_file: 1,
            attributes: Vec::new(),
        };
        let launch = Launch {
            id: self.id.clone(),
            run_dir: self.run_dir(),
            spec: serde_json::from_value::<Spec>(spec).unwrap(),
            runtime: match self.which {
                Which::Embedded => Kind::Embedded,
                Which::Runc => Kind::Binary(self.runc.clone()),
            },
            io: self.io,
            log: Some(log),
            keep,
        };
        self.runtime.create(launch).await
    }

    /// Created and started.
    pub(crate) async fn run(&self, args: &[&str]) -> Shim {
        let shim = self.create(args).await.unwrap();
        shim.start().await.unwrap();
        shim
    }

    /// Run to its end: the exit code and everything it said.
    pub(crate) async fn output_of(&self, args: &[&str]) -> (i64, String) {
        let code = self.run(args).await.wait().await.exit_code;
        (code, self.logged())
    }

    /// The process of an exec, as the container's own but for its arguments.
    pub(crate) fn process(&self, args: &[&str]) -> Process {
        let mut process = self.spec["process"].clone();
        process["args"] = args.into();
        serde_json::from_value(process).unwrap()
    }

    pub(crate) fn exec_request(&self, id: &str, args: &[&str]) -> ExecRequest {
        ExecRequest {
            id: id.to_owned(),
            process: self.process(args),
            tty: false,
            stdin: false,
            stdout: true,
            stderr: true,
            console_size: None,
        }
    }

    /// Every directory of the container's cgroup that is still there.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let below =
            |mount: &Path| mount.join(format!("smp-test-{}", self.id)).join(self.id.as_str());
        let mut dirs = vec![below(Path::new("/sys/fs/cgroup"))];
        for entry in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
            dirs.push(below(&entry.unwrap().path()));
        }
        dirs.retain(|dir| dir.exists());
        dirs
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The parent that the container left.
        for entry in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let _others_remain =
                std::fs::remove_dir(entry.path().join(format!("smp-test-{}", self.id)));
        }
        let _others_remain = std::fs::remove_dir(format!("/sys/fs/cgroup/smp-test-{}", self.id));
    }
}

/// The program that shims execute.
pub(crate) const SHIM: &str = env!("CARGO_BIN_EXE_sampan-shim");

/// A second daemon's runtime.
pub(crate) fn runtime() -> Runtime {
    let shim = PathBuf::from(SHIM);
    Runtime::new(RuntimeConfig { shim, shim_args: Vec::new() }).unwrap()
}

fn make_rootfs(root: &Path) {
    for dir in ["bin", "proc", "sys", "dev", "etc", "tmp", "home/me"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for name in [
        "sh", "true", "sleep", "cat", "echo", "id", "dd", "ls", "stty", "kill", "ps", "head", "wc",
        "env", "pwd", "tail", "grep", "mkdir", "readlink", "find", "mount", "hostname",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    std::fs::write(root.join("plain"), "not executable\n").unwrap();
}

const CAPS: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

fn base_spec(rootfs: &Path, id: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": rootfs, "readonly": false },
        "hostname": "box",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["true"],
            "env": ["PATH=/bin", "HOME=/"],
            "cwd": "/",
            "capabilities": { "bounding": CAPS, "effective": CAPS, "permitted": CAPS },
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        ],
        "linux": {
            "cgroupsPath": format!("/smp-test-{id}/{id}"),
            "namespaces": [
                { "type": "mount" }, { "type": "pid" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "network" },
            ],
            "resources": { "memory": { "limit": 64 << 20, "swap": 64 << 20 } },
            "maskedPaths": [],
            "readonlyPaths": [],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }],
            },
        },
    })
}
