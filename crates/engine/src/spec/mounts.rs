//! A container's mounts as OCI has them: the engine's own files, binds, volumes, tmpfs.

use crate::container::{Container, MountRecord, Record, Sandbox};
use crate::{Error, Result};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use ocispec::Mount;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// In the order of their depth, so that none hides another.
pub(crate) fn resolve(
    container: &Container,
    record: &Record,
    sandbox: &Sandbox,
) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for (name, target) in sandbox.files.iter().copied() {
        let shadowed = record.mounts.iter().any(|mount| mount.point.destination == target);
        if !shadowed {
            mounts.push(own_file(
                &container.dir.join(name),
                target,
                record.host_config.readonly_rootfs,
            ));
        }
    }
    for mount in &record.mounts {
        mounts.push(match mount.point.kind.as_str() {
            "tmpfs" => tmpfs(mount),
            _ => bind(mount)?,
        });
    }
    mounts.sort_by_key(|mount| Path::new(&mount.destination).components().count());
    Ok(mounts)
}

fn own_file(source: &Path, target: &str, read_only: bool) -> Mount {
    let access = if read_only { "ro" } else { "rw" };
    Mount {
        destination: target.to_owned(),
        kind: "bind".to_owned(),
        source: source.to_string_lossy().into_owned(),
        options: ["rbind", "rprivate", access].map(str::to_owned).to_vec(),
    }
}

fn bind(mount: &MountRecord) -> Result<Mount> {
    let point = &mount.point;
    let source = source(mount)?;
    let options = mount.spec.bind_options.clone().unwrap_or_default();
    let recursion = if options.non_recursive { "bind" } else { "rbind" };
    let propagation = if point.propagation.is_empty() { "rprivate" } else { &point.propagation };
    check_propagation(&source, propagation)?;
    let access = if point.rw { "rw" } else { "ro" };
    Ok(Mount {
        destination: point.destination.clone(),
        kind: "bind".to_owned(),
        source: source.to_string_lossy().into_owned(),
        options: [recursion, access, propagation].map(str::to_owned).to_vec(),
    })
}

/// Mounts go from the host to the container, or both ways, only if the host's mount does that itself.
fn check_propagation(source: &Path, propagation: &str) -> Result<()> {
    let (wanted, words): (&[&str], _) = match propagation {
        "shared" | "rshared" => (&["shared:"], "shared"),
        "slave" | "rslave" => (&["shared:", "master:"], "shared or slave"),
        _ => return Ok(()),
    };
    let table = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|err| Error::caused("failed to read the mounts", err))?;
    let source = source.canonicalize().unwrap_or_else(|_| source.to_owned());
    let Some((point, tags)) = mount_of(&table, &source) else { return Ok(()) };
    if tags.iter().any(|tag| wanted.iter().any(|wanted| tag.starts_with(wanted))) {
        return Ok(());
    }
    let source = source.display();
    Err(Error::system(format!("path {source} is mounted on {point} but it is not a {words} mount")))
}

/// The mount that holds `path`, of several the last, and how it propagates (`proc_pid_mountinfo(5)`).
fn mount_of<'a>(table: &'a str, path: &Path) -> Option<(&'a str, Vec<&'a str>)> {
    let entry = |line: &'a str| {
        let mut fields = line.split(' ').skip(4);
        let point = fields.next()?;
        let tags = fields.skip(1).take_while(|field| *field != "-").collect();
        path.starts_with(point).then_some((point, tags))
    };
    table.lines().filter_map(entry).max_by_key(|(point, _)| point.len())
}

/// What is bound: all of the volume or image, or the part of it that the user named.
pub(crate) fn source(mount: &MountRecord) -> Result<PathBuf> {
    let path = PathBuf::from(&mount.point.source);
    let of_volume = mount.spec.volume_options.as_ref().map(|options| &options.subpath);
    let of_image = mount.spec.image_options.as_ref().map(|options| &options.subpath);
    let Some(subpath) = of_volume.or(of_image).filter(|subpath| !subpath.is_empty()) else {
        return Ok(path);
    };
    inside(&path, subpath).map_err(|err| match err {
        nix::errno::Errno::EXDEV => Error::invalid(format!(
            "path concatenation escapes the base directory, base: {}, subpath: {subpath}",
            path.display()
        )),
        _ => {
            let inside = path.join(subpath);
            Error::invalid(format!("cannot access path {}: {}", inside.display(), err.desc()))
        }
    })
}

/// The path of `subpath`, resolved by the kernel and never out of `root`: containers write into volumes, symlinks too.
fn inside(root: &Path, subpath: &str) -> nix::Result<PathBuf> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let base = open(root, flags | OFlag::O_DIRECTORY, Mode::empty())?;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_BENEATH);
    let found = openat2(&base, subpath, how)?;
    let real = format!("/proc/self/fd/{}", found.as_raw_fd());
    nix::fcntl::readlink(real.as_str()).map(PathBuf::from)
}

fn tmpfs(mount: &MountRecord) -> Mount {
    let mut options: Vec<String> = ["nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
    for option in mount.point.mode.split(',').filter(|option| !option.is_empty()) {
        // `exec` takes back `noexec`, and so on.
        let opposite = match option.strip_prefix("no") {
            Some(positive) => positive.to_owned(),
            None => format!("no{option}"),
        };
        options.retain(|kept| *kept != opposite && kept != option);
        options.push(option.to_owned());
    }
    if !mount.point.rw && !options.iter().any(|option| option == "ro") {
        options.push("ro".to_owned());
    }
    Mount {
        destination: mount.point.destination.clone(),
        kind: "tmpfs".to_owned(),
        source: "tmpfs".to_owned(),
        options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_above_a_path_counts_and_of_the_same_the_last() {
        let table = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
                     2 1 0:5 / /mnt rw,noexec shared:7 - tmpfs tmpfs rw\n\
                     3 2 0:6 / /mnt rw shared:8 master:2 - tmpfs tmpfs rw\n\
                     4 1 0:7 / /mntx rw - tmpfs tmpfs rw";
        let of = |path: &str| mount_of(table, Path::new(path)).unwrap();
        assert_eq!(of("/mnt/a/b"), ("/mnt", vec!["shared:8", "master:2"]));
        assert_eq!(of("/mnty"), ("/", vec![]));
    }
}
