//! Networks of the whole cluster. Their subnets and VNIs are the leader's to give.

use super::error::{Code, invalid};
use super::{Error, find, from_spec};
use allocator::AllocError;
use allocator::cluster::{Allocator, ClusterAllocError};
use errdefs::Classify;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use store::{Change, Kind, RefKind, Snapshot};
use types::network::{
    CreateRequest, Ipam, IpamConfig, Network, NetworkPeer, NetworkRoute, NetworkService,
    NetworkTask,
};
use types::six::SixSubnet;
use types::subnet::Cidr;
use types::swarm::attach::{AttachRequest, Attached};
use types::swarm::network::{ClusterNetwork, Mode, NodeBlock};
use types::swarm::policy::PolicyRule;
use types::swarm::service::NetworkAttachmentConfig;
use types::swarm::task::{NetworkAttachmentSpec, Task, TaskSpec, TaskState, TaskStatus};
use types::{NetworkId, NodeId, TaskId};

/// The driver of networks that have none named.
pub const DRIVER: &str = "overlay";
const VXLAN_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";
/// SwarmKit's word for the runtime of tasks that stand for another's container.
const ATTACHMENT: &str = "attachment";
/// Of a node's id in the names of a network's peers.
const SHORT_ID: usize = 12;
const OF_NODES: &[&str] = &["host", "bridge"];
/// Above anything that a person writes; each node keeps what follows from them.
const MOST_POLICIES: usize = 1_000;
const PREDEFINED: &[&str] = &["bridge", "host", "none", "default"];

/// `POST /networks/create` with the overlay driver or the swarm's scope.
pub fn create(state: &Snapshot, id: NetworkId, spec: &CreateRequest) -> Result<Vec<Change>, Error> {
    if PREDEFINED.contains(&spec.name.as_str()) {
        let message = format!("{} is a pre-defined network and cannot be created", spec.name);
        return Err(Error::Daemon { kind: errdefs::ErrorKind::Forbidden, message });
    }
    if spec.attachable && spec.ingress {
        return Err(invalid("ingress network cannot be attachable"));
    }
    store::validate::check_service_name(&spec.name).map_err(from_spec)?;
    if !matches!(spec.driver.as_str(), "" | DRIVER) {
        return Err(invalid(format!("network driver {:?} is not supported", spec.driver)));
    }
    check_ipam(spec)?;
    check_mode(spec)?;
    if spec.ingress
        && let Some(there) = state.networks().iter().find(|network| network.spec.ingress)
    {
        return Err(Error::Refused {
            code: Code::AlreadyExists,
            desc: format!("ingress network ({}) is already present", there.id),
        });
    }
    let mut spec = spec.clone();
    spec.driver = DRIVER.to_owned();
    let network = ClusterNetwork { id, spec, ..ClusterNetwork::default() };
    check_room(state, &network)?;
    Ok(vec![Change::Create(network.into())])
}

/// How packets of the network travel between nodes: never in the clear what somebody believes to be encrypted.
fn check_mode(spec: &CreateRequest) -> Result<(), Error> {
    let options = spec.options.clone().unwrap_or_default();
    let name = &spec.name;
    let mode = Mode::of(&options).map_err(|err| invalid(format!("network {name}: {err}")))?;
    if mode == Mode::Direct && spec.enable_ipv6 == Some(true) {
        return Err(invalid(format!(
            "network {name}: mode direct has no IPv6: nodes know each other by IPv4 addresses"
        )));
    }
    if mode == Mode::Direct && spec.ingress {
        return Err(invalid(format!(
            "network {name}: the ingress network takes no mode direct: it is reached by published ports"
        )));
    }
    Ok(())
}

/// The leader gives the subnet; what it would refuse is refused here, before anything is written (SwarmKit takes the
/// network and never gives it one).
fn check_room(state: &Snapshot, network: &ClusterNetwork) -> Result<(), Error> {
    let mut books = Allocator::default();
    state.clusters().iter().for_each(|row| books.set_cluster(row));
    state.networks().iter().for_each(|row| books.set_network(row));
    books.check_network(network).map_err(|err| {
        let (own, before) = match &err {
            ClusterAllocError::Overlaps { .. } => {
                (AllocError::PoolOverlaps, "invalid pool request: ".to_owned())
            }
            ClusterAllocError::SubnetsExhausted { .. } => {
                (AllocError::PoolsExhausted, String::new())
            }
            ClusterAllocError::OutOfRange { address, .. } => {
                (AllocError::OutOfRange, format!("failed to allocate gateway ({address}): "))
            }
            err => return Error::Daemon { kind: err.kind(), message: err.to_string() },
        };
        Error::Daemon { kind: own.kind(), message: format!("{before}{own}") }
    })
}

