//! `HostConfig` of a service's containers.

use super::{mounts::Mounted, some};
use crate::model::{self, Service};
use std::collections::BTreeMap;
use types::container::{
    DeviceMapping, HostConfig, LogConfig, RestartPolicy, ThrottleDevice, Ulimit, WeightDevice,
};
use types::port::{PortBinding, PortMap};

pub(super) fn config(service: &Service, mounted: &Mounted, network: Option<String>) -> HostConfig {
    let mode = service.network_mode.clone().or(network).unwrap_or_default();
    let mut host = HostConfig {
        binds: list(mounted.binds.clone()),
        mounts: list(mounted.mounts.clone()),
        tmpfs: some(tmpfs(service)),
        log_config: log(service),
        network_mode: mode,
        port_bindings: ports(service),
        restart_policy: restart(service),
        volumes_from: list(service.volumes_from.clone()),
        annotations: some(service.annotations.clone()),
        cap_add: list(service.cap_add.clone()),
        cap_drop: list(service.cap_drop.clone()),
        cgroupns_mode: service.cgroup.clone(),
        dns: service.dns.clone(),
        dns_options: service.dns_opt.clone(),
        dns_search: service.dns_search.clone(),
        extra_hosts: list(
            service.extra_hosts.iter().map(|host| host.replacen('=', ":", 1)).collect(),
        ),
        group_add: list(service.group_add.clone()),
        ipc_mode: service.ipc.clone(),
        oom_score_adj: service.oom_score_adj,
        pid_mode: service.pid.clone(),
        privileged: service.privileged,
        readonly_rootfs: service.read_only,
        security_opt: list(service.security_opt.clone()),
        uts_mode: service.uts.clone(),
        userns_mode: service.userns_mode.clone(),
        shm_size: service.shm_size.0,
        sysctls: some(service.sysctls.clone()),
        init: service.init,
        ..Default::default()
    };
    resources(service, &mut host);
    if let Some(blkio) = &service.blkio_config {
        block_io(blkio, &mut host);
    }
    host
}

fn list<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

/// The older keys of the service win over `deploy.resources`, as each is the more direct word.
fn resources(service: &Service, host: &mut HostConfig) {
    let limits = &service.deploy.resources.limits;
    let reserved = &service.deploy.resources.reservations;
    let cpus = if service.cpus > 0.0 { service.cpus } else { limits.cpus };
    let either = |own: i64, deploy: i64| if own != 0 { own } else { deploy };
    host.nano_cpus = (cpus * 1e9).round() as i64;
    host.memory = either(service.mem_limit.0, limits.memory.0);
    host.memory_reservation = either(service.mem_reservation.0, reserved.memory.0);
    host.memory_swap = service.memswap_limit.0;
    host.memory_swappiness = service.mem_swappiness.map(|swappiness| swappiness.0);
    host.oom_kill_disable = service.oom_kill_disable;
    host.pids_limit = service.pids_limit.or(limits.pids);
    host.cpu_shares = service.cpu_shares;
    host.cpu_period = service.cpu_period;
    host.cpu_quota = service.cpu_quota;
    host.cpuset_cpus.clone_from(&service.cpuset);
    host.cgroup_parent.clone_from(&service.cgroup_parent);
    host.device_cgroup_rules = list(service.device_cgroup_rules.clone());
    let device = |device: &model::Device| DeviceMapping {
        path_on_host: device.source.clone(),
        path_in_container: or(&device.target, &device.source),
        cgroup_permissions: or(&device.permissions, "rwm"),
    };
    host.devices = list(service.devices.iter().map(device).collect());
    let ulimit = |(name, limit): (&String, &model::Ulimit)| Ulimit {
        name: name.clone(),
        hard: limit.hard,
        soft: limit.soft,
    };
    host.ulimits = list(service.ulimits.iter().map(ulimit).collect());
}

fn or(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
}

fn block_io(blkio: &model::Blkio, host: &mut HostConfig) {
    let rates = |rates: &[model::Rate]| {
        let rate = |rate: &model::Rate| ThrottleDevice {
            path: rate.path.clone(),
            rate: u64::try_from(rate.rate.0).unwrap_or(0),
        };
        list(rates.iter().map(rate).collect())
    };
    host.blkio_weight = blkio.weight;
    let weight = |w: &model::Weight| WeightDevice { path: w.path.clone(), weight: w.weight };
    host.blkio_weight_device = list(blkio.weight_device.iter().map(weight).collect());
    host.blkio_device_read_bps = rates(&blkio.device_read_bps);
    host.blkio_device_write_bps = rates(&blkio.device_write_bps);
    host.blkio_device_read_iops = rates(&blkio.device_read_iops);
    host.blkio_device_write_iops = rates(&blkio.device_write_iops);
}

fn tmpfs(service: &Service) -> BTreeMap<String, String> {
    let split = |entry: &String| {
        let (path, options) = entry.split_once(':').unwrap_or((entry, ""));
        (path.to_owned(), options.to_owned())
    };
    service.tmpfs.iter().map(split).collect()
}

fn log(service: &Service) -> LogConfig {
    let logging = service.logging.clone().unwrap_or_default();
    LogConfig { driver: logging.driver, config: logging.options }
}

fn ports(service: &Service) -> PortMap {
    let mut map = PortMap::new();
    for port in &service.ports {
        let bindings = map.entry(format!("{}/{}", port.target, port.protocol)).or_default();
        let binding =
            PortBinding { host_ip: port.host_ip.clone(), host_port: port.published.clone() };
        bindings.get_or_insert_default().push(binding);
    }
    map
}

/// `restart`, else what `deploy.restart_policy` comes to on one node.
fn restart(service: &Service) -> RestartPolicy {
    if let Some(word) = &service.restart {
        let (name, retries) = word.split_once(':').unwrap_or((word, "0"));
        return RestartPolicy {
            name: name.to_owned(),
            maximum_retry_count: retries.parse().unwrap_or(0),
        };
    }
    let Some(policy) = &service.deploy.restart_policy else { return RestartPolicy::default() };
    let retries = policy.max_attempts.unwrap_or(0);
    match policy.condition.as_str() {
        "none" | "no" => RestartPolicy { name: "no".to_owned(), maximum_retry_count: 0 },
        "unless-stopped" => {
            RestartPolicy { name: "unless-stopped".to_owned(), maximum_retry_count: 0 }
        }
        "on-failure" => {
            RestartPolicy { name: "on-failure".to_owned(), maximum_retry_count: retries }
        }
        _ => RestartPolicy { name: "always".to_owned(), maximum_retry_count: 0 },
    }
}
