//! The last steps inside the container, in libcontainer's place: working directory, command lookup with
//! Docker's texts, seccomp, privileges, execve.
//!
//! libcontainer gets a specification without capabilities and seccomp, so at `validate` this process
//! still has every capability, with the container's user already set. Done here because libcontainer
//! forgets seccomp for exec, compiles the filter on every start, falls back to `/bin/sh` on ENOEXEC and
//! words its refusals differently from Docker.

use super::{Outcome, init, lookup, tell};
use crate::protocol::Failure;
use libcontainer::capabilities::CapabilityExt;
use libcontainer::oci_spec::runtime::{Capabilities, LinuxCapabilities, Process, Spec};
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use nix::unistd::{Gid, Uid, chdir, execve, fchown};
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// As runc does for a container's first process: the mounts are there, so it may lie in a volume. What cannot be made is
/// told by who changes to it.
fn make_working_directory(path: &Path) {
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        if std::fs::create_dir(dir).is_err() {
            return;
        }
        let _owner = std::os::unix::fs::chown(dir, Some(0), Some(0));
    }
}

/// What one process in the container is started with.
#[derive(Clone)]
pub(crate) struct Launcher {
    pub(crate) process: Rc<Process>,
    pub(crate) seccomp: Option<Rc<[u8]>>,
    /// Stay as the container's init and fork the command.
    pub(crate) init: bool,
    /// Where a refusal goes, worded by `refuse`. Kept open by libcontainer until execve.
    pub(crate) report: RawFd,
    pub(crate) refuse: fn(&str) -> Failure,
}

impl Executor for Launcher {
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        make_working_directory(self.process.cwd());
        self.admit().map_err(ExecutorValidationError::ArgValidationError)
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(()) // execve gets the environment
    }

    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let path = self.find().map_err(ExecutorError::Other)?;
        self.execute(&path)
    }
}

impl Launcher {
    /// Both steps at once, for a process that joins a running container.
    pub(super) fn run(&self) -> ! {
        match self.admit().and_then(|()| self.find()) {
            Ok(path) => self.execute(&path),
            Err(_) => sys::process::exit_now(255), // told
        }
    }

    /// Reports a refusal, and returns it.
    fn admit(&self) -> Result<(), String> {
        self.check().map_err(|cause| {
            let cause = format!("unable to start container process: {cause}");
            if let Some(report) = borrow(self.report) {
                tell(report, &Outcome::Failed((self.refuse)(&cause)));
            }
            cause
        })
    }

    fn execute(&self, path: &Path) -> ! {
        if let Err(cause) = self.confine() {
            self.die(&cause);
        }
        if self.init {
            init::run(|| self.die(&self.replace(path)))
        }
        self.die(&self.replace(path))
    }

    /// Everything that can be refused before the container starts.
    fn check(&self) -> Result<(), String> {
        give_stdio_to_user();
        self.size_terminal();
        let cwd = self.process.cwd();
        let full = caps::read(None, caps::CapSet::Effective).map_err(|err| err.to_string())?;
        // As the user will be, else as root: the directory may be for root's eyes and still be asked for.
        self.as_user(&full, || chdir(cwd)).or_else(|_| chdir(cwd)).map_err(|err| {
            let reason = err.desc().to_lowercase();
            format!(
                "chdir to cwd ({:?}) set in config.json failed: {reason}",
                cwd.display().to_string()
            )
        })?;
        // A descriptor of the host's, reached through /proc/self/fd, is no place to start in.
        nix::unistd::getcwd().map_err(|_| {
            "current working directory is outside of container mount namespace root -- possible \
             container breakout detected"
                .to_owned()
        })?;
        self.as_user(&full, || self.find()).map(drop)
    }

    fn size_terminal(&self) {
        if let Some(size) = self.process.console_size() {
            let cells = |count: u64| u16::try_from(count).unwrap_or(u16::MAX);
            let (rows, cols) = (cells(size.height()), cells(size.width()));
            let _best_effort = sys::tty::set_window_size(std::io::stdin(), rows, cols);
        }
    }

