//! The nftables rules of the cluster's networks: one table. Its frame never changes; sets, maps and one chain for
//! each VIP and published port do. If networks have IPv6 there is another of the kind in family `ip6`; rules are written
//! down in IPv4's words, from which the other's follow ([`Family`]).
//!
//! Every packet passes them, so a rule asks first what costs little (a number, the connection's state) and last what has
//! to be looked up in a set; what only a connection's first packet has to be asked comes after its state; and there is no
//! chain on a hook for what no network and nobody here needs: its call is most of what it costs.
//!
//! | chain | hook | does |
//! |---|---|---|
//! | `arrive` | prerouting, mangle | drops what `route_localnet` would let a task reach; sends replies back to the node that the connection came in by |
//! | `input`, `tunnelled` | filter | the tunnel's packets from peers alone, and nothing for the host in them but answers |
//! | `lead` | prerouting | where a network has no encapsulation: by the tunnel all the same what came in by a published port |
//! | `prerouting`, `output` | nat | VIPs to endpoints; published ports to local endpoints, else to any |
//! | `postrouting` | nat | masquerade: to the outside, what a task sends to itself by a VIP, and what another node asks of a published port |
//! | `forward`, `from_tunnel` | filter | no segments that are too large for the tunnel; no foreign source |
//! | `admit` | | what goes on; else no packet between networks, none that a policy keeps away, in only to published ports; remembers which node a connection came in by |
//! | `host` | | what is for the host itself where it is in a network |
//! | `leave` | postrouting | where the host is in a network: policies, for what it sends |
//! | `refuse` | | remembers what policies keep away, and drops it |
//! | `vip_…`, `port_…` | | a choice among the healthy endpoints, by weight; draining ones are in none |

use super::elements::{Chain, Choice, Datum, Elements, Key};
use super::plan::{Here, Me, TUNNEL_VNI, host_interface, tunnel_mac, wire_mac};
use super::sixes::Sixes;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use types::port::Protocol;
use types::subnet::Subnet;
use types::swarm::endpoint::{
    EndpointRow, EndpointState, EndpointTable, NetworkRow, PeerRow, PolicyRow, Rows, ServiceRow,
};
use types::swarm::network::Mode;
use types::swarm::policy::PolicyPort;
use types::swarm::service::PortConfig;
use types::{NetworkId, ServiceId, TaskId};

/// Our table in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayRules {
    /// `ip` or `ip6`.
    pub family: &'static str,
    /// The table's name in that family.
    pub table: String,
    /// What does not change: chains, rules, empty sets.
    pub frame: String,
    /// What chains hold. What did not change since another plan is the same there, also in memory.
    pub choices: Arc<BTreeMap<Chain, Choice>>,
    /// By set.
    pub elements: BTreeMap<&'static str, Arc<Elements>>,
}

impl OverlayRules {
    /// The input of `nft -f` that replaces whatever is there, in one transaction.
    pub fn text(&self) -> String {
        let mut text = format!(
            "add table {0} {1}\ndelete table {0} {1}\n{2}",
            self.family, self.table, self.frame
        );
        for (chain, choice) in self.choices.iter() {
            text += &self.choice(*chain, choice);
        }
        for (set, elements) in &self.elements {
            text += &self.add(set, elements.iter());
        }
        text
    }

    /// What makes `before` into this; `None` when the whole has to be replaced.
    pub fn since<'a>(&'a self, before: &'a OverlayRules) -> Option<Changes<'a>> {
        if (self.family, &self.table) != (before.family, &before.table)
            || self.frame != before.frame
        {
            return None;
        }
        let mut changes = Changes::default();
        if !Arc::ptr_eq(&self.choices, &before.choices) {
            changes.choices = differences(&before.choices, &self.choices);
        }
        let sets: BTreeSet<_> = self.elements.keys().chain(before.elements.keys()).collect();
        for set in sets {
            let (then, now) = (before.elements.get(*set), self.elements.get(*set));
            if then.zip(now).is_some_and(|(then, now)| Arc::ptr_eq(then, now)) {
                continue;
            }
            let [then, now] = [then, now].map(|it| it.map_or(&NOTHING, |it| it.as_ref()));
            let elements = differences(then, now);
            changes.elements.extend((!elements.is_empty()).then_some((*set, elements)));
        }
        Some(changes)
    }

