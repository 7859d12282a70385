//! A service as typed data.

use super::{Bytes, Mode, Named, Nanoseconds};
use serde::Deserialize;

/// What one container of the project is like, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Service {
    pub annotations: Named<String>,
    pub attach: Option<bool>,
    pub blkio_config: Option<Blkio>,
    pub build: Option<Build>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub cgroup: String,
    pub cgroup_parent: String,
    /// `None` keeps the image's.
    pub command: Option<Vec<String>>,
    pub configs: Vec<Grant>,
    pub container_name: Option<String>,
    pub cpu_period: i64,
    pub cpu_quota: i64,
    pub cpu_shares: i64,
    pub cpus: f64,
    pub cpuset: String,
    pub depends_on: Named<Dependency>,
    pub deploy: Deploy,
    pub develop: Develop,
    pub device_cgroup_rules: Vec<String>,
    pub devices: Vec<Device>,
    pub dns: Vec<String>,
    pub dns_opt: Vec<String>,
    pub dns_search: Vec<String>,
    pub domainname: String,
    pub entrypoint: Option<Vec<String>>,
    pub env_file: Vec<EnvFile>,
    /// `None` is a name without a value anywhere: not passed on.
    pub environment: Named<Option<String>>,
    pub expose: Vec<String>,
    pub external_links: Vec<String>,
    pub extra_hosts: Vec<String>,
    pub group_add: Vec<String>,
    pub healthcheck: Option<HealthCheck>,
    pub hostname: String,
    pub image: Option<String>,
    pub init: Option<bool>,
    pub ipc: String,
    pub labels: Named<String>,
    pub links: Vec<String>,
    pub logging: Option<Logging>,
    pub mac_address: String,
    pub mem_limit: Bytes,
    pub mem_reservation: Bytes,
    pub mem_swappiness: Option<Bytes>,
    pub memswap_limit: Bytes,
    pub network_mode: Option<String>,
    pub networks: Named<Option<Endpoint>>,
    pub oom_kill_disable: Option<bool>,
    pub oom_score_adj: i64,
    pub pid: String,
    pub pids_limit: Option<i64>,
    pub platform: Option<String>,
    pub ports: Vec<Port>,
    /// Each in a container of its own, before the service's first one starts.
    pub pre_start: Vec<Hook>,
    pub post_start: Vec<Hook>,
    pub pre_stop: Vec<Hook>,
    pub privileged: bool,
    pub profiles: Vec<String>,
    /// What another program provides has no container.
    pub provider: Option<Provider>,
    pub pull_policy: Option<String>,
    pub read_only: bool,
    pub restart: Option<String>,
    pub scale: Option<i64>,
    pub secrets: Vec<Grant>,
    pub security_opt: Vec<String>,
    pub shm_size: Bytes,
    pub stdin_open: bool,
    pub stop_grace_period: Option<Nanoseconds>,
    pub stop_signal: String,
    pub sysctls: Named<String>,
    pub tmpfs: Vec<String>,
    pub tty: bool,
    pub ulimits: Named<Ulimit>,
    pub user: String,
    pub userns_mode: String,
    pub uts: String,
    pub volumes: Vec<Mount>,
    pub volumes_from: Vec<String>,
    pub working_dir: String,
}

impl Service {
    /// How many containers: `scale`, else `deploy.replicas`, else one.
    pub fn replicas(&self) -> u32 {
        let wanted = self.scale.or(self.deploy.replicas).unwrap_or(1);
        u32::try_from(wanted.max(0)).unwrap_or(u32::MAX)
    }
}

/// How the image is built.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Build {
    pub additional_contexts: Named<String>,
    /// Secrets of the project for the steps that ask for them.
    pub secrets: Vec<Grant>,
    /// `default` or `id=path`.
    pub ssh: Vec<String>,
    pub no_cache_filter: Vec<String>,
    pub args: Named<Option<String>>,
    pub cache_from: Vec<String>,
    /// An absolute folder, or a remote context.
    pub context: String,
    /// Relative to the context.
    pub dockerfile: String,
    pub dockerfile_inline: Option<String>,
    pub extra_hosts: Vec<String>,
    pub labels: Named<String>,
    pub network: String,
    pub no_cache: bool,
    pub platforms: Vec<String>,
    pub pull: bool,
    pub shm_size: Bytes,
    pub tags: Vec<String>,
    pub target: String,
    pub ulimits: Named<Ulimit>,
}

/// Limits of block devices.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Blkio {
    pub device_read_bps: Vec<Rate>,
    pub device_read_iops: Vec<Rate>,
    pub device_write_bps: Vec<Rate>,
    pub device_write_iops: Vec<Rate>,
    pub weight: u16,
    pub weight_device: Vec<Weight>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Rate {
    pub path: String,
    pub rate: Bytes,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Weight {
    pub path: String,
    pub weight: u16,
}

/// A secret or config in a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Grant {
    pub source: String,
    /// Absolute; `/<source>` for a config without one.
    pub target: String,
    pub uid: String,
    pub gid: String,
    pub mode: Option<Mode>,
}

/// When a dependency is good enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Condition {
    #[default]
    #[serde(rename = "service_started")]
    Started,
    #[serde(rename = "service_healthy")]
    Healthy,
    #[serde(rename = "service_completed_successfully")]
    CompletedSuccessfully,
}

/// What a service waits for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Dependency {
    pub condition: Condition,
    /// Restart with it when it is recreated.
    pub restart: bool,
    /// A missing one only warns when false.
    pub required: bool,
}

impl Default for Dependency {
    fn default() -> Self {
        Dependency { condition: Condition::Started, restart: false, required: true }
    }
}

