//! All the books of the cluster, kept up with the store's objects.
//!
//! ```text
//! set_… / remove_… (every object that changed) ──► books ──► allocate_network, allocate_endpoint, attach:
//!                                                            fields for the leader to write
//! ```
//! Told the same objects in any order it gives the same answers, so a new leader goes on from the snapshot alone.
//! What was given counts as held at once; if its write was refused, the leader tells the object again as the
//! store has it (or that it is gone), and what was given is free.

use super::network::NetworkBooks;
use super::{ClusterAllocError, PublishedPorts, Vnis};
use crate::{Pool, choose_subnet};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use types::six::SixSubnet;
use types::subnet::{Cidr, Subnet};
use types::swarm::cluster::Cluster;
use types::swarm::network::{ClusterNetwork, NodeBlock};
use types::swarm::service::{Endpoint, EndpointSpec, NetworkAttachmentConfig, Service, VirtualIp};
use types::swarm::task::{NetworkAttachment, Task};
use types::{NetworkId, NodeId, ServiceId, TaskId};

/// Docker's, when `swarm init` named none.
pub const DEFAULT_POOL: &str = "10.0.0.0/8";
/// Docker's. Its blocks are small: clusters of more than thirty nodes want larger subnets.
pub const DEFAULT_SUBNET_SIZE: u8 = 24;

/// Who holds what.
#[derive(Debug, Default)]
pub struct Allocator {
    pools: Vec<Pool>,
    /// The first 48 bits of the cluster's own IPv6 addresses (RFC 4193).
    six_pool: u128,
    networks: BTreeMap<NetworkId, Known>,
    /// Books of networks, also of those that are not known yet.
    books: BTreeMap<NetworkId, NetworkBooks>,
    ports: PublishedPorts,
    vnis: Vnis,
    /// The networks in which a service has a VIP.
    services: BTreeMap<ServiceId, Vec<NetworkId>>,
    /// The addresses of tasks that have not ended.
    tasks: HashMap<TaskId, Vec<(NetworkId, Ipv4Addr)>>,
    /// Networks whose blocks may differ from what is written.
    touched: BTreeSet<NetworkId>,
}

/// What matters of a network.
#[derive(Debug, Clone)]
struct Known {
    name: String,
    subnet: Option<Subnet>,
    six: Option<SixSubnet>,
    vni: u32,
    is_ingress: bool,
    /// `host` and `bridge` networks of the nodes themselves: nothing is given out in them.
    is_local: bool,
}

impl Allocator {
    /// Pools that make no sense were refused at `swarm init`; here they count for nothing.
    pub fn set_cluster(&mut self, cluster: &Cluster) {
        let size = u8::try_from(cluster.subnet_size).ok().filter(|size| *size > 0);
        let size = size.unwrap_or(DEFAULT_SUBNET_SIZE);
        let pools = cluster.default_addr_pool.iter().map(|base| Pool::new(base, size));
        self.pools = pools.filter_map(Result::ok).collect();
        self.six_pool = six_pool(cluster.id.as_str());
    }

    /// Adds or updates a network.
    pub fn set_network(&mut self, network: &ClusterNetwork) {
        if let Some(before) = self.networks.get(&network.id) {
            self.vnis.release(before.vni);
        }
        let known = Known {
            name: network.spec.name.clone(),
            subnet: network.subnet.parse::<Cidr>().ok().map(Cidr::subnet),
            six: network.six,
            vni: network.vni,
            is_ingress: network.spec.ingress,
            is_local: !matches!(network.spec.driver.as_str(), "" | "overlay"),
        };
        // Held twice: an invariant broken elsewhere, which its checker names.
        let _ = self.vnis.claim(network.vni);
        self.networks.insert(network.id.clone(), known);
        self.books.entry(network.id.clone()).or_default().describe(network);
        self.touched.insert(network.id.clone());
    }

    /// The network is gone, or was never written.
    pub fn remove_network(&mut self, id: &NetworkId) {
        if let Some(known) = self.networks.remove(id) {
            self.vnis.release(known.vni);
        }
        if let Some(books) = self.books.get_mut(id) {
            books.forget();
        }
        self.tidy(id);
    }

