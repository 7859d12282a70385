//! Mounts that are in no mount namespace: held by a descriptor alone.

use nix::errno::Errno;
use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A mount of the file (or tree) at `path`, in no namespace: nothing but the descriptor (close-on-exec) and
/// what is opened through it keeps it. `recursive`: with the mounts below.
///
/// Needs `CAP_SYS_ADMIN` and Linux 5.2; `EPERM` and `ENOSYS` otherwise.
pub fn clone_tree(path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let path = text(path)?;
    let depth = if recursive { libc::AT_RECURSIVE.cast_unsigned() } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | depth;
    // SAFETY: `path` is a NUL-terminated string that lives through the call; the kernel writes nothing.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The same, read-only. The file is the same inode, so memory that is mapped from it is shared.
///
/// Needs Linux 5.12.
pub fn clone_read_only(path: &Path) -> Result<OwnedFd, Errno> {
    let tree = clone_tree(path, false)?;
    set_read_only(&tree)?;
    Ok(tree)
}

/// Puts a mount that is in no namespace at `target` in the caller's.
pub fn attach_tree(tree: &OwnedFd, target: &Path) -> Result<(), Errno> {
    let target = text(target)?;
    // SAFETY: both paths are NUL-terminated strings that live through the call; the kernel writes nothing.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    Errno::result(done).map(drop)
}

fn text(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

fn set_read_only(tree: &OwnedFd) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the kernel reads an empty string and `size_of::<mount_attr>()` bytes of a structure of that
    // size, both alive during the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(done).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::Mode;

    #[test]
    fn what_is_opened_through_the_clone_cannot_be_written() {
        let path = std::env::temp_dir().join(format!("smp-clone-{}", std::process::id()));
        std::fs::write(&path, "kept").unwrap();
        let clone = clone_read_only(&path).unwrap();
        let through = format!("/proc/self/fd/{}", clone.as_raw_fd());
        for flags in [OFlag::O_WRONLY, OFlag::O_RDWR, OFlag::O_WRONLY | OFlag::O_TRUNC] {
            let opened = open(through.as_str(), flags, Mode::empty());
            assert_eq!(opened.err(), Some(Errno::EROFS), "{flags:?}");
        }
        assert_eq!(std::fs::read_to_string(&through).unwrap(), "kept");
        // The path itself is as it was.
        std::fs::write(&path, "written").unwrap();
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_missing_file_is_told() {
        assert_eq!(clone_read_only(Path::new("/smp-none")).err(), Some(Errno::ENOENT));
    }
}
