use super::*;
use crate::{Reply, answer};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert_eq, proptest};
use std::net::Ipv4Addr;
use std::sync::Arc;
use types::six::SixSubnet;
use types::subnet::Subnet;
use types::swarm::endpoint::Vip;
use types::swarm::service::PortConfig;
use types::{NetworkId, NodeId, TaskId};

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn network() -> NetworkRow {
    NetworkRow {
        id: NetworkId::new("net"),
        name: "back".to_owned(),
        subnet: Subnet::new(ip(0), 24),
        gateway: ip(1),
        six: None,
        mode: Default::default(),
        internal: false,
        ingress: false,
        policy: Vec::new(),
        blocks: Vec::new(),
    }
}

fn service(name: &str, vip: Option<u8>) -> ServiceRow {
    let vip = vip.map(|last| Vip { network: NetworkId::new("net"), address: ip(last) });
    let port = PortConfig { name: "http".to_owned(), target_port: 8080, ..PortConfig::default() };
    ServiceRow {
        id: ServiceId::new(name),
        name: name.to_owned(),
        vips: vip.into_iter().collect(),
        ports: vec![port],
        check: None,
    }
}

fn endpoint(service: &str, slot: u64, last: u8, state: EndpointState) -> EndpointRow {
    EndpointRow {
        task: TaskId::new(format!("{service}{slot}")),
        network: NetworkId::new("net"),
        node: NodeId::new("n1"),
        address: ip(last),
        state,
        weight: 1,
        service: (!service.is_empty()).then(|| ServiceId::new(service)),
        slot,
        name: format!("{service}.{slot}.task"),
        aliases: vec![format!("alias-of-{service}")],
    }
}

/// `web` with a VIP, `dns` without, `idle` without tasks, and a container of nobody.
fn zone() -> Zone {
    let table = EndpointTable {
        services: vec![service("dns", None), service("idle", Some(9)), service("web", Some(2))]
            .into(),
        endpoints: vec![
            endpoint("web", 1, 11, EndpointState::Healthy),
            endpoint("web", 2, 12, EndpointState::Healthy),
            endpoint("web", 3, 13, EndpointState::Draining),
            endpoint("web", 4, 14, EndpointState::Starting),
            endpoint("dns", 1, 21, EndpointState::Healthy),
            endpoint("dns", 2, 22, EndpointState::Draining),
            endpoint("", 0, 31, EndpointState::Healthy),
        ]
        .into(),
        ..EndpointTable::default()
    };
    Zone::clone(ClusterZone::new(&table, &network()).zone())
}

fn ask(zone: Zone, name: &str, kind: RecordType) -> String {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    match answer(&[Arc::new(zone)], &query, 0) {
        Reply::Forward => "forward".to_owned(),
        Reply::Answer(reply) => {
            let data: Vec<_> = reply.answers.iter().map(|record| record.data.to_string()).collect();
            data.join(", ")
        }
    }
}

fn a(name: &str) -> String {
    ask(zone(), name, RecordType::A)
}

#[test]
fn a_service_is_its_vip_and_its_tasks_are_those_that_are_healthy() {
    assert_eq!(a("web."), "10.0.0.2");
    assert_eq!(a("WEB.back."), "10.0.0.2");
    assert_eq!(a("alias-of-web."), "10.0.0.2");
    assert_eq!(a("tasks.web."), "10.0.0.11, 10.0.0.12");
    // a stack's services know each other by their short names, which are aliases
    assert_eq!(a("tasks.alias-of-web."), "10.0.0.11, 10.0.0.12");
    assert_eq!(a("2.web."), "10.0.0.12");
    assert_eq!(a("3.web."), "forward");
}

#[test]
fn without_a_vip_a_service_is_its_healthy_tasks() {
    assert_eq!(a("dns."), "10.0.0.21");
    assert_eq!(a("alias-of-dns."), "10.0.0.21");
}

#[test]
fn a_service_without_healthy_tasks_is_known() {
    assert_eq!(a("idle."), "10.0.0.9");
    assert_eq!(a("tasks.idle."), "");
    assert_eq!(a("nobody."), "forward");
}

