//! From flags to the body of `POST /containers/create`.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use bollard::models::{
    ContainerCreateBody, DeviceRequest, EndpointIpamConfig, EndpointSettings, HealthConfig,
    HostConfig, HostConfigCgroupnsModeEnum, NetworkingConfig,
};

use super::flags::CreateFlags;
use crate::opts::{self, env, mount, port};

/// Which of our streams the container is attached to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

impl Attached {
    /// From `-a`, or everything useful when it is absent.
    fn from_flags(flags: &CreateFlags, detached: bool) -> Result<Self> {
        let mut attached = Attached::default();
        for stream in &flags.attach {
            match stream.to_ascii_lowercase().as_str() {
                "stdin" => attached.stdin = true,
                "stdout" => attached.stdout = true,
                "stderr" => attached.stderr = true,
                _ => bail!(
                    "invalid argument {stream:?} for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR"
                ),
            }
        }
        if !flags.attach.is_empty() || detached {
            return Ok(attached);
        }
        Ok(Attached { stdin: flags.interactive, stdout: true, stderr: true })
    }

    /// True when no stream is attached.
    pub(crate) fn none(self) -> bool {
        self == Attached::default()
    }
}

/// Builds the request for `image args…`. `detached` is `run -d`.
pub(crate) fn build(
    flags: &CreateFlags,
    image: &str,
    args: &[String],
    detached: bool,
) -> Result<ContainerCreateBody> {
    let attached = Attached::from_flags(flags, detached)?;
    let mut exposed = Vec::new();
    for word in &flags.expose {
        exposed.extend(port::expose(word).map_err(|err| anyhow!(err))?);
    }
    let host_config = host_config(flags)?;
    exposed.extend(host_config.port_bindings.iter().flatten().map(|(key, _)| key.clone()));
    exposed.sort();
    exposed.dedup();
    let anonymous = anonymous_volumes(flags)?;
    let mut labels = labels(flags)?;
    labels.extend(opts::pairs(&flags.label));
    Ok(ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: (!args.is_empty()).then(|| args.to_vec()),
        entrypoint: flags.entrypoint.as_ref().map(|word| vec![word.clone()]),
        env: Some(environment(flags)?),
        labels: Some(labels),
        hostname: flags.hostname.clone(),
        domainname: flags.domainname.clone(),
        user: flags.user.clone(),
        working_dir: flags.workdir.clone(),
        tty: Some(flags.tty),
        open_stdin: Some(flags.interactive),
        // stdin of an attached `run -i` ends with its client
        stdin_once: Some(flags.interactive && attached.stdin && !detached),
        attach_stdin: Some(attached.stdin),
        attach_stdout: Some(attached.stdout),
        attach_stderr: Some(attached.stderr),
        exposed_ports: (!exposed.is_empty()).then_some(exposed),
        volumes: (!anonymous.is_empty()).then_some(anonymous),
        healthcheck: healthcheck(flags)?,
        stop_signal: flags.stop_signal.clone(),
        stop_timeout: flags.stop_timeout,
        networking_config: networking(flags)?,
        host_config: Some(host_config),
        ..ContainerCreateBody::default()
    })
}

