//! Containers on bridges: who reaches whom, and by which door.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/world.rs"]
#[expect(unreachable_pub, reason = "a module of the test, shared as a file")]
mod world;

use netdev::Note;
use std::net::Ipv4Addr;
use types::port::Protocol;
use world::{
    HOST, OUTSIDE, World, command, inside, links, tcp, tcp_refused, tcp_server, udp, udp_client,
    udp_server,
};

fn ip(second: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, second, 0, last)
}

#[test]
fn containers_of_one_network_talk_and_those_of_another_do_not() {
    let mut world = World::new();
    world.network("front", 1);
    world.network("back", 2);
    let web = world.connect("web", "front", 2);
    let app = world.connect("app", "front", 3);
    let db = world.connect("db", "back", 2);
    world.apply();
    tcp_server(&web, 80);
    tcp_server(&db, 80);
    assert_eq!(tcp(&app, ip(1, 2), 80).as_deref(), Some("10.1.0.3"));
    assert!(tcp_refused(&app, ip(2, 2), 80), "another network's container was reached");
    // The host reaches both.
    assert_eq!(tcp(&world.host, ip(2, 2), 80).as_deref(), Some("10.2.0.1"));
}

#[test]
fn without_icc_a_network_keeps_its_containers_apart_but_not_from_the_host() {
    for netfilter in ["0", "1"] {
        let mut world = World::new();
        bridge_netfilter(&world, netfilter);
        world.network("front", 1).icc = false;
        let web = world.connect("web", "front", 2);
        let app = world.connect("app", "front", 3);
        world.apply();
        tcp_server(&web, 80);
        assert!(tcp_refused(&app, ip(1, 2), 80), "with bridge-nf-call-iptables={netfilter}");
        assert!(tcp(&world.host, ip(1, 2), 80).is_some());
    }
}

#[test]
fn outgoing_traffic_has_the_hosts_address_and_containers_cannot_be_reached_directly() {
    let mut world = World::new();
    world.network("front", 1);
    let web = world.connect("web", "front", 2);
    world.apply();
    tcp_server(&world.outside, 80);
    tcp_server(&web, 80);
    assert_eq!(tcp(&web, OUTSIDE, 80).as_deref(), Some("192.0.2.1"));
    command(&world.outside, "ip", &["route", "add", "10.1.0.0/16", "via", "192.0.2.1"]);
    assert!(
        tcp_refused(&world.outside, ip(1, 2), 80),
        "an unpublished port was reached from outside"
    );
}

/// br_netfilter makes bridged frames pass the rules too; engines on the same kernel load it.
fn bridge_netfilter(world: &World, value: &str) {
    inside(&world.host, || {
        match std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", value) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
            outcome => outcome.unwrap(),
        }
    });
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    for netfilter in ["0", "1"] {
        let mut world = World::new();
        bridge_netfilter(&world, netfilter);
        world.network("front", 1);
        world.network("back", 2);
        let web = world.connect("web", "front", 2);
        let neighbour = world.connect("app", "front", 3);
        let stranger = world.connect("db", "back", 2);
        world.publish("web", Protocol::Tcp, [0, 0, 0, 0], 8080, 80);
        world.apply();
        tcp_server(&web, 80);
        let case = format!("with bridge-nf-call-iptables={netfilter}");
        assert_eq!(
            tcp(&world.outside, HOST, 8080).as_deref(),
            Some("192.0.2.2"),
            "outside, {case}"
        );
        assert!(tcp(&world.host, HOST, 8080).is_some(), "the host's own address, {case}");
        assert!(tcp(&world.host, Ipv4Addr::LOCALHOST, 8080).is_some(), "127.0.0.1, {case}");
        assert!(tcp(&neighbour, HOST, 8080).is_some(), "a neighbour, {case}");
        assert!(tcp(&neighbour, ip(1, 1), 8080).is_some(), "a neighbour by its gateway, {case}");
        assert!(tcp(&stranger, HOST, 8080).is_some(), "another network, {case}");
        assert!(tcp(&web, HOST, 8080).is_some(), "the container itself, {case}");
        assert!(tcp_refused(&world.outside, HOST, 80), "an unpublished port, {case}");
    }
}

