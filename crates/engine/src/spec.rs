//! From a container's record to the OCI specification's input: everything that needs a look at the host,
//! the image's files or other containers. What follows from it is decided in `ocispec`.

mod devices;
mod mounts;
mod targets;

pub(crate) use mounts::source as mount_source;

use crate::container::{Container, Record, Sandbox, add_link_variables, command_line, environment};
use crate::{Engine, Error, Result};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use oci_spec::runtime::{LinuxResources, Process, Spec};
use ocispec::{ExecUser, Init, Input, Namespace, ProcessInput, Shm};
use std::io::Read;
use std::path::Path;
use types::container::HostConfig;

/// The user files of an image; more would be an attempt to fill our memory.
const USER_FILE_BYTES: u64 = 4 << 20;

/// The targets of bind mounts behind links of the image that lead nowhere yet.
fn complete_targets(rootfs: &Path, spec: &Spec) -> Result<()> {
    for mount in spec.mounts().iter().flatten() {
        let bound = mount.typ().as_deref() == Some("bind");
        let Some(source) = mount.source().as_ref().filter(|_| bound) else { continue };
        let target =
            if source.is_dir() { targets::Target::Directory } else { targets::Target::File };
        let target = targets::complete(rootfs, mount.destination(), target);
        let mounting =
            || format!("failed to create the mount target {}", mount.destination().display());
        target.map_err(|err| Error::caused(mounting(), std::io::Error::from(err)))?;
    }
    Ok(())
}

/// What the user or the image works in need not be there yet. Where a mount covers it, the executor makes it.
fn make_working_directory(rootfs: &Path, path: &str) -> Result<()> {
    let made = targets::make_directory(rootfs, Path::new(path));
    let making = || format!("failed to create the working directory {path}");
    made.map_err(|err| Error::caused(making(), std::io::Error::from(err)))
}

/// What an exec changes of its container's process.
pub(crate) struct ExecProcess<'a> {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) user: &'a str,
    pub(crate) working_dir: &'a str,
    pub(crate) tty: bool,
    pub(crate) privileged: bool,
}

impl Engine {
    pub(crate) fn oci_spec(
        &self,
        container: &Container,
        record: &Record,
        rootfs: &Path,
        sandbox: &Sandbox,
    ) -> Result<Spec> {
        let host = &record.host_config;
        let cgroup_path = self.cgroup_of(&host.cgroup_parent, &record.id);
        let devices = devices::resolve(host)?;
        let mut env = environment(&record.config);
        add_link_variables(&mut env, &sandbox.env);
        let input = Input {
            config: &record.config,
            host,
            args: command_line(&record.config),
            env,
            cwd: &record.config.working_dir,
            user: user(rootfs, &record.config.user, host.group_add.as_deref().unwrap_or_default())?,
            rootfs,
            mounts: mounts::resolve(container, record, sandbox)?,
            devices,
            block_devices: devices::block_devices(host)?,
            network: sandbox.namespace.clone(),
            pid: self.shared_namespace(&host.pid_mode, "pid")?,
            ipc: self.shared_namespace(&host.ipc_mode, "ipc")?,
            uts: self.shared_namespace(&host.uts_mode, "uts")?,
            cgroupns: self.shared_namespace(&host.cgroupns_mode, "cgroup")?,
            shm: self.shm(&host.ipc_mode)?,
            hostname: &record.config.hostname,
            cgroup_path: &cgroup_path,
            init: self.init(host),
            facts: &self.0.facts,
        };
        let (spec, warnings) = ocispec::build(&input).map_err(Error::from_lower)?;
        for warning in warnings {
            tracing::info!(container = record.id.short(), "{warning}");
        }
        complete_targets(rootfs, &spec)?;
        make_working_directory(rootfs, &record.config.working_dir)?;
        Ok(spec)
    }

    /// The process of an exec: the container's, changed by what the exec says.
    pub(crate) fn exec_spec(
        &self,
        container: &Container,
        record: &Record,
        exec: ExecProcess<'_>,
    ) -> Result<Process> {
        let rootfs = self.live_rootfs(container)?;
        let groups = record.host_config.group_add.as_deref().unwrap_or_default();
        let input = ProcessInput {
            host: &record.host_config,
            args: exec.args,
            env: exec.env,
            cwd: exec.working_dir,
            user: user(&rootfs, exec.user, groups)?,
            tty: exec.tty,
            privileged: exec.privileged,
            facts: &self.0.facts,
        };
        ocispec::process(&input).map(|(process, _warnings)| process).map_err(Error::from_lower)
    }