    /// The input of `nft -f` that makes `before` into this, in one transaction: empty if they are equal. The
    /// whole text when the frames differ.
    pub fn text_since(&self, before: &OverlayRules) -> String {
        let Some(changes) = self.since(before) else { return self.text() };
        let mut text = String::new();
        for (chain, _, choice) in &changes.choices {
            text += &choice.map_or_else(String::new, |choice| self.choice(**chain, choice));
        }
        let mut added = String::new();
        for (set, elements) in &changes.elements {
            let gone = elements.iter().filter(|(_, then, _)| then.is_some());
            text += &self.change("delete", set, gone.map(|(key, ..)| key.to_string()));
            let new = elements.iter().filter_map(|(key, _, now)| Some((*key, (*now)?)));
            added += &self.add(set, new);
        }
        text += &added;
        // Last: a chain that an element still leads to cannot go.
        for (chain, _, _) in changes.choices.iter().filter(|(_, _, now)| now.is_none()) {
            let of = format!("{} {} {chain}", self.family, self.table);
            text += &format!("flush chain {of}\ndelete chain {of}\n");
        }
        text
    }

    fn choice(&self, chain: Chain, choice: &Choice) -> String {
        let of = format!("{} {} {chain}", self.family, self.table);
        format!("add chain {of}\nflush chain {of}\nadd rule {of} {choice}\n")
    }

    fn add<'a>(
        &self,
        set: &str,
        elements: impl Iterator<Item = (&'a Key, &'a Option<Datum>)>,
    ) -> String {
        let element = |(key, value): (&Key, &Option<Datum>)| match value {
            None => key.to_string(),
            Some(value) => format!("{key} : {value}"),
        };
        self.change("add", set, elements.map(element))
    }

    fn change(&self, verb: &str, set: &str, elements: impl Iterator<Item = String>) -> String {
        let list: Vec<String> = elements.collect();
        if list.is_empty() {
            return String::new();
        }
        let of = format!("{} {} {set}", self.family, self.table);
        format!("{verb} element {of} {{ {} }}\n", list.join(", "))
    }
}

/// Of a set that is empty.
static NOTHING: Elements = BTreeMap::new();

/// What differs between two rulesets of one frame, each with what was there and what is to be. To be done in this
/// order: choices that are new or others, elements that go, elements that come, choices that go.
#[derive(Debug, Default)]
pub struct Changes<'a> {
    pub choices: Differences<'a, Chain, Choice>,
    /// By set. An element that leads elsewhere goes and comes.
    pub elements: Vec<(&'static str, Differences<'a, Key, Option<Datum>>)>,
}

/// Key, what was there, what is to be there.
pub type Differences<'a, K, V> = Vec<(&'a K, Option<&'a V>, Option<&'a V>)>;

pub(super) fn differences<'a, K: Ord, V: PartialEq>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> Differences<'a, K, V> {
    let (mut then, mut now) = (before.iter().peekable(), after.iter().peekable());
    let mut differences = Vec::new();
    loop {
        let order = match (then.peek(), now.peek()) {
            (None, None) => return differences,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((then, _)), Some((now, _))) => then.cmp(now),
        };
        let then = if order.is_le() { then.next() } else { None };
        let now = if order.is_ge() { now.next() } else { None };
        let values = (then.map(|(_, value)| value), now.map(|(_, value)| value));
        let key = then.or(now).map(|(key, _)| key).filter(|_| values.0 != values.1);
        differences.extend(key.map(|key| (key, values.0, values.1)));
    }
}

/// The set of what policies refused.
pub const REFUSED: &str = "refused";
/// How long it remembers each.
pub const REFUSED_KEPT: Duration = Duration::from_mins(10);