#[test]
fn a_port_published_on_one_address_is_closed_on_the_others() {
    let mut world = World::new();
    world.network("front", 1);
    let web = world.connect("web", "front", 2);
    let other = world.connect("other", "front", 3);
    world.publish("web", Protocol::Tcp, [127, 0, 0, 1], 8080, 80);
    world.apply();
    tcp_server(&web, 80);
    tcp_server(&world.host, 9090);
    assert!(tcp(&world.host, Ipv4Addr::LOCALHOST, 8080).is_some());
    assert!(tcp_refused(&world.outside, HOST, 8080));
    assert!(tcp_refused(&other, HOST, 8080));
    // What route_localnet opens must stay closed: the host's loopback, from a container and from outside.
    for namespace in [&other, &world.outside] {
        command(namespace, "ip", &["addr", "del", "127.0.0.1/8", "dev", "lo"]);
        let (via, device) =
            if *namespace == other { ("10.1.0.1", "eth0") } else { ("192.0.2.1", "up0") };
        command(namespace, "ip", &["route", "add", "127.0.0.0/8", "via", via, "dev", device]);
        inside(namespace, || {
            std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap()
        });
        for port in [8080, 9090] {
            assert!(
                tcp_refused(namespace, Ipv4Addr::LOCALHOST, port),
                "the host's 127.0.0.1:{port} was reached"
            );
        }
    }
}

#[test]
fn udp_ports_work_and_a_remembered_flow_follows_the_port_to_its_new_holder() {
    let mut world = World::new();
    world.network("front", 1);
    let first = world.connect("first", "front", 2);
    let second = world.connect("second", "front", 3);
    udp_server(&first, 53, "first");
    udp_server(&second, 53, "second");
    world.publish("first", Protocol::Udp, [0, 0, 0, 0], 5353, 53);
    world.apply();
    let clients = [udp_client(&world.outside), udp_client(&world.host), udp_client(&first)];
    assert_eq!(udp(&clients[0], HOST, 5353).as_deref(), Some("first 192.0.2.2"));
    assert!(udp(&clients[1], Ipv4Addr::LOCALHOST, 5353).is_some());
    assert!(udp(&clients[2], HOST, 5353).is_some());
    world.table.sandboxes.get_mut("first").unwrap().ports.clear();
    world.publish("second", Protocol::Udp, [0, 0, 0, 0], 5353, 53);
    world.apply();
    assert_eq!(udp(&clients[0], HOST, 5353).as_deref(), Some("second 192.0.2.2"));
}

#[test]
fn an_internal_network_has_no_way_out_or_in() {
    let mut world = World::new();
    world.network("inner", 1).internal = true;
    world.network("front", 2);
    let db = world.connect("db", "inner", 2);
    let app = world.connect("app", "inner", 3);
    let web = world.connect("web", "front", 2);
    world.publish("db", Protocol::Tcp, [0, 0, 0, 0], 5432, 80);
    world.publish("web", Protocol::Tcp, [0, 0, 0, 0], 8080, 80);
    world.apply();
    for server in [&db, &web, &world.outside] {
        tcp_server(server, 80);
    }
    assert!(tcp(&app, ip(1, 2), 80).is_some());
    assert!(tcp_refused(&world.outside, HOST, 5432), "an internal container was published");
    // Even with a route of its own it gets nowhere.
    command(&app, "ip", &["route", "add", "default", "via", "10.1.0.1"]);
    assert!(tcp_refused(&app, OUTSIDE, 80));
    assert!(tcp_refused(&app, HOST, 8080));
}

