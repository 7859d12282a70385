//! What must be told, and the questions that show whether it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use super::ask::{addresses, pointer, say};
use super::{Past, Wish};
use crate::hosts::Hub;

/// Rounds for which all that went out of use is asked for, …
const LATELY: u32 = 15;
/// … and how much of what went before is asked for in each round.
const OLDER: usize = 40;

/// A container from which questions are asked.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) host: usize,
    pub(super) address: Ipv4Addr,
    pub(super) netns: PathBuf,
}

/// What must be told.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Addresses by name, with the network's; none of a name that nobody has.
    names: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    /// Who has an address, as its name begins; `None` of one that nobody has.
    pointers: BTreeMap<Ipv4Addr, Option<String>>,
    /// Who may answer at an address.
    answers: BTreeMap<Ipv4Addr, BTreeSet<String>>,
    /// Who may answer at a port of each host; nobody at one that is no longer published.
    ports: BTreeMap<u16, BTreeSet<String>>,
}

/// Whether a task of the API's needs no address any more.
pub(super) fn has_ended(task: &Value) -> bool {
    let ended = ["complete", "shutdown", "failed", "rejected", "remove", "orphaned"];
    task["Status"]["State"].as_str().is_some_and(|state| ended.contains(&state))
}

impl Expected {
    /// A service with its tasks, as the API has them.
    pub(super) fn serve(
        &mut self,
        name: &str,
        wish: &Wish,
        network_id: &str,
        service: &Value,
        tasks: &[&Value],
    ) -> Result<()> {
        let network = wish.network;
        let mut places = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for task in tasks {
            let id = task["ID"].as_str().context("a task without id")?;
            let attached = task["NetworksAttachments"].as_array().into_iter().flatten();
            let mut own = attached.filter(|it| it["Network"]["Spec"]["Name"] == network);
            let address = read(&own.next().context("a task without network")?["Addresses"][0])?;
            places.insert(address);
            ids.insert(id.to_owned());
            self.answers.insert(address, [id.to_owned()].into());
            let called = format!("{name}.{}.{id}.{network}", task["Slot"]);
            self.pointers.insert(address, Some(called.clone()));
            self.name(called, [address].into());
        }
        self.name(format!("tasks.{name}.{network}"), places.clone());
        let mut vips = service["Endpoint"]["VirtualIPs"].as_array().into_iter().flatten();
        let vip = vips.find(|vip| vip["NetworkID"] == network_id);
        let called = match vip.filter(|_| wish.has_vip) {
            // Not given yet when it was asked for.
            None if wish.has_vip => bail!("{name} has no VIP: {}", service["Endpoint"]),
            Some(vip) => {
                let vip = read(&vip["Addr"])?;
                self.answers.insert(vip, ids.clone());
                self.pointers.insert(vip, Some(format!("{name}.{network}")));
                [vip].into()
            }
            None => places,
        };
        self.name(format!("{name}.{network}"), called.clone());
        // It is the tasks' alias.
        if !tasks.is_empty() {
            self.name(format!("{}.{network}", wish.alias), called);
        }
        if let Some(port) = wish.port {
            self.ports.insert(port, ids);
        }
        Ok(())
    }

    /// A container that joined by itself.
    pub(super) fn join(&mut self, name: &str, network: &str, address: Ipv4Addr) {
        self.answers.insert(address, [name.to_owned()].into());
        self.pointers.insert(address, Some(format!("{name}.{network}")));
        self.name(format!("{name}.{network}"), [address].into());
    }

    /// Several services may have the same alias.
    fn name(&mut self, name: String, addresses: BTreeSet<Ipv4Addr>) {
        self.names.entry(name).or_default().extend(addresses);
    }

    /// What was in use and is not, nobody has; what is in use is remembered.
    pub(super) fn forget(&mut self, past: &mut Past) {
        past.round += 1;
        let round = past.round;
        for name in asked(&past.names, round) {
            self.names.entry(name).or_default();
        }
        for address in asked(&past.addresses, round) {
            self.pointers.entry(address).or_insert(None);
            self.answers.entry(address).or_default();
        }
        for port in asked(&past.ports, round) {
            self.ports.entry(port).or_default();
        }
        let used = self.names.iter().filter(|(_, addresses)| !addresses.is_empty());
        past.names.extend(used.map(|(name, _)| (name.clone(), round)));
        let used = self.answers.iter().filter(|(_, who)| !who.is_empty());
        past.addresses.extend(used.map(|(address, _)| (*address, round)));
        let used = self.ports.iter().filter(|(_, who)| !who.is_empty());
        past.ports.extend(used.map(|(port, _)| (*port, round)));
    }

