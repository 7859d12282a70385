//! What the cluster has given out: subnets, VNIs, virtual IPs, published ports. Read off the store's objects, kept
//! up with their changes, and never decided twice: what an object holds it keeps.

use allocator::cluster::{ClusterAllocError, NetworkBlocks, PublishedPorts, Vnis};
use allocator::{AllocError, Pool, PoolError, choose_subnet};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use store::Snapshot;
use types::subnet::{Cidr, Subnet};
use types::swarm::cluster::Cluster;
use types::swarm::network::ClusterNetwork;
use types::swarm::service::{Endpoint, EndpointSpec, Service, VirtualIp};
use types::{NetworkId, ServiceId};

/// Docker's, when `swarm init` named none.
pub(crate) const DEFAULT_POOL: &str = "10.0.0.0/8";
pub(crate) const DEFAULT_SUBNET_SIZE: u8 = 24;

/// Who holds what.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    networks: BTreeMap<NetworkId, Held>,
    vnis: Vnis,
    ports: PublishedPorts,
    /// The network that published ports come in by.
    ingress: Option<NetworkId>,
    /// Networks of the nodes themselves (`host`): nothing is given out in them.
    local: BTreeSet<NetworkId>,
    pools: Vec<Pool>,
}

#[derive(Debug)]
struct Held {
    subnet: Subnet,
    vni: u32,
    blocks: NetworkBlocks,
}

/// Why something could not be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error("network {0} has no subnet yet")]
    NoSubnet(String),
    #[error("network {network}: {reason}")]
    BadSubnet { network: String, reason: String },
    #[error("invalid address pool of the cluster")]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Address(#[from] AllocError),
    #[error(transparent)]
    Given(#[from] ClusterAllocError),
}

impl Ledger {
    /// As the store's objects have it.
    pub(crate) fn of(state: &Snapshot) -> Ledger {
        let mut ledger = Ledger::default();
        if let Some(cluster) = state.clusters().iter().next() {
            ledger.set_cluster(cluster);
        }
        for network in state.networks().iter() {
            ledger.set_network(network);
        }
        for service in state.services().iter() {
            ledger.set_service(service);
        }
        ledger
    }

    /// Pools that make no sense were refused at `swarm init`; here they count for nothing.
    pub(crate) fn set_cluster(&mut self, cluster: &Cluster) {
        let size = u8::try_from(cluster.subnet_size).unwrap_or(DEFAULT_SUBNET_SIZE);
        let size = if size == 0 { DEFAULT_SUBNET_SIZE } else { size };
        let pools = cluster.default_addr_pool.iter().map(|base| Pool::new(base, size));
        self.pools = pools.filter_map(Result::ok).collect();
        if self.pools.is_empty() {
            self.pools.extend(Pool::new(DEFAULT_POOL, DEFAULT_SUBNET_SIZE));
        }
    }

    pub(crate) fn set_network(&mut self, network: &ClusterNetwork) {
        if network.spec.ingress {
            self.ingress = Some(network.id.clone());
        }
        if !is_overlay(network) {
            self.local.insert(network.id.clone());
        }
        if self.networks.contains_key(&network.id) {
            return; // what it holds it keeps
        }
        let (Ok(cidr), Ok(gateway)) = (network.subnet.parse::<Cidr>(), network.gateway.parse())
        else {
            return;
        };
        let subnet = cidr.subnet();
        let _ = self.vnis.claim(network.vni); // held twice: an invariant broken elsewhere
        let blocks = NetworkBlocks::new(&network.spec.name, subnet, gateway);
        self.networks.insert(network.id.clone(), Held { subnet, vni: network.vni, blocks });
    }

    pub(crate) fn remove_network(&mut self, id: &NetworkId) {
        self.local.remove(id);
        if let Some(held) = self.networks.remove(id) {
            self.vnis.release(held.vni);
        }
        if self.ingress.as_ref() == Some(id) {
            self.ingress = None;
        }
    }

    pub(crate) fn set_service(&mut self, service: &Service) {
        for (id, held) in &mut self.networks {
            let mut vips = service.endpoint.virtual_ips.iter();
            match vips.find(|vip| vip.network_id == id.as_str()).and_then(address) {
                Some(vip) => {
                    let _ = held.blocks.claim_vip(&service.id, vip);
                }
                None => held.blocks.release_vip(&service.id),
            }
        }
        self.ports.release(&service.id);
        let _ = self.ports.claim(&service.id, &service.endpoint.ports);
    }

