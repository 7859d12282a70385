//! The nftables rules of the cluster's networks: one table. Its frame never changes; sets, maps and one chain for
//! each VIP and published port do.
//!
//! | chain | hook | does |
//! |---|---|---|
//! | `loopback` | prerouting, raw | drops what `route_localnet` would let a task reach |
//! | `input` | filter | the tunnel's packets from peers alone, and nothing for the host in them but answers |
//! | `arrive` | prerouting, mangle | remembers which node a connection came in by, and sends its replies back there |
//! | `prerouting`, `output` | nat | VIPs to endpoints; published ports to local endpoints, else to any |
//! | `postrouting` | nat | masquerade: to the outside, and what a task sends to itself by a VIP |
//! | `forward` | filter | no foreign source, no packet between networks, none that a policy keeps away, in only to published ports |
//! | `vip_…`, `port_…` | | a choice among the healthy endpoints, by weight; draining ones are in none |

use super::plan::{Here, Me, TUNNEL_VNI, TunnelPlan, host_interface, tunnel_mac};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use types::swarm::endpoint::{
    EndpointRow, EndpointState, EndpointTable, NetworkRow, PolicyRow, ServiceRow,
};
use types::swarm::policy::PolicyPort;
use types::swarm::service::PortConfig;
use types::{NetworkId, ServiceId};

/// Our table in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayRules {
    /// The table's name in the `ip` family.
    pub table: String,
    /// What does not change: chains, rules, empty sets.
    pub frame: String,
    /// By chain: its one rule.
    pub choices: BTreeMap<String, String>,
    /// By set: keys, and in a map what they lead to.
    pub elements: BTreeMap<&'static str, BTreeMap<String, String>>,
}

impl OverlayRules {
    /// The input of `nft -f` that replaces whatever is there, in one transaction.
    pub fn text(&self) -> String {
        let mut text =
            format!("add table ip {0}\ndelete table ip {0}\n{1}", self.table, self.frame);
        for (chain, rule) in &self.choices {
            text += &self.choice(chain, rule);
        }
        for (set, elements) in &self.elements {
            text += &self.change("add", set, elements.iter());
        }
        text
    }

    /// The input of `nft -f` that makes `before` into this, in one transaction: empty if they are equal. The
    /// whole text when the frames differ.
    pub fn text_since(&self, before: &OverlayRules) -> String {
        if self.table != before.table || self.frame != before.frame {
            return self.text();
        }
        let mut text = String::new();
        for (chain, rule) in &self.choices {
            if before.choices.get(chain) != Some(rule) {
                text += &self.choice(chain, rule);
            }
        }
        let empty = BTreeMap::new();
        let sets: BTreeSet<_> = self.elements.keys().chain(before.elements.keys()).collect();
        let mut added = String::new();
        for set in sets {
            let now = self.elements.get(*set).unwrap_or(&empty);
            let then = before.elements.get(*set).unwrap_or(&empty);
            let gone = then.iter().filter(|(key, value)| now.get(*key) != Some(*value));
            text += &self.change("delete", set, gone.map(|(key, _)| (key, &NOTHING)));
            let new = now.iter().filter(|(key, value)| then.get(*key) != Some(*value));
            added += &self.change("add", set, new);
        }
        text += &added;
        // Last: a chain that an element still leads to cannot go.
        for chain in before.choices.keys().filter(|chain| !self.choices.contains_key(*chain)) {
            text +=
                &format!("flush chain ip {0} {chain}\ndelete chain ip {0} {chain}\n", self.table);
        }
        text
    }

    fn choice(&self, chain: &str, rule: &str) -> String {
        let table = &self.table;
        format!(
            "add chain ip {table} {chain}\nflush chain ip {table} {chain}\nadd rule ip {table} {chain} {rule}\n"
        )
    }

    fn change<'a>(
        &self,
        verb: &str,
        set: &str,
        elements: impl Iterator<Item = (&'a String, &'a String)>,
    ) -> String {
        let element = |(key, value): (&String, &String)| match value.as_str() {
            "" => key.clone(),
            value => format!("{key} : {value}"),
        };
        let list: Vec<String> = elements.map(element).collect();
        if list.is_empty() {
            return String::new();
        }
        format!("{verb} element ip {} {set} {{ {} }}\n", self.table, list.join(", "))
    }
}

/// No value beside a key.
static NOTHING: String = String::new();

