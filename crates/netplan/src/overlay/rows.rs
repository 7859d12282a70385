//! From the store's objects to the endpoint table.

use super::external;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use types::subnet::Cidr;
use types::swarm::endpoint::{
    EndpointRow, EndpointState, EndpointTable, NetworkRow, PeerRow, PolicyRow, Rows, ServiceRow,
    Vip,
};
use types::swarm::external::External;
use types::swarm::network::{ClusterNetwork, Mode};
use types::swarm::node::{Node, NodeState};
use types::swarm::policy::{PolicyPort, PolicyRule, Selector};
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};
use types::{NetworkId, NodeId, ServiceId};

/// The table at `version`. Every iterator must be in the order of ids, as the store's tables are.
///
/// Only what matters to a network is in it: services that are reached by one, and nodes as soon as there are
/// endpoints. A task is healthy while it runs and shall run, draining when it shall stop. What has ended, or is on a node
/// that is down, has no row.
pub fn rows<'a>(
    version: u64,
    networks: impl Iterator<Item = &'a ClusterNetwork>,
    nodes: impl Iterator<Item = &'a Node>,
    services: impl Iterator<Item = &'a Service>,
    tasks: impl Iterator<Item = &'a Task>,
) -> EndpointTable {
    let nodes: Vec<&Node> = nodes.collect();
    let down: BTreeMap<&NodeId, bool> =
        nodes.iter().map(|node| (&node.id, node.status.state == NodeState::Down)).collect();
    let services: BTreeMap<ServiceId, &Service> =
        services.map(|service| (service.id.clone(), service)).collect();
    let mut endpoints: Vec<EndpointRow> = tasks
        .filter(|task| down.get(&task.node_id) == Some(&false))
        .flat_map(|task| endpoints(task, services.get(&task.service_id).copied()))
        .chain(services.values().flat_map(|service| external::endpoints(service)))
        .collect();
    endpoints.sort_by(|a, b| (&a.task, &a.network).cmp(&(&b.task, &b.network)));
    let joined: Vec<&EndpointRow> = endpoints.iter().filter(|row| row.service.is_none()).collect();
    // A host routes no IPv6 for the sake of published ports before there are any.
    let is_used =
        |row: &NetworkRow| !row.ingress || endpoints.iter().any(|it| it.network == row.id);
    let networks = networks.filter_map(|row| network(row, &services, &joined)).map(|row| {
        let six = row.six.filter(|_| is_used(&row));
        NetworkRow { six, ..row }
    });
    let networks = networks.collect();
    let peers = match endpoints.is_empty() {
        true => Rows::default(),
        false => peers(&nodes),
    };
    let services = services.values().filter(|row| is_reached(row)).map(|row| service(row));
    let services = services.collect();
    EndpointTable {
        version,
        tunnel_port: 0,
        networks,
        peers,
        services,
        endpoints: endpoints.into(),
    }
}

fn is_reached(service: &Service) -> bool {
    let spec = &service.spec;
    !service.endpoint.ports.is_empty()
        || !spec.task_template.networks.is_empty()
        || spec.networks.iter().any(|networks| !networks.is_empty())
}

fn network(
    network: &ClusterNetwork,
    services: &BTreeMap<ServiceId, &Service>,
    joined: &[&EndpointRow],
) -> Option<NetworkRow> {
    Some(NetworkRow {
        id: network.id.clone(),
        name: network.spec.name.clone(),
        subnet: network.subnet.parse::<Cidr>().ok()?.subnet(),
        gateway: network.gateway.parse().ok()?,
        six: network.six,
        mode: Mode::of(network.spec.options.as_ref().unwrap_or(&BTreeMap::new())).ok()?,
        internal: network.spec.internal,
        ingress: network.spec.ingress,
        blocks: network.blocks.clone(),
        policy: network
            .policies
            .iter()
            .map(|rule| policy(rule, &network.id, services, joined))
            .collect(),
    })
}

/// What is written down was checked; what means nobody all the same lets nobody in.
/// Containers that joined by themselves have no service: they are meant by their names there.
fn policy(
    rule: &PolicyRule,
    network: &NetworkId,
    services: &BTreeMap<ServiceId, &Service>,
    joined: &[&EndpointRow],
) -> PolicyRow {
    let meant = |text: &String| {
        let selector = Selector::parse(text);
        let means = move |service: &Service| {
            let (name, labels) = (&service.spec.name, &service.spec.labels);
            selector.as_ref().is_some_and(|selector| selector.means(name, labels))
        };
        services.values().filter(move |row| means(row)).map(|row| row.id.clone())
    };
    let places = |text: &String| {
        let text = text.clone();
        let own = joined.iter().filter(move |row| row.network == *network);
        let named = own.filter(move |row| row.name == text || row.aliases.contains(&text));
        named.map(|row| row.task.clone())
    };
    let from = rule.from.iter().flat_map(meant).collect::<BTreeSet<_>>();
    let from_places = rule.from.iter().flat_map(places).collect::<BTreeSet<_>>();
    PolicyRow {
        to_places: places(&rule.to).collect(),
        from_places: from_places.into_iter().collect(),
        to: meant(&rule.to).collect(),
        from: (!rule.from.is_empty()).then(|| from.into_iter().collect()),
        ports: rule.ports.iter().filter_map(|text| PolicyPort::parse(text)).collect(),
    }
}

/// Also of a node that is down: tasks there may still send. Of nodes with one address the newest that is not down: a machine
/// that has left and joined again is another node, and the one that it was stays on the list until it is removed.
fn peers(nodes: &[&Node]) -> Rows<PeerRow> {
    let mut machines: BTreeMap<Ipv4Addr, (&Node, PeerRow)> = BTreeMap::new();
    let age = |node: &Node| (node.status.state != NodeState::Down, node.meta.created_at);
    for node in nodes {
        let Some(row) = peer(node) else { continue };
        match machines.get(&row.underlay) {
            Some((other, _)) if age(other) > age(node) => {}
            _ => drop(machines.insert(row.underlay, (node, row))),
        }
    }
    let mut rows: Vec<PeerRow> = machines.into_values().map(|(_, row)| row).collect();
    rows.sort_by(|one, other| one.node.cmp(&other.node));
    rows.into_iter().collect()
}

fn peer(node: &Node) -> Option<PeerRow> {
    let own = Some(&node.description.data_path_addr).filter(|addr| !addr.is_empty());
    let underlay = own.unwrap_or(&node.status.addr).parse().ok()?;
    Some(PeerRow { node: node.id.clone(), underlay, wire_key: node.description.wire_key.clone() })
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
        check: External::of(&service.spec.labels).ok().flatten().and_then(|outside| outside.check),
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
            name: container_name(task, service),
            aliases: attachment.aliases.clone(),
        })
    };
    task.networks_attachments.iter().filter_map(row).collect()
}

/// Docker's container name: `web.1.TASK`, with the node instead of a slot for a global service; its own for a
/// container that joined by itself.
pub fn container_name(task: &Task, service: Option<&Service>) -> String {
    if let Some(attached) = &task.spec.network_attachment_spec {
        return attached.name.clone();
    }
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
