//! IPv6 of the cluster's networks: every IPv4 address, block and VIP of a network has its place in its other subnet
//! (`types::six`), so that a plan for IPv6 follows from the one for IPv4.

use super::plan::Hop;
use super::rules::OverlayRules;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use types::six::SixSubnet;
use types::subnet::Subnet;
use types::swarm::endpoint::EndpointTable;
use types::swarm::network::Mode;

/// Every sandbox's default route of IPv6, on the host's end of its veth.
pub const SANDBOX_GATEWAY_SIX: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// What the kernel is to hold beside the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SixPaths {
    /// Other nodes' blocks, each via its node's [`six_neighbour`].
    pub routes: BTreeMap<SixSubnet, Hop>,
    pub unreachable: BTreeSet<SixSubnet>,
    /// Without a table's name if no network has IPv6.
    pub rules: OverlayRules,
}

/// A pair's half: the host's end has [`SANDBOX_GATEWAY_SIX`], the sandbox's the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalSix {
    pub address: Ipv6Addr,
    /// The network's.
    pub subnet: SixSubnet,
    pub leads_out: bool,
}

/// What a node is called on the tunnel and on the wire. Follows from its underlay address, as its MAC does.
pub fn six_neighbour(underlay: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = underlay.octets();
    let pair = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x53, pair(a, b), pair(c, d))
}

/// The networks that have IPv6, by the first address of their IPv4 subnets; these are disjoint.
#[derive(Debug)]
pub(super) struct Sixes(BTreeMap<Ipv4Addr, (Subnet, SixSubnet)>);

impl Sixes {
    pub(super) fn of(table: &EndpointTable) -> Self {
        // Between nodes that route for each other there is no IPv6: they know each other by IPv4 addresses.
        let networks = table.networks.iter().filter(|network| network.mode != Mode::Direct);
        let both = networks.filter_map(|network| Some((network.subnet, network.six?)));
        Sixes(both.map(|(subnet, six)| (subnet.network(), (subnet, six))).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn subnets(&self) -> impl Iterator<Item = SixSubnet> {
        self.0.values().map(|(_, six)| *six)
    }

    /// `None` of an address whose network has no IPv6.
    pub(super) fn place(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        let (subnet, six) = self.around(address)?;
        Some(six.place(subnet, address))
    }

    pub(super) fn block(&self, block: Subnet) -> Option<SixSubnet> {
        let (subnet, six) = self.around(block.network())?;
        Some(six.block(subnet, block))
    }

    pub(super) fn routes(&self, four: &BTreeMap<Subnet, Hop>) -> BTreeMap<SixSubnet, Hop> {
        let route = |(block, hop): (&Subnet, &Hop)| Some((self.block(*block)?, *hop));
        four.iter().filter_map(route).collect()
    }

    fn around(&self, address: Ipv4Addr) -> Option<(Subnet, SixSubnet)> {
        let (_, both) = self.0.range(..=address).next_back()?;
        both.0.contains(address).then_some(*both)
    }
}
