//! Applies the plan of one node for the cluster's networks, and audits it.
//!
//! ```text
//! observe ─► links not wanted go ─► rules ─► tunnel, pairs (down) ─► sysctls ─► up ─► routes, peers
//!                                     └ on failure nothing is added
//! ```
//! Rules let pass what neither comes from nor goes to a link that they know: so a link goes before the rules that
//! guard it, and comes after them. Every apply reads back all that is ours; sandboxes are looked into when they are
//! new, and in an audit.

mod sandbox;

use crate::beside::Beside;
use crate::conntrack;
use crate::error::{ApplyError, Failure};
use crate::fib::{Choice, Forwarding, MAIN, Neighbour, Owner, Path, Way};
use crate::link::{Link, Route};
use crate::netdev::{NetDev, Note, Steps};
use crate::nft::{Found, Ledger, Rules, counts};
use crate::sandbox::{Sandboxes, run_in};
use crate::tunnel::Vxlan;
use netplan::overlay::{LocalPlan, OverlayPlan, OverlayRules, TunnelPlan};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use types::subnet::Subnet;

/// What one daemon has in a network namespace for the cluster's networks.
#[derive(Debug)]
pub struct Overlay {
    instance: String,
    sandboxes: Sandboxes,
    owner: Owner,
    route: Route,
    rules: Rules<OverlayRules>,
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
    offered: BTreeSet<Ipv4Addr>,
    held: BTreeSet<Ipv4Addr>,
    /// Our table was removed, and not made since.
    without_rules: bool,
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
            rules: Rules::open(ledger)?,
            last: Last::default(),
        })
    }

    /// Makes the kernel hold `plan` and nothing else of ours: with an empty plan nothing at all. Safe at any time,
    /// as often as one likes; after a failure the next one tries again. Tells what was not as it had been left, when
    /// it is the plan of the last time.
    pub fn apply(&mut self, plan: &OverlayPlan) -> Result<Vec<Note>, ApplyError> {
        self.bring_about(plan)
    }

    /// As [`Overlay::apply`], but looks into every sandbox and at every rule, and tells what was not as it had
    /// been left.
    pub fn audit(&mut self, plan: &OverlayPlan) -> Result<Vec<Note>, ApplyError> {
        self.last.plugged.clear();
        self.last.without_rules = false;
        self.beside.forget();
        let notes = self.bring_about(plan)?;
        let mut steps = Steps::default();
        steps.take("list the nftables rules", self.rules.remember());
        steps.finish(notes)
    }

    /// Whether the kernel was left with `rules`.
    pub fn follows(&self, rules: &OverlayRules) -> bool {
        self.rules.last() == Some(rules)
    }

    /// Packets that policies kept from an endpoint on this node's way there, by the endpoint.
    pub fn policy_drops(&self) -> io::Result<BTreeMap<Ipv4Addr, u64>> {
        let Some(rules) = self.rules.last() else { return Ok(BTreeMap::new()) };
        let counts = counts(&rules.table, "guarded")?.into_iter();
        Ok(counts.filter_map(|(address, count)| Some((address.parse().ok()?, count))).collect())
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

    fn bring_about(&mut self, plan: &OverlayPlan) -> Result<Vec<Note>, ApplyError> {
        let again = self.last.wanted.take().is_some_and(|last| last == *plan);
        let mut steps = Steps::default();
        let mut notes = Vec::new();
        let Some(mut have) = steps.take("list links", self.observe(plan)) else {
            return steps.finish(notes);
        };
        self.remove_unwanted(plan, &mut have, &mut steps);
        if !self.ensure_rules(plan, &mut steps, &mut notes) {
            return steps.finish(notes);
        }
        let through = self.beside.ensure(&forwarded(plan));
        let let_through = steps.take("pass another firewall", through) == Some(true);
        notes.extend(let_through.then_some(Note::LetThrough));
        let mended = self.make_links(plan, &mut have, &mut steps);
        notes.extend(mended.into_iter().map(Note::LinkMended));
        set_sysctls(plan, &have, &mut steps);
        self.raise_links(plan, &have, &mut steps);
        self.plug(plan, &have, &mut steps);
        let changed = self.ensure_paths(plan, &have, &mut steps);
        notes.extend((changed > 0).then_some(Note::PathsMended(changed)));
        self.forget_flows(plan, &mut steps);
        let notes = steps.finish(notes)?;
        self.last.wanted = Some(plan.clone());
        Ok(if again { notes } else { Vec::new() })
    }

    /// A link of a planned name without alias is one whose making was cut short.
    fn observe(&mut self, plan: &OverlayPlan) -> io::Result<Links> {
        let prefix = self.alias("");
        let tunnel = plan.tunnel.as_ref().map(|tunnel| tunnel.interface.as_str());
        let planned = |name: &str| tunnel == Some(name) || plan.locals.contains_key(name);
        let ours = |link: &Link| {
            link.alias.starts_with(&prefix) || (link.alias.is_empty() && planned(&link.name))
        };
        let links = self.route.links()?.into_iter().filter(ours);
        Ok(links.map(|link| (link.name.clone(), link)).collect())
    }

    /// `of`: the container of a pair, `tunnel` of the tunnel. Another prefix than bridges have.
    fn alias(&self, of: &str) -> String {
        format!("sampan-overlay:{}:{of}", self.instance)
    }

    /// Also links that are to be otherwise than they can be made: a pair of another container, another tunnel.
    fn remove_unwanted(&mut self, plan: &OverlayPlan, have: &mut Links, steps: &mut Steps) {
        let tunnel = plan.tunnel.as_ref();
        let wanted = |link: &Link| match tunnel.filter(|tunnel| tunnel.interface == link.name) {
            Some(tunnel) => {
                link.alias == self.alias("tunnel") && link.vxlan == Some(Vxlan::of(tunnel))
            }
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
        if plan.rules.table.is_empty() {
            let table = format!("sampan_overlay_{}", self.instance);
            if !self.last.without_rules {
                let removed = self.rules.remove(&table);
                self.last.without_rules =
                    steps.take(&format!("remove table {table}"), removed).is_some();
            }
            return true;
        }
        self.last.without_rules = false;
        let step = format!("apply the rules of table {}", plan.rules.table);
        let found = steps.take(&step, self.rules.ensure(&plan.rules));
        notes.extend((found == Some(Found::Tampered)).then_some(Note::RulesMended));
        found.is_some()
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
        if let Some(tunnel) = &plan.tunnel
            && let Some(link) = have.get(&tunnel.interface)
            && !is_as_planned(link, tunnel)
        {
            let raised = self.route.raise_tunnel(link, tunnel);
            steps.take(&format!("raise tunnel {}", tunnel.interface), raised);
        }
        for (name, local) in &plan.locals {
            if let Some(link) = have.get(name) {
                steps.take(&format!("raise {name}"), self.route.raise_pair(link, local.mtu));
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

    /// Of endpoints that new connections no longer go to, or that are gone. After the rules: what is forgotten before
    /// is remembered again.
    fn forget_flows(&mut self, plan: &OverlayPlan, steps: &mut Steps) {
        let minus = |last: &BTreeSet<_>, now: &BTreeSet<_>| last.difference(now).copied().collect();
        let withdrawn = minus(&self.last.offered, &plan.offered);
        let gone = minus(&self.last.held, &plan.held);
        let forgotten = conntrack::forget_endpoints(&withdrawn, &gone);
        if steps.take("forget flows", forgotten).is_some() {
            self.last.offered.clone_from(&plan.offered);
            self.last.held.clone_from(&plan.held);
        }
    }

    /// Returns how many entries were missing or too many.
    fn ensure_paths(&mut self, plan: &OverlayPlan, have: &Links, steps: &mut Steps) -> usize {
        let tunnel = plan.tunnel.as_ref().and_then(|tunnel| have.get(&tunnel.interface));
        let (route, owner) = (&mut self.route, self.owner);
        let mut changed = 0;
        if let Some(device) = tunnel.map(|link| link.index) {
            let wanted = plan.forwarding.iter().map(|(mac, to)| Forwarding { mac: *mac, to: *to });
            changed += Mending { what: "forwarding entry", route, steps }.mend(
                &wanted.collect(),
                |route| route.forwarding(device),
                |route, entry| route.put_forwarding(device, entry),
                |route, entry| route.remove_forwarding(device, entry),
            );
            let neighbour =
                |(address, mac): (&Ipv4Addr, &_)| Neighbour { address: *address, mac: Some(*mac) };
            let wanted: BTreeSet<Neighbour> = plan.neighbours.iter().map(neighbour).collect();
            changed += Mending { what: "neighbour", route, steps }.mend(
                &wanted,
                |route| route.neighbours(device),
                |route, entry| route.put_neighbour(device, entry),
                |route, entry| match plan.neighbours.contains_key(&entry.address) {
                    // Replaced just now.
                    true => Ok(()),
                    false => route.remove_neighbour(device, entry.address),
                },
            );
        }
        changed += Mending { what: "route", route, steps }.mend(
            &paths(plan, tunnel, have),
            |route| route.paths(owner),
            |route, path| route.put_path(owner, path),
            |route, path| route.remove_path(owner, path),
        );
        changed
            + Mending { what: "routing rule", route, steps }.mend(
                &choices(plan),
                |route| route.choices(owner),
                |route, choice| route.put_choice(owner, choice),
                |route, choice| route.remove_choice(owner, choice),
            )
    }
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

fn is_as_planned(link: &Link, tunnel: &TunnelPlan) -> bool {
    link.up && link.mtu == tunnel.mtu && link.mac == tunnel.mac
}

/// Of links that are not there, none.
fn paths(plan: &OverlayPlan, tunnel: Option<&Link>, have: &Links) -> BTreeSet<Path> {
    let mut paths = BTreeSet::new();
    for to in &plan.unreachable {
        paths.insert(Path { table: MAIN, to: *to, way: Way::Unreachable });
    }
    for (name, local) in &plan.locals {
        let to = Subnet::new(local.address, 32);
        paths.extend(have.get(name).map(|link| Path {
            table: MAIN,
            to,
            way: Way::Device(link.index),
        }));
    }
    let Some(device) = tunnel.map(|link| link.index) else { return paths };
    // What the host itself sends has the address that other nodes know it by.
    let source = plan.tunnel.as_ref().map(|tunnel| tunnel.local);
    for (to, gateway) in &plan.routes {
        let way = Way::Via { gateway: *gateway, device, source };
        paths.insert(Path { table: MAIN, to: *to, way });
    }
    for back in &plan.returns {
        let way = Way::Via { gateway: back.peer, device, source: None };
        let to = Subnet::new(Ipv4Addr::UNSPECIFIED, 0);
        paths.insert(Path { table: back.mark, to, way });
    }
    paths
}

fn choices(plan: &OverlayPlan) -> BTreeSet<Choice> {
    let of = |back: &netplan::overlay::ReturnPath| {
        let mark = back.mark;
        let choice = move |from: &Subnet| Choice { from: *from, mark, table: mark };
        back.from.iter().map(choice).collect::<Vec<_>>()
    };
    plan.returns.iter().flat_map(of).collect()
}

/// Of links that are not there, none; written only where the value is another.
/// Interfaces that what we forward comes by.
fn forwarded(plan: &OverlayPlan) -> BTreeSet<String> {
    let tunnel = plan.tunnel.iter().map(|tunnel| tunnel.interface.clone());
    let tasks = (!plan.locals.is_empty()).then(|| "smt*".to_owned());
    tunnel.chain(tasks).collect()
}

fn set_sysctls(plan: &OverlayPlan, have: &Links, steps: &mut Steps) {
    let tunnel = plan.tunnel.iter().map(|tunnel| &tunnel.interface);
    let absent: Vec<String> = tunnel
        .chain(plan.locals.keys())
        .filter(|name| !have.contains_key(*name))
        .map(|name| format!("/conf/{name}/"))
        .collect();
    let all = fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter");
    let is_strict = all.is_ok_and(|value| value.trim() == "1");
    for (name, value) in &plan.sysctls {
        let path = std::path::Path::new("/proc/sys").join(name);
        let is_absent = absent.iter().any(|link| name.contains(link));
        // The stricter of an interface's and everybody's counts, but for 2, which is as lax as we may be then.
        let value = if name.ends_with("/rp_filter") && is_strict { "2" } else { value };
        if is_absent || fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
            continue;
        }
        match fs::write(&path, value) {
            // A kernel without IPv6.
            Err(err) if err.kind() == io::ErrorKind::NotFound && name.starts_with("net/ipv6/") => {}
            written => drop(steps.take(&format!("set sysctl {name}"), written)),
        }
    }
}
