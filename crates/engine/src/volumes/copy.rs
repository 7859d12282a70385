//! Filling an empty volume with a directory of the image, and measuring one.
//!
//! Owners, modes, times, extended attributes, device nodes and hard links are kept.

use super::Seed;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Fills `data` from `seed` if it is empty and there is such a directory. Unless `in_place`, the copy is
/// made beside it and put there in one step, so that a crash leaves no half of it.
pub(super) async fn seed(seed: Seed<'_>, data: &Path, in_place: bool) -> io::Result<()> {
    let (rootfs, path, data) = (seed.rootfs.to_owned(), seed.path.to_owned(), data.to_owned());
    let copied = tokio::task::spawn_blocking(move || seed_now(&rootfs, &path, &data, in_place));
    copied.await.map_err(io::Error::other)?
}

fn seed_now(rootfs: &Path, path: &str, data: &Path, in_place: bool) -> io::Result<()> {
    if fs::read_dir(data)?.next().is_some() {
        return Ok(());
    }
    let Some(source) = open_inside(rootfs, path)? else { return Ok(()) };
    let source = PathBuf::from(format!("/proc/self/fd/{}", source.as_raw_fd())).canonicalize()?;
    if in_place {
        return tree(&source, data);
    }
    let beside = data.with_extension("new");
    if beside.exists() {
        fs::remove_dir_all(&beside)?;
    }
    fs::create_dir(&beside)?;
    let copied = tree(&source, &beside).and_then(|()| fs::rename(&beside, data));
    if copied.is_err() {
        let _half_made = fs::remove_dir_all(&beside);
    }
    copied
}

/// The directory `path` as a process in `rootfs` would see it; `None` when there is none.
fn open_inside(rootfs: &Path, path: &str) -> io::Result<Option<std::os::fd::OwnedFd>> {
    let root = fs::File::open(rootfs)?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT);
    match openat2(&root, path, how) {
        Ok(found) => Ok(Some(found)),
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR | nix::errno::Errno::ELOOP) => {
            Ok(None)
        }
        Err(err) => Err(err.into()),
    }
}

/// Copies the directory `from` over the existing directory `to`, itself included.
pub(super) fn tree(from: &Path, to: &Path) -> io::Result<()> {
    let mut links = BTreeMap::new();
    directory(from, to, &mut links)
}

/// First copies by the original's device and inode.
type Links = BTreeMap<(u64, u64), PathBuf>;

fn directory(from: &Path, to: &Path, links: &mut Links) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let found = entry.metadata()?;
        if found.is_dir() {
            fs::create_dir(&target)?;
            directory(&source, &target, links)?;
        } else {
            node(&source, &target, &found, links)?;
        }
    }
    // After the content, which would change the time.
    attributes(from, to, &fs::symlink_metadata(from)?)
}

fn node(from: &Path, to: &Path, found: &Metadata, links: &mut Links) -> io::Result<()> {
    let identity = (found.dev(), found.ino());
    if let Some(first) = links.get(&identity) {
        return fs::hard_link(first, to);
    }
    let kind = found.file_type();
    if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else if kind.is_file() {
        fs::copy(from, to)?;
    } else if kind.is_socket() {
        return Ok(()); // nobody listens on the copy of a socket
    } else {
        let mode = Mode::from_bits_truncate(found.mode());
        mknod(
            to,
            SFlag::from_bits_truncate(found.mode() & SFlag::S_IFMT.bits()),
            mode,
            found.rdev(),
        )?;
    }
    if found.nlink() > 1 {
        links.insert(identity, to.to_owned());
    }
    attributes(from, to, found)
}

/// Owner, mode, extended attributes and times; the owner first, since changing it clears setuid.
fn attributes(from: &Path, to: &Path, found: &Metadata) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
    fchownat(nix::fcntl::AT_FDCWD, to, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if !found.file_type().is_symlink() {
        fs::set_permissions(to, fs::Permissions::from_mode(found.mode() & 0o7777))?;
        for name in xattr::list(from)? {
            if let Some(value) = xattr::get(from, &name)? {
                ignore_unsupported(xattr::set(to, &name, &value))?;
            }
        }
    }
    let time = TimeSpec::new(found.mtime(), found.mtime_nsec());
    let access = TimeSpec::new(found.atime(), found.atime_nsec());
    utimensat(nix::fcntl::AT_FDCWD, to, &access, &time, UtimensatFlags::NoFollowSymlink)?;
    Ok(())
}

/// A file system without this kind of attribute still takes the file. overlayfs' own attributes, too, are
/// not to be set.
fn ignore_unsupported(set: io::Result<()>) -> io::Result<()> {
    match set {
        Err(err)
            if matches!(
                err.kind(),
                io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Bytes of the files below `dir`, hard links counted once.
pub(super) fn size(dir: &Path) -> io::Result<u64> {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![dir.to_owned()];
    let mut total = 0;
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let Ok(found) = entry.metadata() else { continue }; // gone meanwhile
            if found.is_dir() {
                waiting.push(entry.path());
            } else if found.nlink() < 2 || seen.insert((found.dev(), found.ino())) {
                total += found.len();
            }
        }
    }
    Ok(total)
}
