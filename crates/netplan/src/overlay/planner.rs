//! Plans again and again: what a change of the table costs follows from what changed, not from how large the table is.
//!
//! ```text
//! networks, peers, me ──► base ─────────────┐
//! endpoints ──► addresses offered and held  ├► sheet of a family ─┐
//!           └─► policies, machines outside ─┤                     ├─ places ─► plan
//! services, each with its endpoints ────────┘                     │
//!                                       links, routes, peers ─────┘
//! ```
//! Each part is made again when what it follows from has changed, and is otherwise the very same in memory: who applies the
//! plan compares it by that first. It remembers nothing that is not in its arguments: [`plan`] is a planner's first plan, and a
//! later one is equal to it.

use super::plan::{Here, Me, OverlayPlan, Roads, hosts, locals, sysctls};
use super::rules::{self, Family, OF_PLACES, OverlayRules, base, describe_places, differences};
use super::sixes::{SixPaths, Sixes};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use types::swarm::endpoint::{EndpointRow, EndpointState, EndpointTable, ServiceRow};
use types::{NetworkId, ServiceId};

/// For more elements than this it is cheaper to put all services' together again than to ask each service for each.
const FEW: usize = 16;

/// The plan for the node `me` with the containers `places`.
pub fn plan(table: &EndpointTable, me: &Me, places: &[Here]) -> OverlayPlan {
    Planner::default().plan(table, me, places)
}

/// What the last plan followed from, and its parts.
#[derive(Debug, Default)]
pub struct Planner(Option<Known>);

#[derive(Debug)]
struct Known {
    table: EndpointTable,
    me: Me,
    roads: Roads,
    services: BTreeMap<ServiceId, Arc<ServiceRow>>,
    endpoints: Endpoints,
    four: Sheet,
    six: Option<Sheet>,
}

impl Planner {
    /// As [`plan`]; cheap when `table` has the rows of the last time.
    pub fn plan(&mut self, table: &EndpointTable, me: &Me, places: &[Here]) -> OverlayPlan {
        let fits = |known: &Known| {
            let last = &known.table;
            known.me == *me && last.networks == table.networks && last.peers == table.peers
        };
        let known = match self.0.take() {
            Some(mut known) if fits(&known) => {
                known.follow(table);
                known
            }
            before => Known::new(table, me, before.as_ref()),
        };
        self.0.insert(known).plan(places)
    }
}

impl Known {
    fn new(table: &EndpointTable, me: &Me, before: Option<&Known>) -> Self {
        let roads = Roads::new(table, me);
        let sheet = |family, before| Sheet::new(table, me, &roads, family, before);
        let four = sheet(Family::Four, before.map(|known| &known.four));
        let six = (!roads.sixes.is_empty()).then(|| {
            let before = before.and_then(|known| known.six.as_ref());
            sheet(Family::Six(&roads.sixes), before)
        });
        let nothing = EndpointTable {
            services: Default::default(),
            endpoints: Default::default(),
            ..table.clone()
        };
        let mut known = Known {
            table: nothing,
            me: me.clone(),
            roads,
            services: BTreeMap::new(),
            endpoints: Endpoints::default(),
            four,
            six,
        };
        known.follow(table);
        if let Some(before) = before {
            known.endpoints.share_with(&before.endpoints);
            known.four.all.share_with(&before.four.all);
            if let Some((six, before)) = known.six.as_mut().zip(before.six.as_ref()) {
                six.all.share_with(&before.all);
            }
        }
        known
    }

    /// Takes in a table of the same networks and peers.
    fn follow(&mut self, table: &EndpointTable) {
        let mut touched = BTreeSet::new();
        let (put, gone) = table.services.changes(&self.table.services);
        touched.extend(put.iter().chain(&gone).map(|row| row.id.clone()));
        for row in &gone {
            self.services.remove(&row.id);
        }
        for row in put {
            self.services.insert(row.id.clone(), Arc::clone(row));
        }
        let (put, gone) = table.endpoints.changes(&self.table.endpoints);
        let changed = || put.iter().chain(&gone).map(|row| &***row);
        touched.extend(changed().filter_map(|row| row.service.clone()));
        let has_policy = table.networks.iter().any(|network| !network.policy.is_empty());
        let whole = changed().any(|row| has_policy || row.is_outside());
        for row in &gone {
            self.endpoints.remove(row, &self.roads.sixes);
        }
        for row in &put {
            self.endpoints.put(row, &self.roads.sixes);
        }
        self.table = table.clone();
        let sixes = &self.roads.sixes;
        let six = self.six.as_mut().map(|sheet| (sheet, Family::Six(sixes)));
        for (sheet, family) in [(&mut self.four, Family::Four)].into_iter().chain(six) {
            if whole {
                sheet.put_whole(rules::of_endpoints(table, family));
            }
            let part = |id: &ServiceId| {
                let rows = self.endpoints.of(id);
                let service = self.services.get(id);
                let part = service.map(|service| {
                    rules::of_service(service, rows, &table.networks, &self.me, family)
                });
                (id.clone(), part.unwrap_or_default())
            };
            sheet.put_services(touched.iter().map(part).collect());
        }
    }

