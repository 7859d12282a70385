//! The names of one cluster network, derived from the endpoint table.
//!
//! | name | answer |
//! |---|---|
//! | `SERVICE`, and its aliases | its VIP; with `dnsrr` the addresses of its healthy tasks |
//! | `tasks.SERVICE`, `tasks.ALIAS` | the addresses of its healthy tasks |
//! | `SLOT.SERVICE` | those of the slot |
//! | `CONTAINER` (`web.1.TASK`), aliases of a container without service | its address |
//! | `_PORT._PROTOCOL.SERVICE`, `….ALIAS` (SRV; the port's name or number) | `SLOT.SERVICE` (or the container) and the port |
//! | PTR of a task or VIP | `CONTAINER.NETWORK`, `SERVICE.NETWORK` |
//!
//! In a network with IPv6 each of them is answered in both families. Only healthy endpoints are answered; a service without any is known all the same. Each name is known with
//! `.NETWORK` behind it, too.

use crate::said::Change;
use crate::zone::{Place, Zone};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use types::ServiceId;
use types::swarm::endpoint::{
    EndpointRow, EndpointState, EndpointTable, NetworkRow, Rows, ServiceRow,
};

/// A network's zone beside the rows that it follows from, so that a change of them costs what changed. Whoever was given a zone keeps it as it
/// was: each is of one table.
#[derive(Debug)]
pub struct ClusterZone {
    network: NetworkRow,
    services: Rows<ServiceRow>,
    endpoints: Rows<EndpointRow>,
    zone: Arc<Zone>,
}

impl ClusterZone {
    /// The zone of `network` in `table`.
    pub fn new(table: &EndpointTable, network: &NetworkRow) -> Self {
        let mut zone = ClusterZone::empty(network);
        zone.follow(table, network);
        zone
    }

    pub fn zone(&self) -> &Arc<Zone> {
        &self.zone
    }

    /// Makes it the zone of `network` in `table`.
    pub fn follow(&mut self, table: &EndpointTable, network: &NetworkRow) {
        let named_by = |row: &NetworkRow| (row.id.clone(), row.name.clone(), row.subnet, row.six);
        if named_by(&self.network) != named_by(network) {
            *self = ClusterZone::empty(network);
        }
        let (new, old) = table.services.changes(&self.services);
        let changed: BTreeSet<&ServiceId> = new.iter().chain(&old).map(|row| &row.id).collect();
        let (new, old) = table.endpoints.changes(&self.endpoints);
        let old = concerned(&self.endpoints, &old, &changed, network);
        let new = concerned(&table.endpoints, &new, &changed, network);
        if changed.is_empty() && old.is_empty() && new.is_empty() {
            self.endpoints = table.endpoints.clone();
            return;
        }
        let zone = Arc::make_mut(&mut self.zone);
        for (change, services, rows) in
            [(Change::TakeBack, &self.services, &old), (Change::Say, &table.services, &new)]
        {
            let mut speaker = Speaker { change, zone, network, services };
            changed.iter().for_each(|id| speaker.service(id));
            rows.iter().for_each(|row| speaker.endpoint(row));
        }
        (self.services, self.endpoints) = (table.services.clone(), table.endpoints.clone());
    }

    fn empty(network: &NetworkRow) -> Self {
        ClusterZone {
            network: network.clone(),
            services: Rows::default(),
            endpoints: Rows::default(),
            zone: Arc::new(Zone::of(&network.name)),
        }
    }
}

/// The network's endpoints of which something else is to be said than before: those in `rows`, and of `all` those whose services have changed.
fn concerned<'a>(
    all: &'a Rows<EndpointRow>,
    rows: &[&'a Arc<EndpointRow>],
    changed: &BTreeSet<&ServiceId>,
    network: &NetworkRow,
) -> Vec<&'a EndpointRow> {
    let serves = |row: &&EndpointRow| row.service.as_ref().is_some_and(|id| changed.contains(id));
    let others = rows.iter().map(|row| &***row).filter(|row| !serves(row));
    let all = (!changed.is_empty()).then(|| all.iter().filter(serves));
    others.chain(all.into_iter().flatten()).filter(|row| row.network == network.id).collect()
}

