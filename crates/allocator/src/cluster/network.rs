//! One network's books together: its blocks and VIPs, and which task has which address.
//!
//! Tasks may be told of before their network: they are claimed when its subnet is known.

use super::{ClusterAllocError, NetworkBlocks};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use types::subnet::{Cidr, Subnet};
use types::swarm::network::{ClusterNetwork, NodeBlock};
use types::{NodeId, ServiceId, TaskId};

/// A network, or the place of one that is not known yet but has tasks already.
#[derive(Debug, Default)]
pub(super) struct NetworkBooks {
    /// `None` until the network has a subnet.
    blocks: Option<NetworkBlocks>,
    tasks: BTreeMap<Ipv4Addr, Holding>,
    /// VIPs that the store's services have here.
    vips: BTreeMap<ServiceId, Ipv4Addr>,
    /// The blocks that the store has, to tell what changed.
    written: Vec<NodeBlock>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Holding {
    task: TaskId,
    node: NodeId,
}

impl NetworkBooks {
    /// Takes the network as the store has it.
    pub(super) fn describe(&mut self, network: &ClusterNetwork) {
        self.written = network.blocks.clone();
        self.written.sort();
        let (Ok(cidr), Ok(gateway)) = (network.subnet.parse::<Cidr>(), network.gateway.parse())
        else {
            self.blocks = None;
            return;
        };
        let subnet = cidr.subnet();
        let wish = network.spec.ipam.as_ref().and_then(|ipam| ipam.config.as_ref());
        let wish = wish.and_then(|configs| configs.iter().find(|it| !it.subnet.contains(':')));
        let range = wish.and_then(|wish| wish.ip_range.parse::<Cidr>().ok()).map(Cidr::subnet);
        let range = range.filter(|range| subnet.contains(range.network()));
        let mut blocks =
            NetworkBlocks::within(&network.spec.name, subnet, gateway, range.unwrap_or(subnet));
        let kept = wish.into_iter().flat_map(|wish| wish.auxiliary_addresses.iter().flatten());
        for address in kept.filter_map(|(_, address)| address.parse().ok()) {
            blocks.reserve(address);
        }
        // What is held twice was broken elsewhere, and the checker of invariants says so: the first keeps it.
        for NodeBlock { block, node } in &self.written {
            let _ = blocks.claim_block(node, *block);
        }
        for (service, vip) in &self.vips {
            let _ = blocks.claim_vip(service, *vip);
        }
        for (address, holding) in &self.tasks {
            hold(&mut blocks, &self.written, &holding.node, *address);
        }
        self.blocks = Some(blocks);
    }

    /// The network is gone; its tasks may not be.
    pub(super) fn forget(&mut self) {
        self.blocks = None;
        self.written.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_none() && self.tasks.is_empty() && self.vips.is_empty()
    }

    pub(super) fn blocks(&self) -> Option<&NetworkBlocks> {
        self.blocks.as_ref()
    }

    /// The blocks as they should be written; `None` when they are.
    pub(super) fn unwritten(&mut self) -> Option<Vec<NodeBlock>> {
        self.give_back_empty();
        let blocks = self.blocks.as_ref()?;
        let blocks = blocks.node_blocks().chain(blocks.pins());
        let mut held: Vec<NodeBlock> =
            blocks.map(|(block, node)| NodeBlock { block, node: node.clone() }).collect();
        held.sort();
        (held != self.written).then_some(held)
    }

    pub(super) fn claim_vip(&mut self, service: &ServiceId, vip: Ipv4Addr) {
        self.vips.insert(service.clone(), vip);
        if let Some(blocks) = &mut self.blocks {
            if blocks.vip_of(service).is_some_and(|held| held != vip) {
                blocks.release_vip(service);
            }
            let _ = blocks.claim_vip(service, vip);
        }
    }

    pub(super) fn release_vip(&mut self, service: &ServiceId) {
        self.vips.remove(service);
        if let Some(blocks) = &mut self.blocks {
            blocks.release_vip(service);
        }
    }

    pub(super) fn allocate_vip(
        &mut self,
        service: &ServiceId,
    ) -> Option<Result<Ipv4Addr, ClusterAllocError>> {
        Some(self.blocks.as_mut()?.allocate_vip(service))
    }