#[test]
fn a_running_container_joins_and_leaves_networks_and_its_default_route_follows() {
    let mut world = World::new();
    world.network("back", 1).internal = true;
    world.network("front", 2);
    let web = world.connect("web", "back", 2);
    world.apply();
    let route = |world: &World| {
        let _unused = world;
        command(&web, "ip", &["route", "show", "default"]).trim().to_owned()
    };
    assert_eq!(route(&world), "");
    world.connect("web", "front", 2);
    world.apply();
    assert_eq!(route(&world), "default via 10.2.0.1 dev eth1");
    world.disconnect("web", "back");
    world.apply();
    let links = command(&web, "ip", &["-o", "link"]);
    assert!(!links.contains("eth0") && links.contains("eth1"), "{links}");
    world.disconnect("web", "front");
    world.connect("web", "back", 9);
    world.apply();
    assert_eq!(route(&world), "");
    assert!(command(&web, "ip", &["addr", "show", "eth0"]).contains("10.1.0.9/16"));
}

#[test]
fn the_next_apply_mends_what_was_taken_away() {
    let mut world = World::new();
    world.network("front", 1);
    let web = world.connect("web", "front", 2);
    let app = world.connect("app", "front", 3);
    world.publish("web", Protocol::Tcp, [0, 0, 0, 0], 8080, 80);
    world.apply();
    tcp_server(&web, 80);

    world.on_host("nft", &["flush", "ruleset"]);
    world.apply();
    assert!(tcp(&world.outside, HOST, 8080).is_some(), "after nft flush ruleset");

    world.on_host("ip", &["link", "del", "br-front"]);
    world.apply();
    assert!(tcp(&app, ip(1, 2), 80).is_some(), "after the bridge was removed");
    assert!(tcp(&world.host, Ipv4Addr::LOCALHOST, 8080).is_some(), "after the bridge was removed");
}

#[test]
fn an_audit_names_and_mends_what_an_apply_does_not_look_at() {
    let mut world = World::new();
    world.network("front", 1);
    let web = world.connect("web", "front", 2);
    let app = world.connect("app", "front", 3);
    world.apply();
    tcp_server(&web, 80);
    assert_eq!(world.audit(), []);
    let veth = world.plan().veths.keys().next().unwrap().clone();
    world.on_host("ip", &["link", "del", &veth]);
    assert_eq!(world.audit(), [Note::LinkMended(veth.clone())]);
    world.on_host("ip", &["link", "set", &veth, "nomaster"]);
    assert_eq!(world.audit(), [Note::LinkMended(veth)]);
    world.on_host("nft", &["delete", "table", "ip", "sampan_0badcafe"]);
    assert_eq!(world.audit(), [Note::RulesMended]);
    assert_eq!(world.audit(), []);
    assert!(tcp(&app, ip(1, 2), 80).is_some());
}

#[test]
fn the_administrators_rules_stay_and_other_tables_are_no_reason_to_act() {
    let mut world = World::new();
    world.network("front", 1);
    let web = world.connect("web", "front", 2);
    world.publish("web", Protocol::Tcp, [0, 0, 0, 0], 8080, 80);
    world.apply();
    tcp_server(&web, 80);
    let rule =
        ["add", "rule", "ip", "sampan_0badcafe", "sampan-user", "ip", "saddr", "192.0.2.2", "drop"];
    world.on_host("nft", &rule);
    world.on_host("nft", &["add", "table", "ip", "elsewhere"]);
    world.publish("web", Protocol::Tcp, [0, 0, 0, 0], 8081, 80);
    world.apply();
    assert!(tcp_refused(&world.outside, HOST, 8080), "the administrator's rule was lost");
    world.audit();
    world.on_host("nft", &["delete", "table", "ip", "elsewhere"]);
    assert_eq!(world.audit(), []);
}

