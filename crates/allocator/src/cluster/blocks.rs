//! One cluster network's addresses: blocks for nodes, and VIPs for services.
//!
//! ```text
//! 10.0.0.0/16   .0 network  .1 gateway  .2… VIPs │ block │ block │ … │ block
//!               first block: VIPs, which take more blocks from the top when it is full
//! ```
//! A node gives out the addresses of its blocks by itself, so tasks start without a manager; the managers only
//! give out blocks.

use super::ClusterAllocError;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use types::subnet::Subnet;
use types::{NodeId, ServiceId};

/// 64 addresses: a node's usual number of tasks in one network.
pub const BLOCK_PREFIX: u8 = 26;
/// A subnet has at least so many blocks: one for VIPs and some for nodes. Smaller blocks in small subnets.
const MIN_BLOCKS_BITS: u8 = 5;

/// Who holds which block and which VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkBlocks {
    network: String,
    subnet: Subnet,
    /// What addresses are given out of: the subnet, or the part of it that the user named (`--ip-range`).
    range: Subnet,
    prefix: u8,
    /// By number within the subnet.
    blocks: BTreeMap<u32, Holder>,
    /// The blocks that are for VIPs also when there is none.
    home: BTreeSet<u32>,
    vips: BTreeMap<Ipv4Addr, ServiceId>,
    reserved: BTreeSet<Ipv4Addr>,
    /// Single addresses that somebody asked for, on nodes that do not hold their block.
    pins: BTreeMap<Ipv4Addr, NodeId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    Vips,
    Node(NodeId),
}

impl NetworkBlocks {
    /// An unused network. `network` is its name, for refusals.
    pub fn new(network: &str, subnet: Subnet, gateway: Ipv4Addr) -> Self {
        NetworkBlocks::within(network, subnet, gateway, subnet)
    }

    /// The same, giving out addresses of `range` alone, a part of the subnet.
    pub fn within(network: &str, subnet: Subnet, gateway: Ipv4Addr, range: Subnet) -> Self {
        let smaller = range.prefix_len().saturating_add(MIN_BLOCKS_BITS).min(30);
        let prefix = BLOCK_PREFIX.max(smaller).max(range.prefix_len());
        let reserved = BTreeSet::from([subnet.network(), subnet.broadcast(), gateway]);
        let mut new = NetworkBlocks {
            network: network.to_owned(),
            subnet,
            range,
            prefix,
            blocks: BTreeMap::new(),
            home: BTreeSet::new(),
            vips: BTreeMap::new(),
            reserved,
            pins: BTreeMap::new(),
        };
        // A gateway elsewhere keeps its block from the nodes.
        for first in [range.network(), gateway] {
            if let Some(number) = new.number(first).filter(|_| range.contains(first)) {
                new.blocks.insert(number, Holder::Vips);
                new.home.insert(number);
            }
        }
        new
    }

    /// Keeps an address from everybody (`--aux-address`).
    pub fn reserve(&mut self, address: Ipv4Addr) {
        self.reserved.insert(address);
    }

