//! Applies plans: reads what the kernel has, mends the difference.
//!
//! ```text
//! apply(plan): rules ─► remove links not wanted ─► bridges, sysctls ─► veths ─► default routes ─► UDP flows
//!                └ nothing called while nobody changed them
//! ```
//! Each apply looks at every bridge. As long as those are as this value left them, only the difference to
//! the last plan is worked on, which makes one container's start cheap; else, after any failure, and in
//! an audit, all our links are read back. A pair whose sandbox is removed goes with it, in the kernel's
//! own time: its port is only silenced here. The steps go on after a failure; the next apply tries again.

use crate::beside::Beside;
use crate::conntrack;
use crate::error::{ApplyError, Failure, SandboxError};
use crate::link::{Link, Route};
use crate::nft::{Found, Ledger, Rules};
use crate::sandbox::{Sandboxes, run_in};
use netplan::{Gateway, NetPlan, Ruleset, VethPlan};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use types::ContainerId;
use types::subnet::Subnet;

/// The devices and rules of one network namespace, as far as they are ours.
#[derive(Debug)]
pub struct NetDev {
    sandboxes: Sandboxes,
    route: Route,
    rules: Rules<Ruleset>,
    /// `None` before the first plan and after a failure: then the kernel is read.
    applied: Option<NetPlan>,
    /// Index of every bridge we made sure of.
    bridges: BTreeMap<String, u32>,
    /// From the first plan on.
    beside: Option<Beside>,
}

/// What an audit found and mended, or can only tell. Of bridges and of overlay networks alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A bridge or the host's end of a pair was gone, down or off its bridge.
    LinkMended(String),
    RulesMended,
    /// Of an overlay's routes, routing rules, neighbours and forwarding entries, this many were gone, other than
    /// planned or not planned.
    PathsMended(usize),
    /// Another firewall drops forwarded packets unless it accepts them itself: what we forward was not let through there, and
    /// is now.
    LetThrough,
}

/// What is there of ours, by name.
#[derive(Debug, Default)]
struct Have {
    bridges: BTreeSet<String>,
    veths: BTreeMap<String, Link>,
}

impl NetDev {
    /// For the namespace of the calling thread; its sandboxes lie below `exec_root`.
    pub fn open(exec_root: &Path) -> Result<Self, SandboxError> {
        let sandboxes = Sandboxes::open(exec_root)?;
        let failed = |source| SandboxError {
            action: "open netlink for",
            path: exec_root.to_owned(),
            source,
        };
        Ok(NetDev {
            route: Route::open().map_err(failed)?,
            rules: Rules::open(Ledger::default()).map_err(failed)?,
            sandboxes,
            applied: None,
            bridges: BTreeMap::new(),
            beside: None,
        })
    }

    pub fn sandboxes(&self) -> &Sandboxes {
        &self.sandboxes
    }

    /// What changes rules beside this tells its changes, which are not taken for a stranger's.
    pub(crate) fn ledger(&self) -> Ledger {
        self.rules.ledger()
    }

    /// Where the host's routes lead, our own bridges' included: not for new networks.
    pub fn routed_subnets(&mut self) -> io::Result<Vec<Subnet>> {
        self.route.routed_subnets()
    }

    /// Makes the kernel hold `plan` and nothing else of ours. Every sandbox that it names must be there.
    pub fn apply(&mut self, plan: &NetPlan) -> Result<(), ApplyError> {
        self.bring_about(plan).map(drop)
    }

    /// As [`NetDev::apply`], but reads everything back, and tells what was not as it should be.
    pub fn audit(&mut self, plan: &NetPlan) -> Result<Vec<Note>, ApplyError> {
        let first_time = self.applied.take().is_none();
        if let Some(beside) = &mut self.beside {
            beside.forget();
        }
        let mut notes = self.bring_about(plan)?;
        if first_time {
            notes.clear();
        }
        let mut steps = Steps::default();
        steps.take("list the nftables rules", self.rules.remember());
        notes = steps.finish(notes)?;
        Ok(notes)
    }