/// Set or map, name, type.
const SETS: &[(&str, &str, &str)] = &[
    ("set", "tunnel", "type ifname"),
    ("set", "tasks", "type ifname"),
    // A task's interface and its own address.
    ("set", "owners", "type ifname . ipv4_addr"),
    ("set", "pools", "type ipv4_addr; flags interval"),
    // Other nodes: where their tunnelled packets come from, and which sources these may have inside.
    ("set", "underlays", "type ipv4_addr"),
    ("set", "blocks", "type ether_addr . ipv4_addr; flags interval"),
    ("set", "internal", "type ipv4_addr; flags interval"),
    // A network's subnet, twice.
    ("set", "within", "type ipv4_addr . ipv4_addr; flags interval"),
    // A task here, twice.
    ("set", "itself", "type ipv4_addr . ipv4_addr"),
    // Where published ports lead.
    ("set", "mesh", "type ipv4_addr . inet_proto . inet_service"),
    // Endpoints that policies are about, with a count of what was dropped; who may come to them, by all ports and by
    // some; and by which ports everybody may.
    ("set", "guarded", "type ipv4_addr; counter"),
    ("set", "admitted", "type ipv4_addr . ipv4_addr"),
    ("set", "admitted_ports", "type ipv4_addr . ipv4_addr . inet_proto . inet_service"),
    ("set", "open_ports", "type ipv4_addr . inet_proto . inet_service"),
    ("map", "vips", "type ipv4_addr : verdict"),
    ("map", "ports", "type inet_proto . inet_service : verdict"),
    ("map", "peers", "type ether_addr : mark"),
];

/// Chain, hook, rules.
const CHAINS: &[(&str, &str, &[&str])] = &[
    (
        "loopback",
        "type filter hook prerouting priority raw; policy accept;",
        &["iifname @tasks ip daddr 127.0.0.0/8 drop", "iifname @tunnel ip daddr 127.0.0.0/8 drop"],
    ),
    (
        "input",
        "type filter hook input priority filter; policy accept;",
        &[
            "ct state established,related accept",
            "iifname @tunnel counter drop",
            "iifname @tasks ip saddr @internal counter drop",
        ],
    ),
    (
        "arrive",
        "type filter hook prerouting priority mangle; policy accept;",
        &[
            "iifname @tunnel ct state new ct mark set ether saddr map @peers",
            "iifname @tasks ct direction reply ct mark != 0 meta mark set ct mark",
        ],
    ),
    (
        "prerouting",
        "type nat hook prerouting priority dstnat; policy accept;",
        &[
            "ip daddr vmap @vips",
            "ip daddr 127.0.0.0/8 return",
            "fib daddr type local meta l4proto . th dport vmap @ports",
        ],
    ),
    (
        "output",
        "type nat hook output priority -100; policy accept;",
        &["fib daddr type local meta l4proto . th dport vmap @ports"],
    ),
    (
        "postrouting",
        "type nat hook postrouting priority srcnat; policy accept;",
        &[
            // Who calls a VIP and gets itself would see its own address as the caller's.
            "ip saddr . ip daddr @itself ct status dnat masquerade",
            // The host's own calls to a published port: 127.0.0.1 cannot leave.
            "ip saddr 127.0.0.0/8 ip daddr @pools masquerade",
            // To the outside, and to another network's published port.
            "iifname @tasks ip saddr . ip daddr != @within masquerade",
        ],
    ),
    (
        "forward",
        "type filter hook forward priority filter; policy accept;",
        &[
            "iifname != @tasks iifname != @tunnel oifname != @tasks oifname != @tunnel accept",
            "iifname @tasks iifname . ip saddr != @owners counter drop",
            "iifname @tunnel ip saddr @pools ether saddr . ip saddr != @blocks counter drop",
            "ct state established,related accept",
            // On the node that sends and on the one that gets it. The last lookup counts, so nothing comes after it.
            "ip saddr @pools ip saddr . ip daddr != @admitted \
                ip saddr . ip daddr . meta l4proto . th dport != @admitted_ports \
                ip daddr . meta l4proto . th dport != @open_ports ip daddr @guarded drop",
            "ip saddr . ip daddr @within accept",
            "ip saddr @internal counter drop",
            "ip daddr . meta l4proto . th dport @mesh ct status dnat accept",
            "iifname @tunnel ip daddr . meta l4proto . th dport @mesh ip saddr != @pools accept",
            "iifname @tasks oifname != @tasks oifname != @tunnel accept",
            "counter drop",
        ],
    ),
];

