//! The flags of `service create` and `service update`, as Docker has them.

use clap::Args;

use super::Waiting;
use crate::format::units;
use crate::opts;

/// What both take.
#[derive(Debug, Default, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    /// Credential spec for managed service account (Windows only)
    #[arg(long, value_name = "credential-spec")]
    pub(crate) credential_spec: Option<String>,
    /// Endpoint mode (vip or dnsrr)
    #[arg(long, value_name = "string")]
    pub(crate) endpoint_mode: Option<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "command")]
    pub(crate) entrypoint: Option<String>,
    /// Command to run to check health
    #[arg(long, value_name = "string")]
    pub(crate) health_cmd: Option<String>,
    /// Time between running the check (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = units::parse_duration)]
    pub(crate) health_interval: Option<i64>,
    /// Consecutive failures needed to report unhealthy
    #[arg(long, value_name = "int")]
    pub(crate) health_retries: Option<i64>,
    /// Time between running the check during the start period (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = units::parse_duration)]
    pub(crate) health_start_interval: Option<i64>,
    /// Start period for the container to initialize before counting retries towards unstable (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = units::parse_duration)]
    pub(crate) health_start_period: Option<i64>,
    /// Maximum time to allow one check to run (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = units::parse_duration)]
    pub(crate) health_timeout: Option<i64>,
    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    pub(crate) no_healthcheck: bool,
    /// Container hostname
    #[arg(long, value_name = "string")]
    pub(crate) hostname: Option<String>,
    /// Use an init inside each service container to forward signals and reap processes
    #[arg(long)]
    pub(crate) init: bool,
    /// Service container isolation mode
    #[arg(long, value_name = "string")]
    pub(crate) isolation: Option<String>,
    /// Limit CPUs
    #[arg(long, value_name = "decimal", value_parser = opts::cpus)]
    pub(crate) limit_cpu: Option<i64>,
    /// Limit Memory
    #[arg(long, value_name = "bytes", value_parser = units::parse_ram)]
    pub(crate) limit_memory: Option<i64>,
    /// Limit maximum number of processes (default 0 = unlimited)
    #[arg(long, value_name = "int")]
    pub(crate) limit_pids: Option<i64>,
    /// Logging driver for service
    #[arg(long, value_name = "string")]
    pub(crate) log_driver: Option<String>,
    /// Logging driver options
    #[arg(long, value_name = "list")]
    pub(crate) log_opt: Vec<String>,
    /// Number of job tasks to run concurrently (default equal to --replicas)
    #[arg(long, value_name = "uint")]
    pub(crate) max_concurrent: Option<u64>,
    /// Do not query the registry to resolve image digest and supported platforms
    #[arg(long)]
    pub(crate) no_resolve_image: bool,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    pub(crate) oom_score_adj: Option<i64>,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Number of tasks
    #[arg(long, value_name = "uint")]
    pub(crate) replicas: Option<u64>,
    /// Maximum number of tasks per node (default 0 = unlimited)
    #[arg(long, value_name = "uint")]
    pub(crate) replicas_max_per_node: Option<u64>,
    /// Reserve CPUs
    #[arg(long, value_name = "decimal", value_parser = opts::cpus)]
    pub(crate) reserve_cpu: Option<i64>,
    /// Reserve Memory
    #[arg(long, value_name = "bytes", value_parser = units::parse_ram)]
    pub(crate) reserve_memory: Option<i64>,
    /// Restart when condition is met ("none", "on-failure", "any")
    #[arg(long, value_name = "string")]
    pub(crate) restart_condition: Option<String>,
    /// Delay between restart attempts (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = units::parse_duration)]
    pub(crate) restart_delay: Option<i64>,
    /// Maximum number of restarts before giving up
    #[arg(long, value_name = "uint")]
    pub(crate) restart_max_attempts: Option<u64>,
    /// Window used to evaluate the restart policy (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = units::parse_duration)]
    pub(crate) restart_window: Option<i64>,
    #[command(flatten)]
    pub(crate) rollback_config: RollbackConfig,
    /// Time to wait before force killing a container (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = units::parse_duration)]
    pub(crate) stop_grace_period: Option<i64>,
    /// Signal to stop the container
    #[arg(long, value_name = "string")]
    pub(crate) stop_signal: Option<String>,
    /// Allocate a pseudo-TTY
    #[arg(short = 't', long)]
    pub(crate) tty: bool,
    #[command(flatten)]
    pub(crate) update_config: UpdateConfig,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short = 'u', long, value_name = "string")]
    pub(crate) user: Option<String>,
    /// Send registry authentication details to swarm agents
    #[arg(long)]
    pub(crate) with_registry_auth: bool,
    /// Working directory inside the container
    #[arg(short = 'w', long, value_name = "string")]
    pub(crate) workdir: Option<String>,
}

