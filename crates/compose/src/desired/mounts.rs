//! Volumes, secrets and configs of a service as binds, mounts and files to write.

use crate::model::{self, FileSource, Grant, Project, Service};
use std::collections::BTreeMap;
use types::container::Empty;
use types::mount::{BindOptions, ImageOptions, Mount, TmpfsOptions, VolumeOptions};

/// A file to write into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// Absolute, in the container.
    pub target: String,
    pub content: Content,
    pub uid: u64,
    pub gid: u64,
    pub mode: u32,
}

/// Where the bytes of an [`Injected`] file come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Text(String),
    /// A file of the caller's machine.
    File(String),
}

/// The three ways a container gets its files.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    pub(super) binds: Vec<String>,
    pub(super) mounts: Vec<Mount>,
    /// Destinations of volumes without a name.
    pub(super) anonymous: BTreeMap<String, Empty>,
    /// Keys of the project's volumes in use.
    pub(super) named: Vec<String>,
    pub(super) injected: Vec<Injected>,
}

pub(super) fn all(project: &Project, service: &Service) -> Mounted {
    let mut out = Mounted::default();
    for mount in &service.volumes {
        add(project, mount, &mut out);
    }
    for grant in &service.configs {
        grant_file(project, grant, project.configs.get(&grant.source), "/", &mut out);
    }
    for grant in &service.secrets {
        grant_file(project, grant, project.secrets.get(&grant.source), "/run/secrets/", &mut out);
    }
    out
}

fn add(project: &Project, mount: &model::Mount, out: &mut Mounted) {
    if mount.kind == "volume" {
        match project.volumes.get(&mount.source) {
            Some(volume) => {
                out.named.push(mount.source.clone());
                return volume_mount(mount, &volume.name, out);
            }
            None if mount.source.is_empty() && !mount.read_only => {
                out.anonymous.insert(mount.target.clone(), Empty {});
                return;
            }
            None => {}
        }
    }
    let plain = mount.bind.recursive.is_empty();
    if mount.kind == "bind" && mount.bind.create_host_path && plain {
        let mut words = vec![access(mount)];
        words.extend([mount.bind.selinux.as_str(), &mount.bind.propagation]);
        return out.binds.push(bind(&mount.source, &mount.target, &words));
    }
    out.mounts.push(long(mount, &mount.source));
}

fn volume_mount(mount: &model::Mount, name: &str, out: &mut Mounted) {
    if !mount.volume.subpath.is_empty() || !mount.volume.labels.is_empty() {
        return out.mounts.push(long(mount, name));
    }
    let nocopy = if mount.volume.nocopy { "nocopy" } else { "" };
    out.binds.push(bind(name, &mount.target, &[access(mount), nocopy, &mount.bind.selinux]));
}

fn access(mount: &model::Mount) -> &'static str {
    if mount.read_only { "ro" } else { "rw" }
}

fn bind(source: &str, target: &str, words: &[&str]) -> String {
    let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    format!("{source}:{target}:{}", words.join(","))
}

fn long(mount: &model::Mount, source: &str) -> Mount {
    let bind = || BindOptions {
        propagation: mount.bind.propagation.clone(),
        non_recursive: mount.bind.recursive == "disabled",
        create_mountpoint: mount.bind.create_host_path,
        read_only_non_recursive: mount.bind.recursive == "writable",
        read_only_force_recursive: mount.bind.recursive == "readonly",
    };
    let labels = &mount.volume.labels;
    let volume = || VolumeOptions {
        no_copy: mount.volume.nocopy,
        labels: (!labels.is_empty()).then(|| labels.clone()),
        subpath: mount.volume.subpath.clone(),
        driver_config: None,
    };
    let tmpfs =
        || TmpfsOptions { size_bytes: mount.tmpfs.size.0, mode: mount.tmpfs.mode, options: None };
    Mount {
        kind: mount.kind.clone(),
        source: source.to_owned(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        consistency: mount.consistency.clone(),
        bind_options: (mount.kind == "bind").then(bind),
        volume_options: (mount.kind == "volume").then(volume),
        tmpfs_options: (mount.kind == "tmpfs").then(tmpfs),
        image_options: (!mount.image.subpath.is_empty())
            .then(|| ImageOptions { subpath: mount.image.subpath.clone() }),
    }
}

/// A file of the host is bound read-only, unless owner or mode are asked for; text is written into the container.
fn grant_file(
    project: &Project,
    grant: &Grant,
    source: Option<&FileSource>,
    base: &str,
    out: &mut Mounted,
) {
    let Some(source) = source.filter(|source| !source.external) else { return };
    let wanted = if grant.target.is_empty() { &grant.source } else { &grant.target };
    let target = if wanted.starts_with('/') { wanted.clone() } else { format!("{base}{wanted}") };
    let variable = source.environment.as_ref();
    let value = variable.map(|name| project.environment.get(name).cloned().unwrap_or_default());
    let as_is = grant.uid.is_empty() && grant.gid.is_empty() && grant.mode.is_none();
    let content = match (&source.file, source.content.clone().or(value)) {
        (Some(file), _) if as_is => {
            let bind = BindOptions::default();
            return out.mounts.push(Mount {
                kind: "bind".to_owned(),
                source: file.clone(),
                target,
                read_only: true,
                bind_options: Some(bind),
                ..Default::default()
            });
        }
        (Some(file), _) => Content::File(file.clone()),
        (None, Some(text)) => Content::Text(text),
        (None, None) => return,
    };
    out.injected.push(Injected {
        target,
        content,
        uid: grant.uid.parse().unwrap_or(0),
        gid: grant.gid.parse().unwrap_or(0),
        mode: grant.mode.map_or(0o444, |mode| mode.0),
    });
}
