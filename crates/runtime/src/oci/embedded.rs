//! The embedded runtime: libcontainer, called from a forked single-threaded child. An exec is ours
//! altogether.

use super::executor::Launcher;
use super::{Operation, Streams, Target, dev, devices, join, text};
use crate::bundle;
use crate::cgroup::Cgroup;
use crate::protocol::Failure;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::runtime::{LinuxResources, Mount, Process, Spec};
use libcontainer::syscall::syscall::SyscallType;
use std::error::Error;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Performs one operation; the pid of a new process, else 0.
pub(crate) fn perform(
    Target { id, cgroup_path, cgroup }: Target<'_>,
    operation: Operation,
    report: BorrowedFd<'_>,
) -> Result<i32, Failure> {
    match operation {
        Operation::Create { streams } => create(id, cgroup, streams, report),
        Operation::Start => start(id),
        Operation::Exec { exec_id: _, init, process, streams } => {
            exec(cgroup, &init, &process, streams, report)
        }
        Operation::Update { resources } => update(id, cgroup_path, &resources),
        // The shim has killed what ran and removed the cgroup: only the state is left.
        Operation::Delete => delete(id),
    }
}

fn create(
    id: &str,
    cgroup: &Cgroup,
    streams: Streams,
    report: BorrowedFd<'_>,
) -> Result<i32, Failure> {
    let fail = |cause: &dyn std::fmt::Display| text::create_failed(&cause.to_string());
    let process = read_json::<Process>(bundle::PROCESS).map_err(|err| fail(&err))?;
    let spec = Spec::load(bundle::CONFIG).map_err(|err| fail(&err))?;
    let wants_init =
        spec.annotations().as_ref().is_some_and(|all| all.contains_key(ocispec::INIT_ANNOTATION));
    let launcher = Launcher {
        process: Rc::new(process),
        seccomp: filter().map_err(|err| fail(&err))?,
        init: wants_init,
        report: report.as_raw_fd(),
        refuse: text::create_failed,
    };
    let here = std::env::current_dir().map_err(|err| fail(&err))?;
    let container = connect(builder(id, &here), streams, &here)
        .with_executor(launcher)
        .as_init(&here)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(|err| fail(&explain(&err)))?;
    // Before the start: nothing of the container has run yet.
    if let Some(dir) = cgroup.unified() {
        restrict_devices(dir, &spec).map_err(|err| fail(&format!("device rules: {err}")))?;
    }
    let pid = container.pid().ok_or_else(|| fail(&"no process was made"))?.as_raw();
    if let Some(mounts) = dev_mounts().map_err(|err| fail(&err))? {
        dev::mount(pid, &mounts).map_err(|err| fail(&err))?;
    }
    Ok(pid)
}

/// On version 2, where libcontainer leaves them out.
fn restrict_devices(cgroup: &Path, spec: &Spec) -> std::io::Result<()> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    let Some(program) = devices::program(rules) else { return Ok(()) };
    Ok(sys::bpf::attach_device_rules(File::open(cgroup)?.as_fd(), &program)?)
}

fn start(id: &str) -> Result<i32, Failure> {
    let fail = |err: LibcontainerError| text::start_failed(&explain(&err));
    let mut container = Container::load(PathBuf::from(bundle::STATE).join(id)).map_err(fail)?;
    container.start().map_err(fail)?;
    Ok(0)
}

fn exec(
    cgroup: &Cgroup,
    init: &OwnedFd,
    process: &str,
    streams: Streams,
    report: BorrowedFd<'_>,
) -> Result<i32, Failure> {
    let fail = |cause: &dyn std::fmt::Display| text::exec_failed(&cause.to_string());
    let process: Process = serde_json::from_str(process).map_err(|err| fail(&err))?;
    let launcher = Launcher {
        process: Rc::new(process),
        seccomp: filter().map_err(|err| fail(&err))?,
        init: false,
        report: report.as_raw_fd(),
        refuse: text::exec_failed,
    };
    join::exec(cgroup, init, streams, &launcher, report)
}

fn update(id: &str, cgroup: &str, resources: &str) -> Result<i32, Failure> {
    use libcgroups::common::{CgroupConfig, CgroupManager, ControllerOpt, create_cgroup_manager};
    let fail = |cause: &dyn std::fmt::Display| text::failed("update", &cause.to_string());
    let resources: LinuxResources = serde_json::from_str(resources).map_err(|err| fail(&err))?;
    let config = CgroupConfig {
        cgroup_path: PathBuf::from(cgroup),
        systemd_cgroup: false,
        container_name: id.to_owned(),
    };
    let manager = create_cgroup_manager(config).map_err(|err| fail(&err))?;
    let options = ControllerOpt {
        resources: &resources,
        disable_oom_killer: false,
        oom_score_adj: None,
        freezer_state: None,
    };
    manager.apply(&options).map_err(|err| fail(&err))?;
    Ok(0)
}

fn delete(id: &str) -> Result<i32, Failure> {
    match std::fs::remove_dir_all(PathBuf::from(bundle::STATE).join(id)) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
            Err(text::failed("delete", &err.to_string()))
        }
        _ => Ok(0),
    }
}

fn builder(id: &str, here: &Path) -> ContainerBuilder {
    let builder = ContainerBuilder::new(id.to_owned(), SyscallType::default());
    // An absolute path is taken as it is: this cannot fail.
    builder
        .with_root_path(here.join(bundle::STATE))
        .unwrap_or_else(|_| ContainerBuilder::new(id.to_owned(), SyscallType::default()))
}

fn connect(builder: ContainerBuilder, streams: Streams, here: &Path) -> ContainerBuilder {
    match streams {
        Streams::Console(socket) => builder.with_console_socket(Some(here.join(socket))),
        Streams::Pipes(stdio) => {
            builder.with_stdin(stdio.stdin).with_stdout(stdio.stdout).with_stderr(stdio.stderr)
        }
    }
}

fn filter() -> std::io::Result<Option<Rc<[u8]>>> {
    match std::fs::read(bundle::SECCOMP) {
        Ok(bpf) => Ok(Some(bpf.into())),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

fn dev_mounts() -> std::io::Result<Option<Vec<Mount>>> {
    match read_json(bundle::DEV) {
        Ok(mounts) => Ok(Some(mounts)),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

fn read_json<T: serde::de::DeserializeOwned>(name: &str) -> std::io::Result<T> {
    Ok(serde_json::from_slice(&std::fs::read(name)?)?)
}

/// The error with its causes, each said once: libcontainer often repeats a cause in its own text.
fn explain(err: &LibcontainerError) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
