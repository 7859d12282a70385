//! Applies the plan of one node for the cluster's networks, and audits it.
//!
//! ```text
//! observe ─► links not wanted go ─► rules ─► tunnel, wire, pairs (down) ─► sysctls ─► up ─► routes, peers
//!                                     └ on failure nothing is added
//! ```
//! Rules let pass what neither comes from nor goes to a link that they know: so a link goes before the rules that
//! guard it, and comes after them. Every apply reads back all that is ours; sandboxes are looked into when they are
//! new, and in an audit.

mod host;
mod sandbox;
#[cfg(test)]
mod tests;

use crate::beside::Beside;
use crate::conntrack;
use crate::error::{ApplyError, Failure};
use crate::fib::{Block, Bypass, Choice, End, Forwarding, Half, MAIN, Neighbour, Owner, Path, Way};
use crate::link::{Link, Route};
use crate::netdev::{NetDev, Note, Steps};
use crate::nft::{Found, Ledger, Rules, counts};
use crate::refused::{Refused, refused};
use crate::sandbox::{Sandboxes, run_in};
use crate::tunnel::Vxlan;
use netplan::overlay::{
    FORWARDING_SIX, LocalPlan, OverlayPlan, OverlayRules, REFUSED_KEPT, ReturnPath, SixPaths,
    six_neighbour, tunnel_mac, wire_mac,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::Arc;
use types::swarm::network::Mode;

/// What one daemon has in a network namespace for the cluster's networks.
#[derive(Debug)]
pub struct Overlay {
    instance: String,
    sandboxes: Sandboxes,
    owner: Owner,
    route: Route,
    rules: Rules<OverlayRules>,
    rules_six: Rules<OverlayRules>,
    beside: Beside,
    last: Last,
}

/// What the last apply did.
#[derive(Debug, Default)]
struct Last {
    /// What was wanted, if all of it was done.
    wanted: Option<OverlayPlan>,
    /// By the host's end: what its sandbox was configured for.
    plugged: BTreeMap<String, LocalPlan>,
    /// The endpoints of the last plan, see [`OverlayPlan::offered`].
    offered: Arc<BTreeSet<IpAddr>>,
    held: Arc<BTreeSet<IpAddr>>,
    /// Endpoints that are gone, whose flows are still to be forgotten.
    owed: BTreeSet<IpAddr>,
    /// Our table was removed, and not made since; of each family.
    without_rules: [bool; 2],
}

/// Our links, by name.
type Links = BTreeMap<String, Link>;

impl Overlay {
    /// For the namespace of the calling thread. `instance` as in [`netplan::overlay::Me`]; the containers' sandboxes
    /// are among `sandboxes`.
    pub fn open(instance: &str, sandboxes: Sandboxes) -> io::Result<Self> {
        Overlay::with(instance, sandboxes, Ledger::default())
    }

    /// As [`Overlay::open`], in the namespace and with the sandboxes of `device`.
    pub fn beside(device: &NetDev, instance: &str) -> io::Result<Self> {
        Overlay::with(instance, device.sandboxes().clone(), device.ledger())
    }

    fn with(instance: &str, sandboxes: Sandboxes, ledger: Ledger) -> io::Result<Self> {
        let number = u32::from_str_radix(instance, 16)
            .map_err(|err| io::Error::new(io::ErrorKind::InvalidInput, err))?;
        let owner = Owner { metric: number.max(1), preference: 10_000 + number % 20_000 };
        Ok(Overlay {
            instance: instance.to_owned(),
            sandboxes,
            owner,
            route: Route::open()?,
            beside: Beside::open(&format!("{instance}-o"), ledger.clone())?,
            rules: Rules::open(ledger.clone())?,
            rules_six: Rules::open(ledger)?,
            last: Last::default(),
        })
    }

    /// Makes the kernel hold `plan` and nothing else of ours: with an empty plan nothing at all. Safe at any time,
    /// as often as one likes; after a failure the next one tries again. Tells what was not as it had been left, when
    /// it is the plan of the last time.
    pub fn apply(&mut self, plan: &OverlayPlan) -> Result<Vec<Note>, ApplyError> {
        self.bring_about(plan, false)
    }

    /// As [`Overlay::apply`], but looks into every sandbox and at every rule, and tells what was not as it had
    /// been left.
    pub fn audit(&mut self, plan: &OverlayPlan) -> Result<Vec<Note>, ApplyError> {
        self.last.plugged.clear();
        self.last.without_rules = [false; 2];
        self.beside.forget();
        let notes = self.bring_about(plan, true)?;
        let mut steps = Steps::default();
        steps.take("list the nftables rules", self.rules.remember());
        steps.take("list the nftables rules", self.rules_six.remember());
        steps.finish(notes)
    }

    /// Whether the kernel was left with the plan's rules.
    pub fn follows(&self, plan: &OverlayPlan) -> bool {
        let plan = &*without_six(plan, has_six());
        let six = &plan.six.rules;
        self.rules.last() == Some(&plan.rules)
            && (six.table.is_empty() || self.rules_six.last() == Some(six))
    }

    /// Packets that policies kept from an endpoint on this node's way there, by the endpoint.
    pub fn policy_drops(&self) -> io::Result<BTreeMap<Ipv4Addr, u64>> {
        let Some(rules) = self.rules.last() else { return Ok(BTreeMap::new()) };
        let counts = counts(&rules.table, "guarded")?.into_iter();
        Ok(counts.filter_map(|(address, count)| Some((address.parse().ok()?, count))).collect())
    }

    /// What policies refused of late on this node.
    pub fn policy_log(&self) -> io::Result<Vec<Refused>> {
        let Some(rules) = self.rules.last() else { return Ok(Vec::new()) };
        refused(&rules.table, REFUSED_KEPT)
    }

    /// The MTU of the link that has `address`; `None` if none has it.
    pub fn mtu_at(&mut self, address: Ipv4Addr) -> io::Result<Option<u32>> {
        let Some(index) = self.route.holder_of(address)? else { return Ok(None) };
        let links = self.route.links()?;
        Ok(links.into_iter().find(|link| link.index == index).map(|link| link.mtu))
    }

    /// Removes all that is ours, and the containers' pairs with it.
    pub fn remove_all(&mut self) -> Result<(), ApplyError> {
        self.apply(&OverlayPlan::default()).map(drop)
    }

    fn bring_about(&mut self, plan: &OverlayPlan, is_audit: bool) -> Result<Vec<Note>, ApplyError> {
        let plan = &*without_six(plan, has_six());
        let last = self.last.wanted.take();
        let again = last.as_ref().is_some_and(|last| last == plan);
        let mut steps = Steps::default();
        let mut notes = Vec::new();
        let Some(mut have) = steps.take("list links", self.observe(plan)) else {
            return steps.finish(notes);
        };
        self.remove_unwanted(plan, &mut have, &mut steps);
        self.forget_former_owners(plan, &mut steps);
        if !self.ensure_rules(plan, &mut steps, &mut notes) {
            return steps.finish(notes);
        }
        let through = self.beside.ensure(&forwarded(plan));
        let let_through = steps.take("pass another firewall", through) == Some(true);
        notes.extend(let_through.then_some(Note::LetThrough));
        let mended = self.make_links(plan, &mut have, &mut steps);
        // What the last plan set is looked at with the same plan again and in an audit, and of links that were made again.
        let mut known =
            last.filter(|_| !again && !is_audit).map(|last| last.sysctls).unwrap_or_default();
        known.retain(|name, _| !mended.iter().any(|link| name.contains(&format!("/{link}/"))));
        set_sysctls(plan, &known, &have, &mut steps);
        notes.extend(mended.into_iter().map(Note::LinkMended));
        self.raise_links(plan, &have, &mut steps);
        self.plug(plan, &have, &mut steps);
        let label = format!("lo:{}", self.instance);
        host::ensure(&mut self.route, &label, &plan.hosts, &mut steps);
        let changed = self.ensure_paths(plan, &have, &mut steps);
        notes.extend((changed > 0).then_some(Note::PathsMended(changed)));
        self.forget_flows(plan, again || is_audit, &mut steps);
        let notes = steps.finish(notes)?;
        self.last.wanted = Some(plan.clone());
        Ok(if again { notes } else { Vec::new() })
    }

    /// A link of a planned name without alias is one whose making was cut short.
    fn observe(&mut self, plan: &OverlayPlan) -> io::Result<Links> {
        let prefix = self.alias("");
        let devices: Vec<&String> = plan.devices().collect();
        let planned =
            |name: &String| devices.contains(&name) || plan.locals.contains_key(name.as_str());
        let ours = |link: &Link| {
            link.alias.starts_with(&prefix) || (link.alias.is_empty() && planned(&link.name))
        };
        let links = self.route.links()?.into_iter().filter(ours);
        Ok(links.map(|link| (link.name.clone(), link)).collect())
    }

    /// `of`: the container of a pair, `tunnel` of the tunnel, `wire` of the wire. Another prefix than bridges have.
    fn alias(&self, of: &str) -> String {
        format!("sampan-overlay:{}:{of}", self.instance)
    }

    /// Also links that are to be otherwise than they can be made: a pair of another container, another tunnel.
    fn remove_unwanted(&mut self, plan: &OverlayPlan, have: &mut Links, steps: &mut Steps) {
        let tunnel = plan.tunnel.as_ref();
        let is_wire =
            |link: &Link| plan.wire.as_ref().is_some_and(|wire| wire.interface == link.name);
        let wanted = |link: &Link| match tunnel.filter(|tunnel| tunnel.interface == link.name) {
            Some(tunnel) => {
                link.alias == self.alias("tunnel") && link.vxlan == Some(Vxlan::of(tunnel))
            }
            None if is_wire(link) => link.alias == self.alias("wire"),
            None => plan.locals.get(link.name.as_str()).is_some_and(|local| {
                let last = self.last.plugged.get(&link.name);
                let stayed = last.is_none_or(|last| last.interface == local.interface);
                link.alias == self.alias(local.container.as_str()) && stayed
            }),
        };
        let unwanted: Vec<String> =
            have.values().filter(|link| !wanted(link)).map(|link| link.name.clone()).collect();
        have.retain(|name, _| !unwanted.contains(name));
        self.last.plugged.retain(|name, _| have.contains_key(name));
        let failure = |name: &str, source| Failure { step: format!("remove link {name}"), source };
        match self.route.delete_links(unwanted.iter().map(String::as_str)) {
            Ok(failed) => steps.extend(
                failed.into_iter().map(|(name, errno)| failure(&name, errno.into())).collect(),
            ),
            Err(source) => steps.extend(vec![failure(&unwanted.join(", "), source)]),
        }
    }

    /// Returns whether the rules are there: without them nothing may be added.
    fn ensure_rules(
        &mut self,
        plan: &OverlayPlan,
        steps: &mut Steps,
        notes: &mut Vec<Note>,
    ) -> bool {
        // Where a network has IPv6, its rules come first: links let both families pass.
        let both =
            [("ip6", &plan.six.rules, &mut self.rules_six), ("ip", &plan.rules, &mut self.rules)];
        for ((family, wanted, rules), gone) in both.into_iter().zip(&mut self.last.without_rules) {
            if wanted.table.is_empty() {
                let table = format!("sampan_overlay_{}", self.instance);
                if !*gone {
                    let removed = rules.remove(family, &table);
                    *gone =
                        steps.take(&format!("remove table {family} {table}"), removed).is_some();
                }
                continue;
            }
            *gone = false;
            let step = format!("apply the rules of table {family} {}", wanted.table);
            let Some(found) = steps.take(&step, rules.ensure(wanted)) else { return false };
            notes.extend((found == Found::Tampered).then_some(Note::RulesMended));
        }
        true
    }

    /// Returns the names of those that were not there, or down.
    fn make_links(
        &mut self,
        plan: &OverlayPlan,
        have: &mut Links,
        steps: &mut Steps,
    ) -> BTreeSet<String> {
        let mut touched: BTreeSet<String> =
            have.values().filter(|link| !link.up).map(|link| link.name.clone()).collect();
        if let Some(tunnel) = plan.tunnel.as_ref().filter(|it| !have.contains_key(&it.interface)) {
            let made = self.route.create_tunnel(tunnel, &self.alias("tunnel"));
            let made = made.and_then(|()| self.look_up(&tunnel.interface, have));
            if steps.take(&format!("create tunnel {}", tunnel.interface), made).is_some() {
                touched.insert(tunnel.interface.clone());
            }
        }
        if let Some(wire) = plan.wire.as_ref().filter(|it| !have.contains_key(&it.interface)) {
            let made = self.route.create_wire(&wire.interface, &self.alias("wire"));
            let made = made.and_then(|()| self.look_up(&wire.interface, have));
            if steps.take(&format!("create {}", wire.interface), made).is_some() {
                touched.insert(wire.interface.clone());
            }
        }
        for (name, local) in &plan.locals {
            if have.contains_key(name) {
                continue;
            }
            self.last.plugged.remove(name);
            let made = self.make_pair(name, local);
            let made = made.and_then(|()| self.look_up(name, have));
            let step = format!("plug {} into {}", local.container.short(), local.subnet);
            if steps.take(&step, made).is_some() {
                touched.insert(name.clone());
            }
        }
        touched
    }

    fn make_pair(&mut self, name: &str, local: &LocalPlan) -> io::Result<()> {
        let sandbox = File::open(self.sandboxes.path(&local.container))?;
        let alias = self.alias(local.container.as_str());
        self.route.create_pair(name, local, sandbox.as_fd(), &alias)
    }

    fn look_up(&mut self, name: &str, have: &mut Links) -> io::Result<()> {
        let link = self.route.link(name)?.ok_or(io::ErrorKind::NotFound)?;
        have.insert(link.name.clone(), link);
        Ok(())
    }

    fn raise_links(&mut self, plan: &OverlayPlan, have: &Links, steps: &mut Steps) {
        let tunnel = plan.tunnel.iter().map(|it| (&it.interface, &it.mac, it.mtu));
        let wire = plan.wire.iter().map(|it| (&it.interface, &it.mac, it.mtu));
        for (name, mac, mtu) in tunnel.chain(wire) {
            if let Some(link) = have.get(name)
                && !(link.up && link.mtu == mtu && link.mac == mac)
            {
                let raised = self.route.raise_tunnel(link, mac, mtu);
                steps.take(&format!("raise tunnel {name}"), raised);
            }
        }
        for (name, local) in &plan.locals {
            if let Some(link) = have.get(name) {
                steps.take(&format!("raise {name}"), self.route.raise_pair(link, local));
            }
        }
    }

    /// Configures the sandboxes' ends that are new or wanted otherwise; all of them in an audit.
    fn plug(&mut self, plan: &OverlayPlan, have: &Links, steps: &mut Steps) {
        for (name, local) in &plan.locals {
            if !have.contains_key(name) || self.last.plugged.get(name) == Some(local) {
                continue;
            }
            let sandbox = self.sandboxes.path(&local.container);
            let configured = run_in(&sandbox, || sandbox::configure(local));
            let step = format!("configure {} of {}", local.interface, local.container.short());
            if steps.take(&step, configured.map_err(|err| err.source)).is_some() {
                self.last.plugged.insert(name.clone(), local.clone());
            }
        }
    }

    /// Flows to those that are gone, whose addresses others have now. Before the rules: once these lead to the new owners, flows
    /// to the addresses may be theirs.
    fn forget_former_owners(&mut self, plan: &OverlayPlan, steps: &mut Steps) {
        let owed = &mut self.last.owed;
        let taken: BTreeSet<IpAddr> = owed.intersection(&plan.held).copied().collect();
        if !taken.is_empty() {
            let socket = self.rules.socket();
            let forgotten = conntrack::forget_endpoints(socket, &BTreeSet::new(), &taken);
            steps.take("forget flows", forgotten);
            owed.retain(|address| !taken.contains(address));
        }
    }

    /// Of endpoints that new connections no longer go to, or that are gone. After the rules: what is forgotten before
    /// is remembered again.
    ///
    /// Before the table is acknowledged when somebody is offered no more: a datagram that goes where its flow goes is new traffic,
    /// and who is offered no more may be stopped after that. What leads to those that are gone already waits for the next such look
    /// or for the next look at everything (`all`): the kernel has one large table of all flows, and to look through it takes longer
    /// than all the rest.
    fn forget_flows(&mut self, plan: &OverlayPlan, all: bool, steps: &mut Steps) {
        let minus = |last: &Arc<BTreeSet<IpAddr>>, now: &Arc<BTreeSet<IpAddr>>| match last == now {
            true => BTreeSet::new(),
            false => last.difference(now).copied().collect(),
        };
        let withdrawn = minus(&self.last.offered, &plan.offered);
        self.last.owed.extend(minus(&self.last.held, &plan.held));
        self.last.held = Arc::clone(&plan.held);
        let owed = &mut self.last.owed;
        if !all && withdrawn.is_empty() {
            self.last.offered = Arc::clone(&plan.offered);
            return;
        }
        if steps
            .take(
                "forget flows",
                conntrack::forget_endpoints(self.rules.socket(), &withdrawn, owed),
            )
            .is_some()
        {
            owed.clear();
            self.last.offered = Arc::clone(&plan.offered);
        }
    }

    /// Returns how many entries were missing or too many.
    fn ensure_paths(&mut self, plan: &OverlayPlan, have: &Links, steps: &mut Steps) -> usize {
        let index = |name: &String| have.get(name).map(|link| link.index);
        let tunnel = plan.tunnel.as_ref().and_then(|tunnel| index(&tunnel.interface));
        let wire = plan.wire.as_ref().and_then(|wire| index(&wire.interface));
        let (route, owner) = (&mut self.route, self.owner);
        let mut changed = 0;
        if let Some(device) = tunnel {
            let wanted = plan.forwarding.iter().map(|(mac, to)| Forwarding { mac: *mac, to: *to });
            changed += Mending { what: "forwarding entry", route, steps }.mend(
                &wanted.collect(),
                |route| route.forwarding(device),
                |route, entry| route.put_forwarding(device, entry),
                |route, entry| route.remove_forwarding(device, entry),
            );
            let wanted = neighbours(plan.neighbours.keys(), tunnel_mac, plan);
            changed += ensure_neighbours(route, steps, device, &wanted);
        }
        if let (Some(device), Some(wire)) = (wire, &plan.wire) {
            let wanted = neighbours(wire.peers.keys(), wire_mac, plan);
            changed += ensure_neighbours(route, steps, device, &wanted);
        }
        let direct = ways(route, plan, steps);
        let ends = Ends { tunnel, wire, direct };
        changed += Mending { what: "route", route, steps }.mend(
            &paths(plan, &ends, have),
            |route| route.paths(owner),
            |route, path| route.put_path(owner, path),
            |route, path| route.remove_path(owner, path),
        );
        let choices = choices(plan);
        changed += Mending { what: "routing rule", route, steps }.mend(
            &choices,
            |route| route.choices(owner),
            |route, choice| route.put_choice(owner, choice),
            |route, choice| route.remove_choice(owner, choice),
        );
        changed
            + Mending { what: "routing rule", route, steps }.mend(
                &bypasses(&choices),
                |route| route.bypasses(owner),
                |route, bypass| route.put_bypass(owner, *bypass),
                |route, bypass| route.remove_bypass(owner, *bypass),
            )
    }
}

/// Whether the kernel was started with IPv6.
fn has_six() -> bool {
    std::path::Path::new("/proc/sys/net/ipv6/conf/all").exists()
}

/// What there is to do where IPv6 is not: the rest. Rules that cannot be made would hold everything up.
fn without_six(plan: &OverlayPlan, has_six: bool) -> Cow<'_, OverlayPlan> {
    if has_six || plan.six.unreachable.is_empty() {
        return Cow::Borrowed(plan);
    }
    let mut plan = plan.clone();
    plan.six = SixPaths::default();
    plan.locals.values_mut().for_each(|local| local.six = None);
    let returns = std::mem::take(&mut plan.returns).into_iter();
    plan.returns = returns.map(|back| ReturnPath { from_six: BTreeSet::new(), ..back }).collect();
    Cow::Owned(plan)
}

