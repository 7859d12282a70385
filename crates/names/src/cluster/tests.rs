use super::*;
use crate::{Reply, answer};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use std::net::Ipv4Addr;
use std::sync::Arc;
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
    cluster_zone(&table, &network())
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