    fn plan(&mut self, places: &[Here]) -> OverlayPlan {
        let Known { table, me, roads, services, endpoints, four, six } = self;
        let sixes = &roads.sixes;
        let locals = locals(table, me, places, sixes);
        let offers = |service: &ServiceId, network: &NetworkId| {
            endpoints.of(service).any(|row| row.network == *network && is_offered(row))
        };
        let (hosts, host_vips) = hosts(table, places, services.values(), offers);
        OverlayPlan {
            hosts,
            host_vips,
            version: table.version,
            forwarding: roads.neighbours.iter().map(|(peer, mac)| (*mac, *peer)).collect(),
            unreachable: table.networks.iter().map(|network| network.subnet).collect(),
            returns: roads.returns.clone(),
            sysctls: sysctls(
                &roads.devices(),
                &locals,
                !table.networks.is_empty(),
                !sixes.is_empty(),
            ),
            offered: Arc::clone(&endpoints.offered),
            held: Arc::clone(&endpoints.held),
            rules: four.with_places(table, places, Family::Four),
            six: SixPaths {
                routes: sixes.routes(&roads.routes),
                unreachable: sixes.subnets().collect(),
                rules: six.as_mut().map_or_else(OverlayRules::default, |sheet| {
                    sheet.with_places(table, places, Family::Six(sixes))
                }),
            },
            routes: roads.routes.clone(),
            neighbours: roads.neighbours.clone(),
            tunnel: roads.tunnel.clone(),
            wire: roads.wire.clone(),
            locals,
        }
    }
}

fn is_offered(row: &EndpointRow) -> bool {
    row.state == EndpointState::Healthy && row.weight > 0
}

/// The endpoints by service, and the addresses of all of them.
#[derive(Debug, Default)]
struct Endpoints {
    by_service: BTreeMap<ServiceId, Vec<Arc<EndpointRow>>>,
    /// How many rows hold an address, and how many offer it.
    counts: BTreeMap<Ipv4Addr, (usize, usize)>,
    offered: Arc<BTreeSet<IpAddr>>,
    held: Arc<BTreeSet<IpAddr>>,
}

impl Endpoints {
    fn of(&self, service: &ServiceId) -> impl Iterator<Item = &EndpointRow> {
        self.by_service.get(service).into_iter().flatten().map(|row| &**row)
    }

    fn put(&mut self, row: &Arc<EndpointRow>, sixes: &Sixes) {
        if let Some(service) = &row.service {
            self.by_service.entry(service.clone()).or_default().push(Arc::clone(row));
        }
        let offered = usize::from(is_offered(row));
        self.count(row.address, sixes, |(held, offers)| (held + 1, offers + offered));
    }

    fn remove(&mut self, row: &Arc<EndpointRow>, sixes: &Sixes) {
        if let Some(service) = &row.service
            && let Some(rows) = self.by_service.get_mut(service)
        {
            rows.retain(|known| !Arc::ptr_eq(known, row));
            if rows.is_empty() {
                self.by_service.remove(service);
            }
        }
        let offered = usize::from(is_offered(row));
        self.count(row.address, sixes, |(held, offers)| {
            (held.saturating_sub(1), offers.saturating_sub(offered))
        });
    }

    fn count(
        &mut self,
        address: Ipv4Addr,
        sixes: &Sixes,
        next: impl Fn((usize, usize)) -> (usize, usize),
    ) {
        let then = self.counts.get(&address).copied().unwrap_or_default();
        let now = next(then);
        match now {
            (0, _) => drop(self.counts.remove(&address)),
            now => drop(self.counts.insert(address, now)),
        }
        let six = sixes.place(address).map(IpAddr::V6);
        let sets = [(&mut self.held, then.0, now.0), (&mut self.offered, then.1, now.1)];
        for (set, _, now) in sets.into_iter().filter(|(_, then, now)| (*then > 0) != (*now > 0)) {
            let set = Arc::make_mut(set);
            for address in [IpAddr::V4(address)].into_iter().chain(six) {
                match now > 0 {
                    true => set.insert(address),
                    false => set.remove(&address),
                };
            }
        }
    }

    fn share_with(&mut self, before: &Endpoints) {
        for (set, before) in [(&mut self.held, &before.held), (&mut self.offered, &before.offered)]
        {
            if *set == *before {
                *set = Arc::clone(before);
            }
        }
    }
}