/// What happens when files of the project change while `watch` runs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Develop {
    pub watch: Vec<Watch>,
}

/// One rule of [`Develop`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Watch {
    /// `sync`, `rebuild`, `restart`, `sync+restart` or `sync+exec`.
    pub action: String,
    /// Absolute, on this machine.
    pub path: String,
    /// In the container.
    pub target: String,
    pub exec: Hook,
    pub include: Vec<String>,
    pub ignore: Vec<String>,
    pub initial_sync: bool,
}

/// How a cluster runs the service; one node reads its resources, replicas and restart policy.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Deploy {
    /// `replicated`, `global`, `replicated-job` or `global-job`.
    pub mode: String,
    pub replicas: Option<i64>,
    pub labels: Named<String>,
    pub update_config: Option<UpdatePolicy>,
    pub rollback_config: Option<UpdatePolicy>,
    pub resources: Resources,
    pub restart_policy: Option<RestartPolicy>,
    pub placement: Placement,
    /// `vip` or `dnsrr`.
    pub endpoint_mode: String,
}

/// How tasks are replaced.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UpdatePolicy {
    /// At the same time; 0 is all.
    pub parallelism: Option<u64>,
    pub delay: Option<Nanoseconds>,
    /// `pause`, `continue` or `rollback`.
    pub failure_action: String,
    pub monitor: Option<Nanoseconds>,
    pub max_failure_ratio: f32,
    /// `start-first` or `stop-first`.
    pub order: String,
}

/// Which nodes may run the service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Placement {
    pub constraints: Vec<String>,
    pub preferences: Vec<Preference>,
    pub max_replicas_per_node: u64,
}

/// Spread over the values of a label.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Preference {
    pub spread: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Resources {
    pub limits: Limits,
    pub reservations: Limits,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub cpus: f64,
    pub memory: Bytes,
    pub pids: Option<i64>,
    /// Reservations only.
    pub devices: Vec<DeviceRequest>,
    /// Reservations only.
    pub generic_resources: Vec<GenericResource>,
}

/// Devices such as GPUs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    pub capabilities: Vec<String>,
    pub driver: String,
    /// -1 is all.
    pub count: i64,
    pub device_ids: Vec<String>,
    pub options: Named<String>,
}

/// A resource that nodes declare themselves.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct GenericResource {
    pub discrete_resource_spec: DiscreteResource,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DiscreteResource {
    pub kind: String,
    pub value: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RestartPolicy {
    pub condition: String,
    pub delay: Option<Nanoseconds>,
    pub max_attempts: Option<i64>,
    pub window: Option<Nanoseconds>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Device {
    pub source: String,
    pub target: String,
    pub permissions: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EnvFile {
    pub path: String,
    pub required: bool,
    pub format: String,
}

/// A service's place in a network.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    pub aliases: Vec<String>,
    pub driver_opts: Named<String>,
    pub gw_priority: i64,
    pub ipv4_address: String,
    pub ipv6_address: String,
    pub link_local_ips: Vec<String>,
    pub mac_address: String,
    pub priority: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    pub disable: bool,
    pub test: Vec<String>,
    pub interval: Option<Nanoseconds>,
    pub timeout: Option<Nanoseconds>,
    pub start_period: Option<Nanoseconds>,
    pub start_interval: Option<Nanoseconds>,
    pub retries: i64,
}

/// Whose program makes what the service stands for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Provider {
    #[serde(rename = "type")]
    pub kind: String,
}

/// A command run inside the container after its start or before its stop, or in one of its own before the start.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Hook {
    pub command: Vec<String>,
    /// Of `pre_start` only: the service's own when empty.
    pub image: String,
    /// Of `pre_start` only: once for each container, not once for all.
    pub per_replica: bool,
    pub user: String,
    pub privileged: bool,
    pub working_dir: String,
    pub environment: Named<Option<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Logging {
    pub driver: String,
    pub options: Named<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Port {
    pub name: String,
    /// `ingress` or `host`: differs in a cluster only.
    pub mode: String,
    pub host_ip: String,
    pub target: u16,
    /// A port, a range, or empty for any free one.
    pub published: String,
    pub protocol: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs`, `image`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Empty for an anonymous volume.
    pub source: String,
    pub target: String,
    pub read_only: bool,
    pub consistency: String,
    pub bind: MountBind,
    pub volume: MountVolume,
    pub tmpfs: MountTmpfs,
    pub image: MountImage,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MountImage {
    pub subpath: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct MountBind {
    pub create_host_path: bool,
    pub propagation: String,
    pub recursive: String,
    pub selinux: String,
}

impl Default for MountBind {
    fn default() -> Self {
        MountBind {
            create_host_path: true,
            propagation: String::new(),
            recursive: String::new(),
            selinux: String::new(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MountVolume {
    pub nocopy: bool,
    pub subpath: String,
    pub labels: Named<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MountTmpfs {
    pub size: Bytes,
    pub mode: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(from = "UlimitForm")]
pub struct Ulimit {
    pub soft: i64,
    pub hard: i64,
}

/// One number for both limits, or the two.
#[derive(Deserialize)]
#[serde(untagged)]
enum UlimitForm {
    One(i64),
    Two { soft: i64, hard: i64 },
}

impl From<UlimitForm> for Ulimit {
    fn from(form: UlimitForm) -> Self {
        match form {
            UlimitForm::One(limit) => Ulimit { soft: limit, hard: limit },
            UlimitForm::Two { soft, hard } => Ulimit { soft, hard },
        }
    }
}