/// `--update-…`
#[derive(Debug, Default, Args)]
pub(crate) struct UpdateConfig {
    /// Delay between updates (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = units::parse_duration)]
    pub(crate) update_delay: Option<i64>,
    /// Action on update failure ("pause", "continue", "rollback")
    #[arg(long, value_name = "string")]
    pub(crate) update_failure_action: Option<String>,
    /// Failure rate to tolerate during an update
    #[arg(long, value_name = "float")]
    pub(crate) update_max_failure_ratio: Option<f64>,
    /// Duration after each task update to monitor for failure (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = units::parse_duration)]
    pub(crate) update_monitor: Option<i64>,
    /// Update order ("start-first", "stop-first")
    #[arg(long, value_name = "string")]
    pub(crate) update_order: Option<String>,
    /// Maximum number of tasks updated simultaneously (0 to update all at once)
    #[arg(long, value_name = "uint")]
    pub(crate) update_parallelism: Option<u64>,
}

/// `--rollback-…`
#[derive(Debug, Default, Args)]
pub(crate) struct RollbackConfig {
    /// Delay between task rollbacks (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = units::parse_duration)]
    pub(crate) rollback_delay: Option<i64>,
    /// Action on rollback failure ("pause", "continue")
    #[arg(long, value_name = "string")]
    pub(crate) rollback_failure_action: Option<String>,
    /// Failure rate to tolerate during a rollback
    #[arg(long, value_name = "float")]
    pub(crate) rollback_max_failure_ratio: Option<f64>,
    /// Duration after each task rollback to monitor for failure (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = units::parse_duration)]
    pub(crate) rollback_monitor: Option<i64>,
    /// Rollback order ("start-first", "stop-first")
    #[arg(long, value_name = "string")]
    pub(crate) rollback_order: Option<String>,
    /// Maximum number of tasks rolled back simultaneously (0 to roll back all at once)
    #[arg(long, value_name = "uint")]
    pub(crate) rollback_parallelism: Option<u64>,
}