/// The rules of one family, but for what places add to them.
#[derive(Debug, Default)]
struct Sheet {
    /// Of policies and machines outside.
    whole: OverlayRules,
    /// What each service brings: elements of sets that nothing else has elements in. If two bring the same one, the later
    /// one counts.
    services: BTreeMap<ServiceId, OverlayRules>,
    /// Everything.
    all: OverlayRules,
    /// With places; of the last plan.
    last: OverlayRules,
}

impl Sheet {
    fn new(
        table: &EndpointTable,
        me: &Me,
        roads: &Roads,
        family: Family<'_>,
        before: Option<&Sheet>,
    ) -> Self {
        let all = base(table, me, &roads.devices(), family);
        let last = before.map_or_else(OverlayRules::default, |sheet| sheet.last.clone());
        Sheet { all, last, ..Sheet::default() }
    }

    fn put_whole(&mut self, whole: OverlayRules) {
        for set in self.whole.elements.keys() {
            if !whole.elements.contains_key(set) {
                self.all.elements.remove(set);
            }
        }
        for (set, elements) in &whole.elements {
            if self.all.elements.get(set) != Some(elements) {
                self.all.elements.insert(set, Arc::clone(elements));
            }
        }
        self.whole = whole;
    }

    fn put_services(&mut self, parts: Vec<(ServiceId, OverlayRules)>) {
        let nothing = OverlayRules::default();
        let mut choices = BTreeSet::new();
        let mut elements: BTreeMap<&'static str, BTreeSet<_>> = BTreeMap::new();
        for (id, new) in &parts {
            let old = self.services.get(id).unwrap_or(&nothing);
            let changed = differences(&old.choices, &new.choices);
            choices.extend(changed.into_iter().map(|(chain, ..)| *chain));
            let sets: BTreeSet<_> = old.elements.keys().chain(new.elements.keys()).collect();
            for set in sets {
                let [old, new] =
                    [old, new].map(|of| of.elements.get(set).cloned().unwrap_or_default());
                let changed = differences(&old, &new);
                let changed = changed.into_iter().map(|(key, ..)| key.clone());
                elements.entry(set).or_default().extend(changed);
            }
        }
        for (id, new) in parts {
            match new == nothing {
                true => drop(self.services.remove(&id)),
                false => drop(self.services.insert(id, new)),
            }
        }
        let services = &self.services;
        if choices.len() > FEW {
            let all = services.values().flat_map(|part| part.choices.iter());
            self.all.choices = Arc::new(all.map(|(key, value)| (*key, value.clone())).collect());
        } else if !choices.is_empty() {
            let all = Arc::make_mut(&mut self.all.choices);
            for chain in choices {
                match services.values().rev().find_map(|part| part.choices.get(&chain)) {
                    Some(choice) => drop(all.insert(chain, choice.clone())),
                    None => drop(all.remove(&chain)),
                }
            }
        }
        for (set, keys) in elements.into_iter().filter(|(_, keys)| !keys.is_empty()) {
            let all = self.all.elements.entry(set).or_default();
            if keys.len() > FEW {
                let parts = services.values().filter_map(|part| part.elements.get(set));
                let elements = parts.flat_map(|elements| elements.iter());
                let elements = elements.map(|(key, value)| (key.clone(), value.clone()));
                *all = Arc::new(elements.collect());
            } else {
                let all = Arc::make_mut(all);
                for key in keys {
                    let of = |part: &OverlayRules| part.elements.get(set)?.get(&key).cloned();
                    match services.values().rev().find_map(of) {
                        Some(value) => drop(all.insert(key, value)),
                        None => drop(all.remove(&key)),
                    }
                }
            }
            if self.all.elements.get(set).is_some_and(|elements| elements.is_empty()) {
                self.all.elements.remove(set);
            }
        }
    }

    fn with_places(
        &mut self,
        table: &EndpointTable,
        places: &[Here],
        family: Family<'_>,
    ) -> OverlayRules {
        let mut rules = self.all.clone();
        describe_places(&mut rules, table, places, family);
        for set in OF_PLACES {
            if let Some(elements) = rules.elements.get_mut(set)
                && let Some(last) = self.last.elements.get(set).filter(|last| *last == elements)
            {
                *elements = Arc::clone(last);
            }
        }
        self.last = rules.clone();
        rules
    }
}

impl OverlayRules {
    /// Has parts that say what those of `before` say be the same in memory.
    fn share_with(&mut self, before: &OverlayRules) {
        if self.choices == before.choices {
            self.choices = Arc::clone(&before.choices);
        }
        for (set, elements) in &mut self.elements {
            if let Some(before) = before.elements.get(set).filter(|before| *before == elements) {
                *elements = Arc::clone(before);
            }
        }
    }
}

#[cfg(test)]
mod tests;