/// Peers by both their addresses, if there is IPv6.
fn neighbours<'a>(
    peers: impl Iterator<Item = &'a Ipv4Addr>,
    mac: fn(Ipv4Addr) -> [u8; 6],
    plan: &OverlayPlan,
) -> BTreeSet<Neighbour> {
    let has_six = !plan.six.unreachable.is_empty();
    let of = |peer: &Ipv4Addr| {
        let six = has_six.then(|| IpAddr::V6(six_neighbour(*peer)));
        let mac = Some(mac(*peer));
        [IpAddr::V4(*peer)].into_iter().chain(six).map(move |address| Neighbour { address, mac })
    };
    peers.flat_map(of).collect()
}

fn ensure_neighbours(
    route: &mut Route,
    steps: &mut Steps,
    device: u32,
    wanted: &BTreeSet<Neighbour>,
) -> usize {
    Mending { what: "neighbour", route, steps }.mend(
        wanted,
        |route| route.neighbours(device),
        |route, entry| route.put_neighbour(device, entry),
        |route, entry| match wanted.iter().any(|wanted| wanted.address == entry.address) {
            // Replaced just now.
            true => Ok(()),
            false => route.remove_neighbour(device, entry.address),
        },
    )
}

/// Where packets to other nodes leave.
struct Ends {
    /// Indexes of links.
    tunnel: Option<u32>,
    wire: Option<u32>,
    /// By underlay address, of nodes that have blocks without encapsulation.
    direct: BTreeMap<Ipv4Addr, Way>,
}