    /// Adds or updates a service: what its endpoint says it holds.
    pub fn set_service(&mut self, service: &Service) {
        self.ports.release(&service.id);
        let _ = self.ports.claim(&service.id, &service.endpoint.ports);
        let vips: BTreeMap<NetworkId, Ipv4Addr> = service
            .endpoint
            .virtual_ips
            .iter()
            .filter_map(|vip| Some((NetworkId::new(vip.network_id.clone()), address(&vip.addr)?)))
            .collect();
        self.release_vips(&service.id, |network| !vips.contains_key(network));
        for (network, vip) in &vips {
            self.books.entry(network.clone()).or_default().claim_vip(&service.id, *vip);
        }
        self.services.insert(service.id.clone(), vips.into_keys().collect());
    }

    /// The service is gone, or was never written.
    pub fn remove_service(&mut self, id: &ServiceId) {
        self.release_vips(id, |_| true);
        self.services.remove(id);
        self.ports.release(id);
    }

    /// Adds or updates a task: what its attachments say it holds, until it has ended.
    pub fn set_task(&mut self, task: &Task) {
        let held: Vec<(NetworkId, Ipv4Addr)> = match task.status.state.is_terminal() {
            true => Vec::new(),
            false => task.networks_attachments.iter().flat_map(|of| self.addresses(of)).collect(),
        };
        if self.tasks.get(&task.id) == Some(&held) {
            return;
        }
        self.release_task(&task.id);
        if held.is_empty() {
            return;
        }
        for (network, address) in &held {
            let books = self.books.entry(network.clone()).or_default();
            books.claim(&task.id, &task.node_id, *address);
            self.touched.insert(network.clone());
        }
        self.tasks.insert(task.id.clone(), held);
    }

    /// The task is gone, or its assignment was never written: its addresses are free.
    pub fn release_task(&mut self, id: &TaskId) {
        for (network, address) in self.tasks.remove(id).unwrap_or_default() {
            if let Some(books) = self.books.get_mut(&network) {
                books.release(id, address);
            }
            self.touched.insert(network.clone());
            self.tidy(&network);
        }
    }

    /// The network with its subnet, gateway and VNI; `None` when it has them or needs none.
    pub fn allocate_network(
        &mut self,
        network: &ClusterNetwork,
    ) -> Result<Option<ClusterNetwork>, ClusterAllocError> {
        let is_local = !matches!(network.spec.driver.as_str(), "" | "overlay");
        if !network.subnet.is_empty() || is_local {
            return Ok(None);
        }
        let (subnet, gateway) = self.choose(network)?;
        let mut given = network.clone();
        given.six = self.choose_six(network, subnet)?;
        given.subnet = subnet.to_string();
        given.gateway = gateway.to_string();
        given.vni = self.vnis.allocate()?;
        // `set_network` takes it.
        self.vnis.release(given.vni);
        self.set_network(&given);
        Ok(Some(given))
    }

    /// Checks a network that somebody wants to make: the error that its allocation would end with.
    pub fn check_network(&self, network: &ClusterNetwork) -> Result<(), ClusterAllocError> {
        let (subnet, _) = self.choose(network)?;
        self.choose_six(network, subnet).map(drop)
    }