    pub(crate) fn remove_service(&mut self, id: &ServiceId) {
        for held in self.networks.values_mut() {
            held.blocks.release_vip(id);
        }
        self.ports.release(id);
    }

    /// The network with its subnet, gateway and VNI; `None` when it has them.
    pub(crate) fn allocate_network(
        &mut self,
        network: &ClusterNetwork,
    ) -> Result<Option<ClusterNetwork>, LedgerError> {
        if !network.subnet.is_empty() || !is_overlay(network) {
            return Ok(None);
        }
        let (subnet, gateway) = self.choose(network)?;
        let mut given = network.clone();
        given.subnet = subnet.to_string();
        given.gateway = gateway.to_string();
        given.vni = self.vnis.allocate()?;
        self.vnis.release(given.vni); // `set_network` takes it
        self.set_network(&given);
        Ok(Some(given))
    }

    /// The proposal was refused: what was given is free again.
    pub(crate) fn take_back(&mut self, network: &NetworkId, state: &Snapshot) {
        self.remove_network(network);
        if let Some(row) = state.networks().get(network.as_str()) {
            self.set_network(row);
        }
    }

    fn choose(&self, network: &ClusterNetwork) -> Result<(Subnet, Ipv4Addr), LedgerError> {
        let wish = network.spec.ipam.as_ref().and_then(|ipam| ipam.config.as_ref()?.first());
        let in_use: Vec<Subnet> = self.networks.values().map(|held| held.subnet).collect();
        let bad = |reason: &str| LedgerError::BadSubnet {
            network: network.spec.name.clone(),
            reason: reason.to_owned(),
        };
        let subnet = match wish.map(|wish| wish.subnet.as_str()).filter(|text| !text.is_empty()) {
            Some(text) => {
                let cidr: Cidr = text.parse().map_err(|_| bad("invalid subnet"))?;
                if in_use.iter().any(|used| used.overlaps(cidr.subnet())) {
                    return Err(bad("Pool overlaps with other one on this address space"));
                }
                cidr.subnet()
            }
            None => choose_subnet(&self.pools, &in_use)?,
        };
        let gateway = match wish.map(|wish| wish.gateway.as_str()).filter(|text| !text.is_empty()) {
            Some(text) => text.parse().map_err(|_| bad("invalid gateway address"))?,
            None => Ipv4Addr::from_bits(subnet.network().to_bits().saturating_add(1)),
        };
        Ok((subnet, gateway))
    }

    /// What the service's endpoint should be. Ports and addresses that it has it keeps.
    pub(crate) fn allocate_endpoint(&mut self, service: &Service) -> Result<Endpoint, LedgerError> {
        let spec = service.spec.endpoint_spec.clone().unwrap_or_default();
        let networks = self.networks_of(service, &spec);
        if networks.is_empty() && spec.ports.is_empty() {
            return Ok(Endpoint::default());
        }
        let ports = self.ports.allocate(&service.id, &spec, &service.endpoint.ports)?;
        let mut virtual_ips = Vec::new();
        for id in networks.iter().filter(|_| spec.mode != "dnsrr") {
            let name = || LedgerError::NoSubnet(id.to_string());
            let held = self.networks.get_mut(id).ok_or_else(name)?;
            let vip = held.blocks.allocate_vip(&service.id)?;
            let addr = held.subnet.with(vip).to_string();
            virtual_ips.push(VirtualIp { network_id: id.to_string(), addr });
        }
        let mode = if spec.mode.is_empty() { "vip".to_owned() } else { spec.mode.clone() };
        Ok(Endpoint { spec: EndpointSpec { mode, ..spec }, ports, virtual_ips })
    }

    /// Where the service is reached: the ingress first, as Docker lists them.
    fn networks_of(&self, service: &Service, spec: &EndpointSpec) -> Vec<NetworkId> {
        let published = spec.ports.iter().any(|port| port.publish_mode != "host");
        let mut networks: Vec<NetworkId> =
            self.ingress.iter().filter(|_| published).cloned().collect();
        let template = &service.spec.task_template.networks;
        for wanted in template.iter().chain(service.spec.networks.iter().flatten()) {
            let id = NetworkId::new(wanted.target.clone());
            if !networks.contains(&id) && !self.local.contains(&id) {
                networks.push(id);
            }
        }
        networks
    }
}

fn is_overlay(network: &ClusterNetwork) -> bool {
    matches!(network.spec.driver.as_str(), "" | "overlay")
}

fn address(vip: &VirtualIp) -> Option<Ipv4Addr> {
    vip.addr.parse::<Cidr>().ok().map(|cidr| cidr.address)
}

#[cfg(test)]
mod tests;
