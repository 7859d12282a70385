//! A `/dev` that is not the container's own, as `-v /dev:/dev` makes it.
//!
//! runc makes no links and device nodes in a `/dev` that is a bind; libcontainer makes them in any, which fails where they are
//! (the host's) and litters what is bound. So it prepares a `/dev` that nobody sees, and what the user wants there is put
//! over it once the container's mounts are there and before its program runs.

use libcontainer::oci_spec::runtime::Mount;
use libcontainer::rootfs::utils::{is_bind, parse_mount};
use libcontainer::syscall::syscall::create_syscall;
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Mounts `mounts` in order in the container of `init`. The calling process is in its mount namespace from then on.
pub(super) fn mount(init: i32, mounts: &[Mount]) -> Result<(), String> {
    // Found where the host's paths still mean something.
    let trees = mounts.iter().map(source).collect::<Result<Vec<_>, _>>()?;
    let namespace = File::open(format!("/proc/{init}/ns/mnt")).map_err(|err| err.to_string())?;
    setns(namespace, CloneFlags::CLONE_NEWNS).map_err(|err| err.desc().to_owned())?;
    for (mount, tree) in mounts.iter().zip(trees) {
        place(mount, tree).map_err(|err| {
            format!("error mounting to rootfs at {}: {err}", mount.destination().display())
        })?;
    }
    Ok(())
}

/// What is bound; `None` of another kind of mount.
fn source(mount: &Mount) -> Result<Option<(OwnedFd, bool)>, String> {
    let Some(path) = mount.source().as_deref().filter(|_| is_bind(mount)) else { return Ok(None) };
    let recursive = mount.options().iter().flatten().any(|option| option == "rbind");
    let tree = sys::mount::clone_tree(path, recursive)
        .map_err(|err| format!("error mounting {}: {}", path.display(), err.desc()))?;
    Ok(Some((tree, path.is_dir())))
}

fn place(mount: &Mount, tree: Option<(OwnedFd, bool)>) -> Result<(), String> {
    const PROPAGATION: MsFlags = MsFlags::MS_SHARED
        .union(MsFlags::MS_PRIVATE)
        .union(MsFlags::MS_SLAVE)
        .union(MsFlags::MS_UNBINDABLE);
    let words = |err: nix::errno::Errno| err.desc().to_lowercase();
    let none = None::<&str>;
    let target = mount.destination();
    let options = parse_mount(mount).map_err(|err| err.to_string())?;
    make_place(target, tree.as_ref().is_none_or(|(_, is_dir)| *is_dir))
        .map_err(|err| err.to_string())?;
    // libcontainer's flags are of another version of nix.
    let all = MsFlags::from_bits_truncate(options.flags.bits());
    let flags = all.difference(PROPAGATION | MsFlags::MS_BIND | MsFlags::MS_REC);
    match &tree {
        Some((tree, _)) => {
            sys::mount::attach_tree(tree, target).map_err(words)?;
            if !flags.is_empty() {
                let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags;
                nix::mount::mount(none, target, none, again, none).map_err(words)?;
            }
        }
        None => {
            let (kind, data) = (mount.typ().as_deref(), options.data.join(","));
            nix::mount::mount(mount.source().as_deref(), target, kind, flags, Some(data.as_str()))
                .map_err(words)?;
        }
    }
    if let Some(attributes) = &options.rec_attr {
        let at = File::open(target).map_err(|err| err.to_string())?;
        create_syscall()
            .mount_setattr(
                at.as_fd(),
                Path::new(""),
                (nix::libc::AT_EMPTY_PATH | nix::libc::AT_RECURSIVE).cast_unsigned(),
                attributes,
                size_of_val(attributes),
            )
            .map_err(|err| err.to_string())?;
    }
    let propagation = all & (PROPAGATION | MsFlags::MS_REC);
    if propagation.intersects(PROPAGATION) {
        nix::mount::mount(none, target, none, propagation, none).map_err(words)?;
    }
    Ok(())
}

/// A directory or an empty file to mount on, as OCI runtimes make what is missing.
fn make_place(target: &Path, is_dir: bool) -> std::io::Result<()> {
    if target.exists() {
        return Ok(());
    }
    if is_dir {
        return std::fs::create_dir_all(target);
    }
    target.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    File::options().append(true).create(true).open(target).map(drop)
}
