//! The program that shims execute, where no container can write to it.
//!
//! A shim, and what it forks to enter a container, shows the program's file to whoever may look at its
//! `/proc/<pid>/exe`; a container whose command is `#!/proc/self/exe` even executes it. A descriptor opened
//! there could be kept until nothing executes the file any more, and then be used to overwrite it
//! (CVE-2019-5736). So shims execute it through a mount that is read-only and in no namespace: every path
//! that leads from a container to the program leads there, and opening for writing fails with EROFS.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

/// What process lists show for a shim.
pub(crate) const NAME: &std::ffi::CStr = c"sampan-shim";

/// The program, and the mount it is executed through.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    /// `None` where the kernel refuses; close-on-exec, so that no shim inherits it.
    clone: Option<OwnedFd>,
}

impl Program {
    /// To be called once, when the daemon starts: the mount is of the file that is there now. Where the kernel
    /// refuses (before Linux 5.12, or without the right to mount) shims execute `path` itself.
    pub(crate) fn open(path: PathBuf) -> Program {
        let clone = sys::mount::clone_read_only(&path)
            .inspect_err(|err| {
                tracing::warn!(path = %path.display(), error = %err, "shims execute the program where it can be written: this kernel gives no read-only view of it");
            })
            .ok();
        Program { path, clone }
    }

    /// What to execute, by a process that has this one's descriptors.
    pub(crate) fn path(&self) -> PathBuf {
        match &self.clone {
            Some(fd) => PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())),
            None => self.path.clone(),
        }
    }
}
