//! The kernel's table after changes by messages and after the text of the same ruleset, in namespaces of their own.

use super::*;
use crate::sandbox::{Sandboxes, run_in};
use netplan::overlay::{Chain, Choice, Datum, Elements, Key, Me, TUNNEL_PORT, plan};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use types::port::Protocol;
use types::six::SixSubnet;
use types::subnet::Subnet;
use types::swarm::endpoint::{EndpointTable, NetworkRow};
use types::{ContainerId, NetworkId, NodeId};

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        // Knuth's MMIX generator, whose high bits are good.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn byte(&mut self, limit: u8) -> u8 {
        self.below(limit.into()) as u8
    }

    fn protocol(&mut self) -> Protocol {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp][self.below(3) as usize]
    }

    fn port(&mut self) -> u16 {
        [53, 80, 443, 8080, 65_535][self.below(5) as usize]
    }

    /// Few enough that they come and go and come again.
    fn address(&mut self, family: &str) -> IpAddr {
        let last = self.byte(12);
        match family {
            "ip" => Ipv4Addr::new(10, 1, 2, last).into(),
            _ => Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, last.into()).into(),
        }
    }

    /// Beside each other, up to the last there is.
    fn block(&mut self, family: &str) -> Datum {
        let third = [1, 2, 3, 4, 255][self.below(5) as usize];
        let first = if third == 255 { [255, 255] } else { [10, 1] };
        match family {
            "ip" => Datum::Block(Ipv4Addr::new(first[0], first[1], third, 0).into(), 24),
            _ if third == 255 => {
                let all = u16::MAX;
                Datum::Block(Ipv6Addr::new(all, all, all, all, 0, 0, 0, 0).into(), 64)
            }
            _ => Datum::Block(Ipv6Addr::new(0xfd00, 0, 0, third.into(), 0, 0, 0, 0).into(), 64),
        }
    }

    /// An element that fits the set, as [`netplan::overlay`] declares it.
    fn element(&mut self, set: &str, family: &str) -> (Key, Option<Datum>) {
        let interface = |dice: &mut Dice| Datum::Interface(format!("smt{:08x}", dice.below(4)));
        let address = |dice: &mut Dice| Datum::Address(dice.address(family));
        let mac = |dice: &mut Dice| Datum::Mac([2, 0x53, 0, 0, 0, dice.byte(4)]);
        let at = |dice: &mut Dice| [Datum::Protocol(dice.protocol()), Datum::Port(dice.port())];
        let block = self.block(family);
        let key = match set {
            "tunnel" | "wire" | "tasks" => vec![interface(self)],
            "owners" => vec![interface(self), address(self)],
            "underlays" | "hosts" | "guarded" => vec![address(self)],
            "pools" | "internal" | "secret" | "direct" | "open" | "via" | "attached" => vec![block],
            "blocks" => vec![mac(self), block],
            "within" => vec![block.clone(), block],
            "outside" => vec![block, address(self)],
            "itself" | "admitted" => vec![address(self), address(self)],
            "mesh" | "open_ports" => [address(self)].into_iter().chain(at(self)).collect(),
            "admitted_ports" => {
                [address(self), address(self)].into_iter().chain(at(self)).collect()
            }
            "peers" => vec![mac(self)],
            _ => panic!("no set {set}"),
        };
        let value = match set {
            "via" | "peers" => Some(Datum::Mark(self.below(3) as u32)),
            "attached" => Some(address(self)),
            _ => None,
        };
        (Key(key), value)
    }

    fn choice(&mut self, family: &str, port: Option<(Protocol, u16)>) -> Choice {
        let to: BTreeMap<IpAddr, u32> = (0..=self.below(6))
            .map(|_| (self.address(family), [1, 1, 1, 2, 7][self.below(5) as usize]))
            .collect();
        let even = self.below(2) == 0;
        let share = |(address, share)| (address, if even { 1 } else { share });
        Choice { port, to: to.into_iter().map(share).collect() }
    }
}

const SETS: &[&str] = &[
    "tunnel",
    "wire",
    "tasks",
    "owners",
    "pools",
    "underlays",
    "blocks",
    "internal",
    "secret",
    "direct",
    "open",
    "via",
    "within",
    "outside",
    "hosts",
    "attached",
    "itself",
    "mesh",
    "guarded",
    "admitted",
    "admitted_ports",
    "open_ports",
    "peers",
];

