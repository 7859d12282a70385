//! How a node becomes part of a cluster: the bodies of `/swarm/…`.

use super::cluster::ClusterSpec;
use super::node::Availability;
use serde::{Deserialize, Serialize};

/// `POST /swarm/init`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InitRequest {
    /// `0.0.0.0:2377`; an interface's name may stand for its address.
    pub listen_addr: String,
    /// What other nodes reach it by; the listener's port when it has none. Found out when empty.
    pub advertise_addr: String,
    pub data_path_addr: String,
    /// UDP port of the overlay's traffic; 4789 when 0.
    pub data_path_port: u32,
    /// Subnets of new networks are cut from these; `10.0.0.0/8` when empty.
    pub default_addr_pool: Vec<String>,
    /// Prefix length of those subnets; 24 when 0.
    pub subnet_size: u32,
    pub force_new_cluster: bool,
    pub spec: ClusterSpec,
    pub auto_lock_managers: bool,
    pub availability: Availability,
}

/// `POST /swarm/join`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JoinRequest {
    pub listen_addr: String,
    pub advertise_addr: String,
    pub data_path_addr: String,
    /// Managers, `host[:port]`; the first that answers.
    pub remote_addrs: Vec<String>,
    /// `SWMTKN-1-…`
    pub join_token: String,
    pub availability: Availability,
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest")
            .field("listen_addr", &self.listen_addr)
            .field("advertise_addr", &self.advertise_addr)
            .field("remote_addrs", &self.remote_addrs)
            .finish_non_exhaustive()
    }
}

/// `POST /swarm/unlock`, and the answer of `GET /swarm/unlockkey`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UnlockKey {
    /// `SWMKEY-1-…`; empty when managers do not lock themselves.
    pub unlock_key: String,
}
