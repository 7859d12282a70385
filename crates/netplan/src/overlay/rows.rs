//! From the store's objects to the endpoint table.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use types::subnet::Cidr;
use types::swarm::endpoint::{
    EndpointRow, EndpointState, EndpointTable, NetworkRow, PeerRow, ServiceRow, Vip,
};
use types::swarm::network::ClusterNetwork;
use types::swarm::node::{Node, NodeState};
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};
use types::{NetworkId, NodeId, ServiceId};

/// The table at `version`. Every iterator must be in the order of ids, as the store's tables are.
///
/// A task is healthy while it runs and shall run, draining when it shall stop. What has ended, or is on a node
/// that is down, has no row.
pub fn rows<'a>(
    version: u64,
    networks: impl Iterator<Item = &'a ClusterNetwork>,
    nodes: impl Iterator<Item = &'a Node>,
    services: impl Iterator<Item = &'a Service>,
    tasks: impl Iterator<Item = &'a Task>,
) -> EndpointTable {
    let networks: Vec<NetworkRow> = networks.filter_map(network).collect();
    let nodes: Vec<&Node> = nodes.collect();
    let down: BTreeMap<&NodeId, bool> =
        nodes.iter().map(|node| (&node.id, node.status.state == NodeState::Down)).collect();
    let services: BTreeMap<ServiceId, &Service> =
        services.map(|service| (service.id.clone(), service)).collect();
    let endpoints = tasks
        .filter(|task| down.get(&task.node_id) == Some(&false))
        .flat_map(|task| endpoints(task, services.get(&task.service_id).copied()))
        .collect();
    EndpointTable {
        version,
        networks,
        peers: nodes.iter().filter_map(|node| peer(node)).collect(),
        services: services.values().map(|row| service(row)).collect(),
        endpoints,
    }
}

fn network(network: &ClusterNetwork) -> Option<NetworkRow> {
    Some(NetworkRow {
        id: network.id.clone(),
        name: network.spec.name.clone(),
        subnet: network.subnet.parse::<Cidr>().ok()?.subnet(),
        gateway: network.gateway.parse().ok()?,
        internal: network.spec.internal,
        ingress: network.spec.ingress,
        blocks: network.blocks.clone(),
    })
}

/// Also of a node that is down: tasks there may still send.
fn peer(node: &Node) -> Option<PeerRow> {
    let underlay = node.status.addr.parse().ok()?;
    Some(PeerRow { node: node.id.clone(), underlay })
}

fn service(service: &Service) -> ServiceRow {
    let vip = |vip: &types::swarm::service::VirtualIp| {
        let network = NetworkId::new(vip.network_id.clone());
        Some(Vip { network, address: address(&vip.addr)? })
    };
    ServiceRow {
        id: service.id.clone(),
        name: service.spec.name.clone(),
        vips: service.endpoint.virtual_ips.iter().filter_map(vip).collect(),
        ports: service.endpoint.ports.clone(),
    }
}

fn endpoints(task: &Task, service: Option<&Service>) -> Vec<EndpointRow> {
    let state = match (task.status.state, task.desired_state) {
        (state, _) if state.is_terminal() || state < TaskState::Assigned => return Vec::new(),
        (_, desired) if desired > TaskState::Complete => EndpointState::Draining,
        (TaskState::Running, _) => EndpointState::Healthy,
        _ => EndpointState::Starting,
    };
    let row = |attachment: &types::swarm::task::NetworkAttachment| {
        Some(EndpointRow {
            task: task.id.clone(),
            network: NetworkId::new(attachment.network.clone()),
            node: task.node_id.clone(),
            address: address(attachment.addresses.first()?)?,
            state,
            weight: 1,
            service: service.map(|service| service.id.clone()),
            slot: task.slot,
            name: name(task, service),
            aliases: attachment.aliases.clone(),
        })
    };
    task.networks_attachments.iter().filter_map(row).collect()
}

/// Docker's container name: `web.1.TASK`, with the node instead of a slot for a global service.
fn name(task: &Task, service: Option<&Service>) -> String {
    let Some(service) = service else { return task.id.to_string() };
    match task.slot {
        0 => format!("{}.{}.{}", service.spec.name, task.node_id, task.id),
        slot => format!("{}.{slot}.{}", service.spec.name, task.id),
    }
}

fn address(text: &str) -> Option<Ipv4Addr> {
    text.parse::<Cidr>().ok().map(|cidr| cidr.address)
}

#[cfg(test)]
mod tests;
