//! The daemon's flags, named as dockerd's, and the same names in its TOML file.
//!
//! ```toml
//! host = ["unix:///run/sampan.sock"]
//! data-root = "/srv/sampan"
//! ```

use clap::{Args, Parser};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `sampan daemon`.
#[derive(Debug, Parser)]
#[command(name = "sampan daemon", version, about = "A container engine that speaks Docker's API")]
pub(crate) struct Cli {
    /// Configuration file (TOML, the names of these flags); flags win over it
    #[arg(long, value_name = "FILE", env = "SAMPAN_CONFIG_FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long)]
    pub(crate) validate: bool,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What flags and file can both say. `None` and an empty list are "not said".
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Options {
    /// Sockets to serve: unix://PATH, tcp://HOST:PORT, fd:// (repeatable) [default: unix:///run/sampan.sock]
    #[arg(short = 'H', long, value_name = "ADDRESS")]
    #[serde(alias = "hosts", skip_serializing_if = "Vec::is_empty")]
    pub(crate) host: Vec<String>,
    /// Group of the unix sockets [default: docker if it exists, else root]
    #[arg(short = 'G', long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    /// Serve plain TCP to other machines: whoever reaches it is root here
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow_plain_tcp: Option<bool>,
    /// Directory of everything that must survive a reboot [default: /var/lib/sampan]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_root: Option<PathBuf>,
    /// Directory of everything else [default: /run/sampan]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exec_root: Option<PathBuf>,
    /// File to write the process id to [default: /run/sampan.pid]
    #[arg(short = 'p', long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pidfile: Option<PathBuf>,
    /// Parent cgroup of all containers
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cgroup_parent: Option<String>,
    /// Log level: debug, info, warn, error, fatal, or a tracing filter [default: info]
    #[arg(short = 'l', long, value_name = "LEVEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_level: Option<String>,
    /// Log format: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_format: Option<String>,
    /// Log at debug level
    #[arg(short = 'D', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) debug: Option<bool>,
    /// Pool for networks' subnets, base=CIDR,size=N (repeatable)
    #[arg(long, value_name = "POOL")]
    #[serde(alias = "default-address-pools", skip_serializing_if = "Vec::is_empty")]
    pub(crate) default_address_pool: Vec<String>,
    /// Registry to ask before Docker Hub (repeatable)
    #[arg(long, value_name = "URL")]
    #[serde(alias = "registry-mirrors", skip_serializing_if = "Vec::is_empty")]
    pub(crate) registry_mirror: Vec<String>,
    /// Registry or CIDR that may be spoken to without verified TLS (repeatable)
    #[arg(long, value_name = "HOST")]
    #[serde(alias = "insecure-registries", skip_serializing_if = "Vec::is_empty")]
    pub(crate) insecure_registry: Vec<String>,
    /// On managers, be a registry at this address (HOST:PORT): images pushed to it run in the cluster
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry_listen: Option<String>,
    /// Host name or address by which clients call that registry, besides the node's own (repeatable)
    #[arg(long, value_name = "HOST")]
    #[serde(alias = "registry-names", skip_serializing_if = "Vec::is_empty")]
    pub(crate) registry_name: Vec<String>,
    /// Nodes that shall have what is pushed, if there are so many; 0 is all [default: 3]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry_copies: Option<usize>,
    /// Use TLS; implied by --tlsverify
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<bool>,
    /// Use TLS and take only clients with a certificate of --tlscacert
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tlsverify: Option<bool>,
    /// Authority of the clients [default: ~/.docker/ca.pem]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tlscacert: Option<PathBuf>,
    /// Certificate of this server [default: ~/.docker/cert.pem]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tlscert: Option<PathBuf>,
    /// Its key [default: ~/.docker/key.pem]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tlskey: Option<PathBuf>,
    /// Address or interface that a swarm is told of this node
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) swarm_default_advertise_addr: Option<String>,
    /// Interface of the default network
    #[arg(short = 'b', long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bridge: Option<String>,
    /// Address of the default network's bridge, in CIDR notation
    #[arg(long, value_name = "CIDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bip: Option<String>,
    /// Largest packet of containers' networks
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mtu: Option<u32>,
    /// DNS server of containers (repeatable)
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) dns: Vec<String>,
    /// DNS search domain of containers (repeatable)
    #[arg(long, value_name = "DOMAIN")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) dns_search: Vec<String>,
    /// DNS option of containers (repeatable)
    #[arg(long, value_name = "OPTION")]
    #[serde(alias = "dns-opts", skip_serializing_if = "Vec::is_empty")]
    pub(crate) dns_opt: Vec<String>,
    /// OCI runtime of containers that name none [default: sampan, the embedded one]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default_runtime: Option<String>,
    /// Further OCI runtime, NAME=PATH (repeatable)
    #[arg(long, value_name = "NAME=PATH")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) add_runtime: Vec<String>,
    /// Put an init into every container
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) init: Option<bool>,
    /// Label of this engine, KEY=VALUE (repeatable)
    #[arg(long, value_name = "LABEL")]
    #[serde(alias = "labels", skip_serializing_if = "Vec::is_empty")]
    pub(crate) label: Vec<String>,
    /// Log driver of containers that name none [default: json-file]
    #[arg(long, value_name = "DRIVER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_driver: Option<String>,
    /// Option of that log driver, KEY=VALUE (repeatable)
    #[arg(long, value_name = "OPTION")]
    #[serde(alias = "log-opts", skip_serializing_if = "Vec::is_empty")]
    pub(crate) log_opt: Vec<String>,
    /// Look after the disk this often (30m, 24h): remove images that nobody needs when it gets full [default: never]
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prune_every: Option<String>,
    /// Begin when less of the disk than this is free [default: 15]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prune_below: Option<u8>,
    /// Go on until this much is free [default: 25]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prune_until: Option<u8>,
    /// Newest versions to keep of each repository that containers use [default: 3]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prune_keep: Option<usize>,
    /// Accepted: containers always outlive the daemon
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) live_restore: Option<bool>,
    /// Accepted: overlay2 is the only storage driver
    #[arg(short = 's', long, value_name = "DRIVER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) storage_driver: Option<String>,
    /// Accepted: rules live in tables of our own, and iptables is never called
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) iptables: Option<bool>,
    /// Accepted: there is no userland proxy
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) userland_proxy: Option<bool>,
    /// Accepted: the daemon never stops containers when it ends
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shutdown_timeout: Option<i64>,
}