/// `service create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Add Linux capabilities
    #[arg(long, value_name = "list")]
    pub(crate) cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "list")]
    pub(crate) cap_drop: Vec<String>,
    /// Specify configurations to expose to the service
    #[arg(long, value_name = "config")]
    pub(crate) config: Vec<String>,
    /// Placement constraints
    #[arg(long, value_name = "list")]
    pub(crate) constraint: Vec<String>,
    /// Container labels
    #[arg(long, value_name = "list")]
    pub(crate) container_label: Vec<String>,
    /// Set custom DNS servers
    #[arg(long, value_name = "list")]
    pub(crate) dns: Vec<String>,
    /// Set DNS options
    #[arg(long, value_name = "list")]
    pub(crate) dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "list")]
    pub(crate) dns_search: Vec<String>,
    /// Set environment variables
    #[arg(short = 'e', long, value_name = "list")]
    pub(crate) env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "list")]
    pub(crate) env_file: Vec<String>,
    /// User defined resources
    #[arg(long, value_name = "list")]
    pub(crate) generic_resource: Vec<String>,
    /// Set one or more supplementary user groups for the container
    #[arg(long, value_name = "list")]
    pub(crate) group: Vec<String>,
    /// Set one or more custom host-to-IP mappings (host:ip)
    #[arg(long, value_name = "list")]
    pub(crate) host: Vec<String>,
    /// Service labels
    #[arg(short = 'l', long, value_name = "list")]
    pub(crate) label: Vec<String>,
    /// Service mode ("replicated", "global", "replicated-job", "global-job")
    #[arg(long, value_name = "string", default_value = "replicated")]
    pub(crate) mode: String,
    /// Attach a filesystem mount to the service
    #[arg(long, value_name = "mount")]
    pub(crate) mount: Vec<String>,
    /// Service name
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    /// Network attachments
    #[arg(long, value_name = "network")]
    pub(crate) network: Vec<String>,
    /// Add a placement preference
    #[arg(long, value_name = "pref")]
    pub(crate) placement_pref: Vec<String>,
    /// Publish a port as a node port
    #[arg(short = 'p', long, value_name = "port")]
    pub(crate) publish: Vec<String>,
    /// Specify secrets to expose to the service
    #[arg(long, value_name = "secret")]
    pub(crate) secret: Vec<String>,
    /// Sysctl options
    #[arg(long, value_name = "list")]
    pub(crate) sysctl: Vec<String>,
    /// Ulimit options
    #[arg(long, value_name = "ulimit")]
    pub(crate) ulimit: Vec<String>,
    /// Give the containers a device of their node (needs the cluster's policy)
    #[arg(long, value_name = "list")]
    pub(crate) device: Vec<String>,
    /// Run with every privilege on the node (needs the cluster's policy)
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Size of /dev/shm (needs the cluster's policy)
    #[arg(long, value_name = "bytes", value_parser = units::parse_ram)]
    pub(crate) shm_size: Option<i64>,
    /// Security options (needs the cluster's policy)
    #[arg(long, value_name = "list")]
    pub(crate) security_opt: Vec<String>,
    /// PID namespace to use (needs the cluster's policy)
    #[arg(long, value_name = "string")]
    pub(crate) pid: Option<String>,
    /// IPC mode to use (needs the cluster's policy)
    #[arg(long, value_name = "string")]
    pub(crate) ipc: Option<String>,
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// `service update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Service command args
    #[arg(long, value_name = "command", allow_hyphen_values = true)]
    pub(crate) args: Option<String>,
    /// Add Linux capabilities
    #[arg(long, value_name = "list")]
    pub(crate) cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "list")]
    pub(crate) cap_drop: Vec<String>,
    /// Add or update a config file on a service
    #[arg(long, value_name = "config")]
    pub(crate) config_add: Vec<String>,
    /// Remove a configuration file
    #[arg(long, value_name = "list")]
    pub(crate) config_rm: Vec<String>,
    /// Add or update a placement constraint
    #[arg(long, value_name = "list")]
    pub(crate) constraint_add: Vec<String>,
    /// Remove a constraint
    #[arg(long, value_name = "list")]
    pub(crate) constraint_rm: Vec<String>,
    /// Add or update a container label
    #[arg(long, value_name = "list")]
    pub(crate) container_label_add: Vec<String>,
    /// Remove a container label by its key
    #[arg(long, value_name = "list")]
    pub(crate) container_label_rm: Vec<String>,
    /// Add or update a custom DNS server
    #[arg(long, value_name = "list")]
    pub(crate) dns_add: Vec<String>,
    /// Add or update a DNS option
    #[arg(long, value_name = "list")]
    pub(crate) dns_option_add: Vec<String>,
    /// Remove a DNS option
    #[arg(long, value_name = "list")]
    pub(crate) dns_option_rm: Vec<String>,
    /// Remove a custom DNS server
    #[arg(long, value_name = "list")]
    pub(crate) dns_rm: Vec<String>,
    /// Add or update a custom DNS search domain
    #[arg(long, value_name = "list")]
    pub(crate) dns_search_add: Vec<String>,
    /// Remove a DNS search domain
    #[arg(long, value_name = "list")]
    pub(crate) dns_search_rm: Vec<String>,
    /// Add or update an environment variable
    #[arg(long, value_name = "list")]
    pub(crate) env_add: Vec<String>,
    /// Remove an environment variable
    #[arg(long, value_name = "list")]
    pub(crate) env_rm: Vec<String>,
    /// Force update even if no changes require it
    #[arg(long)]
    pub(crate) force: bool,
    /// Add a Generic resource
    #[arg(long, value_name = "list")]
    pub(crate) generic_resource_add: Vec<String>,
    /// Remove a Generic resource
    #[arg(long, value_name = "list")]
    pub(crate) generic_resource_rm: Vec<String>,
    /// Add an additional supplementary user group to the container
    #[arg(long, value_name = "list")]
    pub(crate) group_add: Vec<String>,
    /// Remove a previously added supplementary user group from the container
    #[arg(long, value_name = "list")]
    pub(crate) group_rm: Vec<String>,
    /// Add a custom host-to-IP mapping ("host:ip")
    #[arg(long, value_name = "list")]
    pub(crate) host_add: Vec<String>,
    /// Remove a custom host-to-IP mapping ("host:ip")
    #[arg(long, value_name = "list")]
    pub(crate) host_rm: Vec<String>,
    /// Service image tag
    #[arg(long, value_name = "string")]
    pub(crate) image: Option<String>,
    /// Add or update a service label
    #[arg(long, value_name = "list")]
    pub(crate) label_add: Vec<String>,
    /// Remove a label by its key
    #[arg(long, value_name = "list")]
    pub(crate) label_rm: Vec<String>,
    /// Add or update a mount on a service
    #[arg(long, value_name = "mount")]
    pub(crate) mount_add: Vec<String>,
    /// Remove a mount by its target path
    #[arg(long, value_name = "list")]
    pub(crate) mount_rm: Vec<String>,
    /// Add a network
    #[arg(long, value_name = "network")]
    pub(crate) network_add: Vec<String>,
    /// Remove a network
    #[arg(long, value_name = "list")]
    pub(crate) network_rm: Vec<String>,
    /// Add a placement preference
    #[arg(long, value_name = "pref")]
    pub(crate) placement_pref_add: Vec<String>,
    /// Remove a placement preference
    #[arg(long, value_name = "pref")]
    pub(crate) placement_pref_rm: Vec<String>,
    /// Add or update a published port
    #[arg(long, value_name = "port")]
    pub(crate) publish_add: Vec<String>,
    /// Remove a published port by its target port
    #[arg(long, value_name = "port")]
    pub(crate) publish_rm: Vec<String>,
    /// Rollback to previous specification
    #[arg(long)]
    pub(crate) rollback: bool,
    /// Add or update a secret on a service
    #[arg(long, value_name = "secret")]
    pub(crate) secret_add: Vec<String>,
    /// Remove a secret
    #[arg(long, value_name = "list")]
    pub(crate) secret_rm: Vec<String>,
    /// Add or update a Sysctl option
    #[arg(long, value_name = "list")]
    pub(crate) sysctl_add: Vec<String>,
    /// Remove a Sysctl option
    #[arg(long, value_name = "list")]
    pub(crate) sysctl_rm: Vec<String>,
    /// Add or update a ulimit option
    #[arg(long, value_name = "ulimit")]
    pub(crate) ulimit_add: Vec<String>,
    /// Remove a ulimit option
    #[arg(long, value_name = "list")]
    pub(crate) ulimit_rm: Vec<String>,
    #[arg(value_name = "SERVICE")]
    pub(crate) service: String,
}