/// Set or map, name, type.
const SETS: &[(&str, &str, &str)] = &[
    // The tunnel and the wire; the wire alone.
    ("set", "tunnel", "type ifname"),
    ("set", "wire", "type ifname"),
    ("set", "tasks", "type ifname"),
    // A task's interface and its own address.
    ("set", "owners", "type ifname . ipv4_addr"),
    ("set", "pools", "type ipv4_addr; flags interval"),
    // Other nodes: where their tunnelled packets come from, and which sources these may have inside.
    ("set", "underlays", "type ipv4_addr"),
    ("set", "blocks", "type ether_addr . ipv4_addr; flags interval"),
    ("set", "internal", "type ipv4_addr; flags interval"),
    // Of encrypted networks: nothing of them comes in but by the wire.
    ("set", "secret", "type ipv4_addr; flags interval"),
    // Without encapsulation: other nodes' blocks, networks that are open to the outside, and for what comes in by a
    // published port the mark of the node whose block it goes to.
    ("set", "direct", "type ipv4_addr; flags interval"),
    ("set", "open", "type ipv4_addr; flags interval"),
    ("map", "via", "type ipv4_addr : mark; flags interval"),
    // A network's subnet, twice.
    ("set", "within", "type ipv4_addr . ipv4_addr; flags interval"),
    // A network's subnet and a machine outside that it knows.
    ("set", "outside", "type ipv4_addr . ipv4_addr; flags interval"),
    // The host's own addresses, and by subnet the one that it sends with.
    ("set", "hosts", "type ipv4_addr"),
    ("map", "attached", "type ipv4_addr : ipv4_addr; flags interval"),
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
    // Written by the rules themselves: what policies refused of late. `REFUSED_KEPT`, and a bound on memory.
    (
        "set",
        REFUSED,
        "type ipv4_addr . ipv4_addr . inet_proto . inet_service; size 4096; \
            flags dynamic,timeout; timeout 10m; counter",
    ),
    ("map", "vips", "type ipv4_addr : verdict"),
    ("map", "ports", "type inet_proto . inet_service : verdict"),
    ("map", "peers", "type ether_addr : mark"),
];

/// What policies keep away, on the node that sends and on the one that gets it. The last lookup counts, so nothing comes
/// after it.
const GUARD: &str = "ip saddr @pools ip saddr . ip daddr != @admitted \
    ip saddr . ip daddr . meta l4proto . th dport != @admitted_ports \
    ip daddr . meta l4proto . th dport != @open_ports ip daddr @guarded jump refuse";

/// A container's datagrams would come to another node with this one's address, and what is wrapped in them as this node's.
const NOBODY_WRAPS: &str = "udp dport $port ip daddr @underlays counter drop";