/// The rules for the node `me`.
pub(super) fn rules(
    table: &EndpointTable,
    me: &Me,
    tunnel: Option<&TunnelPlan>,
    places: &[Here],
) -> OverlayRules {
    let name = format!("sampan_overlay_{}", me.instance);
    let mut rules = OverlayRules {
        frame: frame(&name, me.tunnel_port),
        table: name,
        ..OverlayRules::default()
    };
    describe_links(&mut rules, table, me, tunnel);
    for place in places {
        describe_place(&mut rules, place);
    }
    for network in table.networks.iter().filter(|network| !network.policy.is_empty()) {
        guard(&mut rules, table, network);
    }
    let offers = Offers::of(table);
    for service in &table.services {
        for vip in &service.vips {
            let to = offers.to(&service.id, &vip.network);
            if let Some(choice) = choice(&to, None) {
                let chain = format!("vip_{:08x}", vip.address.to_bits());
                rules.put("vips", vip.address.to_string(), format!("goto {chain}"));
                rules.choices.insert(chain, choice);
            }
        }
        for port in service.ports.iter().filter(|port| port.publish_mode != "host") {
            publish(&mut rules, table, me, service, port, &offers);
        }
    }
    rules
}

impl OverlayRules {
    fn put(&mut self, set: &'static str, key: String, value: String) {
        self.elements.entry(set).or_default().insert(key, value);
    }
}

fn describe_links(
    rules: &mut OverlayRules,
    table: &EndpointTable,
    me: &Me,
    tunnel: Option<&TunnelPlan>,
) {
    if let Some(tunnel) = tunnel {
        rules.put("tunnel", format!("\"{}\"", tunnel.interface), String::new());
        for peer in table.peers.iter().filter(|peer| peer.node != me.node) {
            let mark = format!("{:#010x}", peer.underlay.to_bits());
            let mac = mac_text(tunnel_mac(peer.underlay));
            rules.put("underlays", peer.underlay.to_string(), String::new());
            for of in table.networks.iter().flat_map(|network| &network.blocks) {
                if of.node == peer.node {
                    rules.put("blocks", format!("{mac} . {}", of.block), String::new());
                }
            }
            rules.put("peers", mac, mark);
        }
    }
    for network in &table.networks {
        rules.put("pools", network.subnet.to_string(), String::new());
        rules.put("within", format!("{0} . {0}", network.subnet), String::new());
        if network.internal {
            rules.put("internal", network.subnet.to_string(), String::new());
        }
    }
}

fn describe_place(rules: &mut OverlayRules, place: &Here) {
    let (interface, address) = (host_interface(place.address), place.address);
    rules.put("tasks", format!("\"{interface}\""), String::new());
    rules.put("owners", format!("\"{interface}\" . {address}"), String::new());
    rules.put("itself", format!("{address} . {address}"), String::new());
    for (protocol, port) in &place.published {
        rules.put("mesh", format!("{address} . {} . {port}", protocol.as_str()), String::new());
    }
}

/// Who may come to the endpoints that the network's policies are about. Endpoints in every state: what ends may be
/// asked as long as it answers.
fn guard(rules: &mut OverlayRules, table: &EndpointTable, network: &NetworkRow) {
    let mut addresses: BTreeMap<&ServiceId, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    for row in table.endpoints.iter().filter(|row| row.network == network.id) {
        if let Some(service) = &row.service {
            addresses.entry(service).or_default().insert(row.address);
        }
    }
    let of = |services: &[ServiceId]| -> BTreeSet<Ipv4Addr> {
        services.iter().filter_map(|id| addresses.get(id)).flatten().copied().collect()
    };
    let admits_all = |rule: &&PolicyRow| rule.from.is_none() && rule.ports.is_empty();
    let open: BTreeSet<Ipv4Addr> =
        network.policy.iter().filter(admits_all).flat_map(|rule| of(&rule.to)).collect();
    for rule in &network.policy {
        let from = rule.from.as_ref().map(|from| of(from));
        for to in of(&rule.to).difference(&open) {
            rules.put("guarded", to.to_string(), String::new());
            let port = |it: &PolicyPort| format!("{to} . {} . {}", it.protocol.as_str(), it.port);
            match &from {
                None => {
                    for it in &rule.ports {
                        rules.put("open_ports", port(it), String::new());
                    }
                }
                Some(from) => {
                    for from in from {
                        if rule.ports.is_empty() {
                            rules.put("admitted", format!("{from} . {to}"), String::new());
                        }
                        for it in &rule.ports {
                            let place = format!("{from} . {}", port(it));
                            rules.put("admitted_ports", place, String::new());
                        }
                    }
                }
            }
        }
    }
}

