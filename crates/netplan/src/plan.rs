//! From the table to links, routes and rules.

use crate::rules::{self, Ruleset};
use crate::{Network, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use types::port::Protocol;
use types::subnet::Cidr;
use types::{ContainerId, EndpointId};

/// Everything the kernel is to hold for us, and nothing else of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetPlan {
    /// Marks what is ours (`Table::instance`).
    pub instance: String,
    /// By interface name.
    pub bridges: BTreeMap<String, BridgePlan>,
    /// By the name of the end on the host.
    pub veths: BTreeMap<String, VethPlan>,
    /// Default routes; a sandbox with endpoints but without an entry has none.
    pub gateways: BTreeMap<ContainerId, Gateway>,
    /// Sandboxes whose default route is not ours to change.
    pub outside: BTreeSet<ContainerId>,
    /// Path below `/proc/sys` to value.
    pub sysctls: BTreeMap<String, &'static str>,
    pub forwards: BTreeSet<Forward>,
    pub ruleset: Ruleset,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgePlan {
    pub address: Cidr,
    /// Set, so that it does not change with the ports that come and go.
    pub mac: [u8; 6],
    pub mtu: u32,
}

/// A pair of which one end is a port of `bridge`, the other `interface` in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethPlan {
    pub sandbox: ContainerId,
    pub bridge: String,
    pub interface: String,
    pub address: Cidr,
    pub mac: [u8; 6],
    pub mtu: u32,
    /// Bridged frames do not pass to other isolated ports: `enable_icc=false` also without br_netfilter.
    pub isolated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    pub interface: String,
    pub via: Ipv4Addr,
}

/// One published port, resolved to where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Forward {
    pub protocol: Protocol,
    pub host_ip: Ipv4Addr,
    pub host_port: u16,
    pub to: Ipv4Addr,
    pub to_port: u16,
}

/// The plan for `table`. Endpoints of unknown networks are left out.
pub fn plan(table: &Table) -> NetPlan {
    let forwards = forwards(table);
    NetPlan {
        instance: table.instance.clone(),
        bridges: table
            .networks
            .values()
            .map(|network| (network.bridge.clone(), bridge(network)))
            .collect(),
        veths: veths(table),
        gateways: gateways(table),
        outside: outside(table),
        sysctls: sysctls(table),
        ruleset: rules::ruleset(table, &forwards),
        forwards,
    }
}

fn bridge(network: &Network) -> BridgePlan {
    let address = network.subnet.with(network.gateway);
    BridgePlan { address, mac: mac_of(network.gateway), mtu: network.mtu }
}

fn veths(table: &Table) -> BTreeMap<String, VethPlan> {
    let veth = |(id, endpoint): (&EndpointId, &crate::Endpoint)| {
        let network = table.networks.get(&endpoint.network)?;
        let veth = VethPlan {
            sandbox: endpoint.sandbox.clone(),
            bridge: network.bridge.clone(),
            interface: endpoint.interface.clone(),
            address: network.subnet.with(endpoint.address),
            mac: endpoint.mac,
            mtu: network.mtu,
            isolated: !network.icc,
        };
        Some((veth_name(id), veth))
    };
    table.endpoints.iter().filter_map(veth).collect()
}

fn gateways(table: &Table) -> BTreeMap<ContainerId, Gateway> {
    let gateway = |sandbox: &ContainerId| {
        let (_, endpoint) = table.gateway_of(sandbox)?;
        let via = table.networks.get(&endpoint.network)?.gateway;
        Some((sandbox.clone(), Gateway { interface: endpoint.interface.clone(), via }))
    };
    table.sandboxes.keys().filter_map(gateway).collect()
}

fn outside(table: &Table) -> BTreeSet<ContainerId> {
    let sandboxes = table.sandboxes.iter().filter(|(_, sandbox)| sandbox.outside.is_some());
    sandboxes.map(|(id, _)| id.clone()).collect()
}

/// Forwarding for the networks that lead out, and `route_localnet` so that 127.0.0.1 on the host can be
/// translated to a container; the rules drop what that would let in.
fn sysctls(table: &Table) -> BTreeMap<String, &'static str> {
    let outward = || table.networks.values().filter(|network| !network.internal);
    let mut sysctls: BTreeMap<_, _> = outward()
        .map(|network| (format!("net/ipv4/conf/{}/route_localnet", network.bridge), "1"))
        .collect();
    if outward().next().is_some() {
        sysctls.insert("net/ipv4/ip_forward".to_owned(), "1");
    }
    sysctls
}

fn forwards(table: &Table) -> BTreeSet<Forward> {
    let of_sandbox = |(id, sandbox): (&ContainerId, &crate::Sandbox)| {
        let gateway = table.gateway_of(id).map(|(_, endpoint)| endpoint.address);
        let to = gateway.or(sandbox.outside);
        let ports = sandbox.ports.clone();
        to.into_iter()
            .flat_map(move |to| ports.clone().into_iter().map(move |port| (port, to)))
            .collect::<Vec<_>>()
    };
    let mut taken = BTreeSet::new();
    table
        .sandboxes
        .iter()
        .flat_map(of_sandbox)
        // A key that came twice would make the kernel refuse the whole transaction.
        .filter(|(port, _)| taken.insert((port.protocol, port.host_ip, port.host_port)))
        .map(|(port, to)| Forward {
            protocol: port.protocol,
            host_ip: port.host_ip,
            host_port: port.host_port,
            to,
            to_port: port.container_port,
        })
        .collect()
}

/// At most 15 bytes; eleven hex digits of a random id do not collide on one node.
fn veth_name(endpoint: &EndpointId) -> String {
    format!("veth{}", endpoint.as_str().get(..11).unwrap_or(endpoint.as_str()))
}

/// Docker's `02:42:` and the address: an address that is given again comes with the MAC that neighbours
/// still remember.
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

#[cfg(test)]
mod tests;