    /// Refuses a user whom the container does not know, so that nobody waits for the exec's start to learn it.
    pub(crate) fn check_exec_user(&self, container: &Container, name: &str) -> Result<()> {
        let known = user(&self.live_rootfs(container)?, name, &[]);
        known.map(drop).map_err(|err| Error::invalid(err.to_string()))
    }

    /// Limits alone, for `update`.
    pub(crate) fn oci_resources(&self, host: &HostConfig) -> Result<LinuxResources> {
        ocispec::resources(host, &devices::block_devices(host)?, &self.0.facts)
            .map(|(resources, _warnings)| resources)
            .map_err(Error::from_lower)
    }

    /// uid and gid of the container's user.
    pub(crate) async fn user_ids(&self, container: &Container) -> Result<(u32, u32)> {
        let rootfs = self.mount_rootfs(&container.id).await?;
        let user = user(&rootfs, &container.record().config.user, &[])?;
        Ok((user.uid, user.gid))
    }

    fn init(&self, host: &HostConfig) -> Init {
        if !host.init.unwrap_or(self.0.config.init) {
            return Init::Command;
        }
        match self.0.runtimes.init_program(&host.runtime) {
            None => Init::BuiltIn,
            Some(path) => Init::File(path),
        }
    }

    /// `host`, `container:<id>`, or one of its own.
    fn shared_namespace(&self, mode: &str, kind: &str) -> Result<Namespace> {
        match mode {
            "host" => Ok(Namespace::Host),
            _ => match mode.strip_prefix("container:") {
                None => Ok(Namespace::Private),
                Some(id) => {
                    Ok(Namespace::Path(format!("/proc/{}/ns/{kind}", self.pid_of(id, kind)?)))
                }
            },
        }
    }

    fn pid_of(&self, id: &str, kind: &str) -> Result<i32> {
        let other = self.0.containers.find(id)?;
        let record = other.record();
        if !record.state.running {
            let text = format!("container {} is not running", record.id);
            // dockerd sees to IPC before it makes the specification, whose failures are its own.
            return Err(match kind {
                "ipc" => Error::conflict(text),
                _ => Error::system(format!(
                    "failed to join {} namespace: {text}",
                    kind.to_uppercase()
                )),
            });
        }
        let mode = &record.host_config.ipc_mode;
        if kind == "ipc" && (mode == "private" || mode == "none") {
            return Err(Error::invalid(format!(
                "container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                record.id
            )));
        }
        Ok(record.state.pid)
    }

    fn shm(&self, ipc_mode: &str) -> Result<Shm> {
        match ipc_mode {
            "none" => Ok(Shm::Absent),
            "host" => Ok(Shm::Bind("/dev/shm".to_owned())),
            _ => match ipc_mode.strip_prefix("container:") {
                Some(id) => {
                    Ok(Shm::Bind(format!("/proc/{}/root/dev/shm", self.pid_of(id, "ipc")?)))
                }
                None if matches!(ipc_mode, "" | "private" | "shareable") => Ok(Shm::Private),
                None => Err(Error::invalid(format!("invalid IPC mode: {ipc_mode}"))),
            },
        }
    }

    /// What a create request wishes and this kernel or daemon cannot give; refuses what is no wish at all.
    pub(crate) fn kernel_warnings(&self, host: &HostConfig) -> Result<Vec<String>> {
        let process = ProcessInput {
            host,
            args: vec!["true".to_owned()],
            env: Vec::new(),
            cwd: "/",
            user: ExecUser::default(),
            tty: false,
            privileged: host.privileged,
            facts: &self.0.facts,
        };
        let (_, mut warnings) = ocispec::process(&process).map_err(Error::from_lower)?;
        let (_, more) = ocispec::resources(host, &devices::block_devices(host)?, &self.0.facts)
            .map_err(Error::from_lower)?;
        warnings.extend(more);
        Ok(warnings.iter().map(ToString::to_string).collect())
    }
}

/// Looks `user` up in the image's own files. They are opened with the image as root, since it may hold
/// symlinks to anywhere.
fn user(rootfs: &Path, user: &str, group_add: &[String]) -> Result<ExecUser> {
    let passwd = read_inside(rootfs, "etc/passwd");
    let group = read_inside(rootfs, "etc/group");
    ocispec::resolve_user(user, &passwd, &group, group_add).map_err(Error::from_lower)
}

fn read_inside(rootfs: &Path, path: &str) -> String {
    let read = || -> std::io::Result<String> {
        let root = std::fs::File::open(rootfs)?;
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        let file = std::fs::File::from(openat2(&root, path, how)?);
        let mut bytes = Vec::new();
        file.take(USER_FILE_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}