/// Chain, hook (none of one that others jump to), rules.
const CHAINS: &[(&str, &str, &[&str])] = &[
    (
        // Before the translation of addresses, or a port published on 127.0.0.1 would be reached by it.
        "arrive",
        "type filter hook prerouting priority mangle; policy accept;",
        &[
            "ip daddr 127.0.0.0/8 iifname @tasks drop",
            "ip daddr 127.0.0.0/8 iifname @tunnel drop",
            "ct mark != 0 ct direction reply iifname @tasks meta mark set ct mark",
        ],
    ),
    (
        "input",
        "type filter hook input priority filter; policy accept;",
        &[
            "ct state established,related accept",
            "iifname @tunnel counter drop",
            // A machine outside that a network knows may be this one.
            GUARD,
            "iifname @tasks ip saddr . ip daddr @outside accept",
            "iifname @tasks ip saddr @internal counter drop",
        ],
    ),
    (
        // What says it comes from a peer, in the tunnel's wrapping. Nobody wraps on a link of ours; a task that does forges
        // a peer's packets.
        "tunnelled",
        "",
        &[
            "iifname \"smt*\" counter drop",
            "iifname \"smx*\" counter drop",
            "iifname \"smw*\" counter drop",
            "ip saddr @underlays accept",
            "counter drop",
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
            // What is reached from outside by its own address leaves with it.
            "iifname @tasks ip saddr @open ip daddr != @pools accept",
            // To the outside, and to another network's published port.
            "iifname @tasks ip saddr . ip daddr != @within masquerade",
        ],
    ),
    (
        "forward",
        "type filter hook forward priority filter; policy accept;",
        &[
            // Whoever is on the way may have a larger MTU than the tunnel.
            "tcp flags & (syn|rst) == syn oifname @tunnel tcp option maxseg size set rt mtu",
            "iifname . ip saddr @owners goto admit",
            "iifname $tunnel goto from_tunnel",
            "iifname @tasks counter drop",
            "iifname @wire goto from_tunnel",
            // Nor do those of networks of this node alone; nodes may have this one between them.
            "udp dport $port ip daddr @underlays ip saddr != @underlays counter drop",
            "oifname != @tasks oifname != @tunnel accept",
            "ip saddr @pools ip saddr != @direct counter drop",
            "ip saddr @secret counter drop",
            "goto admit",
        ],
    ),
    (
        "from_tunnel",
        "",
        &[
            "ether saddr . ip saddr != @blocks ip saddr @pools counter drop",
            "ip saddr @secret iifname != @wire counter drop",
            "goto admit",
        ],
    ),
    (
        "admit",
        "",
        &[
            "ct state established,related accept",
            "iifname @tunnel ct mark set ether saddr map @peers",
            NOBODY_WRAPS,
            GUARD,
            "ip saddr . ip daddr @within accept",
            "ip saddr . ip daddr @outside accept",
            "ip saddr @internal counter drop",
            "ip daddr . meta l4proto . th dport @mesh ct status dnat accept",
            "iifname @tunnel ip daddr . meta l4proto . th dport @mesh ip saddr != @pools accept",
            "iifname @tasks oifname != @tasks oifname != @tunnel ip daddr != @pools accept",
            "ip daddr . meta l4proto . th dport @mesh ip daddr @open ip saddr != @pools accept",
            "ip daddr @open ip saddr != @pools ip daddr != @guarded accept",
            "counter drop",
        ],
    ),
    (
        // To the host itself, where it is in a network as a task is.
        "host",
        "",
        &[
            "ct state established,related accept",
            "iifname \"lo\" accept",
            "iifname @tasks iifname . ip saddr != @owners counter drop",
            "iifname @tunnel ip saddr @pools ether saddr . ip saddr != @blocks counter drop",
            "iifname != @tasks iifname != @tunnel ip saddr @pools ip saddr != @direct counter drop",
            "iifname != @tasks iifname != @wire ip saddr @secret counter drop",
            GUARD,
            "ip saddr . ip daddr @within accept",
            "counter drop",
        ],
    ),
    (
        // What a policy keeps away. Two rules: when the set is full the first one does nothing.
        "refuse",
        "",
        &["update @refused { ip saddr . ip daddr . meta l4proto . th dport }", "drop"],
    ),
];

/// In whose words the rules are.
#[derive(Clone, Copy)]
pub(super) enum Family<'a> {
    Four,
    Six(&'a Sixes),
}

impl Family<'_> {
    fn name(self) -> &'static str {
        match self {
            Family::Four => "ip",
            Family::Six(_) => "ip6",
        }
    }

    /// A rule or a set's type, from IPv4's words.
    fn say(self, text: &str) -> String {
        match self {
            Family::Four => text.to_owned(),
            Family::Six(_) => text
                .replace("ip saddr", "ip6 saddr")
                .replace("ip daddr", "ip6 daddr")
                .replace("ipv4_addr", "ipv6_addr")
                .replace("127.0.0.0/8", "::1"),
        }
    }

    /// An address of a network that has this family.
    fn address(self, address: Ipv4Addr) -> Option<IpAddr> {
        match self {
            Family::Four => Some(address.into()),
            Family::Six(sixes) => sixes.place(address).map(IpAddr::from),
        }
    }

    fn datum(self, address: Ipv4Addr) -> Option<Datum> {
        self.address(address).map(Datum::Address)
    }

    /// A subnet of such a network, or a block.
    fn block(self, block: Subnet) -> Option<Datum> {
        match self {
            Family::Four => Some(Datum::Block(block.network().into(), block.prefix_len())),
            Family::Six(sixes) => {
                let block = sixes.block(block)?;
                Some(Datum::Block(block.network().into(), block.prefix_len()))
            }
        }
    }

    pub(super) fn has(self, address: Ipv4Addr) -> bool {
        match self {
            Family::Four => true,
            Family::Six(sixes) => sixes.place(address).is_some(),
        }
    }
}

