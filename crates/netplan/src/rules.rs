//! The nftables rules: one table, whose rules never change, only the sets they look into.
//!
//! | chain | hook | does |
//! |---|---|---|
//! | `sampan-user` | from `forward`, first | the administrator's own rules; never flushed by us |
//! | `loopback` | prerouting, raw | drops what `route_localnet` would let a container reach |
//! | `prerouting`, `output` | nat | published ports: host address and port to a container's |
//! | `postrouting` | nat | masquerade: outgoing traffic, hairpin, the host's own connections |
//! | `forward` | filter | networks apart from each other; in only to published ports; `internal` |
//!
//! An `accept` here ends only our own chain: other tables (the administrator's, another engine's) still
//! have their say, and we never touch them.

use crate::{Forward, Table};
use std::collections::{BTreeMap, BTreeSet};

/// The chain for the administrator's own rules on forwarded traffic.
pub const USER_CHAIN: &str = "sampan-user";

/// Our table in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The table's name in the `ip` family.
    pub table: String,
    /// What does not change: chains, rules, empty sets.
    pub frame: String,
    /// By set: keys, and in a map what they lead to.
    pub elements: BTreeMap<&'static str, BTreeMap<String, String>>,
}

impl Ruleset {
    /// The input of `nft -f` that replaces whatever is there, in one transaction.
    pub fn text(&self) -> String {
        let all = self
            .elements
            .iter()
            .map(|(set, elements)| self.change("add", set, elements.iter().map(texts)));
        std::iter::once(self.frame.clone()).chain(all).collect()
    }

    /// The input of `nft -f` that makes `before` into this; the whole text when the frames differ.
    pub fn text_since(&self, before: &Ruleset) -> String {
        if self.table != before.table || self.frame != before.frame {
            return self.text();
        }
        let empty = BTreeMap::new();
        let (mut removed, mut added) = (String::new(), String::new());
        for (set, _) in self.elements.iter().chain(&before.elements).collect::<BTreeMap<_, _>>() {
            let now = self.elements.get(set).unwrap_or(&empty);
            let then = before.elements.get(set).unwrap_or(&empty);
            let gone = then.iter().filter(|(key, value)| now.get(*key) != Some(value));
            let new = now.iter().filter(|(key, value)| then.get(*key) != Some(value));
            removed.push_str(&self.change("delete", set, gone.map(|(key, _)| (key.as_str(), ""))));
            added.push_str(&self.change("add", set, new.map(texts)));
        }
        removed + &added
    }

    fn change<'a>(
        &self,
        verb: &str,
        set: &str,
        elements: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> String {
        let element = |(key, value): (&str, &str)| match value {
            "" => key.to_owned(),
            value => format!("{key} : {value}"),
        };
        let list: Vec<String> = elements.map(element).collect();
        if list.is_empty() {
            return String::new();
        }
        format!("{verb} element ip {} {set} {{ {} }}\n", self.table, list.join(", "))
    }
}

fn texts<'a>((key, value): (&'a String, &'a String)) -> (&'a str, &'a str) {
    (key, value)
}

/// Set or map, name, type.
const SETS: &[(&str, &str, &str)] = &[
    ("set", "bridges", "type ifname"),
    ("set", "same", "type ifname . ifname"),
    ("set", "icc", "type ifname . ifname"),
    ("set", "internal", "type ifname"),
    ("set", "outward", "type ifname"),
    ("set", "within", "type ipv4_addr . ipv4_addr; flags interval"),
    ("map", "ports_at", "type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service"),
    ("map", "ports_any", "type inet_proto . inet_service : ipv4_addr . inet_service"),
];