/// A published port: on every node, to the tasks of this node if there are healthy ones. They are reached by the
/// network that has their default route, so that what answers a datagram by the route to the client does so with the
/// address that was asked.
fn publish(
    rules: &mut OverlayRules,
    table: &EndpointTable,
    me: &Me,
    service: &ServiceRow,
    port: &PortConfig,
    offers: &Offers<'_>,
) {
    if port.published_port == 0 {
        return;
    }
    let protocol = if port.protocol.is_empty() { "tcp" } else { &port.protocol };
    let open = |network: &NetworkRow| offers.open(&service.id, &network.id);
    let there = table.networks.iter().filter(|network| !open(network).is_empty());
    let first = there.min_by_key(|network| (network.internal, network.ingress, &network.name));
    let Some(network) = first else { return };
    for row in open(network) {
        let place = format!("{} . {protocol} . {}", row.address, port.target_port);
        rules.put("mesh", place, String::new());
    }
    let all = offers.to(&service.id, &network.id);
    let near: Vec<&EndpointRow> = all.iter().filter(|row| row.node == me.node).copied().collect();
    let to = if near.iter().any(|row| row.weight > 0) { near } else { all };
    if let Some(choice) = choice(&to, Some((protocol, port.target_port))) {
        let chain = format!("port_{protocol}_{}", port.published_port);
        rules.put(
            "ports",
            format!("{protocol} . {}", port.published_port),
            format!("goto {chain}"),
        );
        rules.choices.insert(chain, choice);
    }
}

/// Endpoints by service and network, but for those that only start.
struct Offers<'a>(BTreeMap<(&'a ServiceId, &'a NetworkId), Vec<&'a EndpointRow>>);

impl<'a> Offers<'a> {
    fn of(table: &'a EndpointTable) -> Self {
        let mut offers: BTreeMap<_, Vec<&EndpointRow>> = BTreeMap::new();
        for row in table.endpoints.iter().filter(|row| row.state != EndpointState::Starting) {
            if let Some(service) = &row.service {
                offers.entry((service, &row.network)).or_default().push(row);
            }
        }
        Offers(offers)
    }

    /// Draining ones, too: a node that has not yet heard of it still sends there.
    fn open(&self, service: &ServiceId, network: &NetworkId) -> Vec<&'a EndpointRow> {
        self.0.get(&(service, network)).cloned().unwrap_or_default()
    }

    /// Those that new connections go to.
    fn to(&self, service: &ServiceId, network: &NetworkId) -> Vec<&'a EndpointRow> {
        let mut open = self.open(service, network);
        open.retain(|row| row.state == EndpointState::Healthy);
        open
    }
}

/// A rule that picks one of the endpoints, by weight; `None` if there is none to pick.
fn choice(to: &[&EndpointRow], port: Option<(&str, u16)>) -> Option<String> {
    let mut offered: Vec<(Ipv4Addr, u32)> =
        to.iter().filter(|row| row.weight > 0).map(|row| (row.address, row.weight)).collect();
    offered.sort_unstable();
    offered.dedup_by_key(|(address, _)| *address);
    let least = offered.iter().map(|(_, weight)| *weight).reduce(divisor)?;
    let target = |address: Ipv4Addr| match port {
        Some((_, port)) => format!("{address} . {port}"),
        None => address.to_string(),
    };
    let dnat = match port {
        Some((protocol, _)) => format!("meta l4proto {protocol} dnat ip to"),
        None => "dnat ip to".to_owned(),
    };
    if let [(address, _)] = offered.as_slice() {
        let one = target(*address).replace(" . ", ":");
        return Some(format!("{dnat} {one}"));
    }
    let mut from = 0;
    let mut parts = Vec::new();
    for (address, weight) in &offered {
        let share = weight / least;
        let range = match share {
            1 => from.to_string(),
            _ => format!("{from}-{}", from + share - 1),
        };
        parts.push(format!("{range} : {}", target(*address)));
        from += share;
    }
    Some(format!("{dnat} numgen random mod {from} map {{ {} }}", parts.join(", ")))
}

/// The greatest common one.
fn divisor(one: u32, two: u32) -> u32 {
    if two == 0 { one } else { divisor(two, one % two) }
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// `port`: of the tunnel. Another's VXLAN may share it, with other numbers for its networks.
fn frame(table: &str, port: u16) -> String {
    let mut text = format!("add table ip {table}\n");
    for (kind, name, of) in SETS {
        text += &format!("add {kind} ip {table} {name} {{ {of}; }}\n");
    }
    for (chain, hook, _) in CHAINS {
        text += &format!("add chain ip {table} {chain} {{ {hook} }}\n");
    }
    text += &format!(
        "add rule ip {table} input udp dport {port} @th,96,24 {TUNNEL_VNI} ip saddr != @underlays counter drop\n"
    );
    for (chain, _, rules) in CHAINS {
        for rule in *rules {
            text += &format!("add rule ip {table} {chain} {rule}\n");
        }
    }
    text
}
