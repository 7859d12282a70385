//! A container's mounts as OCI has them: the engine's own files, binds, volumes, tmpfs.

use crate::container::{Container, MountRecord, Record, Sandbox};
use crate::{Error, Result};
use ocispec::Mount;
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
    let access = if point.rw { "rw" } else { "ro" };
    Ok(Mount {
        destination: point.destination.clone(),
        kind: "bind".to_owned(),
        source: source.to_string_lossy().into_owned(),
        options: [recursion, access, propagation].map(str::to_owned).to_vec(),
    })
}

fn source(mount: &MountRecord) -> Result<PathBuf> {
    let path = PathBuf::from(&mount.point.source);
    let subpath = mount
        .spec
        .volume_options
        .as_ref()
        .map(|options| options.subpath.as_str())
        .unwrap_or_default();
    if subpath.is_empty() {
        return Ok(path);
    }
    let inside = path.join(subpath);
    let real = std::fs::canonicalize(&inside).map_err(|_| {
        Error::invalid(format!(
            "cannot access path {}: no such file or directory",
            inside.display()
        ))
    })?;
    if !real.starts_with(&path) {
        return Err(Error::invalid(format!("subpath {subpath} leads out of the volume")));
    }
    Ok(real)
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
