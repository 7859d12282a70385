//! The truth that a plan is derived from. The engine writes it; nobody patches what follows from it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use types::port::Protocol;
use types::subnet::Subnet;
use types::{ContainerId, EndpointId, NetworkId};

/// All networks of this node that have an interface, and who is on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Eight hex digits that tell this daemon's table in the kernel from another's.
    pub instance: String,
    pub networks: BTreeMap<NetworkId, Network>,
    pub sandboxes: BTreeMap<ContainerId, Sandbox>,
    pub endpoints: BTreeMap<EndpointId, Endpoint>,
}

/// A network of the `bridge` driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub name: String,
    /// The interface's name, at most 15 bytes.
    pub bridge: String,
    pub subnet: Subnet,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    /// No way in or out but among its own endpoints.
    pub internal: bool,
    /// Whether its endpoints may talk to each other beside published ports (`enable_icc`).
    pub icc: bool,
    /// Whether outgoing traffic takes the host's address (`enable_ip_masquerade`).
    pub masquerade: bool,
    /// Bytes.
    pub mtu: u32,
}

/// One network namespace: what its container publishes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Reached through the endpoint that has the default route.
    pub ports: Vec<Published>,
    /// Its address in the cluster's network that has the default route, if no bridge has it.
    pub outside: Option<Ipv4Addr>,
}

/// A container's place in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub network: NetworkId,
    pub sandbox: ContainerId,
    pub address: Ipv4Addr,
    pub mac: [u8; 6],
    /// Its name inside the sandbox; kept as long as the endpoint lives.
    pub interface: String,
    /// The highest has the default route (`--gw-priority`).
    pub gw_priority: i64,
}

/// A port of the host that leads to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    pub protocol: Protocol,
    /// 0.0.0.0 is every address of the host.
    pub host_ip: Ipv4Addr,
    pub host_port: u16,
    pub container_port: u16,
}

impl Table {
    /// The endpoints of one sandbox.
    pub fn endpoints_of<'a>(
        &'a self,
        sandbox: &'a ContainerId,
    ) -> impl Iterator<Item = (&'a EndpointId, &'a Endpoint)> {
        self.endpoints.iter().filter(move |(_, endpoint)| endpoint.sandbox == *sandbox)
    }

    /// The endpoint that has the sandbox's default route: the highest priority wins, then the network
    /// whose name sorts first. `None` when all its networks are internal, or the default route is on none of
    /// these.
    pub fn gateway_of<'a>(
        &'a self,
        sandbox: &'a ContainerId,
    ) -> Option<(&'a EndpointId, &'a Endpoint)> {
        if self.sandboxes.get(sandbox).is_some_and(|sandbox| sandbox.outside.is_some()) {
            return None;
        }
        self.endpoints_of(sandbox)
            .filter_map(|(id, endpoint)| {
                Some((id, endpoint, self.networks.get(&endpoint.network)?))
            })
            .filter(|(_, _, network)| !network.internal)
            .min_by_key(|(id, endpoint, network)| (-endpoint.gw_priority, &network.name, *id))
            .map(|(id, endpoint, _)| (id, endpoint))
    }
}

/// The first of `prefix`0, `prefix`1, … that is not among `used`.
pub fn free_interface<'a>(prefix: &str, used: impl IntoIterator<Item = &'a str>) -> String {
    let used: std::collections::BTreeSet<&str> = used.into_iter().collect();
    let free = (0u32..)
        .map(|number| format!("{prefix}{number}"))
        .find(|name| !used.contains(name.as_str()));
    free.unwrap_or_default()
}