#[test]
fn another_firewall_that_drops_lets_our_containers_through_and_nobody_else() {
    let mut world = World::new();
    world.network("front", 1);
    let web = world.connect("web", "front", 2);
    world.publish("web", Protocol::Tcp, [0, 0, 0, 0], 8080, 80);
    world.apply();
    tcp_server(&web, 80);
    // As dockerd and ufw do, with a rule of theirs.
    world.on_host("nft", &["add", "table", "ip", "filter"]);
    let chain = "{ type filter hook forward priority 0; policy drop; }";
    world.on_host("nft", &["add", "chain", "ip", "filter", "FORWARD", chain]);
    world.on_host(
        "nft",
        &["add", "rule", "ip", "filter", "FORWARD", "iifname", "docker0", "accept"],
    );
    let theirs = world.on_host("nft", &["list", "table", "ip", "filter"]);
    assert!(tcp_refused(&world.outside, HOST, 8080), "the other firewall drops nothing");
    assert!(world.audit().contains(&Note::LetThrough));
    assert!(tcp(&world.outside, HOST, 8080).is_some());
    assert_eq!(world.audit(), []);
    // It was flushed, as a restart does.
    world.on_host("nft", &["flush", "chain", "ip", "filter", "FORWARD"]);
    world.apply();
    assert!(tcp(&world.outside, HOST, 8080).is_some());
    world.on_host(
        "nft",
        &["insert", "rule", "ip", "filter", "FORWARD", "iifname", "docker0", "accept"],
    );
    inside(&world.host, || world.netdev.remove_all(&world.table.instance)).unwrap();
    assert_eq!(world.on_host("nft", &["list", "table", "ip", "filter"]), theirs);
}

#[test]
fn a_later_daemon_takes_over_and_removes_what_it_does_not_know() {
    let mut world = World::new();
    world.network("front", 1);
    world.network("gone", 2);
    let web = world.connect("web", "front", 2);
    world.connect("app", "front", 3);
    world.apply();
    tcp_server(&web, 80);
    // The daemon died; meanwhile `app` ended and a network was removed.
    world.netdev = inside(&world.host, || netdev::NetDev::open(world.dir.path()).unwrap());
    world.disconnect("app", "front");
    world.table.networks.remove("gone");
    world.apply();
    let links = world.on_host("ip", &["-o", "link"]);
    assert!(!links.contains("br-gone"), "{links}");
    assert_eq!(
        links.matches("veth").count(),
        world.on_host("ip", &["-o", "link", "show", "up0"]).matches("veth").count() + 1,
        "{links}"
    );
    assert!(tcp(&world.host, ip(1, 2), 80).is_some());
}

#[test]
fn nothing_is_left_after_the_last_container_and_network() {
    let mut world = World::new();
    let before = links(&world.host);
    world.network("front", 1);
    world.connect("web", "front", 2);
    world.publish("web", Protocol::Tcp, [0, 0, 0, 0], 8080, 80);
    world.apply();
    let instance = world.table.instance.clone();
    inside(&world.host, || world.netdev.remove_all(&instance)).unwrap();
    assert_eq!(links(&world.host), before);
    assert_eq!(world.on_host("nft", &["list", "ruleset"]), "");
    world.netdev.sandboxes().remove(&types::ContainerId::new("web")).unwrap();
    assert_eq!(world.netdev.sandboxes().list().unwrap(), []);
}

#[test]
fn a_failed_step_is_named_while_the_others_are_taken() {
    let mut world = World::new();
    world.network("front", 1);
    let web = world.connect("web", "front", 2);
    world.connect("lost", "front", 3);
    world.netdev.sandboxes().remove(&types::ContainerId::new("lost")).unwrap();
    let plan = world.plan();
    let err = inside(&world.host, || world.netdev.apply(&plan)).unwrap_err();
    assert!(err.to_string().starts_with("failed to connect lost to br-front: "), "{err}");
    assert!(command(&web, "ip", &["addr"]).contains("10.1.0.2/16"));
    world.disconnect("lost", "front");
    world.apply();
}