impl Ends {
    fn device(&self, by: Mode) -> Option<u32> {
        match by {
            Mode::Vxlan => self.tunnel,
            Mode::Wireguard => self.wire,
            Mode::Direct => None,
        }
    }
}

/// As the host's own routes lead there: on the segment itself, or to a router that has to know the blocks.
fn ways(route: &mut Route, plan: &OverlayPlan, steps: &mut Steps) -> BTreeMap<Ipv4Addr, Way> {
    let direct = plan.routes.values().filter(|hop| hop.by == Mode::Direct).map(|hop| hop.via);
    let peers: BTreeSet<Ipv4Addr> = direct.collect();
    let mut ways = BTreeMap::new();
    for peer in peers {
        let way = steps.take(&format!("find the way to {peer}"), route.way_to(peer));
        ways.extend(way.flatten().map(|way| (peer, way)));
    }
    ways
}

/// One kind of entries, and where its failures go.
struct Mending<'a> {
    what: &'static str,
    route: &'a mut Route,
    steps: &'a mut Steps,
}

impl Mending<'_> {
    /// Puts what is missing, then removes what is too many; returns how many these were.
    fn mend<T: Ord + std::fmt::Debug>(
        self,
        wanted: &BTreeSet<T>,
        read: impl Fn(&mut Route) -> io::Result<BTreeSet<T>>,
        put: impl Fn(&mut Route, &T) -> io::Result<()>,
        remove: impl Fn(&mut Route, &T) -> io::Result<()>,
    ) -> usize {
        let Mending { what, route, steps } = self;
        let Some(have) = steps.take(&format!("list every {what}"), read(route)) else { return 0 };
        for missing in wanted.difference(&have) {
            steps.take(&format!("add {what} {missing:?}"), put(route, missing));
        }
        for unwanted in have.difference(wanted) {
            steps.take(&format!("remove {what} {unwanted:?}"), remove(route, unwanted));
        }
        wanted.symmetric_difference(&have).count()
    }
}