/// What follows from networks and peers: the frame, for the node `me`, whose tunnel and wire are `devices`.
pub(super) fn base(
    table: &EndpointTable,
    me: &Me,
    devices: &[&String],
    family: Family<'_>,
) -> OverlayRules {
    let name = format!("sampan_overlay_{}", me.instance);
    let own = table.peers.iter().find(|peer| peer.node == me.node).map(|peer| peer.underlay);
    let has = |network: &&NetworkRow| family.has(network.subnet.network());
    let is_direct = table.networks.iter().filter(has).any(|row| row.mode == Mode::Direct);
    let mut rules = OverlayRules {
        family: family.name(),
        frame: frame(&name, me, own, is_direct, family),
        table: name,
        ..OverlayRules::default()
    };
    describe_links(&mut rules, table, me, devices, family);
    rules
}

/// What follows from the endpoints as a whole: policies, and machines outside.
pub(super) fn of_endpoints(table: &EndpointTable, family: Family<'_>) -> OverlayRules {
    let mut rules = OverlayRules::default();
    for network in table.networks.iter().filter(|network| !network.policy.is_empty()) {
        guard(&mut rules, table, network, family);
    }
    describe_outside(&mut rules, table, family);
    rules
}

/// Sets that places put elements into.
pub(super) const OF_PLACES: &[&str] = &["tasks", "owners", "itself", "mesh", "hosts", "attached"];

/// What follows from the places on this node.
pub(super) fn describe_places(
    rules: &mut OverlayRules,
    table: &EndpointTable,
    places: &[Here],
    family: Family<'_>,
) {
    if matches!(family, Family::Four) && places.iter().any(Here::is_host) {
        rules.frame += &host_frame(&format!("{} {}", rules.family, rules.table));
    }
    for place in places.iter().filter(|place| family.has(place.address)) {
        match (place.is_host(), family) {
            (false, _) => describe_place(rules, place, family),
            (true, Family::Four) => describe_host(rules, table, place),
            (true, Family::Six(_)) => {}
        }
    }
}

/// What follows from a service, whose endpoints are `rows`: its VIPs and published ports.
pub(super) fn of_service<'a>(
    service: &ServiceRow,
    rows: impl Iterator<Item = &'a EndpointRow>,
    networks: &Rows<NetworkRow>,
    me: &Me,
    family: Family<'_>,
) -> OverlayRules {
    let mut rules = OverlayRules::default();
    let is_open = |row: &&EndpointRow| row.state != EndpointState::Starting;
    let has = |row: &&EndpointRow| family.has(row.address);
    let offers = Offers(rows.filter(is_open).filter(has).collect());
    for vip in service.vips.iter().filter(|vip| family.has(vip.address)) {
        if let Some(choice) = choice(&offers.to(&vip.network), None, family) {
            let chain = Chain::Vip(vip.address);
            rules.put_to("vips", family.datum(vip.address), Datum::Goto(chain));
            Arc::make_mut(&mut rules.choices).insert(chain, choice);
        }
    }
    for port in service.ports.iter().filter(|port| port.publish_mode != "host") {
        publish(&mut rules, networks, me, port, &offers, family);
    }
    rules
}

impl OverlayRules {
    /// What has no place in the family is in no set.
    fn put(&mut self, set: &'static str, key: impl IntoIterator<Item = Option<Datum>>) {
        self.insert(set, key.into_iter().collect(), None);
    }

    fn put_to(&mut self, map: &'static str, key: Option<Datum>, value: Datum) {
        self.insert(map, key.map(|key| vec![key]), Some(value));
    }

    fn insert(&mut self, set: &'static str, key: Option<Vec<Datum>>, value: Option<Datum>) {
        if let Some(key) = key {
            Arc::make_mut(self.elements.entry(set).or_default()).insert(Key(key), value);
        }
    }
}

