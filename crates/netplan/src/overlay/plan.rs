//! From the endpoint table to one node's links, routes and rules.

use super::rules::OverlayRules;
use super::sixes::{LocalSix, SixPaths, Sixes};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use types::port::Protocol;
use types::six::SixSubnet;
use types::subnet::Subnet;
use types::swarm::endpoint::{EndpointTable, NetworkRow, PeerRow, ServiceRow, Vip};
use types::swarm::network::Mode;
use types::{ContainerId, NetworkId, NodeId, ServiceId};

/// IANA's port for VXLAN, and Docker's.
pub const TUNNEL_PORT: u16 = 4789;
/// One tunnel for all networks: their subnets are disjoint, and the rules keep them apart. Below Docker's first,
/// which networks' own numbers begin with.
pub const TUNNEL_VNI: u32 = 4096;
/// What VXLAN adds to a packet over IPv4.
const TUNNEL_OVERHEAD: u32 = 50;
/// What WireGuard adds, with room for its padding.
const WIRE_OVERHEAD: u32 = 80;
/// Below `/proc/sys`. A host that forwards listens to no router's advertisements unless told to.
pub const FORWARDING_SIX: &str = "net/ipv6/conf/all/forwarding";
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
    /// Empty of the host itself: it has the address, and no link.
    pub container: ContainerId,
    pub network: NetworkId,
    pub address: Ipv4Addr,
    /// Its name in the sandbox. At most 15 bytes, and free there.
    pub interface: String,
    /// The container's default route is here; at one of its places at most.
    pub leads_out: bool,
    /// So is its default route of IPv6.
    pub leads_out_six: bool,
    /// Its ports that ports of this host lead to, beside the mesh.
    pub published: BTreeSet<(Protocol, u16)>,
}

impl Here {
    /// Whether it is the host's own place.
    pub fn is_host(&self) -> bool {
        self.container.as_str().is_empty()
    }
}

/// Everything that the kernel is to hold for the cluster's networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayPlan {
    /// The table's: what is acknowledged once the plan is applied.
    pub version: u64,
    /// `None` while this node has no address in the table: nothing leads to or from other nodes then.
    pub tunnel: Option<TunnelPlan>,
    /// For encrypted networks; `None` while there are none.
    pub wire: Option<WirePlan>,
    /// On the tunnel, permanent: a peer's underlay address (the next hop of its blocks) to its tunnel's MAC.
    pub neighbours: BTreeMap<Ipv4Addr, [u8; 6]>,
    /// Of the tunnel, permanent: a peer's MAC to where its packets go.
    pub forwarding: BTreeMap<[u8; 6], Ipv4Addr>,
    /// Other nodes' blocks.
    pub routes: BTreeMap<Subnet, Hop>,
    /// Subnets of all networks: what no block or task has is answered at once instead of leaving by the default
    /// route. Longer prefixes win over it.
    pub unreachable: BTreeSet<Subnet>,
    /// Containers here, by the name of the host's end of their pair.
    pub locals: BTreeMap<String, LocalPlan>,
    /// Addresses that the host itself has.
    pub hosts: BTreeSet<Ipv4Addr>,
    /// VIPs of the networks that the host itself is in. What it sends there is translated after it was routed, so that it
    /// needs a way first: to the loopback device, which it never takes.
    pub host_vips: BTreeSet<Ipv4Addr>,
    /// For replies to what came in by another node, which must go back to it.
    pub returns: BTreeSet<ReturnPath>,
    /// Path below `/proc/sys` to value.
    pub sysctls: BTreeMap<String, &'static str>,
    /// Endpoints that new connections go to. The UDP flows of one that is no more among them are forgotten: a client
    /// that sends from one port again and again would never reach another.
    pub offered: Arc<BTreeSet<IpAddr>>,
    /// All endpoints. The flows of one that is no more among them are forgotten: it will not answer.
    pub held: Arc<BTreeSet<IpAddr>>,
    pub rules: OverlayRules,
    /// Of networks that have IPv6.
    pub six: SixPaths,
}

/// How packets get to another node's block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// The node's underlay address. `onlink` on the tunnel or the wire; with `direct`, the way that leads to the node.
    pub via: Ipv4Addr,
    pub by: Mode,
}

/// An Ethernet device whose frames a process of ours carries to the other nodes, encrypted. Like the tunnel in all
/// but that: a peer is known by its MAC, and what it may send as by the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WirePlan {
    pub interface: String,
    /// Where the other nodes' packets come, UDP.
    pub local: Ipv4Addr,
    pub port: u16,
    pub mac: [u8; 6],
    pub mtu: u32,
    /// Public keys by underlay address, base64. Nothing goes to or comes from a node without one.
    pub peers: BTreeMap<Ipv4Addr, String>,
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
    pub six: Option<LocalSix>,
}

