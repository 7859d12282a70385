//! A service of a stack as the spec of its containers.

use super::deploy::Place;
use super::{Stack, labelled};
use crate::desired;
use crate::model::{Grant, Mount, Project, Service, Volume};
use std::collections::BTreeMap;
use types::container::{DeviceMapping, Ulimit};
use types::mount::{self, BindOptions, DriverConfig, ImageOptions, TmpfsOptions, VolumeOptions};
use types::swarm::extension::ContainerExtensions;
use types::swarm::task::{
    AppArmorOptions, ConfigReference, ContainerSpec, DnsConfig, FileTarget, Privileges,
    SeccompOptions, SecretReference,
};

/// Where secrets are: a target there is told by what follows.
const SECRETS: &str = "/run/secrets/";

/// Ids of secrets and configs stay empty: only the cluster knows them.
pub(super) fn container(
    project: &Project,
    service: &Service,
    image: &str,
    stack: &Stack,
    place: &mut Place<'_>,
) -> ContainerSpec {
    let pair = |(key, value): (&String, &Option<String>)| match value {
        Some(value) => format!("{key}={value}"),
        None => key.clone(),
    };
    let ulimit = |(name, limit): (&String, &crate::model::Ulimit)| Ulimit {
        name: name.clone(),
        hard: limit.hard,
        soft: limit.soft,
    };
    let secrets = service.secrets.iter().filter_map(|grant| secret(stack, grant));
    let configs = service.configs.iter().filter_map(|grant| config(stack, grant));
    let (privileges, rest) = privileges(service);
    ContainerSpec {
        image: image.to_owned(),
        labels: labelled(project, &service.labels),
        command: service.entrypoint.clone().unwrap_or_default(),
        args: service.command.clone().unwrap_or_default(),
        hostname: service.hostname.clone(),
        env: service.environment.iter().map(pair).collect(),
        dir: service.working_dir.clone(),
        user: service.user.clone(),
        groups: service.group_add.clone(),
        privileges: Some(privileges),
        tty: service.tty,
        open_stdin: service.stdin_open,
        read_only: service.read_only,
        mounts: mounts(project, service),
        stop_signal: service.stop_signal.clone(),
        stop_grace_period: service.stop_grace_period.map(|grace| grace.0),
        health_check: service.healthcheck.as_ref().map(desired::health),
        hosts: service.extra_hosts.iter().map(|host| host_line(host)).collect(),
        dns_config: dns(service),
        secrets: secrets.collect(),
        configs: configs.collect(),
        oom_score_adj: service.oom_score_adj,
        init: service.init,
        sysctls: service.sysctls.clone(),
        capability_add: service.cap_add.clone(),
        capability_drop: service.cap_drop.clone(),
        ulimits: service.ulimits.iter().map(ulimit).collect(),
        sampan: extensions(service, rest, place),
        ..ContainerSpec::default()
    }
}

/// `name=ip` or `name:ip` as a line of `/etc/hosts`.
fn host_line(host: &str) -> String {
    let (name, address) =
        host.split_once('=').or_else(|| host.split_once(':')).unwrap_or((host, ""));
    format!("{} {name}", address.trim_start_matches('[').trim_end_matches(']'))
}

fn dns(service: &Service) -> Option<DnsConfig> {
    let dns = DnsConfig {
        nameservers: service.dns.clone(),
        search: service.dns_search.clone(),
        options: service.dns_opt.clone(),
    };
    (dns != DnsConfig::default()).then_some(dns)
}

fn target(grant: &Grant, name: &str) -> FileTarget {
    let or = |text: &str| if text.is_empty() { "0".to_owned() } else { text.to_owned() };
    FileTarget {
        name: name.to_owned(),
        uid: or(&grant.uid),
        gid: or(&grant.gid),
        mode: grant.mode.map_or(0o444, |mode| mode.0),
    }
}

fn secret(stack: &Stack, grant: &Grant) -> Option<SecretReference> {
    let named = if grant.target.is_empty() { &grant.source } else { &grant.target };
    Some(SecretReference {
        file: Some(target(grant, named.strip_prefix(SECRETS).unwrap_or(named))),
        secret_id: String::new(),
        secret_name: stack.secrets.get(&grant.source)?.name.clone(),
    })
}

fn config(stack: &Stack, grant: &Grant) -> Option<ConfigReference> {
    let named = if grant.target.is_empty() { &grant.source } else { &grant.target };
    Some(ConfigReference {
        file: Some(target(grant, named)),
        config_id: String::new(),
        config_name: stack.configs.get(&grant.source)?.name.clone(),
    })
}

fn mounts(project: &Project, service: &Service) -> Vec<mount::Mount> {
    let listed = service.volumes.iter().map(|mount| one(project, mount));
    listed.chain(service.tmpfs.iter().map(|text| tmpfs(text))).collect()
}