#[test]
fn a_container_has_its_own_name_whatever_its_state() {
    assert_eq!(a("web.3.task."), "10.0.0.13");
    assert_eq!(a("alias-of-."), "10.0.0.31");
    assert_eq!(ask(zone(), "13.0.0.10.in-addr.arpa.", RecordType::PTR), "web.3.task.back.");
    assert_eq!(ask(zone(), "2.0.0.10.in-addr.arpa.", RecordType::PTR), "web.back.");
}

#[test]
fn a_ports_places_are_found_by_its_name_and_by_its_number() {
    let served = "0 0 8080 1.web.back., 0 0 8080 2.web.back.";
    assert_eq!(ask(zone(), "_http._tcp.web.", RecordType::SRV), served);
    assert_eq!(ask(zone(), "_8080._tcp.web.back.", RecordType::SRV), served);
    assert_eq!(ask(zone(), "_8080._tcp.alias-of-web.", RecordType::SRV), served);
    assert_eq!(ask(zone(), "_8080._tcp.web.", RecordType::A), "");
    assert_eq!(ask(zone(), "_8080._udp.web.", RecordType::SRV), "forward");
}

/// One of the tables that a network may have: each service as a digit says (none, with a VIP, without one, renamed, with ports), each
/// endpoint likewise.
fn some_table(services: &[u8], endpoints: &[u8]) -> EndpointTable {
    let named = |(number, shape): (usize, &u8)| {
        let id = format!("s{number}");
        let mut row = service(&id, (shape % 2 == 0).then_some(200 + number as u8));
        match shape {
            0 => return None,
            3 => row.name = "renamed".to_owned(),
            4 => row.ports.clear(),
            _ => {}
        }
        Some(row)
    };
    let placed = |(number, shape): (usize, &u8)| {
        let state = match shape {
            0 => return None,
            1 => EndpointState::Starting,
            2 => EndpointState::Draining,
            _ => EndpointState::Healthy,
        };
        let of = if number % 4 == 3 { String::new() } else { format!("s{}", number % 3) };
        let mut row = endpoint(&of, number as u64, number as u8, state);
        row.task = TaskId::new(format!("t{number:03}"));
        match shape {
            4 => row.aliases.push("ours".to_owned()),
            5 => row.aliases = vec!["S0".to_owned(), "ours".to_owned(), "ours".to_owned()],
            6 => row.network = NetworkId::new("other"),
            7 => row.address = ip(100 + number as u8),
            _ => {}
        }
        Some(row)
    };
    EndpointTable {
        services: services.iter().enumerate().filter_map(named).collect(),
        endpoints: endpoints.iter().enumerate().filter_map(placed).collect(),
        ..EndpointTable::default()
    }
}

proptest! {
    /// A zone that has followed a network's tables is the one that is made anew of the last; and those that were handed out stay as they were.
    #[test]
    fn what_was_followed_leaves_no_trace(
        tables in vec((vec(0u8..5, 3), vec(0u8..8, 0..12), any::<bool>(), 0u8..8), 1..8),
    ) {
        let mut network = network();
        let mut kept = ClusterZone::new(&EndpointTable::default(), &network);
        let mut before = EndpointTable::default();
        let mut handed_out = Vec::new();
        for (services, endpoints, shares, change) in tables {
            let mut table = some_table(&services, &endpoints);
            if shares {
                table.share_with(&before);
            }
            match change {
                0 => network.name = format!("{}k", network.name),
                1 => network.six = Some(SixSubnet::new("fd00::".parse().unwrap(), 64)),
                2 => network.internal = true,
                _ => {}
            }
            kept.follow(&table, &network);
            let anew = ClusterZone::new(&table, &network);
            prop_assert_eq!(kept.zone(), anew.zone());
            handed_out.push((Arc::clone(kept.zone()), anew));
            before = table;
        }
        for (zone, anew) in &handed_out {
            prop_assert_eq!(zone, anew.zone());
        }
    }
}

#[test]
fn what_changes_nothing_here_makes_no_other_zone() {
    let table = some_table(&[1, 2, 3], &[3, 4, 6, 3]);
    let mut zone = ClusterZone::new(&table, &network());
    let before = Arc::clone(zone.zone());
    let mut elsewhere = some_table(&[1, 2, 3], &[3, 4, 0, 3]);
    elsewhere.share_with(&table);
    zone.follow(&elsewhere, &NetworkRow { internal: true, ..network() });
    assert!(Arc::ptr_eq(&before, zone.zone()));
}