/// Some elements and choices of it come, go, or become others.
fn change(rules: &mut OverlayRules, dice: &mut Dice) {
    let family = rules.family;
    for _ in 0..=dice.below(6) {
        let set = SETS[dice.below(SETS.len() as u64) as usize];
        let (key, value) = dice.element(set, family);
        let elements = Arc::make_mut(rules.elements.entry(set).or_default());
        if elements.remove(&key).is_none_or(|before| before != value && dice.below(2) == 0) {
            elements.insert(key, value);
        }
    }
    for _ in 0..=dice.below(4) {
        let chain = match dice.below(2) {
            0 => Chain::Vip(Ipv4Addr::new(10, 9, 9, dice.byte(5))),
            _ => Chain::Port(dice.protocol(), dice.port()),
        };
        let choices = Arc::make_mut(&mut rules.choices);
        match (dice.below(3), chain) {
            (0, _) => drop(choices.remove(&chain)),
            (_, Chain::Vip(_)) => drop(choices.insert(chain, dice.choice(family, None))),
            (_, Chain::Port(protocol, _)) => {
                let port = Some((protocol, dice.port()));
                drop(choices.insert(chain, dice.choice(family, port)));
            }
        }
    }
    let [mut vips, mut ports] = [Elements::new(), Elements::new()];
    for chain in rules.choices.keys() {
        let goto = Some(Datum::Goto(*chain));
        match chain {
            Chain::Vip(vip) => {
                let vip = match family {
                    "ip" => IpAddr::from(*vip),
                    _ => vip.to_ipv6_mapped().into(),
                };
                vips.insert(Key(vec![Datum::Address(vip)]), goto);
            }
            Chain::Port(protocol, port) => {
                let key = vec![Datum::Protocol(*protocol), Datum::Port(*port)];
                ports.insert(Key(key), goto);
            }
        }
    }
    rules.elements.extend([("vips", Arc::new(vips)), ("ports", Arc::new(ports))]);
}

/// Both families' rules of a node that is in no network yet.
fn empty() -> [OverlayRules; 2] {
    let six = SixSubnet::new(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0), 64);
    let network = NetworkRow {
        id: NetworkId::new("net"),
        subnet: Subnet::new(Ipv4Addr::new(10, 77, 0, 0), 24),
        six: Some(six),
        name: "net".to_owned(),
        gateway: Ipv4Addr::new(10, 77, 0, 1),
        mode: types::swarm::network::Mode::default(),
        internal: false,
        ingress: false,
        policy: Vec::new(),
        blocks: Vec::new(),
    };
    let table = EndpointTable { networks: vec![network].into(), ..EndpointTable::default() };
    let me = Me {
        node: NodeId::new("n1"),
        instance: "0badcafe".to_owned(),
        underlay_mtu: 1500,
        tunnel_port: TUNNEL_PORT,
    };
    let plan = plan(&table, &me, &[]);
    [plan.rules, plan.six.rules].map(|rules| OverlayRules { elements: BTreeMap::new(), ..rules })
}

struct Hosts {
    _dir: tempfile::TempDir,
    hosts: Sandboxes,
}

impl Hosts {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Hosts { hosts: Sandboxes::open(dir.path()).unwrap(), _dir: dir }
    }

    fn host(&self, name: &str) -> PathBuf {
        self.hosts.ensure(&ContainerId::new(name)).unwrap()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in self.hosts.list().unwrap_or_default() {
            let _best_effort = self.hosts.remove(&host);
        }
    }
}

/// The table's number: another one once it was replaced as a whole.
fn handle(of: &OverlayRules) -> String {
    let listing = nft(&["-a", "list", "table", of.family(), of.table()], b"").unwrap();
    let first = listing.lines().next().unwrap();
    assert!(first.contains("# handle "), "{first}");
    first.to_owned()
}

/// Sets and chains, in the order of their names, and so are elements: `nft` shows chains as old as they are, and no order
/// of elements is promised.
fn in_order(listing: &str) -> BTreeSet<String> {
    let line = |line: &str| match line.split_once("{ ").zip(line.rsplit_once(" }")) {
        Some(((begin, _), (_, end))) => {
            let elements = &line[begin.len() + 2..line.len() - end.len() - 2];
            let mut elements: Vec<&str> = elements.split(',').map(str::trim).collect();
            elements.sort_unstable();
            format!("{begin}{{ {} }}{end}", elements.join(", "))
        }
        None => line.to_owned(),
    };
    let whole = listing.replace(",\n", ", ");
    let blocks = whole.split("\n\t}\n");
    blocks.map(|block| block.trim().lines().map(line).collect::<Vec<_>>().join("\n")).collect()
}

#[test]
fn changes_by_messages_leave_what_the_text_of_the_whole_leaves() {
    let hosts = Hosts::new();
    let (by_messages, by_text) = (hosts.host("smp-messages"), hosts.host("smp-text"));
    for (seed, begin) in (1..).zip(empty()) {
        let mut dice = Dice(seed);
        let mut wanted = begin;
        let mut rules = run_in(&by_messages, || Rules::open(Ledger::default())).unwrap();
        run_in(&by_messages, || rules.ensure(&wanted)).unwrap();
        let first = run_in(&by_messages, || Ok(handle(&wanted))).unwrap();
        for step in 0..60 {
            let before = wanted.clone();
            change(&mut wanted, &mut dice);
            let found = run_in(&by_messages, || rules.ensure(&wanted)).unwrap();
            let expected = if before == wanted { Found::AsWanted } else { Found::Outdated };
            let difference = wanted.text_since(&before);
            assert_eq!(found, expected, "seed {seed}, step {step}: {difference}");
            // What a text makes of it is looked at now and then: the listings are what takes time.
            if step % 4 != 3 {
                continue;
            }
            let have = run_in(&by_messages, || Ok((handle(&wanted), list(&wanted)?))).unwrap();
            let text = run_in(&by_text, || {
                Rules::open(Ledger::default())?.ensure(&wanted)?;
                list(&wanted)
            });
            assert!(have.0 == first, "seed {seed}, step {step}: refused: {difference}");
            let (have, text) = (in_order(&have.1.unwrap()), in_order(&text.unwrap().unwrap()));
            let differ: Vec<&String> = have.symmetric_difference(&text).collect();
            assert!(differ.is_empty(), "seed {seed}, step {step}: {differ:#?} after {difference}");
        }
    }
}