/// Says what rows say in one network, or takes it back.
struct Speaker<'a> {
    change: Change,
    zone: &'a mut Zone,
    network: &'a NetworkRow,
    services: &'a Rows<ServiceRow>,
}

impl Speaker<'_> {
    /// What it is known by without any task.
    fn service(&mut self, id: &ServiceId) {
        let Some(service) = self.services.get(id) else { return };
        if let Some(vip) = vip_of(service, self.network) {
            self.known(service);
            self.call(&service.name, vip);
            self.point(&service.name, vip);
        }
    }

    fn endpoint(&mut self, row: &EndpointRow) {
        match row.service.as_ref().and_then(|id| self.services.get(id)) {
            Some(service) => self.task(service, row),
            None => self.container(row),
        }
    }

    fn task(&mut self, service: &ServiceRow, row: &EndpointRow) {
        self.known(service);
        let vip = vip_of(service, self.network);
        for alias in &row.aliases {
            match vip {
                Some(vip) => self.call(alias, vip),
                None => self.zone.keep(self.change, alias),
            }
            self.zone.keep(self.change, &format!("tasks.{alias}"));
        }
        // Its own name it has as long as it lives: it may ask for itself.
        self.call(&row.name, row.address);
        self.point(&row.name, row.address);
        if row.state != EndpointState::Healthy {
            return;
        }
        let names: BTreeSet<&String> = row.aliases.iter().chain([&service.name]).collect();
        for name in &names {
            self.call(&format!("tasks.{name}"), row.address);
            if vip.is_none() {
                self.call(name, row.address);
            }
        }
        let slot = (row.slot > 0).then(|| format!("{}.{}", row.slot, service.name));
        if let Some(slot) = &slot {
            self.call(slot, row.address);
        }
        let target = format!("{}.{}", slot.as_ref().unwrap_or(&row.name), self.network.name);
        let target: Arc<str> = target.into();
        for port in &service.ports {
            let protocol = if port.protocol.is_empty() { "tcp" } else { &port.protocol };
            let place = Place { target: target.clone(), port: port.target_port };
            let number = port.target_port.to_string();
            for port in [&number, &port.name].into_iter().filter(|name| !name.is_empty()) {
                for name in &names {
                    let name = format!("_{port}._{protocol}.{name}");
                    self.zone.place(self.change, &name, &place);
                }
            }
        }
    }

    fn container(&mut self, row: &EndpointRow) {
        for name in row.aliases.iter().chain([&row.name]) {
            self.call(name, row.address);
        }
        self.point(&row.name, row.address);
    }

    fn known(&mut self, service: &ServiceRow) {
        self.zone.keep(self.change, &service.name);
        self.zone.keep(self.change, &format!("tasks.{}", service.name));
    }

    /// The name leads to the address, and to its place in IPv6 if the network has that.
    fn call(&mut self, name: &str, address: Ipv4Addr) {
        self.zone.call(self.change, name, address);
        if let Some(six) = self.network.six {
            self.zone.call_six(self.change, name, six.place(self.network.subnet, address));
        }
    }

    fn point(&mut self, name: &str, address: Ipv4Addr) {
        let name = format!("{name}.{}", self.network.name);
        self.zone.point(self.change, &name, address);
        if let Some(six) = self.network.six {
            self.zone.point(self.change, &name, six.place(self.network.subnet, address));
        }
    }
}

fn vip_of(service: &ServiceRow, network: &NetworkRow) -> Option<Ipv4Addr> {
    service.vips.iter().find(|vip| vip.network == network.id).map(|vip| vip.address)
}

#[cfg(test)]
mod tests;