fn host_config(flags: &CreateFlags) -> Result<HostConfig> {
    let mut bindings = port::Bindings::new();
    for word in &flags.publish {
        port::publish(word, &mut bindings).map_err(|err| anyhow!(err))?;
    }
    let (binds, _) = volumes(flags)?;
    let networks = network_names(flags);
    let restart =
        flags.restart_policy().map_err(|err| anyhow!("Error response from daemon: {err}"))?;
    if flags.rm && !matches!(flags.restart.as_str(), "no" | "") {
        bail!("conflicting options: cannot specify both --restart and --rm");
    }
    Ok(HostConfig {
        binds: (!binds.is_empty()).then_some(binds),
        container_id_file: flags.cidfile.clone(),
        log_config: Some(
            opts::log_config(&flags.log_driver, &flags.log_opt).map_err(|err| anyhow!(err))?,
        ),
        network_mode: Some(networks.first().cloned().unwrap_or_else(|| "default".to_owned())),
        port_bindings: Some(bindings),
        restart_policy: Some(restart),
        auto_remove: Some(flags.rm),
        volume_driver: flags.volume_driver.clone(),
        volumes_from: some(&flags.volumes_from),
        mounts: some(&flags.mount),
        console_size: crate::terminal::size()
            .map(|(rows, columns)| vec![rows.into(), columns.into()]),
        annotations: (!flags.annotation.is_empty()).then(|| opts::pairs(&flags.annotation)),
        cap_add: some(&flags.cap_add),
        cap_drop: some(&flags.cap_drop),
        cgroupns_mode: cgroup_namespace(flags)?,
        dns: some(&flags.dns),
        dns_options: some(&flags.dns_option),
        dns_search: some(&flags.dns_search),
        extra_hosts: some(&flags.add_host),
        group_add: some(&flags.group_add),
        ipc_mode: flags.ipc.clone(),
        links: some(&flags.link),
        oom_score_adj: flags.oom_score_adj,
        pid_mode: flags.pid.clone(),
        privileged: Some(flags.privileged),
        publish_all_ports: Some(flags.publish_all),
        readonly_rootfs: Some(flags.read_only),
        security_opt: security_options(flags)?,
        storage_opt: (!flags.storage_opt.is_empty()).then(|| opts::pairs(&flags.storage_opt)),
        tmpfs: (!flags.tmpfs.is_empty())
            .then(|| flags.tmpfs.iter().map(|word| mount::tmpfs(word)).collect()),
        uts_mode: flags.uts.clone(),
        userns_mode: flags.userns.clone(),
        shm_size: flags.shm_size,
        sysctls: (!flags.sysctl.is_empty()).then(|| opts::pairs(&flags.sysctl)),
        runtime: flags.runtime.clone(),
        ..resources(flags)
    })
}

fn resources(flags: &CreateFlags) -> HostConfig {
    HostConfig {
        cpu_shares: flags.cpu_shares,
        memory: flags.memory,
        memory_reservation: flags.memory_reservation,
        memory_swap: flags.memory_swap,
        memory_swappiness: flags.memory_swappiness,
        nano_cpus: flags.cpus,
        cgroup_parent: flags.cgroup_parent.clone(),
        blkio_weight: Some(flags.blkio_weight),
        blkio_weight_device: some(&flags.blkio_weight_device),
        blkio_device_read_bps: some(&flags.device_read_bps),
        blkio_device_write_bps: some(&flags.device_write_bps),
        blkio_device_read_iops: some(&flags.device_read_iops),
        blkio_device_write_iops: some(&flags.device_write_iops),
        cpu_period: flags.cpu_period,
        cpu_quota: flags.cpu_quota,
        cpu_realtime_period: flags.cpu_rt_period,
        cpu_realtime_runtime: flags.cpu_rt_runtime,
        cpuset_cpus: flags.cpuset_cpus.clone(),
        cpuset_mems: flags.cpuset_mems.clone(),
        devices: some(&flags.device),
        device_cgroup_rules: some(&flags.device_cgroup_rule),
        device_requests: flags.gpus.as_deref().map(|request| vec![gpus(request)]),
        oom_kill_disable: Some(flags.oom_kill_disable),
        init: flags.init.then_some(true),
        pids_limit: flags.pids_limit,
        ulimits: some(&flags.ulimit),
        ..HostConfig::default()
    }
}

fn gpus(request: &str) -> DeviceRequest {
    DeviceRequest {
        count: Some(if request == "all" { -1 } else { request.parse().unwrap_or(1) }),
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..DeviceRequest::default()
    }
}

fn cgroup_namespace(flags: &CreateFlags) -> Result<Option<HostConfigCgroupnsModeEnum>> {
    Ok(match flags.cgroupns.as_deref() {
        None | Some("") => None,
        Some("host") => Some(HostConfigCgroupnsModeEnum::HOST),
        Some("private") => Some(HostConfigCgroupnsModeEnum::PRIVATE),
        Some(_) => bail!("--cgroupns: invalid CGROUP mode"),
    })
}

