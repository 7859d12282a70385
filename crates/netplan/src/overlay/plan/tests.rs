use super::super::plan;
use super::*;
use insta::assert_snapshot;
use types::swarm::endpoint::{EndpointRow, EndpointState, PolicyRow};
use types::swarm::network::NodeBlock;
use types::swarm::policy::PolicyPort;
use types::swarm::service::PortConfig;
use types::{ServiceId, TaskId};

fn ip(third: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, third, last)
}

fn me(node: &str) -> Me {
    Me {
        node: NodeId::new(node),
        instance: "0a1b2c3d".to_owned(),
        underlay_mtu: 1500,
        tunnel_port: TUNNEL_PORT,
    }
}

/// `/29` blocks: `n1` has `.8`, `n2` has `.16`.
fn network(name: &str, third: u8) -> NetworkRow {
    let block = |last, node: &str| NodeBlock {
        block: Subnet::new(ip(third, last), 29),
        node: NodeId::new(node),
    };
    NetworkRow {
        id: NetworkId::new(name),
        name: name.to_owned(),
        subnet: Subnet::new(ip(third, 0), 24),
        gateway: ip(third, 1),
        six: None,
        mode: Default::default(),
        internal: name == "back",
        ingress: name == "ingress",
        policy: Vec::new(),
        blocks: vec![block(8, "n1"), block(16, "n2")],
    }
}

fn endpoint(task: &str, network: &str, node: &str, address: Ipv4Addr) -> EndpointRow {
    EndpointRow {
        task: TaskId::new(task),
        network: NetworkId::new(network),
        node: NodeId::new(node),
        address,
        state: EndpointState::Healthy,
        weight: 1,
        service: Some(ServiceId::new("web")),
        slot: 1,
        name: task.to_owned(),
        aliases: Vec::new(),
    }
}

/// `web` with a VIP in `ingress` and `back`, port 80 published as 8080, one task on each of two nodes; a third
/// node without any.
fn table() -> EndpointTable {
    let peer = |number: u8| PeerRow {
        node: NodeId::new(format!("n{number}")),
        underlay: Ipv4Addr::new(192, 168, 0, number),
        wire_key: format!("key{number}"),
    };
    let vip =
        |network: &str, third| Vip { network: NetworkId::new(network), address: ip(third, 2) };
    let port = PortConfig { published_port: 8080, target_port: 80, ..PortConfig::default() };
    EndpointTable {
        version: 7,
        tunnel_port: 0,
        networks: vec![network("back", 1), network("ingress", 0)].into(),
        peers: vec![peer(1), peer(2), peer(3)].into(),
        services: vec![ServiceRow {
            id: ServiceId::new("web"),
            name: "web".to_owned(),
            vips: vec![vip("back", 1), vip("ingress", 0)],
            ports: vec![port],
            check: None,
        }]
        .into(),
        endpoints: vec![
            endpoint("t1", "back", "n1", ip(1, 9)),
            endpoint("t1", "ingress", "n1", ip(0, 9)),
            endpoint("t2", "back", "n2", ip(1, 17)),
            endpoint("t2", "ingress", "n2", ip(0, 17)),
        ]
        .into(),
    }
}

/// The places of a node's tasks, as the table has them.
fn here(table: &EndpointTable, node: &str) -> Vec<Here> {
    let place = |row: &EndpointRow| Here {
        container: ContainerId::new(row.task.as_str()),
        network: row.network.clone(),
        address: row.address,
        interface: format!("{}0", row.network),
        leads_out: row.network.as_str() == "ingress",
        leads_out_six: row.network.as_str() == "ingress",
        published: BTreeSet::new(),
    };
    table.endpoints.iter().filter(|row| row.node.as_str() == node).map(place).collect()
}

fn planned(table: &EndpointTable, node: &str) -> OverlayPlan {
    plan(table, &me(node), &here(table, node))
}

/// The rules' chains of one node that begin with `prefix`.
fn choices(table: &EndpointTable, node: &str, prefix: &str) -> String {
    let choices = planned(table, node).rules.choices;
    let mine = choices.iter().filter(|(chain, _)| chain.to_string().starts_with(prefix));
    mine.map(|(chain, rule)| format!("{chain}: {rule}\n")).collect()
}

fn change(table: &mut EndpointTable, task: &str, change: impl Fn(&mut EndpointRow)) {
    table.endpoints.iter_mut().filter(|row| row.task.as_str() == task).for_each(change);
}