    /// From inside a container: what is told otherwise, and how many questions there were.
    fn ask_inside(&self) -> (Vec<String>, usize) {
        let mut wrong = Vec::new();
        for (name, wanted) in &self.names {
            match addresses(name) {
                Ok(told) if told == *wanted => {}
                told => wrong.push(format!("{name} is {told:?}, not {wanted:?}")),
            }
        }
        for (address, wanted) in &self.pointers {
            match pointer(*address) {
                Ok(told) if told == *wanted => {}
                told => wrong.push(format!("{address} is called {told:?}, not {wanted:?}")),
            }
        }
        // All at once: where nobody answers, that is waited for. The threads are in the namespace of this one.
        thread::scope(|scope| {
            let ask = |(address, who): (&Ipv4Addr, _)| {
                let to = SocketAddr::from((*address, 80));
                scope.spawn(move || is_wrong(to, who))
            };
            let asked: Vec<_> = self.answers.iter().map(ask).collect();
            for thread in asked {
                wrong.extend(
                    thread.join().unwrap_or_else(|_| Some("a question panicked".to_owned())),
                );
            }
        });
        (wrong, self.names.len() + self.pointers.len() + self.answers.len())
    }

    fn ask_port(&self, host: Ipv4Addr) -> (Vec<String>, usize) {
        let wrong = self.ports.iter().filter_map(|(port, who)| is_wrong((host, *port).into(), who));
        (wrong.collect(), self.ports.len())
    }
}

/// What is asked for of the past: all that was in use of late, and a part of what is older.
fn asked<K: Ord + Clone>(past: &BTreeMap<K, u32>, round: u32) -> Vec<K> {
    let is_late = |last: &u32| round - last <= LATELY;
    let older: Vec<&K> =
        past.iter().filter(|(_, last)| !is_late(last)).map(|(key, _)| key).collect();
    let stride = older.len().div_ceil(OLDER).max(1);
    let older = older.into_iter().skip(round as usize % stride).step_by(stride);
    let late = past.iter().filter(|(_, last)| is_late(last)).map(|(key, _)| key);
    late.chain(older).cloned().collect()
}

/// Whether somebody else than `who` answers, or nobody does.
fn is_wrong(to: SocketAddr, who: &BTreeSet<String>) -> Option<String> {
    match say(to, !who.is_empty()) {
        Ok(told) if who.contains(&told) => None,
        Err(_) if who.is_empty() => None,
        told => Some(format!("{to} answers {told:?}, not one of {who:?}")),
    }
}

/// Asks in all probes at once, and by the ports of their hosts from outside.
pub(super) fn ask_everywhere<'a>(
    expected: &Expected,
    probes: impl Iterator<Item = &'a Probe>,
    hub: &Hub,
) -> Result<(Vec<String>, usize)> {
    let outside = hub.namespace().path();
    thread::scope(|scope| {
        let mut asked = Vec::new();
        for probe in probes {
            let (inside, address, outside) = (probe.netns.clone(), probe.address, outside.clone());
            let host = probe.host;
            let ask = move || within(&inside, || expected.ask_inside());
            asked.push((format!("in host {host}"), scope.spawn(ask)));
            let ask = move || within(&outside, || expected.ask_port(address));
            asked.push((format!("by host {host}"), scope.spawn(ask)));
        }
        let (mut wrong, mut questions) = (Vec::new(), 0);
        for (place, thread) in asked {
            let (found, count) = thread.join().map_err(|_| anyhow!("a probe panicked"))??;
            wrong.extend(found.into_iter().map(|what| format!("{place}: {what}")));
            questions += count;
        }
        Ok((wrong, questions))
    })
}

/// The thread is for this alone: it does not come back.
fn within<T>(netns: &std::path::Path, work: impl FnOnce() -> T) -> Result<T> {
    setns(File::open(netns)?, CloneFlags::CLONE_NEWNET)?;
    Ok(work())
}

/// `10.0.1.5/24`
fn read(address: &Value) -> Result<Ipv4Addr> {
    let text = address.as_str().context("no address")?;
    Ok(text.split('/').next().unwrap_or_default().parse()?)
}
