//! `--device`: what is on the host at that path.

use crate::{Error, Result};
use ocispec::{BlockDevice, Device};
use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use types::container::{DeviceMapping, DeviceRequest, HostConfig};

/// The wanted devices; with `--privileged` all that the host has.
pub(crate) fn resolve(host: &HostConfig) -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    if host.privileged {
        below(Path::new("/dev"), "/dev", "rwm", &mut devices);
    }
    for mapping in host.devices.iter().flatten() {
        add(mapping, &mut devices)?;
    }
    match host.device_requests.iter().flatten().next() {
        Some(request) => Err(no_driver(request)),
        None => Ok(devices),
    }
}

/// Nobody here knows how to give a `--gpus`; Docker, too, says so when the container starts.
fn no_driver(request: &DeviceRequest) -> Error {
    let sets = request.capabilities.iter().flatten().map(|set| format!("[{}]", set.join(" ")));
    Error::system(format!(
        "could not select device driver \"{}\" with capabilities: [{}]",
        request.driver,
        sets.collect::<Vec<_>>().join(" ")
    ))
}

fn add(mapping: &DeviceMapping, devices: &mut Vec<Device>) -> Result<()> {
    let failed = |reason: &str| {
        Error::system(format!(
            "error gathering device information while adding custom device \"{}\": {reason}",
            mapping.path_on_host
        ))
    };
    let access =
        if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
    let target = if mapping.path_in_container.is_empty() {
        &mapping.path_on_host
    } else {
        &mapping.path_in_container
    };
    let path = std::fs::canonicalize(&mapping.path_on_host)
        .map_err(|_| failed("no such file or directory"))?;
    if path.is_dir() {
        let before = devices.len();
        below(&path, target, access, devices);
        return if devices.len() > before { Ok(()) } else { Err(failed("not a device node")) };
    }
    let device = device(&path, target, access).ok_or_else(|| failed("not a device node"))?;
    devices.push(device);
    Ok(())
}

/// All device nodes of a directory, but for those that every container has of its own.
fn below(dir: &Path, target: &str, access: &str, devices: &mut Vec<Device>) {
    const OWN: &[&str] = &["pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"];
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names.iter().filter_map(|name| name.to_str()).filter(|name| !OWN.contains(name)) {
        let (path, target) = (dir.join(name), format!("{target}/{name}"));
        match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => below(&path, &target, access, devices),
            Ok(_) => devices.extend(device(&path, &target, access)),
            Err(_) => {}
        }
    }
}

fn device(path: &Path, target: &str, access: &str) -> Option<Device> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        _ => return None,
    };
    Some(Device {
        path: target.to_owned(),
        kind,
        major: i64::try_from(nix::sys::stat::major(meta.rdev())).ok()?,
        minor: i64::try_from(nix::sys::stat::minor(meta.rdev())).ok()?,
        mode: meta.mode() & 0o777,
        uid: meta.uid(),
        gid: meta.gid(),
        access: access.to_owned(),
    })
}

/// The numbers of the devices that `--device-read-bps` and its like name.
pub(crate) fn block_devices(host: &HostConfig) -> Result<BTreeMap<String, BlockDevice>> {
    let throttled = [
        &host.blkio_device_read_bps,
        &host.blkio_device_write_bps,
        &host.blkio_device_read_iops,
        &host.blkio_device_write_iops,
    ];
    let throttled = throttled.into_iter().flatten().flatten().map(|device| &device.path);
    let weighted = host.blkio_weight_device.iter().flatten().map(|device| &device.path);
    throttled
        .chain(weighted)
        .map(|path| {
            let meta = std::fs::metadata(path).map_err(|_| {
                Error::invalid(format!("no such device: {path}: no such file or directory"))
            })?;
            let number = |value: u64| i64::try_from(value).unwrap_or(0);
            let device = BlockDevice {
                major: number(nix::sys::stat::major(meta.rdev())),
                minor: number(nix::sys::stat::minor(meta.rdev())),
            };
            Ok((path.clone(), device))
        })
        .collect()
}