    /// What the service's endpoint should be. Ports and VIPs that it has it keeps. On a refusal nothing has
    /// changed.
    pub fn allocate_endpoint(&mut self, service: &Service) -> Result<Endpoint, ClusterAllocError> {
        let spec = service.spec.endpoint_spec.clone().unwrap_or_default();
        let networks = self.networks_of(service, &spec);
        if networks.is_empty() && spec.ports.is_empty() {
            self.release_vips(&service.id, |_| true);
            self.ports.release(&service.id);
            return Ok(Endpoint::default());
        }
        let ports_before = self.ports.clone();
        let ports = self.ports.allocate(&service.id, &spec, &service.endpoint.ports)?;
        let wanted: &[NetworkId] = if spec.mode == "dnsrr" { &[] } else { &networks };
        let mut virtual_ips = Vec::new();
        let mut new = Vec::new();
        for id in wanted {
            match self.vip(&service.id, id) {
                Ok((vip, subnet, is_new)) => {
                    let addr = subnet.with(vip).to_string();
                    virtual_ips.push(VirtualIp { network_id: id.to_string(), addr });
                    new.extend(is_new.then(|| id.clone()));
                }
                Err(error) => {
                    self.ports = ports_before;
                    for id in &new {
                        let books = self.books.entry(id.clone()).or_default();
                        books.release_vip(&service.id);
                    }
                    return Err(error);
                }
            }
        }
        self.release_vips(&service.id, |network| !wanted.contains(network));
        self.services.insert(service.id.clone(), wanted.to_vec());
        let mode = if spec.mode.is_empty() { "vip".to_owned() } else { spec.mode.clone() };
        Ok(Endpoint { spec: EndpointSpec { mode, ..spec }, ports, virtual_ips })
    }

    /// The task's attachments on `node`, an address in each network: to be written together with its node. What
    /// it holds there already it keeps. `service` is its service, unless it has none. On a refusal nothing has
    /// changed, and the task stays pending with it.
    pub fn attach(
        &mut self,
        task: &Task,
        service: Option<&Service>,
        node: &NodeId,
    ) -> Result<Vec<NetworkAttachment>, ClusterAllocError> {
        self.release_task(&task.id);
        let mut held = Vec::new();
        let mut attachments = Vec::new();
        for wanted in self.attachments_of(task, service) {
            match self.address(&task.id, node, &wanted) {
                Ok((address, subnet)) => {
                    held.push((NetworkId::new(wanted.target.clone()), address));
                    attachments.push(NetworkAttachment {
                        network: wanted.target,
                        addresses: vec![subnet.with(address).to_string()],
                        aliases: wanted.aliases,
                    });
                }
                Err(error) => {
                    self.tasks.insert(task.id.clone(), held);
                    self.release_task(&task.id);
                    return Err(error);
                }
            }
        }
        if !held.is_empty() {
            self.touched.extend(held.iter().map(|(network, _)| network.clone()));
            self.tasks.insert(task.id.clone(), held);
        }
        Ok(attachments)
    }

    /// Networks whose nodes' blocks are not as written, with all their blocks: to be written no later than the
    /// tasks that were attached. Named again until `set_network` has told that they are.
    pub fn changed_blocks(&mut self) -> Vec<(NetworkId, Vec<NodeBlock>)> {
        let mut changed = Vec::new();
        self.touched.retain(|id| {
            let blocks = self.books.get_mut(id).and_then(NetworkBooks::unwritten);
            let known = blocks.is_some();
            changed.extend(blocks.map(|blocks| (id.clone(), blocks)));
            known
        });
        changed
    }

    fn choose(&self, network: &ClusterNetwork) -> Result<(Subnet, Ipv4Addr), ClusterAllocError> {
        let name = || network.spec.name.clone();
        let config = network.spec.ipam.as_ref().and_then(|ipam| ipam.config.as_ref());
        let mut configs = config.into_iter().flatten();
        let wish = configs.find(|config| !config.subnet.contains(':'));
        let others = self.networks.iter().filter(|(id, _)| **id != network.id);
        let in_use: Vec<Subnet> = others.filter_map(|(_, known)| known.subnet).collect();
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let invalid =
            |what, text: String| ClusterAllocError::Invalid { network: name(), what, text };
        let subnet = match wish.and_then(|wish| text(&wish.subnet)) {
            Some(text) => {
                let cidr: Cidr = text.parse().map_err(|_| invalid("subnet", text))?;
                if in_use.iter().any(|used| used.overlaps(cidr.subnet())) {
                    return Err(ClusterAllocError::Overlaps { network: name() });
                }
                cidr.subnet()
            }
            None => {
                let default = || Pool::new(DEFAULT_POOL, DEFAULT_SUBNET_SIZE).into_iter().collect();
                let pools = Some(self.pools.clone()).filter(|pools| !pools.is_empty());
                choose_subnet(&pools.unwrap_or_else(default), &in_use)
                    .map_err(|_| ClusterAllocError::SubnetsExhausted { network: name() })?
            }
        };
        let first = Ipv4Addr::from_bits(subnet.network().to_bits().saturating_add(1));
        let gateway = match wish.and_then(|wish| text(&wish.gateway)) {
            Some(text) => text.parse().map_err(|_| invalid("gateway", text))?,
            None => first,
        };
        // The first and the last address of a subnet are nobody's, unless it has no others.
        let is_nobodys = subnet.prefix_len() < 31
            && (gateway == subnet.network() || gateway == subnet.broadcast());
        if !subnet.contains(gateway) || is_nobodys {
            let address = gateway.to_string();
            return Err(ClusterAllocError::OutOfRange { network: name(), subnet, address });
        }
        Ok((subnet, gateway))
    }