/// Of links that are not there, none.
fn paths(plan: &OverlayPlan, ends: &Ends, have: &Links) -> BTreeSet<Path> {
    let mut paths = BTreeSet::new();
    let mut main = |to: Block, way: Way| {
        paths.insert(Path { table: MAIN, to, way });
    };
    let blocks = plan.unreachable.iter().map(|to| Block::from(*to));
    for to in blocks.chain(plan.six.unreachable.iter().map(|to| Block::from(*to))) {
        main(to, Way::Unreachable);
    }
    for vip in &plan.host_vips {
        main(Block::only(*vip), Way::Device(host::LOOPBACK));
    }
    for (name, local) in &plan.locals {
        let Some(link) = have.get(name) else { continue };
        main(Block::only(local.address), Way::Device(link.index));
        if let Some(six) = &local.six {
            main(Block::only(six.address), Way::Device(link.index));
        }
    }
    // What the host itself sends has the address that other nodes know it by.
    let source = plan.tunnel.as_ref().map(|tunnel| IpAddr::V4(tunnel.local));
    for (to, hop) in &plan.routes {
        let gateway = IpAddr::V4(hop.via);
        match (ends.device(hop.by), ends.direct.get(&hop.via)) {
            (Some(device), _) => main((*to).into(), Way::Via { gateway, device, source }),
            (None, Some(Way::Via { gateway, device, .. })) if hop.by == Mode::Direct => {
                let (gateway, device) = (*gateway, *device);
                main((*to).into(), Way::Via { gateway, device, source });
            }
            _ => {}
        }
    }
    for (to, hop) in &plan.six.routes {
        let gateway = IpAddr::V6(six_neighbour(hop.via));
        if let Some(device) = ends.device(hop.by) {
            main((*to).into(), Way::Via { gateway, device, source: None });
        }
    }
    for back in &plan.returns {
        let Some(device) = ends.device(back.by) else { continue };
        let mut put = |to, gateway| {
            let way = Way::Via { gateway, device, source: None };
            paths.insert(Path { table: back.table, to, way });
        };
        put(Block::ALL, IpAddr::V4(back.peer));
        if !back.from_six.is_empty() {
            put(Block::ALL_SIX, IpAddr::V6(six_neighbour(back.peer)));
        }
    }
    paths
}