/// A network of the nodes themselves, `host` or `bridge`, that services name; made when the first one does.
pub fn of_nodes(name: &str, id: NetworkId) -> Option<ClusterNetwork> {
    let spec = CreateRequest {
        name: name.to_owned(),
        driver: name.to_owned(),
        scope: "swarm".to_owned(),
        ..CreateRequest::default()
    };
    let network = ClusterNetwork { id, spec, ..ClusterNetwork::default() };
    OF_NODES.contains(&name).then_some(network)
}

/// What clients ask for before they name such a network: its name stands for its id.
pub fn answer_of_nodes(name: &str) -> Option<Network> {
    of_nodes(name, NetworkId::new(name)).map(|row| Network {
        driver: name.to_owned(),
        options: BTreeMap::new(),
        ..answer(&row)
    })
}

/// Whether it is the cluster's name for a network that every node has; Docker does not list it.
pub fn is_of_nodes(network: &ClusterNetwork) -> bool {
    OF_NODES.contains(&network.spec.name.as_str())
}

pub fn remove(state: &Snapshot, key: &str) -> Result<Vec<Change>, Error> {
    let network = find::network(state, key)?;
    if network.spec.ingress {
        let published = state.services().iter().find(|service| {
            let ports = service.spec.endpoint_spec.iter().flat_map(|endpoint| &endpoint.ports);
            ports.into_iter().any(|port| port.publish_mode != "host")
        });
        if let Some(service) = published {
            return Err(super::error::precondition(format!(
                "ingress network cannot be removed because service {} depends on it",
                service.id
            )));
        }
    }
    Ok(vec![Change::Remove { kind: Kind::Network, id: network.id.to_string(), version: None }])
}

/// Who may talk to whom on the network from now on, in the place of what was said before.
pub fn set_policies(
    state: &Snapshot,
    key: &str,
    rules: &[PolicyRule],
) -> Result<Vec<Change>, Error> {
    let network = find::network(state, key)?;
    if is_of_nodes(network) || network.spec.ingress {
        let name = &network.spec.name;
        return Err(invalid(format!("network {name} takes no policies")));
    }
    if rules.len() > MOST_POLICIES {
        return Err(invalid(format!("a network takes at most {MOST_POLICIES} policies")));
    }
    for rule in rules {
        rule.check().map_err(|what| invalid(format!("invalid policy: {what}")))?;
    }
    if network.policies == rules {
        return Ok(Vec::new());
    }
    let new = ClusterNetwork { policies: rules.to_vec(), ..ClusterNetwork::clone(network) };
    Ok(vec![Change::Update(new.into())])
}

/// A place for a container of a node. Nothing if the node has asked for it before.
///
/// # Errors
/// dockerd's words: no such network, one that containers may not join, an address that is none of it.
pub fn attach(state: &Snapshot, request: &AttachRequest) -> Result<Vec<Change>, Error> {
    if state.tasks().get(request.task.as_str()).is_some() {
        return Ok(Vec::new());
    }
    let network = find::network(state, &request.network)?;
    let name = &network.spec.name;
    if !network.spec.attachable || network.spec.ingress {
        let desc = format!("network {name} not manually attachable");
        return Err(could_not(name, Code::PermissionDenied, &desc));
    }
    if let (Some(address), Ok(cidr)) = (request.address, network.subnet.parse::<Cidr>())
        && !cidr.subnet().contains(address)
    {
        return Err(refused(format!(
            "invalid config for network {name}: invalid endpoint settings:\nno configured subnet contains IP address {address}"
        )));
    }
    let wanted = NetworkAttachmentConfig {
        target: network.id.to_string(),
        aliases: request.aliases.clone(),
        addresses: request.address.iter().map(Ipv4Addr::to_string).collect(),
        ..NetworkAttachmentConfig::default()
    };
    let attached = NetworkAttachmentSpec {
        container_id: request.container.clone(),
        name: request.name.clone(),
    };
    let spec = TaskSpec {
        network_attachment_spec: Some(attached),
        networks: vec![wanted],
        runtime: ATTACHMENT.to_owned(),
        ..TaskSpec::default()
    };
    let task = Task {
        id: request.task.clone(),
        node_id: request.node.clone(),
        spec: Arc::new(spec),
        status: TaskStatus { state: TaskState::Pending, ..TaskStatus::default() },
        desired_state: TaskState::Running,
        ..Task::default()
    };
    Ok(vec![Change::Create(task.into())])
}