fn describe_links(
    rules: &mut OverlayRules,
    table: &EndpointTable,
    me: &Me,
    devices: &[&String],
    family: Family<'_>,
) {
    for device in devices {
        rules.put("tunnel", [interface(device)]);
    }
    if let [_, wire, ..] = devices {
        rules.put("wire", [interface(wire)]);
    }
    for peer in table.peers.iter().filter(|peer| peer.node != me.node && !devices.is_empty()) {
        describe_peer(rules, table, peer, family);
    }
    let has = |network: &&NetworkRow| family.has(network.subnet.network());
    for network in table.networks.iter().filter(has) {
        let subnet = family.block(network.subnet);
        rules.put("within", [subnet.clone(), subnet.clone()]);
        let sets = [
            ("pools", true),
            ("internal", network.internal),
            ("secret", network.mode == Mode::Wireguard),
            ("open", network.mode == Mode::Direct && !network.internal),
        ];
        for (set, is_in) in sets {
            if is_in {
                rules.put(set, [subnet.clone()]);
            }
        }
    }
}

/// Another node: its MACs, and what it may send as with each.
fn describe_peer(
    rules: &mut OverlayRules,
    table: &EndpointTable,
    peer: &PeerRow,
    family: Family<'_>,
) {
    let mark = Datum::Mark(peer.underlay.to_bits());
    let mac = Some(Datum::Mac(tunnel_mac(peer.underlay)));
    let secret = Some(Datum::Mac(wire_mac(peer.underlay)));
    if matches!(family, Family::Four) {
        rules.put("underlays", [family.datum(peer.underlay)]);
    }
    let has = |network: &&NetworkRow| family.has(network.subnet.network());
    for network in table.networks.iter().filter(has) {
        for of in network.blocks.iter().filter(|of| of.node == peer.node) {
            let block = family.block(of.block);
            let mac = if network.mode == Mode::Wireguard { &secret } else { &mac };
            rules.put("blocks", [mac.clone(), block.clone()]);
            if network.mode == Mode::Direct {
                rules.put("direct", [block.clone()]);
                rules.put_to("via", block, mark.clone());
            }
        }
    }
    if table.networks.iter().filter(has).any(|network| network.mode == Mode::Wireguard) {
        rules.put_to("peers", secret, mark.clone());
    }
    rules.put_to("peers", mac, mark);
}

fn describe_outside(rules: &mut OverlayRules, table: &EndpointTable, family: Family<'_>) {
    for row in table.endpoints.iter().filter(|row| row.is_outside()) {
        let Some(network) = table.networks.iter().find(|it| it.id == row.network) else { continue };
        rules.put("outside", [family.block(network.subnet), family.datum(row.address)]);
    }
}

/// The host's own place; of IPv4.
fn describe_host(rules: &mut OverlayRules, table: &EndpointTable, place: &Here) {
    let Some(network) = table.networks.iter().find(|row| row.id == place.network) else { return };
    let address = Datum::Address(place.address.into());
    rules.put("hosts", [Some(address.clone())]);
    rules.put_to("attached", Family::Four.block(network.subnet), address);
}

fn describe_place(rules: &mut OverlayRules, place: &Here, family: Family<'_>) {
    let (name, address) = (host_interface(place.address), family.datum(place.address));
    rules.put("tasks", [interface(&name)]);
    rules.put("owners", [interface(&name), address.clone()]);
    rules.put("itself", [address.clone(), address.clone()]);
    for (protocol, port) in &place.published {
        rules.put("mesh", at(address.clone(), *protocol, *port));
    }
}

fn interface(name: &str) -> Option<Datum> {
    Some(Datum::Interface(name.to_owned()))
}

/// A port of an address.
fn at(address: Option<Datum>, protocol: Protocol, port: u16) -> [Option<Datum>; 3] {
    [address, Some(Datum::Protocol(protocol)), Some(Datum::Port(port))]
}

