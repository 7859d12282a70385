//! From the endpoint table to one node's links, routes and rules.

use super::rules::{OverlayRules, rules};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use types::port::Protocol;
use types::subnet::Subnet;
use types::swarm::endpoint::{EndpointRow, EndpointState, EndpointTable, NetworkRow, PeerRow};
use types::{ContainerId, NetworkId, NodeId};

/// IANA's port for VXLAN, and Docker's.
pub const TUNNEL_PORT: u16 = 4789;
/// One tunnel for all networks: their subnets are disjoint, and the rules keep them apart. Below Docker's first,
/// which networks' own numbers begin with.
pub const TUNNEL_VNI: u32 = 4096;
/// What VXLAN adds to a packet over IPv4.
const TUNNEL_OVERHEAD: u32 = 50;
/// Every sandbox's default route, on the host's end of its veth: link-local, so that it needs no subnet.
pub const SANDBOX_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// Whose plan it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    pub node: NodeId,
    /// Eight hex digits that tell this daemon's things in the kernel from another's.
    pub instance: String,
    /// Of the interface that leads to the other nodes, as it is found or probed.
    pub underlay_mtu: u32,
    /// UDP, of the tunnel; [`TUNNEL_PORT`] unless the cluster has another.
    pub tunnel_port: u16,
}

/// A place that a container of this node has in a cluster network. The node's own knowledge: what managers think of
/// the node or the task cuts nobody off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    pub container: ContainerId,
    pub network: NetworkId,
    pub address: Ipv4Addr,
    /// Its name in the sandbox. At most 15 bytes, and free there.
    pub interface: String,
    /// The container's default route is here; at one of its places at most.
    pub leads_out: bool,
    /// Its ports that ports of this host lead to, beside the mesh.
    pub published: BTreeSet<(Protocol, u16)>,
}

/// Everything that the kernel is to hold for the cluster's networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayPlan {
    /// The table's: what is acknowledged once the plan is applied.
    pub version: u64,
    /// `None` while this node has no address in the table: nothing leads to or from other nodes then.
    pub tunnel: Option<TunnelPlan>,
    /// On the tunnel, permanent: a peer's underlay address (the next hop of its blocks) to its tunnel's MAC.
    pub neighbours: BTreeMap<Ipv4Addr, [u8; 6]>,
    /// Of the tunnel, permanent: a peer's MAC to where its packets go.
    pub forwarding: BTreeMap<[u8; 6], Ipv4Addr>,
    /// Other nodes' blocks, each via its node's underlay address, `onlink` on the tunnel.
    pub routes: BTreeMap<Subnet, Ipv4Addr>,
    /// Subnets of all networks: what no block or task has is answered at once instead of leaving by the default
    /// route. Longer prefixes win over it.
    pub unreachable: BTreeSet<Subnet>,
    /// Containers here, by the name of the host's end of their pair.
    pub locals: BTreeMap<String, LocalPlan>,
    /// For replies to what came in by another node, which must go back to it.
    pub returns: BTreeSet<ReturnPath>,
    /// Path below `/proc/sys` to value.
    pub sysctls: BTreeMap<String, &'static str>,
    /// Endpoints that new connections go to. The UDP flows of one that is no more among them are forgotten: a client
    /// that sends from one port again and again would never reach another.
    pub offered: BTreeSet<Ipv4Addr>,
    /// All endpoints. The flows of one that is no more among them are forgotten: it will not answer.
    pub held: BTreeSet<Ipv4Addr>,
    pub rules: OverlayRules,
}

/// A VXLAN device without learning: whom it knows is in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelPlan {
    pub interface: String,
    pub vni: u32,
    pub port: u16,
    /// Its outer source.
    pub local: Ipv4Addr,
    pub mac: [u8; 6],
    pub mtu: u32,
}

/// A veth pair: the host's end has [`SANDBOX_GATEWAY`] and a route to `address`; the sandbox's end has `address`/32,
/// a route to `subnet`, and what is sent as `address` leaves by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPlan {
    pub container: ContainerId,
    /// In the sandbox.
    pub interface: String,
    pub address: Ipv4Addr,
    /// The network's.
    pub subnet: Subnet,
    /// The default route is here.
    pub leads_out: bool,
    pub mtu: u32,
}

/// `ip rule add from POOL fwmark MARK lookup TABLE` for each pool, and `default via PEER onlink` on the tunnel in
/// that table. Without `from` the encapsulated packet, which inherits the mark, would loop into the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReturnPath {
    pub peer: Ipv4Addr,
    /// Mark and routing table both: the peer's address as a number, so that it is its own in every plan and never
    /// handed out.
    pub mark: u32,
    pub from: BTreeSet<Subnet>,
}