    /// Takes an address that the store says the task has on `node`.
    pub(super) fn claim(&mut self, task: &TaskId, node: &NodeId, address: Ipv4Addr) {
        let holding = Holding { task: task.clone(), node: node.clone() };
        self.tasks.entry(address).or_insert(holding);
        if let Some(blocks) = &mut self.blocks {
            hold(blocks, &self.written, node, address);
        }
    }

    /// Gives the task the address that it asked for.
    pub(super) fn allocate_at(
        &mut self,
        task: &TaskId,
        node: &NodeId,
        address: Ipv4Addr,
    ) -> Option<Result<Ipv4Addr, ClusterAllocError>> {
        let blocks = self.blocks.as_mut()?;
        if self.tasks.contains_key(&address) {
            return Some(Err(blocks.in_use(address.to_string())));
        }
        if let Err(error) = blocks.pin(node, address) {
            return Some(Err(error));
        }
        self.tasks.insert(address, Holding { task: task.clone(), node: node.clone() });
        Some(Ok(address))
    }

    /// Gives the task an address of its node's blocks, and the node another block when they are full.
    pub(super) fn allocate(
        &mut self,
        task: &TaskId,
        node: &NodeId,
    ) -> Option<Result<Ipv4Addr, ClusterAllocError>> {
        if let Some(address) = self.free_address(task, node) {
            self.tasks.insert(address, Holding { task: task.clone(), node: node.clone() });
            return Some(Ok(address));
        }
        let mut block = self.blocks.as_mut()?.allocate_block(node);
        if block.is_err() {
            self.give_back_empty();
            block = self.blocks.as_mut()?.allocate_block(node);
        }
        if let Err(error) = block {
            return Some(Err(error));
        }
        let address = self.free_address(task, node)?;
        self.tasks.insert(address, Holding { task: task.clone(), node: node.clone() });
        Some(Ok(address))
    }

    /// A free address in the node's blocks.
    fn free_address(&self, task: &TaskId, node: &NodeId) -> Option<Ipv4Addr> {
        let blocks = self.blocks.as_ref()?;
        blocks.blocks_of(node).find_map(|block| {
            let (first, last) = (block.network().to_bits(), block.broadcast().to_bits());
            let from = turn(task) % (last - first + 1);
            // From a place that the task's id decides: an address that was just given back rests, and every
            // manager gives the same.
            let round = (first + from..=last).chain(first..first + from);
            round
                .map(Ipv4Addr::from_bits)
                .find(|address| !blocks.is_reserved(*address) && !self.tasks.contains_key(address))
        })
    }

    /// The task has the address no more.
    pub(super) fn release(&mut self, task: &TaskId, address: Ipv4Addr) {
        if self.tasks.get(&address).is_some_and(|holding| holding.task == *task) {
            self.tasks.remove(&address);
            if let Some(blocks) = &mut self.blocks {
                blocks.unpin(address);
            }
        }
    }

    /// Blocks without tasks of their node are everybody's again; what others have pinned there stays theirs.
    fn give_back_empty(&mut self) {
        let Some(blocks) = &mut self.blocks else { return };
        let is_empty = |block: &Subnet, node: &NodeId| {
            let mut held = self.tasks.range(block.network()..=block.broadcast());
            held.all(|(_, holding)| holding.node != *node)
        };
        let empty: Vec<_> = blocks
            .node_blocks()
            .filter(|(block, node)| is_empty(block, node))
            .map(|(block, node)| (block, node.clone()))
            .collect();
        for (block, node) in empty {
            blocks.release_block(&node, block);
        }
    }
}

/// Takes the address alone for the node if it was written so, or if its block is another's; else its block, which
/// the node had when the address was given.
fn hold(blocks: &mut NetworkBlocks, written: &[NodeBlock], node: &NodeId, address: Ipv4Addr) {
    if blocks.is_of(node, address) {
        return;
    }
    let Some(block) = blocks.block_of(address) else { return };
    let single = NodeBlock { block: Subnet::new(address, 32), node: node.clone() };
    if written.binary_search(&single).is_ok() || blocks.claim_block(node, block).is_err() {
        // Held twice: an invariant broken elsewhere, which its checker names.
        let _ = blocks.pin(node, address);
    }
}

/// A number from the task's id, the same on every manager (FNV-1a).
fn turn(task: &TaskId) -> u32 {
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = task.as_str().bytes().fold(0x811c_9dc5, mix);
    hash ^ hash >> 16
}