/// What became of it; [`None`] while the leader has not decided.
pub fn attached(state: &Snapshot, request: &AttachRequest) -> Option<Result<Attached, Error>> {
    let Some(task) = state.tasks().get(request.task.as_str()) else {
        let desc = format!("task {} not found", request.task);
        return Some(Err(could_not(&request.network, Code::NotFound, &desc)));
    };
    if task.status.state.is_terminal() {
        let code = Code::FailedPrecondition;
        return Some(Err(could_not(&request.network, code, &task.status.err)));
    }
    let given = task.networks_attachments.first()?;
    let cidr: Cidr = given.addresses.first()?.parse().ok()?;
    Some(Ok(Attached {
        network: NetworkId::new(given.network.clone()),
        address: cidr.address,
        prefix_len: cidr.prefix_len,
    }))
}

/// Gives places of a node back; those that it does not have are passed over.
pub fn detach(state: &Snapshot, node: &NodeId, places: &[TaskId]) -> Vec<Change> {
    let tasks = places.iter().filter_map(|id| state.tasks().get(id.as_str()));
    let own = tasks.filter(|task| task.is_attachment() && task.node_id == *node);
    own.map(|task| Change::Remove { kind: Kind::Task, id: task.id.to_string(), version: None })
        .collect()
}

/// dockerd hands the manager's refusal on with words of its own before it.
fn could_not(network: &str, code: Code, desc: &str) -> Error {
    let refused = Error::Refused { code, desc: desc.to_owned() };
    let message = format!("Could not attach to network {network}: {refused}");
    Error::Daemon { kind: refused.kind(), message }
}

/// As `GET /networks` answers it; the containers on it are each node's to tell.
pub fn answer(network: &ClusterNetwork) -> Network {
    let spec = &network.spec;
    let mut options = spec.options.clone().unwrap_or_default();
    if network.vni != 0 {
        options.insert(VXLAN_OPTION.to_owned(), network.vni.to_string());
    }
    let pools = match network.subnet.is_empty() {
        true => spec.ipam.as_ref().and_then(|ipam| ipam.config.clone()).unwrap_or_default(),
        false => {
            let four = IpamConfig {
                subnet: network.subnet.clone(),
                gateway: network.gateway.clone(),
                ..IpamConfig::default()
            };
            [four].into_iter().chain(network.six.map(|six| pool_six(spec, six))).collect()
        }
    };
    let asked = spec.ipam.clone().unwrap_or_default();
    let driver = if asked.driver.is_empty() { "default".to_owned() } else { asked.driver };
    Network {
        name: spec.name.clone(),
        id: network.id.clone(),
        created: network.meta.created_at,
        scope: "swarm".to_owned(),
        driver: if spec.driver.is_empty() { DRIVER.to_owned() } else { spec.driver.clone() },
        enable_ipv4: true,
        enable_ipv6: spec.enable_ipv6.unwrap_or(false),
        ipam: Ipam { driver, options: asked.options, config: Some(pools) },
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        options,
        labels: spec.labels.clone().unwrap_or_default(),
        containers: BTreeMap::new(),
        policies: network.policies.clone(),
        ..Network::default()
    }
}

/// The user's gateway, or the first address; no packet asks for it.
fn pool_six(spec: &CreateRequest, six: SixSubnet) -> IpamConfig {
    let wishes = spec.ipam.iter().flat_map(|ipam| ipam.config.iter().flatten());
    let mut named =
        wishes.filter(|wish| wish.subnet.contains(':')).map(|wish| wish.gateway.clone());
    let gateway = named.find(|gateway| !gateway.is_empty());
    IpamConfig {
        subnet: six.to_string(),
        gateway: gateway.unwrap_or_else(|| six.gateway().to_string()),
        ..IpamConfig::default()
    }
}

/// The network with who is on it: its nodes, and when `verbose` its services.
pub fn describe(state: &Snapshot, network: &ClusterNetwork, verbose: bool) -> Network {
    let row = |id: &NodeId| state.nodes().get(id.as_str());
    let nodes: BTreeSet<&NodeId> = network.blocks.iter().map(|block| &block.node).collect();
    let peers = nodes.into_iter().filter_map(row).map(|node| {
        let short: String = node.id.as_str().chars().take(SHORT_ID).collect();
        NetworkPeer {
            name: format!("{}-{short}", node.description.hostname),
            ip: node.status.addr.clone(),
        }
    });
    let peers = peers.collect();
    let services = verbose.then(|| services(state, network));
    Network { peers: Some(peers), services, routes: routes(state, network), ..answer(network) }
}

/// How machines outside reach the network's containers, if they do.
fn routes(state: &Snapshot, network: &ClusterNetwork) -> Vec<NetworkRoute> {
    let options = network.spec.options.clone().unwrap_or_default();
    if Mode::of(&options) != Ok(Mode::Direct) || network.spec.internal {
        return Vec::new();
    }
    let route = |of: &NodeBlock| {
        let node = state.nodes().get(of.node.as_str())?;
        let said = &node.description;
        let via = match said.data_path_addr.as_str() {
            "" => node.status.addr.as_str(),
            own => own,
        };
        Some(NetworkRoute {
            block: of.block.to_string(),
            via: via.to_owned(),
            node: said.hostname.clone(),
        })
    };
    network.blocks.iter().filter_map(route).collect()
}