/// `ip rule add from POOL fwmark MARK lookup TABLE` for each pool, and `default via PEER onlink` on the tunnel in
/// that table. Without `from` the encapsulated packet, which inherits the mark, would loop into the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReturnPath {
    pub peer: Ipv4Addr,
    /// The tunnel or the wire.
    pub by: Mode,
    /// The peer's address as a number, so that it is its own in every plan and never handed out.
    pub mark: u32,
    /// The same; on the wire its complement.
    pub table: u32,
    pub from: BTreeSet<Subnet>,
    /// Subnets without encapsulation: what comes in by a published port is led there by the tunnel all the same, or the
    /// task's node could not tell by which node it came.
    pub to: BTreeSet<Subnet>,
    pub from_six: BTreeSet<SixSubnet>,
}

impl OverlayPlan {
    /// The tunnel and the wire, by their names.
    pub fn devices(&self) -> impl Iterator<Item = &String> {
        let tunnel = self.tunnel.iter().map(|tunnel| &tunnel.interface);
        tunnel.chain(self.wire.iter().map(|wire| &wire.interface))
    }
}

/// What follows from networks and peers alone: the ways between this node and the others.
#[derive(Debug)]
pub(super) struct Roads {
    pub(super) tunnel: Option<TunnelPlan>,
    pub(super) wire: Option<WirePlan>,
    pub(super) neighbours: BTreeMap<Ipv4Addr, [u8; 6]>,
    pub(super) routes: BTreeMap<Subnet, Hop>,
    pub(super) returns: BTreeSet<ReturnPath>,
    pub(super) sixes: Sixes,
}

impl Roads {
    pub(super) fn new(table: &EndpointTable, me: &Me) -> Self {
        let here = table.peers.iter().find(|peer| peer.node == me.node);
        let peers: BTreeMap<&NodeId, &PeerRow> = table
            .peers
            .iter()
            .filter(|peer| peer.node != me.node && here.is_some())
            .map(|peer| (&peer.node, peer))
            .collect();
        let tunnel = here.map(|here| TunnelPlan {
            interface: format!("smx{}", me.instance),
            vni: TUNNEL_VNI,
            port: me.tunnel_port,
            local: here.underlay,
            mac: tunnel_mac(here.underlay),
            mtu: mtu(me, Mode::Vxlan),
        });
        let wire = here.filter(|_| has(table, Mode::Wireguard)).map(|here| wire(me, here, &peers));
        let mac = |peer: &&PeerRow| (peer.underlay, tunnel_mac(peer.underlay));
        let neighbours: BTreeMap<_, _> = peers.values().map(mac).collect();
        Roads {
            routes: routes(table, &peers, wire.as_ref()),
            returns: returns(table, &neighbours, wire.as_ref()),
            sixes: Sixes::of(table),
            tunnel,
            wire,
            neighbours,
        }
    }

    /// The tunnel and the wire, by their names.
    pub(super) fn devices(&self) -> Vec<&String> {
        let tunnel = self.tunnel.iter().map(|tunnel| &tunnel.interface);
        tunnel.chain(self.wire.iter().map(|wire| &wire.interface)).collect()
    }
}

/// The host's own addresses, and the VIPs there that have somebody to lead to.
pub(super) fn hosts<'a>(
    table: &EndpointTable,
    places: &[Here],
    services: impl Iterator<Item = &'a Arc<ServiceRow>>,
    offers: impl Fn(&ServiceId, &NetworkId) -> bool,
) -> (BTreeSet<Ipv4Addr>, BTreeSet<Ipv4Addr>) {
    let own = || places.iter().filter(|place| place.is_host());
    let networks: BTreeSet<&NetworkId> = own().map(|place| &place.network).collect();
    if networks.is_empty() {
        return Default::default();
    }
    let known = |place: &&Here| table.networks.iter().any(|row| row.id == place.network);
    let led = services.flat_map(|service| {
        let is_led =
            |vip: &&Vip| networks.contains(&vip.network) && offers(&service.id, &vip.network);
        service.vips.iter().filter(is_led).map(|vip| vip.address).collect::<Vec<_>>()
    });
    let led = led.collect();
    (own().filter(known).map(|place| place.address).collect(), led)
}

fn has(table: &EndpointTable, mode: Mode) -> bool {
    table.networks.iter().any(|network| network.mode == mode)
}

/// Of the interfaces in a network.
fn mtu(me: &Me, mode: Mode) -> u32 {
    me.underlay_mtu.saturating_sub(match mode {
        Mode::Vxlan => TUNNEL_OVERHEAD,
        Mode::Direct => 0,
        Mode::Wireguard => WIRE_OVERHEAD,
    })
}

fn wire(me: &Me, here: &PeerRow, peers: &BTreeMap<&NodeId, &PeerRow>) -> WirePlan {
    let keyed = peers.values().filter(|peer| !peer.wire_key.is_empty());
    WirePlan {
        interface: format!("smw{}", me.instance),
        local: here.underlay,
        port: me.tunnel_port.wrapping_add(1),
        mac: wire_mac(here.underlay),
        mtu: mtu(me, Mode::Wireguard),
        peers: keyed.map(|peer| (peer.underlay, peer.wire_key.clone())).collect(),
    }
}