    /// Removes all links and rules of `instance`; sandboxes are left to their containers.
    pub fn remove_all(&mut self, instance: &str) -> Result<(), ApplyError> {
        let nothing = NetPlan { instance: instance.to_owned(), ..NetPlan::default() };
        let mut steps = Steps::default();
        self.applied = None;
        let have = steps.take("list links", self.observe(&nothing)).unwrap_or_default();
        steps.extend(self.remove_unwanted(&nothing, &have));
        let table = format!("sampan_{instance}");
        steps.take(&format!("remove table {table}"), self.rules.remove("ip", &table));
        steps.take("leave the other firewall", self.let_through(&nothing));
        steps.finish(Vec::new()).map(drop)
    }

    /// Our bridges pass another firewall that drops by policy.
    fn let_through(&mut self, plan: &NetPlan) -> io::Result<bool> {
        let forwards_out = plan.sysctls.contains_key("net/ipv4/ip_forward");
        let bridges = plan.bridges.keys().filter(|_| forwards_out).cloned().collect();
        let beside = match &mut self.beside {
            Some(beside) => beside,
            empty => empty.insert(Beside::open(&plan.instance, self.rules.ledger())?),
        };
        beside.ensure(&bridges)
    }

    fn bring_about(&mut self, plan: &NetPlan) -> Result<Vec<Note>, ApplyError> {
        let mut steps = Steps::default();
        let mut notes = Vec::new();
        let last = match self.bridges_are_as_left() {
            true => self.applied.take(),
            false => None,
        };
        self.applied = None;
        let rules = steps.take("apply the nftables rules", self.rules.ensure(&plan.ruleset));
        notes.extend((rules == Some(Found::Tampered)).then_some(Note::RulesMended));
        let through = self.let_through(plan);
        let let_through = steps.take("pass another firewall", through) == Some(true);
        notes.extend(let_through.then_some(Note::LetThrough));

        let have = match &last {
            Some(last) => Have::as_planned(last),
            None => steps.take("list links", self.observe(plan)).unwrap_or_default(),
        };
        steps.extend(self.remove_unwanted_since(plan, &have, last.as_ref()));
        self.ensure_bridges(plan, &have, last.as_ref(), &mut steps, &mut notes);
        set_sysctls(plan, last.as_ref(), &mut steps);
        self.ensure_veths(plan, &have, last.as_ref(), &mut steps, &mut notes);
        let before = last.as_ref().map(|last| last.forwards.clone());
        let changed = before.unwrap_or_default();
        steps.take(
            "forget UDP flows",
            conntrack::forget(self.rules.socket(), changed.symmetric_difference(&plan.forwards)),
        );

        let notes = steps.finish(notes)?;
        self.applied = Some(plan.clone());
        Ok(notes)
    }

    /// Nobody removed a bridge or made it anew.
    fn bridges_are_as_left(&mut self) -> bool {
        let route = &mut self.route;
        self.bridges.iter().all(|(name, index)| {
            route
                .link(name)
                .is_ok_and(|link| link.is_some_and(|link| link.index == *index && link.up))
        })
    }

    fn observe(&mut self, plan: &NetPlan) -> io::Result<Have> {
        let alias = alias(plan);
        let mut have = Have::default();
        for link in self.route.links()? {
            match (link.alias == alias, link.is_bridge) {
                (false, _) => {}
                (true, true) => drop(have.bridges.insert(link.name)),
                (true, false) => drop(have.veths.insert(link.name.clone(), link)),
            }
        }
        Ok(have)
    }