/// Chain, hook, rules.
const CHAINS: &[(&str, &str, &[&str])] = &[
    (
        "published",
        "",
        &[
            "dnat ip to ip daddr . meta l4proto . th dport map @ports_at",
            "dnat ip to meta l4proto . th dport map @ports_any",
        ],
    ),
    (
        "loopback",
        "type filter hook prerouting priority raw; policy accept;",
        &["ip daddr 127.0.0.0/8 iifname @bridges drop"],
    ),
    (
        "prerouting",
        "type nat hook prerouting priority dstnat; policy accept;",
        // The host's own connections to 127.0.0.1 pass `output`; from outside such a packet is forged.
        &["ip daddr 127.0.0.0/8 return", "fib daddr type local jump published"],
    ),
    (
        "output",
        "type nat hook output priority -100; policy accept;",
        &["fib daddr type local jump published"],
    ),
    (
        "postrouting",
        "type nat hook postrouting priority srcnat; policy accept;",
        &[
            "oifname @bridges ct status dnat fib saddr type local masquerade",
            // By address, because a bridged frame (br_netfilter) has no input interface here.
            "ip saddr . ip daddr @within ct status dnat masquerade",
            "iifname @outward iifname . oifname != @same masquerade",
        ],
    ),
    (
        "forward",
        "type filter hook forward priority filter; policy accept;",
        &[
            "jump sampan-user",
            "iifname != @bridges oifname != @bridges accept",
            "ct state established,related accept",
            "iifname . oifname @icc accept",
            "iifname @internal drop",
            "oifname @internal drop",
            "oifname @bridges ct status dnat accept",
            "oifname @bridges drop",
        ],
    ),
];

pub(crate) fn ruleset(table: &Table, forwards: &BTreeSet<Forward>) -> Ruleset {
    let name = format!("sampan_{}", table.instance);
    let frame = frame(&name);
    Ruleset { table: name, frame, elements: elements(table, forwards) }
}

fn frame(table: &str) -> String {
    let mut out = Text { table, text: String::new() };
    out.line("add table", "", "");
    out.line("add chain", USER_CHAIN, "");
    for (kind, set, types) in SETS {
        out.line(&format!("add {kind}"), set, &format!("{{ {types}; }}"));
        out.line(&format!("flush {kind}"), set, "");
    }
    for (chain, hook, _) in CHAINS {
        let hook = if hook.is_empty() { String::new() } else { format!("{{ {hook} }}") };
        out.line("add chain", chain, &hook);
        out.line("flush chain", chain, "");
    }
    for (chain, _, rules) in CHAINS {
        for rule in *rules {
            out.line("add rule", chain, rule);
        }
    }
    out.text
}

fn elements(
    table: &Table,
    forwards: &BTreeSet<Forward>,
) -> BTreeMap<&'static str, BTreeMap<String, String>> {
    let mut sets = BTreeMap::new();
    let mut put = |set, key: String, value: String| {
        sets.entry(set).or_insert_with(BTreeMap::new).insert(key, value);
    };
    for network in table.networks.values() {
        let name = format!("\"{}\"", network.bridge);
        let pair = format!("{name} . {name}");
        put("bridges", name.clone(), String::new());
        put("same", pair.clone(), String::new());
        put("within", format!("{0} . {0}", network.subnet), String::new());
        if network.icc {
            put("icc", pair, String::new());
        }
        match (network.internal, network.masquerade) {
            (true, _) => put("internal", name, String::new()),
            (false, true) => put("outward", name, String::new()),
            (false, false) => {}
        }
    }
    for forward in forwards {
        let port = format!("{} . {}", forward.protocol.as_str(), forward.host_port);
        let target = format!("{} . {}", forward.to, forward.to_port);
        match forward.host_ip.is_unspecified() {
            true => put("ports_any", port, target),
            false => put("ports_at", format!("{} . {port}", forward.host_ip), target),
        }
    }
    sets
}

struct Text<'a> {
    table: &'a str,
    text: String,
}

impl Text<'_> {
    fn line(&mut self, command: &str, object: &str, rest: &str) {
        let line = format!("{command} ip {} {object} {rest}", self.table);
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}