fn one(project: &Project, mount: &Mount) -> mount::Mount {
    let volume = project.volumes.get(&mount.source).filter(|_| mount.kind == "volume");
    let bind = BindOptions {
        propagation: mount.bind.propagation.clone(),
        non_recursive: mount.bind.recursive == "disabled",
        // A node that lacks the folder must refuse the task: an empty one in its place would hide the mistake.
        create_mountpoint: false,
        read_only_non_recursive: mount.bind.recursive == "writable",
        read_only_force_recursive: mount.bind.recursive == "readonly",
    };
    let subpath = mount.image.subpath.clone();
    let tmpfs =
        TmpfsOptions { size_bytes: mount.tmpfs.size.0, mode: mount.tmpfs.mode, options: None };
    mount::Mount {
        kind: mount.kind.clone(),
        source: volume.map_or_else(|| mount.source.clone(), |volume| volume.name.clone()),
        target: mount.target.clone(),
        read_only: mount.read_only,
        consistency: mount.consistency.clone(),
        bind_options: (mount.kind == "bind" && bind != BindOptions::default()).then_some(bind),
        volume_options: volume_options(project, mount, volume),
        tmpfs_options: (mount.kind == "tmpfs" && tmpfs != TmpfsOptions::default()).then_some(tmpfs),
        image_options: (!subpath.is_empty()).then_some(ImageOptions { subpath }),
    }
}

/// The node makes the volume when the first task comes; an external one is as it is.
fn volume_options(
    project: &Project,
    mount: &Mount,
    volume: Option<&Volume>,
) -> Option<VolumeOptions> {
    let some = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| map.clone());
    let mut options = VolumeOptions {
        no_copy: mount.volume.nocopy,
        labels: some(&mount.volume.labels),
        subpath: mount.volume.subpath.clone(),
        driver_config: None,
    };
    if let Some(volume) = volume.filter(|volume| !volume.external) {
        let labels = volume.labels.iter().chain(&mount.volume.labels);
        let labels = labels.map(|(key, value)| (key.clone(), value.clone())).collect();
        options.labels = Some(labelled(project, &labels));
        if !volume.driver.is_empty() || !volume.driver_opts.is_empty() {
            let (name, options_of) = (volume.driver.clone(), some(&volume.driver_opts));
            options.driver_config = Some(DriverConfig { name, options: options_of });
        }
    }
    (mount.kind == "volume" && options != VolumeOptions::default()).then_some(options)
}

/// `/run:size=64m,mode=1777`; other options are the kernel's own words.
fn tmpfs(text: &str) -> mount::Mount {
    let (target, words) = text.split_once(':').unwrap_or((text, ""));
    let mut options = TmpfsOptions::default();
    let mut others = Vec::new();
    for word in words.split(',').filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some(("size", size)) => {
                options.size_bytes = crate::units::parse_bytes(size).unwrap_or(0)
            }
            Some(("mode", mode)) => options.mode = u32::from_str_radix(mode, 8).unwrap_or(0),
            Some((key, value)) => others.push(vec![key.to_owned(), value.to_owned()]),
            None => others.push(vec![word.to_owned()]),
        }
    }
    options.options = (!others.is_empty()).then_some(others);
    mount::Mount {
        kind: "tmpfs".to_owned(),
        target: target.to_owned(),
        tmpfs_options: (options != TmpfsOptions::default()).then_some(options),
        ..mount::Mount::default()
    }
}

/// What `security_opt` says in words that services have, and the rest.
fn privileges(service: &Service) -> (Privileges, Vec<String>) {
    let mut privileges = Privileges::default();
    let mut rest = Vec::new();
    for word in &service.security_opt {
        match word.replacen(':', "=", 1).as_str() {
            "no-new-privileges" | "no-new-privileges=true" => privileges.no_new_privileges = true,
            "seccomp=unconfined" => {
                let mode = "unconfined".to_owned();
                privileges.seccomp = Some(SeccompOptions { mode, profile: String::new() });
            }
            "apparmor=unconfined" => {
                privileges.app_armor = Some(AppArmorOptions { mode: "disabled".to_owned() });
            }
            _ => rest.push(word.clone()),
        }
    }
    (privileges, rest)
}

/// What Swarm has no words for; the cluster's policy must allow it.
fn extensions(
    service: &Service,
    security_opt: Vec<String>,
    place: &mut Place<'_>,
) -> Option<ContainerExtensions> {
    let or = |text: &str, otherwise: &str| {
        if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
    };
    let device = |device: &crate::model::Device| DeviceMapping {
        path_on_host: device.source.clone(),
        path_in_container: or(&device.target, &device.source),
        cgroup_permissions: or(&device.permissions, "rwm"),
    };
    let mut shared = |key: &'static str, mode: &str| match mode {
        mode if mode.starts_with("service:") || mode.starts_with("container:") => {
            place.error(&[key], "tasks of a stack share nothing with other containers");
            String::new()
        }
        mode => mode.to_owned(),
    };
    let extensions = ContainerExtensions {
        privileged: service.privileged,
        devices: service.devices.iter().map(device).collect(),
        shm_size: service.shm_size.0,
        security_opt,
        pid_mode: shared("pid", &service.pid),
        ipc_mode: shared("ipc", &service.ipc),
    };
    (extensions != ContainerExtensions::default()).then_some(extensions)
}