    /// The prefix length of this network's blocks.
    pub fn block_prefix(&self) -> u8 {
        self.prefix
    }
    pub fn subnet(&self) -> Subnet {
        self.subnet
    }
    /// All blocks of nodes, lowest first.
    pub fn node_blocks(&self) -> impl Iterator<Item = (Subnet, &NodeId)> {
        self.blocks.iter().filter_map(|(at, holder)| match holder {
            Holder::Node(node) => Some((self.block(*at), node)),
            Holder::Vips => None,
        })
    }
    /// Single addresses that are on a node apart from its blocks: a route of their own leads there.
    pub fn pins(&self) -> impl Iterator<Item = (Subnet, &NodeId)> {
        self.pins.iter().map(|(address, node)| (Subnet::new(*address, 32), node))
    }
    /// Whether the address lies in a block of the node.
    pub fn is_of(&self, node: &NodeId, address: Ipv4Addr) -> bool {
        let holder = self.number(address).and_then(|number| self.blocks.get(&number));
        matches!(holder, Some(Holder::Node(id)) if id == node)
    }
    /// The block that an address lies in; `None` outside the subnet.
    pub fn block_of(&self, address: Ipv4Addr) -> Option<Subnet> {
        self.number(address).map(|number| self.block(number))
    }
    /// Whether no task may have the address: it is the subnet's first or last, or the gateway.
    pub fn is_reserved(&self, address: Ipv4Addr) -> bool {
        self.reserved.contains(&address)
    }
    /// The VIP that a service has.
    pub fn vip_of(&self, service: &ServiceId) -> Option<Ipv4Addr> {
        self.vips.iter().find(|(_, holder)| *holder == service).map(|(vip, _)| *vip)
    }
    /// A node's blocks, lowest first.
    pub fn blocks_of<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = Subnet> + 'a {
        let theirs = move |holder: &Holder| matches!(holder, Holder::Node(id) if id == node);
        self.blocks.iter().filter(move |(_, holder)| theirs(holder)).map(|(at, _)| self.block(*at))
    }

    /// Takes a block that the store says `node` holds. Taking it twice is once.
    pub fn claim_block(&mut self, node: &NodeId, block: Subnet) -> Result<(), ClusterAllocError> {
        let number = self.number(block.network()).filter(|at| self.block(*at) == block);
        let number = number.ok_or_else(|| self.out_of_range(block.to_string()))?;
        match self.blocks.get(&number) {
            Some(Holder::Node(id)) if id == node => Ok(()),
            Some(_) => Err(self.in_use(block.to_string())),
            None => {
                self.take(number, node);
                Ok(())
            }
        }
    }

    /// Gives `node` the lowest free block that has an address left: its first, or one more when its others are
    /// full.
    pub fn allocate_block(&mut self, node: &NodeId) -> Result<Subnet, ClusterAllocError> {
        let number = self.numbers().find(|number| self.is_usable(*number));
        let number = number.ok_or_else(|| ClusterAllocError::BlocksExhausted {
            network: self.network.clone(),
            subnet: self.subnet,
        })?;
        self.take(number, node);
        Ok(self.block(number))
    }

    /// The free block is the node's, and so are its addresses there without pins of their own.
    fn take(&mut self, number: u32, node: &NodeId) {
        self.blocks.insert(number, Holder::Node(node.clone()));
        let block = self.block(number);
        self.pins.retain(|address, holder| !block.contains(*address) || holder != node);
    }

    /// `node` gives a block back. No task there may have an address of it.
    pub fn release_block(&mut self, node: &NodeId, block: Subnet) {
        let number = self.number(block.network());
        let theirs = |number: &u32| self.blocks.get(number) == Some(&Holder::Node(node.clone()));
        if let Some(number) = number.filter(theirs) {
            self.blocks.remove(&number);
        }
    }

    /// Takes an address for `node`, whoever holds its block. One in the node's own blocks needs no pin.
    pub fn pin(&mut self, node: &NodeId, address: Ipv4Addr) -> Result<(), ClusterAllocError> {
        if !self.subnet.contains(address) {
            return Err(self.out_of_range(address.to_string()));
        }
        if self.reserved.contains(&address) || self.vips.contains_key(&address) {
            return Err(self.in_use(address.to_string()));
        }
        if !self.is_of(node, address) {
            self.pins.insert(address, node.clone());
        }
        Ok(())
    }

    pub fn unpin(&mut self, address: Ipv4Addr) {
        self.pins.remove(&address);
    }

    /// `node` left the cluster.
    pub fn release_node(&mut self, node: &NodeId) {
        self.blocks.retain(|_, holder| !matches!(holder, Holder::Node(id) if id == node));
    }

    /// Takes a VIP that the store says `service` has. Taking it twice is once.
    pub fn claim_vip(
        &mut self,
        service: &ServiceId,
        vip: Ipv4Addr,
    ) -> Result<(), ClusterAllocError> {
        let number = self.number(vip).ok_or_else(|| self.out_of_range(vip.to_string()))?;
        let of_node = matches!(self.blocks.get(&number), Some(Holder::Node(_)));
        let other = self.vips.get(&vip).is_some_and(|holder| holder != service);
        let other = other || self.pins.contains_key(&vip);
        if of_node || other || self.reserved.contains(&vip) {
            return Err(self.in_use(vip.to_string()));
        }
        self.blocks.insert(number, Holder::Vips);
        self.vips.insert(vip, service.clone());
        Ok(())
    }

    /// Gives `service` a VIP: the one it has, or the lowest free one.
    pub fn allocate_vip(&mut self, service: &ServiceId) -> Result<Ipv4Addr, ClusterAllocError> {
        if let Some(vip) = self.vip_of(service) {
            return Ok(vip);
        }
        let ours = self.blocks.iter().filter(|(_, holder)| **holder == Holder::Vips);
        let free = ours
            .flat_map(|(number, _)| addresses(self.block(*number)))
            .find(|vip| !self.vips.contains_key(vip) && self.is_free(*vip));
        let vip = match free {
            Some(vip) => vip,
            None => self.another_vip_block()?,
        };
        self.vips.insert(vip, service.clone());
        Ok(vip)
    }

    /// The service is gone. A block that was taken for VIPs and has none left is everybody's again.
    pub fn release_vip(&mut self, service: &ServiceId) {
        let Some(vip) = self.vip_of(service) else { return };
        self.vips.remove(&vip);
        let Some(block) = self.block_of(vip) else { return };
        let number = self.number(vip).filter(|number| !self.home.contains(number));
        let is_used = self.vips.range(block.network()..=block.broadcast()).next().is_some();
        if let Some(number) = number.filter(|_| !is_used) {
            self.blocks.remove(&number);
        }
    }

    /// Takes the highest free block that has an address left for VIPs, and returns its first such address.
    fn another_vip_block(&mut self) -> Result<Ipv4Addr, ClusterAllocError> {
        let exhausted = || ClusterAllocError::VipsExhausted {
            network: self.network.clone(),
            subnet: self.subnet,
        };
        let number = self.numbers().rev().find(|number| self.is_usable(*number));
        let number = number.ok_or_else(exhausted)?;
        let vip = addresses(self.block(number)).find(|vip| self.is_free(*vip));
        let vip = vip.ok_or_else(exhausted)?;
        self.blocks.insert(number, Holder::Vips);
        Ok(vip)
    }

    /// Whether nobody holds the block and it has an address that is neither kept nor somebody's pin.
    fn is_usable(&self, number: u32) -> bool {
        !self.blocks.contains_key(&number)
            && addresses(self.block(number)).any(|address| self.is_free(address))
    }
    fn is_free(&self, address: Ipv4Addr) -> bool {
        !self.reserved.contains(&address) && !self.pins.contains_key(&address)
    }
    /// Of the blocks that may be given out.
    fn numbers(&self) -> std::ops::Range<u32> {
        let first = self.number(self.range.network()).unwrap_or(0);
        let bits = u32::from(self.prefix - self.range.prefix_len());
        first..first.saturating_add(1u32.checked_shl(bits).unwrap_or(u32::MAX))
    }
    fn block(&self, number: u32) -> Subnet {
        let first = self.subnet.network().to_bits() + (number << (32 - self.prefix));
        Subnet::new(Ipv4Addr::from_bits(first), self.prefix)
    }
    fn number(&self, address: Ipv4Addr) -> Option<u32> {
        let inside = self.subnet.contains(address);
        inside.then(|| (address.to_bits() - self.subnet.network().to_bits()) >> (32 - self.prefix))
    }
    fn out_of_range(&self, address: String) -> ClusterAllocError {
        ClusterAllocError::OutOfRange {
            network: self.network.clone(),
            subnet: self.subnet,
            address,
        }
    }
    pub(super) fn in_use(&self, address: String) -> ClusterAllocError {
        ClusterAllocError::InUse { network: self.network.clone(), address }
    }
}

fn addresses(block: Subnet) -> impl Iterator<Item = Ipv4Addr> {
    (block.network().to_bits()..=block.broadcast().to_bits()).map(Ipv4Addr::from_bits)
}