    /// Also the pairs that are wanted otherwise than they were.
    fn remove_unwanted_since(
        &mut self,
        plan: &NetPlan,
        have: &Have,
        last: Option<&NetPlan>,
    ) -> Vec<Failure> {
        let Some(last) = last else { return self.remove_unwanted(plan, have) };
        let unwanted = last.veths.iter().filter(|(name, veth)| plan.veths.get(*name) != Some(veth));
        let (with_sandbox, dying): (Vec<_>, Vec<_>) =
            unwanted.partition(|(_, veth)| self.sandboxes.path(&veth.sandbox).exists());
        let silenced = self.route.silence_ports(dying.iter().map(|(name, _)| name.as_str()));
        self.bury(dying.iter().map(|(name, _)| name.as_str()));
        let mut failures: Vec<Failure> = silenced
            .err()
            .map(|source| Failure {
                step: "silence the ports of removed sandboxes".to_owned(),
                source,
            })
            .into_iter()
            .collect();
        failures.extend(self.delete(with_sandbox.iter().map(|(name, _)| name.as_str())));
        let bridges = Have { bridges: have.bridges.clone(), veths: BTreeMap::new() };
        failures.extend(self.remove_unwanted(plan, &bridges));
        failures
    }

    /// Removes the links of sandboxes that are gone, in a thread of its own: it waits for every CPU, some
    /// 20 ms. The kernel would do it with the namespace, but a connection that was not closed can keep that
    /// alive for a minute, and with it a second holder of the address. By index, since the name may be used
    /// again at once.
    fn bury<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let route = &mut self.route;
        let links: Vec<u32> =
            names.filter_map(|name| Some(route.link(name).ok()??.index)).collect();
        if links.is_empty() {
            return;
        }
        let bury = move || Route::open().and_then(|mut route| route.delete_indexes(&links));
        // Without a thread the kernel and the next audit see to it.
        let _thread = std::thread::Builder::new().name("bury-links".to_owned()).spawn(bury);
    }

    fn remove_unwanted(&mut self, plan: &NetPlan, have: &Have) -> Vec<Failure> {
        let veths = have.veths.keys().filter(|name| !plan.veths.contains_key(*name));
        let bridges = have.bridges.iter().filter(|name| !plan.bridges.contains_key(*name));
        let unwanted: Vec<&str> = veths.chain(bridges).map(String::as_str).collect();
        self.bridges.retain(|name, _| plan.bridges.contains_key(name));
        self.delete(unwanted.into_iter())
    }

    fn delete<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Vec<Failure> {
        let failure = |name: &str, source| Failure { step: format!("remove link {name}"), source };
        match self.route.delete_links(names) {
            Ok(failed) => {
                failed.into_iter().map(|(name, errno)| failure(&name, errno.into())).collect()
            }
            Err(source) => vec![failure("", source)],
        }
    }

    fn ensure_bridges(
        &mut self,
        plan: &NetPlan,
        have: &Have,
        last: Option<&NetPlan>,
        steps: &mut Steps,
        notes: &mut Vec<Note>,
    ) {
        for (name, bridge) in &plan.bridges {
            let unchanged = last.is_some_and(|last| last.bridges.get(name) == Some(bridge));
            if unchanged && self.bridges.contains_key(name) {
                continue;
            }
            let made = self.route.ensure_bridge(name, bridge, &alias(plan));
            if let Some(index) = steps.take(&format!("create bridge {name}"), made) {
                let known = self.bridges.insert(name.clone(), index);
                let lost = known.is_some_and(|known| known != index)
                    || (last.is_none() && known.is_some() && !have.bridges.contains(name));
                notes.extend(lost.then(|| Note::LinkMended(name.clone())));
            }
        }
    }

    fn ensure_veths(
        &mut self,
        plan: &NetPlan,
        have: &Have,
        last: Option<&NetPlan>,
        steps: &mut Steps,
        notes: &mut Vec<Note>,
    ) {
        let mut touched: BTreeMap<&ContainerId, Vec<&VethPlan>> = BTreeMap::new();
        for (name, veth) in &plan.veths {
            if last.is_some_and(|last| last.veths.get(name) == Some(veth)) {
                continue;
            }
            let existing = have.veths.get(name).filter(|_| last.is_none());
            let was_there = last.is_none() && !have.veths.is_empty();
            let done = self.ensure_veth(name, veth, existing, plan);
            match steps.take(&format!("connect {} to {}", veth.sandbox.short(), veth.bridge), done)
            {
                Some(mended) => {
                    notes.extend((mended && was_there).then(|| Note::LinkMended(name.clone())))
                }
                None => continue,
            }
            touched.entry(&veth.sandbox).or_default().push(veth);
        }
        let moved = plan
            .gateways
            .keys()
            .filter(|id| last.is_none_or(|last| last.gateways.get(*id) != plan.gateways.get(*id)));
        let left = last.into_iter().flat_map(|last| last.gateways.keys()).filter(|id| {
            !plan.gateways.contains_key(*id)
                && !plan.outside.contains(*id)
                && plan.veths.values().any(|veth| veth.sandbox == **id)
        });
        for sandbox in moved.chain(left) {
            touched.entry(sandbox).or_default();
        }
        for (sandbox, veths) in touched {
            let path = self.sandboxes.path(sandbox);
            let gateway = plan.gateways.get(sandbox);
            let is_outside = plan.outside.contains(sandbox);
            let configured = run_in(&path, || configure(&veths, gateway, is_outside));
            steps.take(
                &format!("configure the interfaces of {}", sandbox.short()),
                configured.map_err(|err| err.source),
            );
        }
    }

    /// Returns whether there was something to do on the host's side.
    fn ensure_veth(
        &mut self,
        name: &str,
        veth: &VethPlan,
        existing: Option<&Link>,
        plan: &NetPlan,
    ) -> io::Result<bool> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the bridge is missing");
        let bridge = *self.bridges.get(&veth.bridge).ok_or_else(missing)?;
        match existing {
            Some(link) if link.master == Some(bridge) && link.up => Ok(false),
            Some(_) => self.route.mend_veth(name, veth, bridge, &alias(plan)).map(|()| true),
            None => {
                let sandbox = File::open(self.sandboxes.path(&veth.sandbox))?;
                self.route
                    .create_veth(name, veth, bridge, sandbox.as_fd(), &alias(plan))
                    .map(|()| true)
            }
        }
    }
}

