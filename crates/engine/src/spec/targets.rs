//! Where a mount's target goes through a symbolic link of the image that leads nowhere yet.
//!
//! Images link `/var/run` to `/run` and `/etc/resolv.conf` into it, and need not have a `/run`: who mounts there is to get
//! it, as with runc. Only what such links miss is made here, and a missing working directory; the runtime makes plain missing
//! targets itself.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows (`path_resolution(7)`).
const LINKS: usize = 40;

/// What a mount covers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Directory,
    File,
}

/// Makes what the links on the way to `path` miss. The kernel resolves everything with `rootfs` as its root, so nothing is
/// made outside of it. Errors are the kernel's.
pub(crate) fn complete(rootfs: &Path, path: &Path, target: Target) -> nix::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = Root(open(rootfs, flags, Mode::empty())?);
    let mut reached = PathBuf::new();
    let mut names = names(path).peekable();
    while let Some(name) = names.next() {
        let last = if names.peek().is_some() { Target::Directory } else { target };
        match root.look(&reached.join(&name)) {
            Ok(_) => reached.push(name),
            Err(Errno::ENOENT) => match root.link(&reached, &name)? {
                Some(to) => {
                    root.make(&reached.join(to), last, LINKS)?;
                    reached.push(name);
                }
                None => return Ok(()),
            },
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// Makes a directory and all above it that is missing.
pub(crate) fn make_directory(rootfs: &Path, path: &Path) -> nix::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Root(open(rootfs, flags, Mode::empty())?).make(path, Target::Directory, LINKS)
}

struct Root(OwnedFd);

impl Root {
    fn look(&self, path: &Path) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.0, path, how)
    }

    /// Where the entry `name` of a directory points, if it is a link.
    fn link(&self, dir: &Path, name: &Path) -> nix::Result<Option<PathBuf>> {
        match readlinkat(&self.look(dir)?, name) {
            Ok(to) => Ok(Some(PathBuf::from(to))),
            Err(Errno::EINVAL | Errno::ENOENT) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Makes all that is missing of `path`.
    fn make(&self, path: &Path, target: Target, links: usize) -> nix::Result<()> {
        let links = links.checked_sub(1).ok_or(Errno::ELOOP)?;
        let mut reached = PathBuf::new();
        let mut names = names(path).peekable();
        while let Some(name) = names.next() {
            let last = if names.peek().is_some() { Target::Directory } else { target };
            match self.look(&reached.join(&name)) {
                Ok(_) => {}
                Err(Errno::ENOENT) => match self.link(&reached, &name)? {
                    Some(to) => self.make(&reached.join(to), last, links)?,
                    None => create(&self.look(&reached)?, &name, last)?,
                },
                Err(err) => return Err(err),
            }
            reached.push(name);
        }
        Ok(())
    }
}

fn create(dir: &OwnedFd, name: &Path, target: Target) -> nix::Result<()> {
    let made = match target {
        Target::Directory => mkdirat(dir, name, Mode::from_bits_truncate(0o755)),
        Target::File => {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            openat(dir, name, flags, Mode::from_bits_truncate(0o644)).map(drop)
        }
    };
    match made {
        Err(Errno::EEXIST) if fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() => Ok(()),
        other => other,
    }
}

/// The names of a path below the root; `..` is left to the kernel.
fn names(path: &Path) -> impl Iterator<Item = PathBuf> + '_ {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_links_miss_is_made_inside_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("var")).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        symlink("../run", root.join("var/run")).unwrap();
        symlink("/run/net/resolv.conf", root.join("etc/resolv.conf")).unwrap();
        symlink("../../../outside", root.join("etc/out")).unwrap();
        complete(&root, Path::new("/var/run/docker.sock"), Target::File).unwrap();
        assert!(root.join("run").is_dir() && !root.join("run/docker.sock").exists());
        complete(&root, Path::new("/etc/resolv.conf"), Target::File).unwrap();
        assert!(root.join("run/net/resolv.conf").is_file());
        complete(&root, Path::new("/etc/out"), Target::Directory).unwrap();
        assert!(root.join("outside").is_dir() && !dir.path().join("outside").exists());
        complete(&root, Path::new("/data/deep"), Target::Directory).unwrap();
        assert!(!root.join("data").exists());
        make_directory(&root, Path::new("/data/deep")).unwrap();
        make_directory(&root, Path::new("/var/run/work")).unwrap();
        assert!(root.join("data/deep").is_dir() && root.join("run/work").is_dir());
    }

    #[test]
    fn links_in_a_circle_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        let found = complete(dir.path(), Path::new("/a/x"), Target::Directory);
        assert_eq!(found.unwrap_err(), Errno::ELOOP);
    }
}
