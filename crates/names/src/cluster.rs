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

use crate::zone::{Place, Zone};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
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
            call(&mut zone, network, &service.name, vip.address);
            point(&mut zone, network, &service.name, vip.address);
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
            Some(vip) => call(zone, network, alias, vip.address),
            None => zone.keep(&network.name, alias),
        }
        zone.keep(&network.name, &format!("tasks.{alias}"));
    }
    // Its own name it has as long as it lives: it may ask for itself.
    call(zone, network, &row.name, row.address);
    point(zone, network, &row.name, row.address);
    if !is_healthy {
        return;
    }
    let names: BTreeSet<&String> = row.aliases.iter().chain([&service.name]).collect();
    for name in &names {
        call(zone, network, &format!("tasks.{name}"), row.address);
        if vip.is_none() {
            call(zone, network, name, row.address);
        }
    }
    let slot = (row.slot > 0).then(|| format!("{}.{}", row.slot, service.name));
    if let Some(slot) = &slot {
        call(zone, network, slot, row.address);
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
        call(zone, network, name, row.address);
    }
    point(zone, network, &row.name, row.address);
}

/// The name leads to the address, and to its place in IPv6 if the network has that.
fn call(zone: &mut Zone, network: &NetworkRow, name: &str, address: Ipv4Addr) {
    zone.call(&network.name, name, address);
    if let Some(six) = network.six {
        zone.call_six(&network.name, name, six.place(network.subnet, address));
    }
}

fn point(zone: &mut Zone, network: &NetworkRow, name: &str, address: Ipv4Addr) {
    zone.point(&network.name, name, address);
    if let Some(six) = network.six {
        zone.point(&network.name, name, six.place(network.subnet, address));
    }
}

#[cfg(test)]
mod tests;
