//! What a change of one endpoint costs the names of a network of ten thousand, in time of the processor. `cargo run --release -p names --example change`.

#![allow(clippy::print_stdout, reason = "a program for people to run")]

use names::ClusterZone;
use nix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use types::subnet::Subnet;
use types::swarm::endpoint::{
    EndpointRow, EndpointState, EndpointTable, NetworkRow, ServiceRow, Vip,
};
use types::swarm::service::PortConfig;
use types::{NetworkId, NodeId, ServiceId, TaskId};

const ENDPOINTS: u32 = 10_000;
const CHANGES: u32 = 100;

fn main() {
    for services in [1_000, 10, 1] {
        let mut table = table(services);
        let network = table.networks[0].clone();
        let began = cpu();
        let mut zone = ClusterZone::new(&table, &network);
        let whole = cpu() - began;
        let mut changes: Vec<Duration> = (0..CHANGES)
            .map(|turn| {
                let mut row = table.endpoints[(turn * 97 % ENDPOINTS) as usize].clone();
                row.state = EndpointState::Draining;
                table.endpoints.put(Arc::new(row));
                // Sandboxes have the one before.
                let before = Arc::clone(zone.zone());
                let began = cpu();
                zone.follow(&table, &network);
                let took = cpu() - began;
                assert_ne!(before.addresses("tasks.service0"), None);
                black_box(before);
                took
            })
            .collect();
        changes.sort();
        println!(
            "{ENDPOINTS} endpoints of {services} services: all names {whole:.1?}, after a change p50 {:.1?}, worst {:.1?}",
            changes[changes.len() / 2],
            changes[changes.len() - 1]
        );
    }
}

/// Of this thread.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn table(services: u32) -> EndpointTable {
    let network = NetworkId::new("net");
    let at = |number: u32| Ipv4Addr::from_bits(Ipv4Addr::new(10, 128, 0, 0).to_bits() + number);
    let service = |number: u32| ServiceRow {
        id: ServiceId::new(format!("service{number:06}")),
        name: format!("stack_service{number}"),
        vips: vec![Vip { network: network.clone(), address: at(ENDPOINTS + number + 2) }],
        ports: vec![PortConfig { target_port: 80, ..PortConfig::default() }],
        check: None,
    };
    let endpoint = |number: u32| EndpointRow {
        task: TaskId::new(format!("task{number:021}")),
        network: network.clone(),
        node: NodeId::new("node"),
        address: at(number + 2),
        state: EndpointState::Healthy,
        weight: 1,
        service: Some(ServiceId::new(format!("service{:06}", number % services))),
        slot: u64::from(number / services + 1),
        name: format!("stack_service{}.{}.task{number}", number % services, number / services + 1),
        aliases: vec![format!("service{}", number % services)],
    };
    let row = NetworkRow {
        id: network.clone(),
        name: "stack_default".to_owned(),
        subnet: Subnet::new(at(0), 12),
        gateway: at(1),
        six: None,
        mode: Default::default(),
        internal: false,
        ingress: false,
        policy: Vec::new(),
        blocks: Vec::new(),
    };
    EndpointTable {
        version: 1,
        networks: vec![row].into(),
        services: (0..services).map(service).collect(),
        endpoints: (0..ENDPOINTS).map(endpoint).collect(),
        ..EndpointTable::default()
    }
}