fn services(state: &Snapshot, network: &ClusterNetwork) -> BTreeMap<String, NetworkService> {
    let mut services: BTreeMap<String, NetworkService> = BTreeMap::new();
    let id = network.id.as_str();
    for service in state.services().iter() {
        let vip = service.endpoint.virtual_ips.iter().find(|vip| vip.network_id == id);
        let Some(vip) = vip else { continue };
        let known = services.entry(service.spec.name.clone()).or_default();
        known.vip = vip.addr.split('/').next().unwrap_or_default().to_owned();
        let ports = service.endpoint.ports.iter().filter(|_| network.spec.ingress);
        known.ports = ports
            .map(|port| format!("Target: {}, Publish: {}", port.target_port, port.published_port))
            .collect();
    }
    for task in state.tasks_referring(RefKind::Network, id) {
        if task.status.state != TaskState::Running {
            continue;
        }
        let given = task.networks_attachments.iter().find(|given| given.network == id);
        let Some(address) = given.and_then(|given| given.addresses.first()) else { continue };
        let service = state.services().get(task.service_id.as_str());
        let name = service.map_or("", |service| service.spec.name.as_str());
        let host = state.nodes().get(task.node_id.as_str());
        let host = host.map(|node| node.status.addr.clone()).unwrap_or_default();
        services.entry(name.to_owned()).or_default().tasks.push(NetworkTask {
            name: netplan::overlay::container_name(task, service.map(|row| &**row)),
            endpoint_id: task.id.to_string(),
            endpoint_ip: address.split('/').next().unwrap_or_default().to_owned(),
            info: BTreeMap::from([("Host IP".to_owned(), host)]),
        });
    }
    services
}

/// As dockerd checks what any network is made with, before it asks SwarmKit; of IPv6 entries SwarmKit's own checks.
fn check_ipam(spec: &CreateRequest) -> Result<(), Error> {
    let Some(ipam) = &spec.ipam else { return Ok(()) };
    if !matches!(ipam.driver.as_str(), "" | "default") {
        return Err(refused("invalid ipam driver: only \"default\" is there".to_owned()));
    }
    let pools = ipam.config.as_deref().unwrap_or_default();
    allocator::check_ipam(pools).map_err(|err| refused(err.to_string()))?;
    let is_six = |pool: &&IpamConfig| pool.subnet.contains(':');
    if pools.iter().filter(|pool| !is_six(pool)).count() > 1 {
        return Err(invalid(format!(
            "network {}: a network of the cluster has one IPv4 subnet: name one that is large enough",
            spec.name
        )));
    }
    for pool in pools.iter().filter(is_six) {
        let Some(subnet) = prefix(&pool.subnet) else {
            return Err(wrong(format!("invalid subnet {}", pool.subnet)));
        };
        if !pool.ip_range.is_empty() {
            let Some((range, _)) = prefix(&pool.ip_range) else {
                return Err(wrong(format!("invalid range {}", pool.ip_range)));
            };
            if !contains(subnet, range) {
                let (subnet, range) = (&pool.subnet, &pool.ip_range);
                return Err(wrong(format!("subnet {subnet} does not contain range {range}")));
            }
        }
        if !pool.gateway.is_empty() {
            let Ok(gateway) = pool.gateway.parse() else {
                return Err(wrong(format!("invalid gateway {}", pool.gateway)));
            };
            if !contains(subnet, gateway) {
                let (subnet, gateway) = (&pool.subnet, &pool.gateway);
                return Err(wrong(format!("subnet {subnet} does not contain gateway {gateway}")));
            }
        }
    }
    Ok(())
}

/// dockerd's own refusal, before SwarmKit is asked.
fn refused(message: String) -> Error {
    Error::Daemon { kind: errdefs::ErrorKind::InvalidParameter, message }
}

fn wrong(what: String) -> Error {
    invalid(format!("ipam configuration: {what}"))
}

fn prefix(text: &str) -> Option<(IpAddr, u32)> {
    let (base, bits) = text.split_once('/')?;
    let base: IpAddr = base.parse().ok()?;
    let bits: u32 = bits.parse().ok()?;
    (bits <= if base.is_ipv4() { 32 } else { 128 }).then_some((base, bits))
}

fn contains((base, bits): (IpAddr, u32), address: IpAddr) -> bool {
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(base) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(base) & mask == u128::from(address) & mask
        }
        _ => false,
    }
}
