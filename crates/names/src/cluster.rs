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
//! Only healthy endpoints are answered; a service without any is known all the same. Each name is known with
//! `.NETWORK` behind it, too.

use crate::zone::{Place, Zone};
use std::collections::{BTreeMap, BTreeSet};
use types::ServiceId;
use types::swarm::endpoint::{EndpointRow, EndpointState, EndpointTable, NetworkRow, ServiceRow};

/// The zone of `network`.
pub fn cluster_zone(table: &EndpointTable, network: &NetworkRow) -> Zone {
    let mut zone = Zone::default();
    let services: BTreeMap<&ServiceId, &ServiceRow> =
        table.services.iter().map(|service| (&service.id, service)).collect();
    let here = || table.endpoints.iter().filter(|row| row.network == network.id);
    let with_tasks: BTreeSet<&ServiceId> = here().filter_map(|row| row.service.as_ref()).collect();
    for service in &table.services {
        let vip = service.vips.iter().find(|vip| vip.network == network.id);
        if vip.is_none() && !with_tasks.contains(&service.id) {
            continue;
        }
        zone.keep(&network.name, &service.name);
        zone.keep(&network.name, &format!("tasks.{}", service.name));
        if let Some(vip) = vip {
            zone.call(&network.name, &service.name, vip.address);
            zone.point(&network.name, &service.name, vip.address);
        }
    }
    for row in here() {
        let service = row.service.as_ref().and_then(|id| services.get(id).copied());
        match service {
            Some(service) => add_task(&mut zone, network, service, row),
            None => add_container(&mut zone, network, row),
        }
    }
    zone
}

fn add_task(zone: &mut Zone, network: &NetworkRow, service: &ServiceRow, row: &EndpointRow) {
    let vip = service.vips.iter().find(|vip| vip.network == network.id);
    let is_healthy = row.state == EndpointState::Healthy;
    for alias in &row.aliases {
        match vip {
            Some(vip) => zone.call(&network.name, alias, vip.address),
            None => zone.keep(&network.name, alias),
        }
        zone.keep(&network.name, &format!("tasks.{alias}"));
    }
    // Its own name it has as long as it lives: it may ask for itself.
    zone.call(&network.name, &row.name, row.address);
    zone.point(&network.name, &row.name, row.address);
    if !is_healthy {
        return;
    }
    let names: BTreeSet<&String> = row.aliases.iter().chain([&service.name]).collect();
    for name in &names {
        zone.call(&network.name, &format!("tasks.{name}"), row.address);
        if vip.is_none() {
            zone.call(&network.name, name, row.address);
        }
    }
    let slot = (row.slot > 0).then(|| format!("{}.{}", row.slot, service.name));
    if let Some(slot) = &slot {
        zone.call(&network.name, slot, row.address);
    }
    let target = format!("{}.{}", slot.as_ref().unwrap_or(&row.name), network.name);
    for port in &service.ports {
        let protocol = if port.protocol.is_empty() { "tcp" } else { &port.protocol };
        let place = Place { target: target.clone(), port: port.target_port };
        let number = port.target_port.to_string();
        for port in [&number, &port.name].into_iter().filter(|name| !name.is_empty()) {
            for name in &names {
                zone.place(&network.name, &format!("_{port}._{protocol}.{name}"), &place);
            }
        }
    }
}

fn add_container(zone: &mut Zone, network: &NetworkRow, row: &EndpointRow) {
    for name in row.aliases.iter().chain([&row.name]) {
        zone.call(&network.name, name, row.address);
    }
    zone.point(&network.name, &row.name, row.address);
}

#[cfg(test)]
mod tests;
