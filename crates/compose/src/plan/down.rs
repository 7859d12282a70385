//! `down`, `stop` and `rm`: take it away, dependents first.

use super::{Container, Observed, Operation, Plan};
use crate::desired::Desired;
use std::collections::{BTreeMap, BTreeSet};

/// What `down` was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DownOptions {
    /// Empty is all; else only these services' containers go, and no network.
    pub services: Vec<String>,
    pub remove_orphans: bool,
    /// Named volumes of the file and anonymous ones too.
    pub volumes: bool,
    /// Stop and leave everything where it is.
    pub keep: bool,
}

/// The operations that take a project away: each container after those that depend on it.
pub fn down(desired: &Desired, observed: &Observed, options: &DownOptions) -> Plan {
    let mut plan = Plan::default();
    let ours = |c: &&Container| {
        let known = desired.services.contains_key(&c.service) || options.remove_orphans;
        // what `run` made stops by itself
        let known = known && !(options.keep && c.oneoff);
        known && (options.services.is_empty() || options.services.contains(&c.service))
    };
    let mut by_service: BTreeMap<&str, Vec<&Container>> = BTreeMap::new();
    for container in observed.containers.iter().filter(ours) {
        by_service.entry(&container.service).or_default().push(container);
    }
    let mut removed: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for service in reversed(desired, by_service.keys().copied()) {
        let dependents = desired.services.values().filter(|s| s.depends_on.contains_key(service));
        let after: Vec<usize> =
            dependents.filter_map(|s| removed.get(s.name.as_str())).flatten().copied().collect();
        for container in by_service.get(service).into_iter().flatten() {
            let Container { id, name, .. } = (*container).clone();
            let stop =
                Operation::Stop { service: service.to_owned(), id: id.clone(), name: name.clone() };
            let stopped = plan.push(stop, after.clone());
            if options.keep {
                removed.entry(service).or_default().push(stopped);
                continue;
            }
            let remove = Operation::Remove { id, name, volumes: options.volumes };
            removed.entry(service).or_default().push(plan.push(remove, vec![stopped]));
        }
    }
    if options.services.is_empty() && !options.keep {
        objects(desired, observed, options, &mut plan);
    }
    plan
}

/// Networks, and with `volumes` the named volumes; external ones stay.
fn objects(desired: &Desired, observed: &Observed, options: &DownOptions, plan: &mut Plan) {
    let all: Vec<usize> = (0..plan.steps.len()).collect();
    for network in desired.networks.values().filter(|n| !n.external) {
        let name = network.request.name.clone();
        if observed.networks.contains_key(&name) {
            plan.push(Operation::RemoveNetwork { name }, all.clone());
        }
    }
    for volume in desired.volumes.values().filter(|v| options.volumes && !v.external) {
        let name = volume.request.name.clone();
        if observed.volumes.contains_key(&name) {
            plan.push(Operation::RemoveVolume { name }, all.clone());
        }
    }
}

/// Dependents before what they depend on; services that the file does not have come first.
fn reversed<'a>(desired: &'a Desired, present: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let present: BTreeSet<&str> = present.collect();
    let edges: BTreeMap<&str, Vec<&str>> = desired
        .services
        .iter()
        .map(|(name, s)| (name.as_str(), s.depends_on.keys().map(String::as_str).collect()))
        .collect();
    let orphans = present.iter().copied().filter(|name| !desired.services.contains_key(*name));
    let known = crate::graph::order(&edges).into_iter().rev().filter(|name| present.contains(name));
    orphans.chain(known).collect()
}
