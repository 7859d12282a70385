//! What the cluster gives out, by the allocator: subnets and VNIs, virtual IPs and published ports, and an address
//! of its node's block for each task. Rebuilt from the objects each time: what they hold they keep.

use super::Fault;
use allocator::cluster::{NetworkBlocks, PublishedPorts, Vnis};
use allocator::{Pool, choose_subnet};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use store::{Change, Snapshot, Transaction};
use types::subnet::{Cidr, Subnet};
use types::swarm::network::ClusterNetwork;
use types::swarm::service::{Endpoint, EndpointSpec, PortConfig, Service, VirtualIp};
use types::swarm::task::{NetworkAttachment, Task};
use types::{NodeId, ServiceId};

/// Small, so that networks run out of them.
const POOL: (&str, u8) = ("10.0.0.0/16", 22);

/// Everything given, and to whom.
#[derive(Debug, Default)]
pub(super) struct Gifts {
    networks: BTreeMap<String, Given>,
    ports: PublishedPorts,
    /// Services that did not get all they ask for, and why.
    pub(super) refused: BTreeMap<ServiceId, String>,
    /// Whether the addresses of tasks are known.
    seen: bool,
    fault: Option<Fault>,
}

#[derive(Debug)]
struct Given {
    subnet: Subnet,
    blocks: NetworkBlocks,
    taken: BTreeSet<Ipv4Addr>,
}

/// Subnets and VNIs for networks that have none.
pub(super) fn networks(state: &Snapshot, fault: Option<Fault>) -> Vec<Transaction> {
    let Ok(pool) = Pool::new(POOL.0, POOL.1) else { return Vec::new() };
    let (mut vnis, mut in_use) = (Vnis::default(), Vec::new());
    for network in state.networks().iter().filter(|network| network.vni != 0) {
        let _ = vnis.claim(network.vni);
        in_use.extend(network.subnet.parse::<Cidr>().map(Cidr::subnet));
    }
    let mut transactions = Vec::new();
    for network in state.networks().iter().filter(|network| network.vni == 0) {
        let subnet = choose_subnet(std::slice::from_ref(&pool), &in_use);
        let (Ok(subnet), Ok(vni)) = (subnet, vnis.allocate()) else { continue };
        if fault == Some(Fault::SharesVnis) {
            vnis.release(vni);
        }
        in_use.push(subnet);
        let gateway = Ipv4Addr::from_bits(subnet.network().to_bits() + 1).to_string();
        let row =
            ClusterNetwork { subnet: subnet.to_string(), gateway, vni, ..network.as_ref().clone() };
        transactions.push(vec![Change::Update(row.into())].into());
    }
    transactions
}

impl Gifts {
    /// As the objects of `state` have it.
    pub(super) fn of(state: &Snapshot, fault: Option<Fault>) -> Gifts {
        let mut gifts = Gifts { fault, ..Gifts::default() };
        for network in state.networks().iter() {
            let (Ok(cidr), Ok(gateway)) = (network.subnet.parse::<Cidr>(), network.gateway.parse())
            else {
                continue;
            };
            let subnet = cidr.subnet();
            let blocks = NetworkBlocks::new(&network.spec.name, subnet, gateway);
            let given = Given { subnet, blocks, taken: BTreeSet::new() };
            gifts.networks.insert(network.id.to_string(), given);
        }
        for service in state.services().iter() {
            for vip in &service.endpoint.virtual_ips {
                if let Some(given) = gifts.networks.get_mut(&vip.network_id)
                    && let Ok(cidr) = vip.addr.parse::<Cidr>()
                {
                    let _ = given.blocks.claim_vip(&service.id, cidr.address);
                }
            }
            let _ = gifts.ports.claim(&service.id, &service.endpoint.ports);
        }
        gifts
    }

    /// Reads off the tasks which addresses are taken; once, before the first is given.
    fn see_tasks(&mut self, state: &Snapshot) {
        if std::mem::replace(&mut self.seen, true) {
            return;
        }
        for task in state.tasks().iter().filter(|task| !task.status.state.is_terminal()) {
            for attachment in &task.networks_attachments {
                self.hold(task, attachment);
            }
        }
    }