    /// The user's IPv6 subnet, or the lowest of the cluster's that is free; `None` of a network without IPv6.
    fn choose_six(
        &self,
        network: &ClusterNetwork,
        subnet: Subnet,
    ) -> Result<Option<SixSubnet>, ClusterAllocError> {
        if network.spec.enable_ipv6 != Some(true) {
            return Ok(None);
        }
        let name = || network.spec.name.clone();
        let others = self.networks.iter().filter(|(id, _)| **id != network.id);
        let in_use: Vec<SixSubnet> = others.filter_map(|(_, known)| known.six).collect();
        let is_taken = |six: &SixSubnet| in_use.iter().any(|used| used.overlaps(*six));
        let config = network.spec.ipam.as_ref().and_then(|ipam| ipam.config.as_ref());
        let wish = config.into_iter().flatten().find(|config| config.subnet.contains(':'));
        let six: SixSubnet = match wish {
            Some(wish) => wish.subnet.parse().map_err(|_| ClusterAllocError::Invalid {
                network: name(),
                what: "subnet",
                text: wish.subnet.clone(),
            })?,
            None => {
                let own = |number: u16| {
                    let bits = self.six_pool << 80 | u128::from(number) << 64;
                    SixSubnet::new(Ipv6Addr::from_bits(bits), 64)
                };
                let free = (0..=u16::MAX).map(own).find(|six| !is_taken(six));
                free.ok_or_else(|| ClusterAllocError::SubnetsExhausted { network: name() })?
            }
        };
        if is_taken(&six) {
            return Err(ClusterAllocError::Overlaps { network: name() });
        }
        if !six.has_room_for(subnet) {
            return Err(ClusterAllocError::SixTooSmall { network: name(), six, subnet });
        }
        Ok(Some(six))
    }

    /// Where the service is reached: the ingress first, as Docker lists them.
    fn networks_of(&self, service: &Service, spec: &EndpointSpec) -> Vec<NetworkId> {
        let mut networks: Vec<NetworkId> =
            self.ingress().filter(|_| publishes(spec)).cloned().into_iter().collect();
        for wanted in wished(service) {
            let id = NetworkId::new(wanted.target.clone());
            let is_local = self.networks.get(&id).is_some_and(|known| known.is_local);
            if !networks.contains(&id) && !is_local {
                networks.push(id);
            }
        }
        networks
    }

    fn attachments_of(
        &self,
        task: &Task,
        service: Option<&Service>,
    ) -> Vec<NetworkAttachmentConfig> {
        let published = service
            .is_some_and(|service| service.spec.endpoint_spec.as_ref().is_some_and(publishes));
        let ingress = self.ingress().filter(|_| published).map(|id| NetworkAttachmentConfig {
            target: id.to_string(),
            ..NetworkAttachmentConfig::default()
        });
        let of_service = service.iter().flat_map(|service| service.spec.networks.iter().flatten());
        let mut all: Vec<NetworkAttachmentConfig> = Vec::new();
        for wanted in
            ingress.into_iter().chain(task.spec.networks.iter().chain(of_service).cloned())
        {
            let is_local =
                self.networks.get(wanted.target.as_str()).is_some_and(|known| known.is_local);
            if !is_local && !all.iter().any(|known| known.target == wanted.target) {
                all.push(wanted);
            }
        }
        all
    }