    /// Runs `f` with the effective capabilities that the command will have.
    fn as_user<T>(&self, full: &caps::CapsHashSet, f: impl FnOnce() -> T) -> T {
        let keep = match self.process.capabilities().as_ref().and_then(|c| c.effective().as_ref()) {
            Some(effective) if self.process.user().uid() == 0 => to_set(effective),
            _ => caps::CapsHashSet::new(),
        };
        let _lowered = caps::set(None, caps::CapSet::Effective, &keep);
        let result = f();
        let _raised = caps::set(None, caps::CapSet::Effective, full);
        result
    }

    fn find(&self) -> Result<PathBuf, String> {
        let args = self.process.args().as_deref().unwrap_or_default();
        let name = args.first().ok_or("no command specified")?;
        lookup::look_path(name, self.process.env().as_deref().unwrap_or_default())
    }

    /// Filter and privileges, in the order the kernel wants: without no_new_privs the filter needs
    /// CAP_SYS_ADMIN, with it the filter comes last so that it sees as little as possible of our own work.
    fn confine(&self) -> Result<(), String> {
        let no_new_privileges = self.process.no_new_privileges() == Some(true);
        if !no_new_privileges {
            self.install_filter()?;
        }
        let none = LinuxCapabilities::default();
        let caps = self.process.capabilities().as_ref().unwrap_or(&none);
        libcontainer::capabilities::drop_privileges(caps, create_syscall().as_ref())
            .map_err(|err| format!("failed to drop capabilities: {err}"))?;
        if no_new_privileges {
            nix::sys::prctl::set_no_new_privs().map_err(|err| err.desc().to_owned())?;
            self.install_filter()?;
        }
        Ok(())
    }

    fn install_filter(&self) -> Result<(), String> {
        let Some(bpf) = &self.seccomp else { return Ok(()) };
        sys::seccomp::install(bpf)
            .map_err(|err| format!("failed to load seccomp filter: {}", err.desc()))
    }

    /// Becomes the command; returns only with the reason why not.
    fn replace(&self, path: &Path) -> String {
        let args = strings(self.process.args().as_deref().unwrap_or_default());
        let env = strings(self.process.env().as_deref().unwrap_or_default());
        let Ok(file) = CString::new(path.as_os_str().as_bytes()) else {
            return format!("exec {}: invalid argument", path.display());
        };
        let Err(err) = execve(&file, &args, &env);
        format!("exec {}: {}", path.display(), err.desc().to_lowercase())
    }

    /// The container has started as far as anybody knows: like runc, the reason goes to its stderr.
    fn die(&self, cause: &str) -> ! {
        let _unheard = nix::unistd::write(std::io::stderr(), format!("{cause}\n").as_bytes());
        sys::process::exit_now(255)
    }
}

/// The stdio pipes or terminal belong to the user, so that it may open `/dev/stdout` anew.
fn give_stdio_to_user() {
    let uid: Uid = nix::unistd::getuid();
    for fd in [0, 1, 2] {
        let Some(fd) = borrow(fd) else { continue };
        let Ok(stat) = nix::sys::stat::fstat(fd) else { continue };
        let null = nix::sys::stat::makedev(1, 3);
        if stat.st_rdev != null && stat.st_uid != uid.as_raw() {
            let _best_effort = fchown(fd, Some(uid), None::<Gid>);
        }
    }
}

fn to_set(caps: &Capabilities) -> caps::CapsHashSet {
    caps.iter().map(CapabilityExt::to_cap).collect()
}

fn strings(list: &[String]) -> Vec<CString> {
    list.iter().filter_map(|text| CString::new(text.as_bytes()).ok()).collect()
}

fn borrow(fd: RawFd) -> Option<BorrowedFd<'static>> {
    sys::process::inherited(fd)
}