/// `seccomp=file` carries the file's content, as the API wants it.
fn security_options(flags: &CreateFlags) -> Result<Option<Vec<String>>> {
    let mut out = Vec::new();
    for word in &flags.security_opt {
        let profile = word.strip_prefix("seccomp=").or_else(|| word.strip_prefix("seccomp:"));
        match profile {
            Some(path) if !matches!(path, "unconfined" | "builtin") => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("opening seccomp profile ({path}) failed"))?;
                let json: serde_json::Value = serde_json::from_str(&text).with_context(|| {
                    format!("compacting json for seccomp profile ({path}) failed")
                })?;
                out.push(format!("seccomp={json}"));
            }
            _ => out.push(word.clone()),
        }
    }
    Ok(some(&out))
}

/// `-v` words: binds and anonymous volumes.
fn volumes(flags: &CreateFlags) -> Result<(Vec<String>, Vec<String>)> {
    let cwd = std::env::current_dir().context("failed to read the current folder")?;
    let (mut binds, mut anonymous) = (Vec::new(), Vec::new());
    for word in &flags.volume {
        match mount::volume(word, Path::new(&cwd)) {
            mount::VolumeFlag::Bind(bind) => binds.push(bind),
            mount::VolumeFlag::Anonymous(path) => anonymous.push(path),
        }
    }
    Ok((binds, anonymous))
}

fn anonymous_volumes(flags: &CreateFlags) -> Result<Vec<String>> {
    volumes(flags).map(|(_, anonymous)| anonymous)
}

fn environment(flags: &CreateFlags) -> Result<Vec<String>> {
    let lookup = |name: &str| std::env::var(name).ok();
    let mut words = Vec::new();
    for path in &flags.env_file {
        let text = std::fs::read_to_string(path).with_context(|| format!("open {path}"))?;
        words.extend(env::file(&text, path, lookup).map_err(|err| anyhow!(err))?);
    }
    for word in &flags.env {
        words.extend(env::word(word, lookup).map_err(|err| anyhow!(err))?);
    }
    Ok(env::merge(words))
}

fn labels(flags: &CreateFlags) -> Result<HashMap<String, String>> {
    let mut words = Vec::new();
    for path in &flags.label_file {
        let text = std::fs::read_to_string(path).with_context(|| format!("open {path}"))?;
        words.extend(env::file(&text, path, |_| Some(String::new())).map_err(|err| anyhow!(err))?);
    }
    Ok(opts::pairs(&words))
}

fn healthcheck(flags: &CreateFlags) -> Result<Option<HealthConfig>> {
    let tuned = flags.health_cmd.is_some()
        || flags.health_interval.is_some()
        || flags.health_timeout.is_some()
        || flags.health_retries.is_some()
        || flags.health_start_period.is_some()
        || flags.health_start_interval.is_some();
    if flags.no_healthcheck {
        if tuned {
            bail!("--no-healthcheck conflicts with --health-* options");
        }
        let test = Some(vec!["NONE".to_owned()]);
        return Ok(Some(HealthConfig { test, ..HealthConfig::default() }));
    }
    Ok(tuned.then(|| HealthConfig {
        test: flags.health_cmd.as_ref().map(|cmd| vec!["CMD-SHELL".to_owned(), cmd.clone()]),
        interval: flags.health_interval,
        timeout: flags.health_timeout,
        retries: flags.health_retries,
        start_period: flags.health_start_period,
        start_interval: flags.health_start_interval,
    }))
}

/// Names given by `--network`; the long form `name=net,alias=a` too.
fn network_names(flags: &CreateFlags) -> Vec<String> {
    flags
        .network
        .iter()
        .map(|word| network_field(word, "name").unwrap_or(word).to_owned())
        .collect()
}

fn network_field<'a>(word: &'a str, key: &str) -> Option<&'a str> {
    word.split(',').find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
}