    fn ingress(&self) -> Option<&NetworkId> {
        self.networks.iter().find(|(_, known)| known.is_ingress).map(|(id, _)| id)
    }

    /// The service's VIP in a network, its subnet, and whether the VIP is new.
    fn vip(
        &mut self,
        service: &ServiceId,
        network: &NetworkId,
    ) -> Result<(Ipv4Addr, Subnet, bool), ClusterAllocError> {
        let missing = self.missing(network);
        let Some(books) = self.books.get_mut(network) else { return Err(missing) };
        let Some(subnet) = books.blocks().map(|blocks| blocks.subnet()) else {
            return Err(missing);
        };
        let is_new = books.blocks().is_none_or(|blocks| blocks.vip_of(service).is_none());
        let vip = books.allocate_vip(service).unwrap_or(Err(missing))?;
        books.claim_vip(service, vip);
        Ok((vip, subnet, is_new))
    }

    fn address(
        &mut self,
        task: &TaskId,
        node: &NodeId,
        wanted: &NetworkAttachmentConfig,
    ) -> Result<(Ipv4Addr, Subnet), ClusterAllocError> {
        let network = wanted.target.as_str();
        let missing = self.missing(&NetworkId::new(network));
        let Some(books) = self.books.get_mut(network) else { return Err(missing) };
        let Some(subnet) = books.blocks().map(|blocks| blocks.subnet()) else {
            return Err(missing);
        };
        let own = wanted.addresses.iter().find_map(|address| address.parse().ok());
        let given = match own {
            Some(address) => books.allocate_at(task, node, address),
            None => books.allocate(task, node),
        };
        Ok((given.unwrap_or(Err(missing))?, subnet))
    }

    fn missing(&self, network: &NetworkId) -> ClusterAllocError {
        match self.networks.get(network) {
            Some(known) => ClusterAllocError::NoSubnet(known.name.clone()),
            None => ClusterAllocError::NoNetwork(network.to_string()),
        }
    }

    fn release_vips(&mut self, service: &ServiceId, which: impl Fn(&NetworkId) -> bool) {
        let held = self.services.remove(service).unwrap_or_default();
        let (gone, kept): (Vec<_>, Vec<_>) = held.into_iter().partition(|id| which(id));
        for network in gone {
            if let Some(books) = self.books.get_mut(&network) {
                books.release_vip(service);
            }
            self.tidy(&network);
        }
        self.services.insert(service.clone(), kept);
    }

    /// With one id for all: a million tasks are on few networks.
    fn addresses<'a>(
        &'a self,
        attachment: &'a NetworkAttachment,
    ) -> impl Iterator<Item = (NetworkId, Ipv4Addr)> + 'a {
        let known = self.books.get_key_value(attachment.network.as_str());
        let network = known.map(|(id, _)| id.clone());
        let network = network.unwrap_or_else(|| NetworkId::new(attachment.network.clone()));
        let addresses = attachment.addresses.iter().filter_map(|text| address(text));
        addresses.map(move |address| (network.clone(), address))
    }

    /// Forgets the books of a network that nobody holds anything of.
    fn tidy(&mut self, id: &NetworkId) {
        let is_unknown = !self.networks.contains_key(id);
        if is_unknown && self.books.get(id).is_some_and(NetworkBooks::is_empty) {
            self.books.remove(id);
        }
    }
}

/// `fd` and forty bits that follow from the cluster's id, the same on every manager (FNV-1a).
fn six_pool(cluster: &str) -> u128 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = cluster.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
    0xfd << 40 | u128::from(hash >> 24)
}

/// The service's own wishes.
fn wished(service: &Service) -> impl Iterator<Item = &NetworkAttachmentConfig> {
    let template = &service.spec.task_template.networks;
    template.iter().chain(service.spec.networks.iter().flatten())
}

fn publishes(spec: &EndpointSpec) -> bool {
    spec.ports.iter().any(|port| port.publish_mode != "host")
}

fn address(text: &str) -> Option<Ipv4Addr> {
    text.parse::<Cidr>().ok().map(|cidr| cidr.address)
}