/// The plan for the node `me` with the containers `places`.
pub fn plan(table: &EndpointTable, me: &Me, places: &[Here]) -> OverlayPlan {
    let here = table.peers.iter().find(|peer| peer.node == me.node);
    let peers: BTreeMap<&NodeId, &PeerRow> = table
        .peers
        .iter()
        .filter(|peer| peer.node != me.node && here.is_some())
        .map(|peer| (&peer.node, peer))
        .collect();
    let mtu = me.underlay_mtu.saturating_sub(TUNNEL_OVERHEAD);
    let tunnel = here.map(|here| TunnelPlan {
        interface: format!("smx{}", me.instance),
        vni: TUNNEL_VNI,
        port: me.tunnel_port,
        local: here.underlay,
        mac: tunnel_mac(here.underlay),
        mtu,
    });
    let locals = locals(table, places, mtu);
    let pools: BTreeSet<Subnet> = table.networks.iter().map(|network| network.subnet).collect();
    let mac = |peer: &&PeerRow| (peer.underlay, tunnel_mac(peer.underlay));
    let neighbours: BTreeMap<_, _> = peers.values().map(mac).collect();
    let returns = neighbours.keys().map(|peer| ReturnPath {
        peer: *peer,
        mark: peer.to_bits(),
        from: pools.clone(),
    });
    OverlayPlan {
        version: table.version,
        forwarding: neighbours.iter().map(|(peer, mac)| (*mac, *peer)).collect(),
        routes: routes(table, &peers),
        unreachable: pools.clone(),
        returns: returns.filter(|_| !pools.is_empty()).collect(),
        sysctls: sysctls(tunnel.as_ref(), &locals, &pools),
        offered: addresses(table, |row| row.state == EndpointState::Healthy && row.weight > 0),
        held: addresses(table, |_| true),
        rules: rules(table, me, tunnel.as_ref(), places),
        neighbours,
        tunnel,
        locals,
    }
}

fn addresses(table: &EndpointTable, of: impl Fn(&EndpointRow) -> bool) -> BTreeSet<Ipv4Addr> {
    table.endpoints.iter().filter(|row| of(row)).map(|row| row.address).collect()
}

/// Blocks of nodes that are not in the table lead nowhere.
fn routes(
    table: &EndpointTable,
    peers: &BTreeMap<&NodeId, &PeerRow>,
) -> BTreeMap<Subnet, Ipv4Addr> {
    let blocks = table.networks.iter().flat_map(|network| &network.blocks);
    blocks.filter_map(|of| Some((of.block, peers.get(&of.node)?.underlay))).collect()
}

/// In a network that is not in the table nobody has a link: who may reach it is not known.
fn locals(table: &EndpointTable, places: &[Here], mtu: u32) -> BTreeMap<String, LocalPlan> {
    let networks: BTreeMap<&NetworkId, &NetworkRow> =
        table.networks.iter().map(|network| (&network.id, network)).collect();
    let local = |place: &Here| {
        let local = LocalPlan {
            container: place.container.clone(),
            interface: place.interface.clone(),
            address: place.address,
            subnet: networks.get(&place.network)?.subnet,
            leads_out: place.leads_out,
            mtu,
        };
        Some((host_interface(place.address), local))
    };
    places.iter().filter_map(local).collect()
}

/// At most 15 bytes, and nobody else's: an address is owned once in the cluster.
pub(super) fn host_interface(address: Ipv4Addr) -> String {
    format!("smt{:08x}", address.to_bits())
}

fn sysctls(
    tunnel: Option<&TunnelPlan>,
    locals: &BTreeMap<String, LocalPlan>,
    pools: &BTreeSet<Subnet>,
) -> BTreeMap<String, &'static str> {
    let mut sysctls = BTreeMap::new();
    if !pools.is_empty() {
        sysctls.insert("net/ipv4/ip_forward".to_owned(), "1");
    }
    // Clients' own addresses come in by the tunnel; what a task may send as, the rules check. 127.0.0.1 on the
    // host leads to published ports, too; the rules drop what that would let in.
    for interface in locals.keys().chain(tunnel.map(|tunnel| &tunnel.interface)) {
        sysctls.insert(format!("net/ipv4/conf/{interface}/rp_filter"), "0");
        sysctls.insert(format!("net/ipv4/conf/{interface}/route_localnet"), "1");
        // The rules are IPv4's: what they do not see must not pass.
        sysctls.insert(format!("net/ipv6/conf/{interface}/disable_ipv6"), "1");
    }
    sysctls
}

/// A locally administered MAC that follows from the node's address, so that it need not be told.
pub fn tunnel_mac(underlay: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = underlay.octets();
    [0x02, 0x53, a, b, c, d]
}

#[cfg(test)]
mod tests;