fn choices(plan: &OverlayPlan) -> BTreeSet<Choice> {
    let of = |back: &netplan::overlay::ReturnPath| {
        let from = back.from.iter().map(|from| End::From((*from).into()));
        let from_six = back.from_six.iter().map(|from| End::From((*from).into()));
        let to = back.to.iter().map(|to| End::To((*to).into()));
        let (mark, table) = (back.mark, back.table);
        let choice = move |end| Choice { end, mark, table };
        from.chain(from_six).chain(to).map(choice).collect::<Vec<_>>()
    };
    plan.returns.iter().flat_map(of).collect()
}

/// For each family that there are choices in: these all ask for a mark.
fn bypasses(choices: &BTreeSet<Choice>) -> BTreeSet<Bypass> {
    let family = |choice: &Choice| match choice.end {
        End::From(block) | End::To(block) => block.is_six(),
    };
    let both = |is_six| [Half::Exit, Half::Entry].map(|half| Bypass { half, is_six });
    choices.iter().map(family).flat_map(both).collect()
}

/// Interfaces that what we forward comes by.
fn forwarded(plan: &OverlayPlan) -> BTreeSet<String> {
    let tasks = (!plan.locals.is_empty()).then(|| "smt*".to_owned());
    plan.devices().cloned().chain(tasks).collect()
}

