//! Who owns what the cluster gives out: everything has one owner.

use super::{Note, Rule, is_started, on_ready_node, slots};
use crate::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::subnet::{Cidr, Subnet};
use types::swarm::task::Task;

/// Addresses and VIPs per network; host ports per node. A task owns its address until it has ended, its
/// ports from its start on.
pub(super) fn check(state: &Snapshot) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut addresses = BTreeSet::new();
    let mut own = |network: &str, address: &str, owner: &str| {
        let address = address.split('/').next().unwrap_or(address).to_owned();
        if !address.is_empty() && !addresses.insert((network.to_owned(), address.clone())) {
            let shown = format!("{address} in network {network}");
            notes.push(Note::new(Rule::OwnedOnce, shown, owner));
        }
    };
    for service in state.services().iter() {
        for vip in &service.endpoint.virtual_ips {
            own(&vip.network_id, &vip.addr, service.id.as_str());
        }
    }
    for task in state.tasks().iter().filter(|task| !task.status.state.is_terminal()) {
        for attachment in &task.networks_attachments {
            for address in &attachment.addresses {
                own(&attachment.network, address, task.id.as_str());
            }
        }
    }
    let mut published = BTreeSet::new();
    for service in state.services().iter() {
        for port in service.endpoint.ports.iter().filter(|port| port.publish_mode != "host") {
            let taken = !published.insert((port.protocol.clone(), port.published_port));
            if taken && port.published_port != 0 {
                let shown = format!("published port {}/{}", port.published_port, port.protocol);
                notes.push(Note::new(Rule::OwnedOnce, shown, &service.id));
            }
        }
    }
    notes.extend(check_networks(state));
    notes.extend(check_host_ports(state));
    notes
}

fn check_host_ports(state: &Snapshot) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut owners: BTreeMap<(String, String, u16), &Arc<Task>> = BTreeMap::new();
    for task in state.tasks().iter().filter(|task| is_started(task) && on_ready_node(state, task)) {
        for port in task.record.host_ports.iter().filter(|port| port.published_port != 0) {
            let protocol = if port.protocol.is_empty() { "tcp" } else { &port.protocol };
            let key = (task.node_id.to_string(), protocol.to_owned(), port.published_port);
            if let Some(first) = owners.insert(key, task)
                && !slots::was_away(state, first, task)
            {
                let shown = format!("port {}/{protocol} of {}", port.published_port, task.node_id);
                notes.push(Note::new(
                    Rule::OwnedOnce,
                    shown,
                    format!("{} and {}", first.id, task.id),
                ));
            }
        }
    }
    notes
}

/// VXLAN identifiers, and subnets.
fn check_networks(state: &Snapshot) -> Vec<Note> {
    let mut notes = Vec::new();
    let (mut vnis, mut subnets) = (BTreeSet::new(), Vec::<Subnet>::new());
    for network in state.networks().iter() {
        if network.vni != 0 && !vnis.insert(network.vni) {
            notes.push(Note::new(Rule::OwnedOnce, format!("VNI {}", network.vni), &network.id));
        }
        let Ok(subnet) = network.subnet.parse::<Cidr>().map(Cidr::subnet) else { continue };
        if subnets.iter().any(|other| other.overlaps(subnet)) {
            notes.push(Note::new(Rule::OwnedOnce, format!("subnet {subnet}"), &network.id));
        }
        subnets.push(subnet);
    }
    notes
}