impl Have {
    fn as_planned(plan: &NetPlan) -> Self {
        let link = |name: &String| Link {
            index: 0,
            name: name.clone(),
            alias: alias(plan),
            up: true,
            ..Link::default()
        };
        Have {
            bridges: plan.bridges.keys().cloned().collect(),
            veths: plan.veths.keys().map(|name| (name.clone(), link(name))).collect(),
        }
    }
}

/// Inside a sandbox: the interfaces that are new, then the default route, unless it `is_outside`.
fn configure(veths: &[&VethPlan], gateway: Option<&Gateway>, is_outside: bool) -> io::Result<()> {
    let mut route = Route::open()?;
    for veth in veths {
        route.ensure_interface(&veth.interface, veth.address)?;
    }
    match gateway {
        Some(gateway) => route.set_default_route(gateway.via, &gateway.interface),
        None if is_outside => Ok(()),
        None => route.clear_default_route(),
    }
}

fn set_sysctls(plan: &NetPlan, last: Option<&NetPlan>, steps: &mut Steps) {
    for (name, value) in &plan.sysctls {
        // A bridge made anew has the defaults: then there is no last plan.
        if last.is_some_and(|last| last.sysctls.contains_key(name) && last.bridges == plan.bridges)
        {
            continue;
        }
        let written = fs::write(Path::new("/proc/sys").join(name), value);
        steps.take(&format!("set sysctl {name}"), written);
    }
}

fn alias(plan: &NetPlan) -> String {
    format!("sampan:{}", plan.instance)
}

/// Collects what failed while the rest goes on.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    failures: Vec<Failure>,
}

impl Steps {
    pub(crate) fn take<T>(&mut self, step: &str, outcome: io::Result<T>) -> Option<T> {
        outcome.map_err(|source| self.failures.push(Failure { step: step.to_owned(), source })).ok()
    }
    pub(crate) fn extend(&mut self, failures: Vec<Failure>) {
        self.failures.extend(failures);
    }
    pub(crate) fn finish(self, notes: Vec<Note>) -> Result<Vec<Note>, ApplyError> {
        if self.failures.is_empty() {
            Ok(notes)
        } else {
            Err(ApplyError { failures: self.failures })
        }
    }
}