    fn hold(&mut self, task: &Task, attachment: &NetworkAttachment) {
        let Some(given) = self.networks.get_mut(&attachment.network) else { return };
        for address in attachment.addresses.iter().filter_map(|text| text.parse::<Cidr>().ok()) {
            let block = Subnet::new(address.address, given.blocks.block_prefix());
            let _ = given.blocks.claim_block(&task.node_id, block);
            given.taken.insert(address.address);
        }
    }

    /// Virtual IPs and published ports as the services' specs ask for them.
    pub(super) fn endpoints(&mut self, state: &Snapshot) -> Vec<Transaction> {
        let mut transactions = Vec::new();
        for service in state.services().iter() {
            match self.endpoint(state, service) {
                Ok(endpoint) if endpoint != service.endpoint => {
                    let row = Service { endpoint, ..service.as_ref().clone() };
                    transactions.push(vec![Change::Update(row.into())].into());
                }
                Ok(_) => {}
                Err(error) => {
                    self.refused.insert(service.id.clone(), error);
                }
            }
        }
        transactions
    }

    fn endpoint(&mut self, state: &Snapshot, service: &Arc<Service>) -> Result<Endpoint, String> {
        let spec = service.spec.endpoint_spec.clone().unwrap_or_default();
        if self.fault == Some(Fault::SharesPublished) {
            self.ports = PublishedPorts::default();
        }
        let ports: Vec<PortConfig> = self
            .ports
            .allocate(&service.id, &spec, &service.endpoint.ports)
            .map_err(|error| error.to_string())?;
        if service.spec.task_template.networks.len() > service.endpoint.virtual_ips.len() {
            self.see_tasks(state); // a new VIP may need a block that no node has
        }
        let mut virtual_ips = Vec::new();
        for network in service.spec.task_template.networks.iter().filter(|_| spec.mode != "dnsrr") {
            let Some(given) = self.networks.get_mut(&network.target) else {
                return Err(format!("network {} has no subnet yet", network.target));
            };
            let vip = given.blocks.allocate_vip(&service.id).map_err(|error| error.to_string())?;
            if self.fault == Some(Fault::SharesVips) {
                given.blocks.release_vip(&service.id);
            }
            let addr = given.subnet.with(vip).to_string();
            virtual_ips.push(VirtualIp { network_id: network.target.clone(), addr });
        }
        if ports.is_empty() && virtual_ips.is_empty() {
            return Ok(Endpoint::default());
        }
        Ok(Endpoint { spec: EndpointSpec { mode: "vip".to_owned(), ..spec }, ports, virtual_ips })
    }

    /// An address in each of the task's networks, of the blocks of its node, which takes another when they are full.
    pub(super) fn attach(
        &mut self,
        state: &Snapshot,
        task: &Task,
        node: &NodeId,
    ) -> Result<Vec<NetworkAttachment>, String> {
        if !task.spec.networks.is_empty() {
            self.see_tasks(state);
        }
        let mut attachments = Vec::new();
        for network in &task.spec.networks {
            let Some(given) = self.networks.get_mut(&network.target) else {
                return Err(format!("network {} has no subnet yet", network.target));
            };
            let address = given.address(node, self.fault == Some(Fault::SharesAddresses))?;
            attachments.push(NetworkAttachment {
                network: network.target.clone(),
                addresses: vec![given.subnet.with(address).to_string()],
                ..NetworkAttachment::default()
            });
        }
        Ok(attachments)
    }
}

impl Given {
    fn address(&mut self, node: &NodeId, careless: bool) -> Result<Ipv4Addr, String> {
        loop {
            let blocks: Vec<Subnet> = self.blocks.blocks_of(node).collect();
            let free = blocks
                .into_iter()
                .flat_map(|block| block.network().to_bits()..=block.broadcast().to_bits())
                .map(Ipv4Addr::from_bits)
                .filter(|address| *address != self.subnet.broadcast())
                .find(|address| careless || !self.taken.contains(address));
            if let Some(address) = free {
                self.taken.insert(address);
                return Ok(address);
            }
            self.blocks.allocate_block(node).map_err(|error| error.to_string())?;
        }
    }
}
