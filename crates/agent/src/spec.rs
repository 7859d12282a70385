//! From a task to the container that runs it. Pure: the same task makes the same container on every try.

use crate::assigned::Share;
use crate::template::Context;
use base64::Engine as _;
use std::collections::BTreeMap;
use std::time::Duration;
use types::NodeId;
use types::container::{Config, CreateRequest, Empty, HostConfig, LogConfig, NetworkingConfig};
use types::image::AuthConfig;
use types::mount::Mount;
use types::network::{EndpointIpamConfig, EndpointSettings};
use types::port::{PortBinding, PortMap, Protocol};
use types::swarm::service::PortConfig;
use types::swarm::session::ServiceFacts;
use types::swarm::task::{ContainerSpec, Privileges, ResourceRequirements, Task};

/// Docker's grace between the stop signal and SIGKILL.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Docker's period for CPU limits, in microseconds.
const CPU_PERIOD: i64 = 100_000;
const BILLION: i64 = 1_000_000_000;

/// Labels by which a task's container is known, beside the user's.
pub(crate) const TASK_LABEL: &str = "com.docker.swarm.task";
pub(crate) const TASK_ID_LABEL: &str = "com.docker.swarm.task.id";
pub(crate) const NODE_LABEL: &str = "com.docker.swarm.node.id";

/// The machine, as templates and labels name it.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeFacts {
    pub(crate) id: NodeId,
    pub(crate) hostname: String,
    pub(crate) os: String,
    pub(crate) architecture: String,
}

/// `web.1.<task id>`; a global service's slot is its node.
pub(crate) fn name(task: &Task, service: &ServiceFacts) -> String {
    let slot = match task.slot {
        0 => task.node_id.to_string(),
        slot => slot.to_string(),
    };
    format!("{}.{slot}.{}", service.name, task.id)
}