#[test]
fn what_changes_everywhere_at_once_is_one_change_too() {
    let hosts = Hosts::new();
    let host = hosts.host("smp-everywhere");
    let [mut wanted, _] = empty();
    let fill = |wanted: &mut OverlayRules, endpoints: u8| {
        let to: Vec<_> = (0..endpoints).map(|it| (Ipv4Addr::new(10, 1, 2, it).into(), 1)).collect();
        let (mut choices, mut vips) = (BTreeMap::new(), Elements::new());
        for number in 0..600 {
            let vip = Ipv4Addr::from_bits(0x0a09_0000 + number);
            choices.insert(Chain::Vip(vip), Choice { port: None, to: to.clone() });
            let goto = Datum::Goto(Chain::Vip(vip));
            vips.insert(Key(vec![Datum::Address(vip.into())]), Some(goto));
        }
        wanted.choices = Arc::new(choices);
        wanted.elements.insert("vips", Arc::new(vips));
    };
    let mut rules = run_in(&host, || Rules::open(Ledger::default())).unwrap();
    run_in(&host, || rules.ensure(&wanted)).unwrap();
    let first = run_in(&host, || Ok(handle(&wanted))).unwrap();
    for endpoints in [12, 11, 1, 0] {
        match endpoints {
            0 => wanted = empty()[0].clone(),
            some => fill(&mut wanted, some),
        }
        let listing = run_in(&host, || {
            rules.ensure(&wanted)?;
            assert_eq!(handle(&wanted), first);
            list(&wanted)
        });
        let listing = listing.unwrap().unwrap();
        let led = match endpoints {
            0 => 0,
            1 => listing.matches("dnat to 10.1.2.0").count(),
            some => listing.matches(&format!("numgen random mod {some} map")).count(),
        };
        assert_eq!(led, if endpoints == 0 { 0 } else { 600 }, "{endpoints} endpoints");
        assert_eq!(listing.matches("chain vip_").count(), led);
    }
}

#[test]
fn what_somebody_else_does_in_between_is_not_overwritten_unseen() {
    let hosts = Hosts::new();
    run_in(&hosts.host("smp-between"), || {
        let [mut wanted, _] = empty();
        let mut rules = Rules::open(Ledger::default())?;
        rules.ensure(&wanted)?;
        let mut dice = Dice(7);
        change(&mut wanted, &mut dice);
        // The count that the change is decided on is an old one by now.
        let applied = rules.applied.take().unwrap();
        nft(&["flush", "map", "ip", &wanted.table, "peers"], b"")?;
        nft(&["add", "table", "ip", "another"], b"")?;
        let refused = rules.change(&wanted, &applied).err().unwrap();
        assert_eq!(refused.raw_os_error(), Some(libc::ERESTART));
        // And what cannot be: the whole is put in its place.
        rules.applied = Some(applied);
        assert_eq!(rules.ensure(&wanted)?, Found::Tampered);
        let set = "tasks";
        let key = Key(vec![Datum::Interface("smt0".to_owned())]);
        Arc::make_mut(wanted.elements.entry(set).or_default()).insert(key.clone(), None);
        rules.ensure(&wanted)?;
        let generation = rules.applied.as_ref().unwrap().generation;
        nft(&["delete", "element", "ip", &wanted.table, set, "{ \"smt0\" }"], b"")?;
        // As if nobody had been there.
        rules.applied.as_mut().unwrap().generation = generation.map(|count| count + 1);
        Arc::make_mut(wanted.elements.entry(set).or_default()).remove(&key);
        let before = handle(&wanted);
        assert_eq!(rules.ensure(&wanted)?, Found::Outdated);
        assert_ne!(handle(&wanted), before);
        assert_eq!(rules.ensure(&wanted)?, Found::AsWanted);
        Ok(())
    })
    .unwrap();
}

#[test]
fn counts_are_read_of_elements_that_have_any() {
    let listing = "table ip t {\n\tset guarded {\n\t\ttype ipv4_addr\n\t\tcounter\n\t\telements = { \
        10.0.1.5 counter packets 3 bytes 180, 10.0.1.6 counter packets 0 bytes 0,\n\t\t\t     \
        10.0.1.7 counter packets 12 bytes 720 }\n\t}\n}\n";
    let counts = read_counts(listing);
    assert_eq!(counts, [("10.0.1.5".to_owned(), 3), ("10.0.1.7".to_owned(), 12)].into());
    assert!(read_counts("table ip t {\n\tset guarded {\n\t}\n}\n").is_empty());
}