fn networking(flags: &CreateFlags) -> Result<Option<NetworkingConfig>> {
    let names = network_names(flags);
    let mut endpoints = HashMap::new();
    for (at, (name, word)) in names.iter().zip(&flags.network).enumerate() {
        let aliases = word.split(',').filter_map(|field| field.strip_prefix("alias="));
        let mut endpoint = EndpointSettings {
            aliases: some(&aliases.map(str::to_owned).collect::<Vec<_>>()),
            mac_address: network_field(word, "mac-address").map(str::to_owned),
            ..EndpointSettings::default()
        };
        let mut ipam = EndpointIpamConfig {
            ipv4_address: network_field(word, "ip").map(str::to_owned),
            ipv6_address: network_field(word, "ip6").map(str::to_owned),
            link_local_ips: None,
        };
        if at == 0 {
            first_endpoint(flags, &mut endpoint, &mut ipam);
        }
        if ipam != EndpointIpamConfig::default() {
            endpoint.ipam_config = Some(ipam);
        }
        if endpoint != EndpointSettings::default() || names.len() > 1 {
            endpoints.insert(name.clone(), endpoint);
        }
    }
    if names.is_empty() {
        let (mut endpoint, mut ipam) = (EndpointSettings::default(), EndpointIpamConfig::default());
        first_endpoint(flags, &mut endpoint, &mut ipam);
        if ipam != EndpointIpamConfig::default() {
            endpoint.ipam_config = Some(ipam);
        }
        endpoint.links = None;
        if endpoint != EndpointSettings::default() {
            endpoints.insert("default".to_owned(), endpoint);
        }
    }
    Ok((!endpoints.is_empty()).then_some(NetworkingConfig { endpoints_config: Some(endpoints) }))
}

/// The plain flags speak about the first network.
fn first_endpoint(
    flags: &CreateFlags,
    endpoint: &mut EndpointSettings,
    ipam: &mut EndpointIpamConfig,
) {
    if !flags.network_alias.is_empty() {
        endpoint.aliases.get_or_insert_default().extend(flags.network_alias.iter().cloned());
    }
    endpoint.links = some(&flags.link);
    if flags.mac_address.is_some() {
        endpoint.mac_address.clone_from(&flags.mac_address);
    }
    if let Some(ip) = flags.ip {
        ipam.ipv4_address = Some(ip.to_string());
    }
    if let Some(ip) = flags.ip6 {
        ipam.ipv6_address = Some(ip.to_string());
    }
    ipam.link_local_ips = some(&flags.link_local_ip);
}

fn some<T: Clone>(items: &[T]) -> Option<Vec<T>> {
    (!items.is_empty()).then(|| items.to_vec())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Words {
        #[command(flatten)]
        flags: CreateFlags,
        #[arg(trailing_var_arg = true, required = true)]
        image_and_args: Vec<String>,
    }

    fn body(words: &[&str]) -> ContainerCreateBody {
        let parsed = Words::try_parse_from(std::iter::once(&"run").chain(words)).unwrap();
        let (image, args) = parsed.image_and_args.split_first().unwrap();
        build(&parsed.flags, image, args, false).unwrap()
    }

    #[test]
    fn flags_end_at_the_image() {
        let body = body(&["-it", "-e", "A=1", "busybox", "sh", "-c", "ls -e", "--name", "x"]);
        assert_eq!(body.image.as_deref(), Some("busybox"));
        assert_eq!(body.cmd.unwrap(), ["sh", "-c", "ls -e", "--name", "x"]);
        assert_eq!(body.tty, Some(true));
        assert_eq!(body.stdin_once, Some(true));
    }

    #[test]
    fn a_flag_right_after_the_image_belongs_to_the_container() {
        assert_eq!(body(&["busybox", "-e", "x"]).cmd.unwrap(), ["-e", "x"]);
    }

    #[test]
    fn published_ports_are_exposed_too() {
        let body = body(&["-p", "8080:80", "--expose", "90", "i"]);
        assert_eq!(body.exposed_ports.unwrap(), ["80/tcp", "90/tcp"]);
    }

    #[test]
    fn the_first_network_takes_the_plain_flags() {
        let body = body(&["--network", "n", "--network-alias", "a", "--ip", "10.0.0.9", "i"]);
        let endpoints = body.networking_config.unwrap().endpoints_config.unwrap();
        assert_eq!(endpoints["n"].aliases.as_deref(), Some(&["a".to_owned()][..]));
        let ipam = endpoints["n"].ipam_config.as_ref().unwrap();
        assert_eq!(ipam.ipv4_address.as_deref(), Some("10.0.0.9"));
        assert_eq!(body.host_config.unwrap().network_mode.as_deref(), Some("n"));
    }

    #[test]
    fn rm_and_restart_exclude_each_other() {
        let parsed = Words::try_parse_from(["run", "--rm", "--restart", "always", "i"]).unwrap();
        assert!(build(&parsed.flags, "i", &[], false).is_err());
    }
}