fn returns(
    table: &EndpointTable,
    neighbours: &BTreeMap<Ipv4Addr, [u8; 6]>,
    wire: Option<&WirePlan>,
) -> BTreeSet<ReturnPath> {
    let networks = |of: fn(Mode) -> bool| table.networks.iter().filter(move |row| of(row.mode));
    let path = |peer: &Ipv4Addr, by: Mode, of: fn(Mode) -> bool| ReturnPath {
        peer: *peer,
        by,
        mark: peer.to_bits(),
        table: if by == Mode::Wireguard { !peer.to_bits() } else { peer.to_bits() },
        from: networks(of).map(|row| row.subnet).collect(),
        to: match by {
            Mode::Vxlan => networks(|it| it == Mode::Direct).map(|row| row.subnet).collect(),
            _ => BTreeSet::new(),
        },
        from_six: networks(of).filter_map(|row| row.six).collect(),
    };
    let plain = neighbours.keys().map(|peer| path(peer, Mode::Vxlan, |it| it != Mode::Wireguard));
    let keyed = wire.into_iter().flat_map(|wire| wire.peers.keys());
    let secret = keyed.map(|peer| path(peer, Mode::Wireguard, |it| it == Mode::Wireguard));
    plain.chain(secret).filter(|path| !path.from.is_empty()).collect()
}

/// Blocks of nodes that are not in the table lead nowhere; those of encrypted networks neither, on a node that cannot
/// decrypt.
fn routes(
    table: &EndpointTable,
    peers: &BTreeMap<&NodeId, &PeerRow>,
    wire: Option<&WirePlan>,
) -> BTreeMap<Subnet, Hop> {
    let blocks = table.networks.iter().flat_map(|row| row.blocks.iter().map(|of| (row.mode, of)));
    let route = |(by, of): (Mode, &types::swarm::network::NodeBlock)| {
        let via = peers.get(&of.node)?.underlay;
        let decrypts = || wire.is_some_and(|wire| wire.peers.contains_key(&via));
        (by != Mode::Wireguard || decrypts()).then_some((of.block, Hop { via, by }))
    };
    blocks.filter_map(route).collect()
}

/// In a network that is not in the table nobody has a link: who may reach it is not known.
pub(super) fn locals(
    table: &EndpointTable,
    me: &Me,
    places: &[Here],
    sixes: &Sixes,
) -> BTreeMap<String, LocalPlan> {
    let networks: BTreeMap<&NetworkId, &NetworkRow> =
        table.networks.iter().map(|network| (&network.id, network)).collect();
    let local = |place: &Here| {
        let network = networks.get(&place.network)?;
        let local =
            LocalPlan {
                container: place.container.clone(),
                interface: place.interface.clone(),
                address: place.address,
                subnet: network.subnet,
                leads_out: place.leads_out,
                mtu: mtu(me, network.mode),
                six: network.six.zip(sixes.place(place.address)).map(|(subnet, address)| {
                    LocalSix { address, subnet, leads_out: place.leads_out_six }
                }),
            };
        Some((host_interface(place.address), local))
    };
    places.iter().filter(|place| !place.is_host()).filter_map(local).collect()
}

/// At most 15 bytes, and nobody else's: an address is owned once in the cluster.
pub(super) fn host_interface(address: Ipv4Addr) -> String {
    format!("smt{:08x}", address.to_bits())
}

pub(super) fn sysctls(
    devices: &[&String],
    locals: &BTreeMap<String, LocalPlan>,
    forwards: bool,
    forwards_six: bool,
) -> BTreeMap<String, &'static str> {
    let mut sysctls = BTreeMap::new();
    if forwards {
        sysctls.insert("net/ipv4/ip_forward".to_owned(), "1");
    }
    if forwards_six {
        sysctls.insert(FORWARDING_SIX.to_owned(), "1");
    }
    let six = |local: &LocalPlan| local.six.is_some();
    let all = locals.iter().map(|(name, local)| (name, six(local)));
    // Clients' own addresses come in by the tunnel; what a task may send as, the rules check. 127.0.0.1 on the
    // host leads to published ports, too; the rules drop what that would let in.
    for (interface, six) in all.chain(devices.iter().map(|name| (*name, forwards_six))) {
        sysctls.insert(format!("net/ipv4/conf/{interface}/rp_filter"), "0");
        sysctls.insert(format!("net/ipv4/conf/{interface}/route_localnet"), "1");
        // Where there are no rules for IPv6, what they do not see must not pass.
        let off = if six { "0" } else { "1" };
        sysctls.insert(format!("net/ipv6/conf/{interface}/disable_ipv6"), off);
        if six {
            // No address but ours, and no router but us.
            sysctls.insert(format!("net/ipv6/conf/{interface}/addr_gen_mode"), "1");
            sysctls.insert(format!("net/ipv6/conf/{interface}/accept_ra"), "0");
        }
    }
    sysctls
}

/// A locally administered MAC that follows from the node's address, so that it need not be told.
pub fn tunnel_mac(underlay: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = underlay.octets();
    [0x02, 0x53, a, b, c, d]
}

/// The same on the wire.
pub fn wire_mac(underlay: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = underlay.octets();
    [0x02, 0x57, a, b, c, d]
}

#[cfg(test)]
mod tests;