/// Who may come to the endpoints that the network's policies are about. Endpoints in every state: what ends may be
/// asked as long as it answers.
fn guard(
    rules: &mut OverlayRules,
    table: &EndpointTable,
    network: &NetworkRow,
    family: Family<'_>,
) {
    let mut addresses: BTreeMap<&ServiceId, BTreeSet<Datum>> = BTreeMap::new();
    let mut places: BTreeMap<&TaskId, Datum> = BTreeMap::new();
    for row in table.endpoints.iter().filter(|row| row.network == network.id) {
        let Some(address) = family.datum(row.address) else { continue };
        match &row.service {
            Some(service) => drop(addresses.entry(service).or_default().insert(address)),
            None => drop(places.insert(&row.task, address)),
        }
    }
    let of = |services: &[ServiceId], tasks: &[TaskId]| -> BTreeSet<&Datum> {
        let services = services.iter().filter_map(|id| addresses.get(id)).flatten();
        services.chain(tasks.iter().filter_map(|id| places.get(id))).collect()
    };
    let to = |rule: &PolicyRow| of(&rule.to, &rule.to_places);
    let admits_all = |rule: &&PolicyRow| rule.from.is_none() && rule.ports.is_empty();
    let open: BTreeSet<&Datum> = network.policy.iter().filter(admits_all).flat_map(to).collect();
    for rule in &network.policy {
        let from = rule.from.as_ref().map(|from| of(from, &rule.from_places));
        for to in to(rule).into_iter().filter(|to| !open.contains(to)) {
            rules.put("guarded", [Some(to.clone())]);
            let port = |it: &PolicyPort| at(Some(to.clone()), it.protocol, it.port);
            match &from {
                None => {
                    for it in &rule.ports {
                        rules.put("open_ports", port(it));
                    }
                }
                Some(from) => {
                    for from in from.iter().map(|from| Some((*from).clone())) {
                        if rule.ports.is_empty() {
                            rules.put("admitted", [from.clone(), Some(to.clone())]);
                        }
                        for it in &rule.ports {
                            let place = [from.clone()].into_iter().chain(port(it));
                            rules.put("admitted_ports", place);
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
    networks: &Rows<NetworkRow>,
    me: &Me,
    port: &PortConfig,
    offers: &Offers<'_>,
    family: Family<'_>,
) {
    if port.published_port == 0 {
        return;
    }
    let Some(protocol) = protocol(&port.protocol) else { return };
    let has = |network: &&NetworkRow| family.has(network.subnet.network());
    let open = |network: &NetworkRow| offers.open(&network.id);
    let there = networks.iter().filter(has).filter(|network| !open(network).is_empty());
    let first = there.min_by_key(|network| (network.internal, network.ingress, &network.name));
    let Some(network) = first else { return };
    for row in open(network) {
        rules.put("mesh", at(family.datum(row.address), protocol, port.target_port));
    }
    let all = offers.to(&network.id);
    let near: Vec<&EndpointRow> = all.iter().filter(|row| row.node == me.node).copied().collect();
    let to = if near.iter().any(|row| row.weight > 0) { near } else { all };
    if let Some(choice) = choice(&to, Some((protocol, port.target_port)), family) {
        let chain = Chain::Port(protocol, port.published_port);
        let key = [Some(Datum::Protocol(protocol)), Some(Datum::Port(port.published_port))];
        rules.insert("ports", key.into_iter().collect(), Some(Datum::Goto(chain)));
        Arc::make_mut(&mut rules.choices).insert(chain, choice);
    }
}

/// As a service's specification has it; TCP if it has none.
fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "" => Some(Protocol::Tcp),
        text => [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
            .into_iter()
            .find(|it| it.as_str() == text),
    }
}

/// A service's endpoints, but for those that only start.
struct Offers<'a>(Vec<&'a EndpointRow>);

impl<'a> Offers<'a> {
    /// Draining ones, too: a node that has not yet heard of it still sends there.
    fn open(&self, network: &NetworkId) -> Vec<&'a EndpointRow> {
        self.0.iter().filter(|row| row.network == *network).copied().collect()
    }

    /// Those that new connections go to.
    fn to(&self, network: &NetworkId) -> Vec<&'a EndpointRow> {
        let mut open = self.open(network);
        open.retain(|row| row.state == EndpointState::Healthy);
        open
    }
}

/// One of the endpoints, by weight; `None` if there is none to pick.
fn choice(
    to: &[&EndpointRow],
    port: Option<(Protocol, u16)>,
    family: Family<'_>,
) -> Option<Choice> {
    let mut offered: Vec<(Ipv4Addr, u32)> =
        to.iter().filter(|row| row.weight > 0).map(|row| (row.address, row.weight)).collect();
    offered.sort_unstable();
    offered.dedup_by_key(|(address, _)| *address);
    let least = offered.iter().map(|(_, weight)| *weight).reduce(divisor)?;
    let share = |(address, weight): &(Ipv4Addr, u32)| {
        family.address(*address).map(|address| (address, weight / least))
    };
    Some(Choice { port, to: offered.iter().filter_map(share).collect() })
        .filter(|choice: &Choice| !choice.to.is_empty())
}

/// The greatest common one.
fn divisor(one: u32, two: u32) -> u32 {
    if two == 0 { one } else { divisor(two, one % two) }
}

/// Neighbours ask each other for their MACs, and IPv6 leads no loopback address to a task.
const SIX_RULES: &[(&str, &str)] = &[
    ("input", "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"),
    ("output", "ip6 daddr ::1 return"),
];

/// Where the host itself is in a network. Before the rest of their chains, of IPv4 alone.
const HOST_RULES: &[(&str, &str)] = &[
    ("input", "ip daddr @hosts goto host"),
    ("postrouting", "fib saddr type local snat ip to ip daddr map @attached"),
];

/// From the host itself to a task here, once it has the network's address; other nodes' tasks are guarded there.
const LEAVE: (&str, &[&str]) = (
    "type filter hook postrouting priority 101; policy accept;",
    &["ct state established,related accept", "oifname != @tasks accept", GUARD],
);

/// Where a network has no encapsulation. After the translation: a task's node tells by the tunnel by which node a client
/// came in.
const LEAD: (&str, &str) = (
    "type filter hook prerouting priority -90; policy accept;",
    "ct status dnat ct direction original iifname != @tasks iifname != @tunnel meta mark set ip daddr map @via",
);

/// What a frame has beside the rest while the host itself is in a network. `of`: family and table.
fn host_frame(of: &str) -> String {
    let (hook, rules) = LEAVE;
    let mut text = format!("add chain {of} leave {{ {hook} }}\n");
    for rule in rules {
        text += &format!("add rule {of} leave {rule}\n");
    }
    for (chain, rule) in HOST_RULES {
        text += &format!("insert rule {of} {chain} {rule}\n");
    }
    text
}

/// `own`: where the node is reached.
fn frame(
    table: &str,
    me: &Me,
    own: Option<Ipv4Addr>,
    is_direct: bool,
    family: Family<'_>,
) -> String {
    let of = format!("{} {table}", family.name());
    let (tunnel, port) = (format!("\"smx{}\"", me.instance), me.tunnel_port.to_string());
    let mut text = format!("add table {of}\n");
    for (kind, name, what) in SETS {
        text += &format!("add {kind} {of} {name} {{ {}; }}\n", family.say(what));
    }
    for (chain, hook, _) in CHAINS {
        text += &match *hook {
            "" => format!("add chain {of} {chain}\n"),
            hook => format!("add chain {of} {chain} {{ {hook} }}\n"),
        };
    }
    match family {
        Family::Four => {
            // Another's VXLAN may share the port, with other numbers for its networks.
            text += &format!(
                "add rule {of} input udp dport {port} @th,96,24 {TUNNEL_VNI} goto tunnelled\n"
            );
            text += &format!("add rule {of} output ip daddr vmap @vips\n");
            // Another node that asks a published port here may be led to a task of its own: what comes to it by the
            // tunnel with its own address it would take for forged.
            if let Some(own) = own {
                text += &format!(
                    "add rule {of} postrouting ip saddr @underlays oifname @tunnel ct status dnat snat ip to {own}\n"
                );
            }
        }
        Family::Six(_) => {
            for (chain, rule) in SIX_RULES {
                text += &format!("add rule {of} {chain} {rule}\n");
            }
        }
    }
    for (chain, _, rules) in CHAINS {
        for rule in *rules {
            let rule = family.say(rule).replace("$tunnel", &tunnel).replace("$port", &port);
            text += &format!("add rule {of} {chain} {rule}\n");
        }
    }
    if is_direct {
        let (hook, rule) = LEAD;
        text += &format!("add chain {of} lead {{ {hook} }}\n");
        text += &format!("add rule {of} lead {}\n", family.say(rule));
    }
    text
}