pub(crate) fn stop_grace(task: &Task) -> Duration {
    let wish = task.spec.container_spec.as_ref().and_then(|spec| spec.stop_grace_period);
    wish.map_or(STOP_GRACE, |nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
}

/// The credentials for the task's image.
pub(crate) fn auth(spec: &ContainerSpec) -> AuthConfig {
    let header = spec.pull_options.as_ref().map(|options| options.registry_auth.as_str());
    let header = header.unwrap_or_default();
    let decode = |text: &str| {
        use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
        BASE64_URL_SAFE.decode(text).or_else(|_| BASE64_STANDARD.decode(text)).ok()
    };
    decode(header).and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

/// What templates of this task may speak of.
pub(crate) fn context(task: &Task, service: &ServiceFacts, node: &NodeFacts) -> Context {
    let slot = match task.slot {
        0 => node.id.to_string(),
        slot => slot.to_string(),
    };
    Context {
        fields: [
            ("Service.ID", service.id.to_string()),
            ("Service.Name", service.name.clone()),
            ("Node.ID", node.id.to_string()),
            ("Node.Hostname", node.hostname.clone()),
            ("Node.Platform.OS", node.os.clone()),
            ("Node.Platform.Architecture", node.architecture.clone()),
            ("Task.ID", task.id.to_string()),
            ("Task.Name", name(task, service)),
            ("Task.Slot", slot),
        ]
        .into(),
        service_labels: service.labels.clone(),
        ..Context::default()
    }
}

/// The container of `task`, but for its secrets and configs. The reason why not, else.
pub(crate) fn request(
    task: &Task,
    share: &Share,
    node: &NodeFacts,
) -> Result<CreateRequest, String> {
    let service = share.services.get(task.service_id.as_str()).ok_or("its service is not known")?;
    let Some(spec) = task.spec.container_spec.as_ref() else {
        return Err(format!("runtime {:?} is not supported", task.spec.runtime));
    };
    let context = context(task, service, node);
    let expand = |what: &str, text: &str| {
        context.expand(text).map_err(|err| format!("expanding {what} failed: {err}"))
    };
    let env: Vec<String> =
        spec.env.iter().map(|entry| expand("env", entry)).collect::<Result<_, _>>()?;
    let mounts: Vec<Mount> =
        spec.mounts.iter().map(|mount| expand_mount(mount, &expand)).collect::<Result<_, _>>()?;
    let ports = Ports::of(task, service);
    let own = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let config = Config {
        hostname: expand("hostname", &spec.hostname)?,
        user: spec.user.clone(),
        exposed_ports: ports.exposed(),
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        env: Some(env),
        cmd: own(&spec.args),
        entrypoint: own(&spec.command),
        healthcheck: spec.health_check.clone(),
        image: spec.image.clone(),
        working_dir: spec.dir.clone(),
        labels: Some(labels(task, service, spec)),
        stop_signal: spec.stop_signal.clone(),
        ..Config::default()
    };
    let (network_mode, endpoints) = networks(task, share);
    let mut host_config = host_config(task, spec, mounts)?;
    host_config.network_mode = network_mode;
    host_config.port_bindings = ports.bindings();
    Ok(CreateRequest {
        name: Some(name(task, service)),
        platform: None,
        config,
        host_config,
        networking_config: NetworkingConfig { endpoints_config: Some(endpoints) },
    })
}

fn labels(task: &Task, service: &ServiceFacts, spec: &ContainerSpec) -> BTreeMap<String, String> {
    let mut labels = spec.labels.clone();
    let own = [
        (TASK_LABEL, String::new()),
        (TASK_ID_LABEL, task.id.to_string()),
        ("com.docker.swarm.task.name", name(task, service)),
        (NODE_LABEL, task.node_id.to_string()),
        ("com.docker.swarm.service.id", service.id.to_string()),
        ("com.docker.swarm.service.name", service.name.clone()),
    ];
    labels.extend(own.map(|(key, value)| (key.to_owned(), value)));
    labels
}

fn expand_mount(
    mount: &Mount,
    expand: &impl Fn(&str, &str) -> Result<String, String>,
) -> Result<Mount, String> {
    let mut mount = mount.clone();
    mount.source = expand("mounts", &mount.source)?;
    mount.target = expand("mounts", &mount.target)?;
    // A volume of the cluster lies on this node as any other does.
    if mount.kind == "cluster" {
        "volume".clone_into(&mut mount.kind);
    }
    if mount.kind.is_empty() {
        "bind".clone_into(&mut mount.kind);
    }
    if let Some(options) = &mut mount.volume_options {
        let driver = options.driver_config.as_mut().and_then(|driver| driver.options.as_mut());
        let values =
            options.labels.as_mut().into_iter().chain(driver).flat_map(BTreeMap::values_mut);
        for value in values {
            *value = expand("mounts", value)?;
        }
    }
    Ok(mount)
}

fn host_config(
    task: &Task,
    spec: &ContainerSpec,
    mounts: Vec<Mount>,
) -> Result<HostConfig, String> {
    let own = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let dns = spec.dns_config.clone().unwrap_or_default();
    let mut host = HostConfig {
        mounts: Some(mounts),
        group_add: own(&spec.groups),
        readonly_rootfs: spec.read_only,
        extra_hosts: own(&spec
            .hosts
            .iter()
            .flat_map(|line| host_entries(line))
            .collect::<Vec<_>>()),
        dns: dns.nameservers,
        dns_search: dns.search,
        dns_options: dns.options,
        oom_score_adj: spec.oom_score_adj,
        init: spec.init,
        sysctls: (!spec.sysctls.is_empty()).then(|| spec.sysctls.clone()),
        cap_add: own(&spec.capability_add),
        cap_drop: own(&spec.capability_drop),
        ulimits: (!spec.ulimits.is_empty()).then(|| spec.ulimits.clone()),
        security_opt: own(&security(spec.privileges.as_ref())?),
        ..HostConfig::default()
    };
    if let Some(driver) = &task.spec.log_driver {
        host.log_config = LogConfig { driver: driver.name.clone(), config: driver.options.clone() };
    }
    limit(&mut host, task.spec.resources.as_ref());
    if let Some(more) = &spec.sampan {
        host.privileged = more.privileged;
        host.devices = (!more.devices.is_empty()).then(|| more.devices.clone());
        host.shm_size = more.shm_size;
        host.pid_mode.clone_from(&more.pid_mode);
        host.ipc_mode.clone_from(&more.ipc_mode);
        host.security_opt.get_or_insert_default().extend(more.security_opt.iter().cloned());
    }
    Ok(host)
}

/// `IP name [alias…]`, as in a hosts file, to Docker's `name:IP`.
fn host_entries(line: &str) -> Vec<String> {
    let mut words = line.split_whitespace();
    let address = words.next().unwrap_or_default();
    words.map(|name| format!("{name}:{address}")).collect()
}

fn limit(host: &mut HostConfig, resources: Option<&ResourceRequirements>) {
    let Some(resources) = resources else { return };
    if let Some(limits) = &resources.limits {
        host.memory = limits.memory_bytes;
        if limits.nano_cpus > 0 {
            host.cpu_period = CPU_PERIOD;
            host.cpu_quota = limits.nano_cpus.saturating_mul(CPU_PERIOD) / BILLION;
        }
        host.pids_limit = (limits.pids > 0).then_some(limits.pids);
    }
    let reserved = resources.reservations.as_ref().map_or(0, |reserved| reserved.memory_bytes);
    // What the scheduler sets aside, the kernel leaves alone as long as it can.
    if reserved > 0 && (host.memory == 0 || reserved < host.memory) {
        host.memory_reservation = reserved;
    }
}

fn security(privileges: Option<&Privileges>) -> Result<Vec<String>, String> {
    let mut options = Vec::new();
    let Some(privileges) = privileges else { return Ok(options) };
    if privileges.no_new_privileges {
        options.push("no-new-privileges=true".to_owned());
    }
    match privileges.seccomp.as_ref().map(|seccomp| (seccomp.mode.as_str(), &seccomp.profile)) {
        None | Some(("" | "default", _)) => {}
        Some(("unconfined", _)) => options.push("seccomp=unconfined".to_owned()),
        Some((_, profile)) => {
            let json = base64::prelude::BASE64_STANDARD
                .decode(profile)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or("invalid seccomp profile")?;
            options.push(format!("seccomp={json}"));
        }
    }
    if privileges.app_armor.as_ref().is_some_and(|app_armor| app_armor.mode == "disabled") {
        options.push("apparmor=unconfined".to_owned());
    }
    if let Some(context) = &privileges.selinux_context {
        if context.disable {
            options.push("label=disable".to_owned());
        }
        let parts = [
            ("user", &context.user),
            ("role", &context.role),
            ("type", &context.kind),
            ("level", &context.level),
        ];
        let given = parts.into_iter().filter(|(_, value)| !value.is_empty());
        options.extend(given.map(|(part, value)| format!("label={part}:{value}")));
    }
    Ok(options)
}

/// The network of the container's first interface, and what it asks of each.
fn networks(task: &Task, share: &Share) -> (String, BTreeMap<String, EndpointSettings>) {
    let mut endpoints = BTreeMap::new();
    let mut mode = String::new();
    let mut ingress = String::new();
    for attachment in &task.networks_attachments {
        let Some(network) = share.networks.get(&attachment.network) else { continue };
        if is_predefined(&network.spec.driver) {
            let is_none = network.spec.driver != "host";
            (if is_none { "none" } else { "host" }).clone_into(&mut mode);
            continue;
        }
        let address = attachment.addresses.first().map(String::as_str).unwrap_or_default();
        let ipam = EndpointIpamConfig {
            ipv4_address: address.split('/').next().unwrap_or_default().to_owned(),
            ..EndpointIpamConfig::default()
        };
        // Names follow from the endpoint table; these are shown.
        let settings = EndpointSettings {
            ipam_config: Some(ipam),
            aliases: (!network.spec.ingress).then(|| attachment.aliases.clone()),
            ..EndpointSettings::default()
        };
        endpoints.insert(attachment.network.clone(), settings);
        let first = if network.spec.ingress { &mut ingress } else { &mut mode };
        if first.is_empty() {
            attachment.network.clone_into(first);
        }
    }
    // The cluster's name for a network that every node has tells by its driver which one is meant.
    let meant = |target: &str| match share.networks.get(target) {
        Some(network) => network.spec.driver.clone(),
        None => target.to_owned(),
    };
    let wished = task.spec.networks.iter().map(|wish| meant(&wish.target));
    if let Some(name) = wished.rev().find(|name| is_predefined(name) || name == "bridge") {
        mode = name;
    }
    if mode.is_empty() {
        mode = ingress;
    }
    if is_predefined(&mode) {
        endpoints.clear();
    }
    (mode, endpoints)
}

/// Modes without interfaces of their own.
fn is_predefined(name: &str) -> bool {
    matches!(name, "host" | "none" | "null")
}

/// A task's published ports, by how.
struct Ports<'a> {
    host: Vec<&'a PortConfig>,
    ingress: Vec<&'a PortConfig>,
}

impl<'a> Ports<'a> {
    fn of(task: &'a Task, service: &'a ServiceFacts) -> Self {
        let is_host = |port: &&PortConfig| port.publish_mode == "host";
        Ports {
            host: task.record.host_ports.iter().filter(is_host).collect(),
            ingress: service
                .ports
                .iter()
                .filter(|port| !is_host(port) && port.published_port > 0)
                .collect(),
        }
    }

    fn exposed(&self) -> Option<BTreeMap<String, Empty>> {
        let all = self.host.iter().chain(&self.ingress);
        let ports: BTreeMap<_, _> = all.map(|port| (key(port), Empty {})).collect();
        (!ports.is_empty()).then_some(ports)
    }

    fn bindings(&self) -> PortMap {
        let mut map = PortMap::new();
        for port in &self.host {
            let host_port = match port.published_port {
                0 => String::new(),
                port => port.to_string(),
            };
            let binding = PortBinding { host_port, ..PortBinding::default() };
            map.entry(key(port)).or_default().get_or_insert_default().push(binding);
        }
        map
    }
}

fn protocol(port: &PortConfig) -> Protocol {
    match port.protocol.as_str() {
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}

fn key(port: &PortConfig) -> String {
    format!("{}/{}", port.target_port, protocol(port).as_str())
}

#[cfg(test)]
mod tests;
