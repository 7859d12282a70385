//! What the daemon's flags say to the engine.

use crate::housekeeping::Housekeeping;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Settled once at start; see `sampan daemon --help` for the flags.
#[derive(Debug, Clone, Default)]
pub struct EngineConfig {
    /// Everything that must survive a reboot.
    pub data_root: PathBuf,
    /// Everything that ends with a reboot: shims' sockets, sandboxes, bundles.
    pub exec_root: PathBuf,
    /// Parent of every container's cgroup; `/sampan` when empty.
    pub cgroup_parent: String,
    /// `base=CIDR,size=N` pools for networks; Docker's own when empty.
    pub default_address_pools: Vec<AddressPool>,
    /// Address of the default bridge (`--bip`), or empty.
    pub bip: String,
    /// Name of the default bridge's interface, or empty to derive one from the network's id.
    pub bridge: String,
    pub mtu: Option<u32>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    pub registry_mirrors: Vec<String>,
    pub insecure_registries: Vec<String>,
    /// Name → OCI binary. The name `sampan` is the embedded runtime.
    pub runtimes: BTreeMap<String, PathBuf>,
    /// Which of them; empty is the embedded one.
    pub default_runtime: String,
    /// Put an init into every container.
    pub init: bool,
    /// Engine labels, `key=value`.
    pub labels: Vec<String>,
    /// The program that is re-executed as `PROGRAM shim …`; the daemon's own when `None`.
    pub shim_program: Option<PathBuf>,
    pub default_log_driver: String,
    pub default_log_opts: BTreeMap<String, String>,
    pub debug: bool,
    pub housekeeping: Housekeeping,
}

/// Subnets of `/size` are cut from `base`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPool {
    /// `10.0.0.0/8`.
    pub base: String,
    pub size: u8,
}