#[test]
fn a_place_in_a_network_that_is_not_in_the_table_has_no_link() {
    let mut table = table();
    let places = here(&table, "n1");
    table.networks.remove(&NetworkId::new("back"));
    assert_eq!(plan(&table, &me("n1"), &places).locals.len(), 1);
}

#[test]
fn a_container_keeps_its_link_whatever_the_table_says_of_its_task() {
    let mut table = table();
    let places = here(&table, "n1");
    let before = plan(&table, &me("n1"), &places);
    table.endpoints.clear();
    let after = plan(&table, &me("n1"), &places);
    assert_eq!((after.locals, after.rules.elements["owners"].len()), (before.locals, 2));
}

#[test]
fn a_port_of_the_host_alone_may_be_sent_to_as_one_of_the_mesh_is() {
    let table = table();
    let mut places = here(&table, "n1");
    places[0].published.insert((Protocol::Udp, 53));
    let mesh = &plan(&table, &me("n1"), &places).rules.elements["mesh"];
    assert!(mesh.keys().any(|key| key.to_string() == "10.0.1.9 . udp . 53"), "{mesh:?}");
}

#[test]
fn links_and_routes_follow_from_the_table() {
    let plan = planned(&table(), "n1");
    assert_eq!(plan.version, 7);
    assert_snapshot!(format!("{:?}", plan.tunnel.unwrap()), @r#"
    TunnelPlan { interface: "smx0a1b2c3d", vni: 4096, port: 4789, local: 192.168.0.1, mac: [2, 83, 192, 168, 0, 1], mtu: 1450 }
    "#);
    assert_snapshot!(format!("{:?}", plan.routes), @"{10.0.0.16/29: Hop { via: 192.168.0.2, by: Vxlan }, 10.0.1.16/29: Hop { via: 192.168.0.2, by: Vxlan }}");
    assert_snapshot!(format!("{:?}", plan.neighbours), @"{192.168.0.2: [2, 83, 192, 168, 0, 2], 192.168.0.3: [2, 83, 192, 168, 0, 3]}");
    assert_snapshot!(format!("{:?}", plan.unreachable), @"{10.0.0.0/24, 10.0.1.0/24}");
    let locals: Vec<_> = plan
        .locals
        .iter()
        .map(|(name, local)| {
            let out = if local.leads_out { " out" } else { "" };
            format!("{name} {} {} {}{out}", local.container, local.interface, local.address)
        })
        .collect();
    assert_snapshot!(locals.join("\n"), @r#"
    smt0a000009 t1 ingress0 10.0.0.9 out
    smt0a000109 t1 back0 10.0.1.9
    "#);
    let returns: Vec<_> =
        plan.returns.iter().map(|path| format!("{:#x} via {}", path.mark, path.peer)).collect();
    assert_snapshot!(returns.join("\n"), @r#"
    0xc0a80002 via 192.168.0.2
    0xc0a80003 via 192.168.0.3
    "#);
    assert_snapshot!(format!("{:?}", plan.sysctls), @r#"
    {"net/ipv4/conf/smt0a000009/route_localnet": "1", "net/ipv4/conf/smt0a000009/rp_filter": "0", "net/ipv4/conf/smt0a000109/route_localnet": "1", "net/ipv4/conf/smt0a000109/rp_filter": "0", "net/ipv4/conf/smx0a1b2c3d/route_localnet": "1", "net/ipv4/conf/smx0a1b2c3d/rp_filter": "0", "net/ipv4/ip_forward": "1", "net/ipv6/conf/smt0a000009/disable_ipv6": "1", "net/ipv6/conf/smt0a000109/disable_ipv6": "1", "net/ipv6/conf/smx0a1b2c3d/disable_ipv6": "1"}
    "#);
}

#[test]
fn what_drains_is_offered_no_more_and_held_until_its_row_is_gone() {
    let mut table = table();
    change(&mut table, "t1", |row| row.state = EndpointState::Draining);
    let draining = planned(&table, "n2");
    assert_snapshot!(format!("{:?} of {:?}", draining.offered, draining.held), @"{10.0.0.17, 10.0.1.17} of {10.0.0.9, 10.0.0.17, 10.0.1.9, 10.0.1.17}");
    table.endpoints.retain(|row| row.task.as_str() != "t1");
    assert_snapshot!(format!("{:?}", planned(&table, "n2").held), @"{10.0.0.17, 10.0.1.17}");
}

#[test]
fn the_rules_are_these() {
    assert_snapshot!(planned(&table(), "n1").rules.text(), @r#"
    add table ip sampan_overlay_0a1b2c3d
    delete table ip sampan_overlay_0a1b2c3d
    add table ip sampan_overlay_0a1b2c3d
    add set ip sampan_overlay_0a1b2c3d tunnel { type ifname; }
    add set ip sampan_overlay_0a1b2c3d wire { type ifname; }
    add set ip sampan_overlay_0a1b2c3d tasks { type ifname; }
    add set ip sampan_overlay_0a1b2c3d owners { type ifname . ipv4_addr; }
    add set ip sampan_overlay_0a1b2c3d pools { type ipv4_addr; flags interval; }
    add set ip sampan_overlay_0a1b2c3d underlays { type ipv4_addr; }
    add set ip sampan_overlay_0a1b2c3d blocks { type ether_addr . ipv4_addr; flags interval; }
    add set ip sampan_overlay_0a1b2c3d internal { type ipv4_addr; flags interval; }
    add set ip sampan_overlay_0a1b2c3d secret { type ipv4_addr; flags interval; }
    add set ip sampan_overlay_0a1b2c3d direct { type ipv4_addr; flags interval; }
    add set ip sampan_overlay_0a1b2c3d open { type ipv4_addr; flags interval; }
    add map ip sampan_overlay_0a1b2c3d via { type ipv4_addr : mark; flags interval; }
    add set ip sampan_overlay_0a1b2c3d within { type ipv4_addr . ipv4_addr; flags interval; }
    add set ip sampan_overlay_0a1b2c3d outside { type ipv4_addr . ipv4_addr; flags interval; }
    add set ip sampan_overlay_0a1b2c3d hosts { type ipv4_addr; }
    add map ip sampan_overlay_0a1b2c3d attached { type ipv4_addr : ipv4_addr; flags interval; }
    add set ip sampan_overlay_0a1b2c3d itself { type ipv4_addr . ipv4_addr; }
    add set ip sampan_overlay_0a1b2c3d mesh { type ipv4_addr . inet_proto . inet_service; }
    add set ip sampan_overlay_0a1b2c3d guarded { type ipv4_addr; counter; }
    add set ip sampan_overlay_0a1b2c3d admitted { type ipv4_addr . ipv4_addr; }
    add set ip sampan_overlay_0a1b2c3d admitted_ports { type ipv4_addr . ipv4_addr . inet_proto . inet_service; }
    add set ip sampan_overlay_0a1b2c3d open_ports { type ipv4_addr . inet_proto . inet_service; }
    add set ip sampan_overlay_0a1b2c3d refused { type ipv4_addr . ipv4_addr . inet_proto . inet_service; size 4096; flags dynamic,timeout; timeout 10m; counter; }
    add map ip sampan_overlay_0a1b2c3d vips { type ipv4_addr : verdict; }
    add map ip sampan_overlay_0a1b2c3d ports { type inet_proto . inet_service : verdict; }
    add map ip sampan_overlay_0a1b2c3d peers { type ether_addr : mark; }
    add chain ip sampan_overlay_0a1b2c3d arrive { type filter hook prerouting priority mangle; policy accept; }
    add chain ip sampan_overlay_0a1b2c3d input { type filter hook input priority filter; policy accept; }
    add chain ip sampan_overlay_0a1b2c3d tunnelled
    add chain ip sampan_overlay_0a1b2c3d prerouting { type nat hook prerouting priority dstnat; policy accept; }
    add chain ip sampan_overlay_0a1b2c3d output { type nat hook output priority -100; policy accept; }
    add chain ip sampan_overlay_0a1b2c3d postrouting { type nat hook postrouting priority srcnat; policy accept; }
    add chain ip sampan_overlay_0a1b2c3d forward { type filter hook forward priority filter; policy accept; }
    add chain ip sampan_overlay_0a1b2c3d from_tunnel
    add chain ip sampan_overlay_0a1b2c3d admit
    add chain ip sampan_overlay_0a1b2c3d host
    add chain ip sampan_overlay_0a1b2c3d refuse
    add rule ip sampan_overlay_0a1b2c3d input udp dport 4789 @th,96,24 4096 goto tunnelled
    add rule ip sampan_overlay_0a1b2c3d output ip daddr vmap @vips
    add rule ip sampan_overlay_0a1b2c3d postrouting ip saddr @underlays oifname @tunnel ct status dnat snat ip to 192.168.0.1
    add rule ip sampan_overlay_0a1b2c3d arrive ip daddr 127.0.0.0/8 iifname @tasks drop
    add rule ip sampan_overlay_0a1b2c3d arrive ip daddr 127.0.0.0/8 iifname @tunnel drop
    add rule ip sampan_overlay_0a1b2c3d arrive ct mark != 0 ct direction reply iifname @tasks meta mark set ct mark
    add rule ip sampan_overlay_0a1b2c3d input ct state established,related accept
    add rule ip sampan_overlay_0a1b2c3d input iifname @tunnel counter drop
    add rule ip sampan_overlay_0a1b2c3d input ip saddr @pools ip saddr . ip daddr != @admitted ip saddr . ip daddr . meta l4proto . th dport != @admitted_ports ip daddr . meta l4proto . th dport != @open_ports ip daddr @guarded jump refuse
    add rule ip sampan_overlay_0a1b2c3d input iifname @tasks ip saddr . ip daddr @outside accept
    add rule ip sampan_overlay_0a1b2c3d input iifname @tasks ip saddr @internal counter drop
    add rule ip sampan_overlay_0a1b2c3d tunnelled iifname "smt*" counter drop
    add rule ip sampan_overlay_0a1b2c3d tunnelled iifname "smx*" counter drop
    add rule ip sampan_overlay_0a1b2c3d tunnelled iifname "smw*" counter drop
    add rule ip sampan_overlay_0a1b2c3d tunnelled ip saddr @underlays accept
    add rule ip sampan_overlay_0a1b2c3d tunnelled counter drop
    add rule ip sampan_overlay_0a1b2c3d prerouting ip daddr vmap @vips
    add rule ip sampan_overlay_0a1b2c3d prerouting ip daddr 127.0.0.0/8 return
    add rule ip sampan_overlay_0a1b2c3d prerouting fib daddr type local meta l4proto . th dport vmap @ports
    add rule ip sampan_overlay_0a1b2c3d output fib daddr type local meta l4proto . th dport vmap @ports
    add rule ip sampan_overlay_0a1b2c3d postrouting ip saddr . ip daddr @itself ct status dnat masquerade
    add rule ip sampan_overlay_0a1b2c3d postrouting ip saddr 127.0.0.0/8 ip daddr @pools masquerade
    add rule ip sampan_overlay_0a1b2c3d postrouting iifname @tasks ip saddr @open ip daddr != @pools accept
    add rule ip sampan_overlay_0a1b2c3d postrouting iifname @tasks ip saddr . ip daddr != @within masquerade
    add rule ip sampan_overlay_0a1b2c3d forward tcp flags & (syn|rst) == syn oifname @tunnel tcp option maxseg size set rt mtu
    add rule ip sampan_overlay_0a1b2c3d forward iifname . ip saddr @owners goto admit
    add rule ip sampan_overlay_0a1b2c3d forward iifname "smx0a1b2c3d" goto from_tunnel
    add rule ip sampan_overlay_0a1b2c3d forward iifname @tasks counter drop
    add rule ip sampan_overlay_0a1b2c3d forward iifname @wire goto from_tunnel
    add rule ip sampan_overlay_0a1b2c3d forward udp dport 4789 ip daddr @underlays ip saddr != @underlays counter drop
    add rule ip sampan_overlay_0a1b2c3d forward oifname != @tasks oifname != @tunnel accept
    add rule ip sampan_overlay_0a1b2c3d forward ip saddr @pools ip saddr != @direct counter drop
    add rule ip sampan_overlay_0a1b2c3d forward ip saddr @secret counter drop
    add rule ip sampan_overlay_0a1b2c3d forward goto admit
    add rule ip sampan_overlay_0a1b2c3d from_tunnel ether saddr . ip saddr != @blocks ip saddr @pools counter drop
    add rule ip sampan_overlay_0a1b2c3d from_tunnel ip saddr @secret iifname != @wire counter drop
    add rule ip sampan_overlay_0a1b2c3d from_tunnel goto admit
    add rule ip sampan_overlay_0a1b2c3d admit ct state established,related accept
    add rule ip sampan_overlay_0a1b2c3d admit iifname @tunnel ct mark set ether saddr map @peers
    add rule ip sampan_overlay_0a1b2c3d admit udp dport 4789 ip daddr @underlays counter drop
    add rule ip sampan_overlay_0a1b2c3d admit ip saddr @pools ip saddr . ip daddr != @admitted ip saddr . ip daddr . meta l4proto . th dport != @admitted_ports ip daddr . meta l4proto . th dport != @open_ports ip daddr @guarded jump refuse
    add rule ip sampan_overlay_0a1b2c3d admit ip saddr . ip daddr @within accept
    add rule ip sampan_overlay_0a1b2c3d admit ip saddr . ip daddr @outside accept
    add rule ip sampan_overlay_0a1b2c3d admit ip saddr @internal counter drop
    add rule ip sampan_overlay_0a1b2c3d admit ip daddr . meta l4proto . th dport @mesh ct status dnat accept
    add rule ip sampan_overlay_0a1b2c3d admit iifname @tunnel ip daddr . meta l4proto . th dport @mesh ip saddr != @pools accept
    add rule ip sampan_overlay_0a1b2c3d admit iifname @tasks oifname != @tasks oifname != @tunnel ip daddr != @pools accept
    add rule ip sampan_overlay_0a1b2c3d admit ip daddr . meta l4proto . th dport @mesh ip daddr @open ip saddr != @pools accept
    add rule ip sampan_overlay_0a1b2c3d admit ip daddr @open ip saddr != @pools ip daddr != @guarded accept
    add rule ip sampan_overlay_0a1b2c3d admit counter drop
    add rule ip sampan_overlay_0a1b2c3d host ct state established,related accept
    add rule ip sampan_overlay_0a1b2c3d host iifname "lo" accept
    add rule ip sampan_overlay_0a1b2c3d host iifname @tasks iifname . ip saddr != @owners counter drop
    add rule ip sampan_overlay_0a1b2c3d host iifname @tunnel ip saddr @pools ether saddr . ip saddr != @blocks counter drop
    add rule ip sampan_overlay_0a1b2c3d host iifname != @tasks iifname != @tunnel ip saddr @pools ip saddr != @direct counter drop
    add rule ip sampan_overlay_0a1b2c3d host iifname != @tasks iifname != @wire ip saddr @secret counter drop
    add rule ip sampan_overlay_0a1b2c3d host ip saddr @pools ip saddr . ip daddr != @admitted ip saddr . ip daddr . meta l4proto . th dport != @admitted_ports ip daddr . meta l4proto . th dport != @open_ports ip daddr @guarded jump refuse
    add rule ip sampan_overlay_0a1b2c3d host ip saddr . ip daddr @within accept
    add rule ip sampan_overlay_0a1b2c3d host counter drop
    add rule ip sampan_overlay_0a1b2c3d refuse update @refused { ip saddr . ip daddr . meta l4proto . th dport }
    add rule ip sampan_overlay_0a1b2c3d refuse drop
    add chain ip sampan_overlay_0a1b2c3d vip_0a000002
    flush chain ip sampan_overlay_0a1b2c3d vip_0a000002
    add rule ip sampan_overlay_0a1b2c3d vip_0a000002 dnat ip to numgen random mod 2 map { 0 : 10.0.0.9, 1 : 10.0.0.17 }
    add chain ip sampan_overlay_0a1b2c3d vip_0a000102
    flush chain ip sampan_overlay_0a1b2c3d vip_0a000102
    add rule ip sampan_overlay_0a1b2c3d vip_0a000102 dnat ip to numgen random mod 2 map { 0 : 10.0.1.9, 1 : 10.0.1.17 }
    add chain ip sampan_overlay_0a1b2c3d port_tcp_8080
    flush chain ip sampan_overlay_0a1b2c3d port_tcp_8080
    add rule ip sampan_overlay_0a1b2c3d port_tcp_8080 meta l4proto tcp dnat ip to 10.0.0.9:80
    add element ip sampan_overlay_0a1b2c3d blocks { 02:53:c0:a8:00:02 . 10.0.0.16/29, 02:53:c0:a8:00:02 . 10.0.1.16/29 }
    add element ip sampan_overlay_0a1b2c3d internal { 10.0.1.0/24 }
    add element ip sampan_overlay_0a1b2c3d itself { 10.0.0.9 . 10.0.0.9, 10.0.1.9 . 10.0.1.9 }
    add element ip sampan_overlay_0a1b2c3d mesh { 10.0.0.9 . tcp . 80, 10.0.0.17 . tcp . 80 }
    add element ip sampan_overlay_0a1b2c3d owners { "smt0a000009" . 10.0.0.9, "smt0a000109" . 10.0.1.9 }
    add element ip sampan_overlay_0a1b2c3d peers { 02:53:c0:a8:00:02 : 0xc0a80002, 02:53:c0:a8:00:03 : 0xc0a80003 }
    add element ip sampan_overlay_0a1b2c3d pools { 10.0.0.0/24, 10.0.1.0/24 }
    add element ip sampan_overlay_0a1b2c3d ports { tcp . 8080 : goto port_tcp_8080 }
    add element ip sampan_overlay_0a1b2c3d tasks { "smt0a000009", "smt0a000109" }
    add element ip sampan_overlay_0a1b2c3d tunnel { "smx0a1b2c3d" }
    add element ip sampan_overlay_0a1b2c3d underlays { 192.168.0.2, 192.168.0.3 }
    add element ip sampan_overlay_0a1b2c3d vips { 10.0.0.2 : goto vip_0a000002, 10.0.1.2 : goto vip_0a000102 }
    add element ip sampan_overlay_0a1b2c3d within { 10.0.0.0/24 . 10.0.0.0/24, 10.0.1.0/24 . 10.0.1.0/24 }
    "#);
}

#[test]
fn a_published_port_prefers_the_nodes_own_tasks_and_leads_elsewhere_without_any() {
    assert_snapshot!(choices(&table(), "n1", "port"), @"port_tcp_8080: meta l4proto tcp dnat ip to 10.0.0.9:80");
    assert_snapshot!(choices(&table(), "n3", "port"), @"port_tcp_8080: meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.0.0.9 . 80, 1 : 10.0.0.17 . 80 }");
    let mut draining = table();
    change(&mut draining, "t1", |row| row.state = EndpointState::Draining);
    assert_snapshot!(choices(&draining, "n1", "port"), @"port_tcp_8080: meta l4proto tcp dnat ip to 10.0.0.17:80");
}

#[test]
fn a_vip_leads_to_healthy_endpoints_by_their_weight() {
    let mut table = table();
    change(&mut table, "t1", |row| row.weight = 30);
    change(&mut table, "t2", |row| row.weight = 10);
    assert_snapshot!(choices(&table, "n3", "vip"), @r#"
    vip_0a000002: dnat ip to numgen random mod 4 map { 0-2 : 10.0.0.9, 3 : 10.0.0.17 }
    vip_0a000102: dnat ip to numgen random mod 4 map { 0-2 : 10.0.1.9, 3 : 10.0.1.17 }
    "#);
    change(&mut table, "t2", |row| row.weight = 0);
    assert_snapshot!(choices(&table, "n3", "vip"), @r#"
    vip_0a000002: dnat ip to 10.0.0.9
    vip_0a000102: dnat ip to 10.0.1.9
    "#);
    change(&mut table, "t1", |row| row.state = EndpointState::Starting);
    assert_snapshot!(choices(&table, "n3", ""), @"");
}

#[test]
fn one_endpoint_that_drains_changes_only_its_services_choices_and_may_still_be_sent_to() {
    let before = planned(&table(), "n3").rules;
    let mut table = table();
    change(&mut table, "t1", |row| row.state = EndpointState::Draining);
    let after = planned(&table, "n3").rules;
    assert_snapshot!(after.text_since(&before), @r#"
    add chain ip sampan_overlay_0a1b2c3d vip_0a000002
    flush chain ip sampan_overlay_0a1b2c3d vip_0a000002
    add rule ip sampan_overlay_0a1b2c3d vip_0a000002 dnat ip to 10.0.0.17
    add chain ip sampan_overlay_0a1b2c3d vip_0a000102
    flush chain ip sampan_overlay_0a1b2c3d vip_0a000102
    add rule ip sampan_overlay_0a1b2c3d vip_0a000102 dnat ip to 10.0.1.17
    add chain ip sampan_overlay_0a1b2c3d port_tcp_8080
    flush chain ip sampan_overlay_0a1b2c3d port_tcp_8080
    add rule ip sampan_overlay_0a1b2c3d port_tcp_8080 meta l4proto tcp dnat ip to 10.0.0.17:80
    "#);
    assert_eq!(after.text_since(&after), "");
    table.services.clear();
    let none = planned(&table, "n3").rules;
    assert_snapshot!(none.text_since(&after), @r#"
    delete element ip sampan_overlay_0a1b2c3d mesh { 10.0.0.9 . tcp . 80, 10.0.0.17 . tcp . 80 }
    delete element ip sampan_overlay_0a1b2c3d ports { tcp . 8080 }
    delete element ip sampan_overlay_0a1b2c3d vips { 10.0.0.2, 10.0.1.2 }
    flush chain ip sampan_overlay_0a1b2c3d vip_0a000002
    delete chain ip sampan_overlay_0a1b2c3d vip_0a000002
    flush chain ip sampan_overlay_0a1b2c3d vip_0a000102
    delete chain ip sampan_overlay_0a1b2c3d vip_0a000102
    flush chain ip sampan_overlay_0a1b2c3d port_tcp_8080
    delete chain ip sampan_overlay_0a1b2c3d port_tcp_8080
    "#);
}

#[test]
fn a_node_that_is_not_in_the_table_reaches_nobody_and_keeps_its_own_tasks() {
    let mut table = table();
    table.peers.retain(|peer| peer.node.as_str() != "n1");
    let plan = planned(&table, "n1");
    assert!(plan.tunnel.is_none() && plan.routes.is_empty() && plan.returns.is_empty());
    assert_eq!(plan.locals.len(), 2);
}

#[test]
fn the_order_of_rows_does_not_matter() {
    let mut other = table();
    other.endpoints = other.endpoints.iter().rev().cloned().collect();
    other.peers = other.peers.iter().rev().cloned().collect();
    other.networks = other.networks.iter().rev().cloned().collect();
    assert_eq!(planned(&other, "n1"), planned(&table(), "n1"));
}

fn policy(to: &str, from: Option<&[&str]>, ports: &[u16]) -> PolicyRow {
    let ids = |names: &[&str]| names.iter().map(|name| ServiceId::new(*name)).collect();
    let port = |port: &u16| PolicyPort { protocol: types::port::Protocol::Tcp, port: *port };
    PolicyRow {
        to: ids(&[to]),
        from: from.map(ids),
        ports: ports.iter().map(port).collect(),
        ..PolicyRow::default()
    }
}

#[test]
fn policies_say_who_may_come_to_the_services_that_they_name_and_nothing_of_others() {
    let mut table = table();
    let mut front = endpoint("f1", "back", "n1", ip(1, 10));
    front.service = Some(ServiceId::new("front"));
    let mut other = endpoint("o1", "back", "n2", ip(1, 20));
    other.service = Some(ServiceId::new("other"));
    table.endpoints.extend([front, other]);
    let sets = |table: &EndpointTable| {
        let elements = planned(table, "n1").rules.elements;
        let shown = ["guarded", "admitted", "admitted_ports", "open_ports"].map(|set| {
            let keys = elements
                .get(set)
                .map(|keys| keys.keys().map(ToString::to_string).collect::<Vec<_>>());
            format!("{set}: {}", keys.unwrap_or_default().join(", "))
        });
        shown.join("\n")
    };
    assert_snapshot!(sets(&table), @r"
    guarded: 
    admitted: 
    admitted_ports: 
    open_ports: 
    ");
    table.networks[0].policy = vec![
        policy("web", Some(&["front"]), &[]),
        policy("web", Some(&["other"]), &[80]),
        policy("other", None, &[53]),
    ];
    assert_snapshot!(sets(&table), @r"
    guarded: 10.0.1.9, 10.0.1.17, 10.0.1.20
    admitted: 10.0.1.10 . 10.0.1.9, 10.0.1.10 . 10.0.1.17
    admitted_ports: 10.0.1.20 . 10.0.1.9 . tcp . 80, 10.0.1.20 . 10.0.1.17 . tcp . 80
    open_ports: 10.0.1.20 . tcp . 53
    ");
    // Nobody is left who may come; and who lets everybody in is not guarded.
    table.networks[0].policy = vec![
        policy("web", Some(&[]), &[]),
        policy("other", None, &[]),
        policy("other", Some(&[]), &[]),
    ];
    assert_snapshot!(sets(&table), @r"
    guarded: 10.0.1.9, 10.0.1.17
    admitted: 
    admitted_ports: 
    open_ports: 
    ");
}