/// Of links that are not there, none, nor what is `known` to be so; written only where the value is another.
fn set_sysctls(
    plan: &OverlayPlan,
    known: &BTreeMap<String, &'static str>,
    have: &Links,
    steps: &mut Steps,
) {
    let absent: Vec<String> = plan
        .devices()
        .chain(plan.locals.keys())
        .filter(|name| !have.contains_key(*name))
        .map(|name| format!("/conf/{name}/"))
        .collect();
    let all = fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter");
    let is_strict = all.is_ok_and(|value| value.trim() == "1");
    let unknown = plan.sysctls.iter().filter(|(name, value)| known.get(*name) != Some(value));
    for (name, value) in unknown {
        let path = std::path::Path::new("/proc/sys").join(name);
        let is_absent = absent.iter().any(|link| name.contains(link));
        // The stricter of an interface's and everybody's counts, but for 2, which is as lax as we may be then.
        let value = if name.ends_with("/rp_filter") && is_strict { "2" } else { value };
        if is_absent || fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
            continue;
        }
        let written = match name == FORWARDING_SIX {
            true => crate::six::forward(),
            false => fs::write(&path, value),
        };
        match written {
            // A kernel without IPv6.
            Err(err) if err.kind() == io::ErrorKind::NotFound && name.starts_with("net/ipv6/") => {}
            written => drop(steps.take(&format!("set sysctl {name}"), written)),
        }
    }
}
