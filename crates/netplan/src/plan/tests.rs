use super::*;
use crate::{Endpoint, Published, Sandbox};
use insta::assert_snapshot;
use types::NetworkId;

fn network(name: &str, third: u8) -> (NetworkId, Network) {
    let network = Network {
        name: name.to_owned(),
        bridge: format!("br-{name}"),
        subnet: types::subnet::Subnet::new(Ipv4Addr::new(172, third, 0, 0), 16),
        gateway: Ipv4Addr::new(172, third, 0, 1),
        internal: false,
        icc: true,
        masquerade: true,
        mtu: 1500,
    };
    (NetworkId::new(name), network)
}

fn endpoint(
    container: &str,
    network: &str,
    interface: &str,
    address: [u8; 4],
) -> (EndpointId, Endpoint) {
    let address = Ipv4Addr::from(address);
    let endpoint = Endpoint {
        network: NetworkId::new(network),
        sandbox: ContainerId::new(container),
        address,
        mac: mac_of(address),
        interface: interface.to_owned(),
        gw_priority: 0,
    };
    (EndpointId::new(format!("{container}{network}0123456789")), endpoint)
}

fn publish(protocol: Protocol, host_ip: [u8; 4], host_port: u16, container_port: u16) -> Published {
    Published { protocol, host_ip: host_ip.into(), host_port, container_port }
}

/// A web server on two networks, a database on the back one, which is internal.
fn table() -> Table {
    let mut table = Table {
        instance: "0a1b2c3d".to_owned(),
        networks: [network("front", 18), network("back", 19)].into(),
        endpoints: [
            endpoint("web", "front", "eth0", [172, 18, 0, 2]),
            endpoint("web", "back", "eth1", [172, 19, 0, 2]),
            endpoint("db", "back", "eth0", [172, 19, 0, 3]),
        ]
        .into(),
        sandboxes: BTreeMap::new(),
    };
    let ports = vec![
        publish(Protocol::Tcp, [0, 0, 0, 0], 8080, 80),
        publish(Protocol::Udp, [127, 0, 0, 1], 53, 5353),
    ];
    table.sandboxes.insert(ContainerId::new("web"), Sandbox { ports, outside: None });
    let ports = vec![publish(Protocol::Tcp, [0, 0, 0, 0], 5432, 5432)];
    table.sandboxes.insert(ContainerId::new("db"), Sandbox { ports, outside: None });
    let back = table.networks.get_mut("back").unwrap();
    back.internal = true;
    back.icc = false;
    table
}

#[test]
fn the_ruleset_is_this() {
    assert_snapshot!(plan(&table()).ruleset.text(), @r#"
    add table ip sampan_0a1b2c3d
    add chain ip sampan_0a1b2c3d sampan-user
    add set ip sampan_0a1b2c3d bridges { type ifname; }
    flush set ip sampan_0a1b2c3d bridges
    add set ip sampan_0a1b2c3d same { type ifname . ifname; }
    flush set ip sampan_0a1b2c3d same
    add set ip sampan_0a1b2c3d icc { type ifname . ifname; }
    flush set ip sampan_0a1b2c3d icc
    add set ip sampan_0a1b2c3d internal { type ifname; }
    flush set ip sampan_0a1b2c3d internal
    add set ip sampan_0a1b2c3d outward { type ifname; }
    flush set ip sampan_0a1b2c3d outward
    add set ip sampan_0a1b2c3d within { type ipv4_addr . ipv4_addr; flags interval; }
    flush set ip sampan_0a1b2c3d within
    add map ip sampan_0a1b2c3d ports_at { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
    flush map ip sampan_0a1b2c3d ports_at
    add map ip sampan_0a1b2c3d ports_any { type inet_proto . inet_service : ipv4_addr . inet_service; }
    flush map ip sampan_0a1b2c3d ports_any
    add chain ip sampan_0a1b2c3d published
    flush chain ip sampan_0a1b2c3d published
    add chain ip sampan_0a1b2c3d loopback { type filter hook prerouting priority raw; policy accept; }
    flush chain ip sampan_0a1b2c3d loopback
    add chain ip sampan_0a1b2c3d prerouting { type nat hook prerouting priority dstnat; policy accept; }
    flush chain ip sampan_0a1b2c3d prerouting
    add chain ip sampan_0a1b2c3d output { type nat hook output priority -100; policy accept; }
    flush chain ip sampan_0a1b2c3d output
    add chain ip sampan_0a1b2c3d postrouting { type nat hook postrouting priority srcnat; policy accept; }
    flush chain ip sampan_0a1b2c3d postrouting
    add chain ip sampan_0a1b2c3d forward { type filter hook forward priority filter; policy accept; }
    flush chain ip sampan_0a1b2c3d forward
    add rule ip sampan_0a1b2c3d published dnat ip to ip daddr . meta l4proto . th dport map @ports_at
    add rule ip sampan_0a1b2c3d published dnat ip to meta l4proto . th dport map @ports_any
    add rule ip sampan_0a1b2c3d loopback ip daddr 127.0.0.0/8 iifname @bridges drop
    add rule ip sampan_0a1b2c3d prerouting ip daddr 127.0.0.0/8 return
    add rule ip sampan_0a1b2c3d prerouting fib daddr type local jump published
    add rule ip sampan_0a1b2c3d output fib daddr type local jump published
    add rule ip sampan_0a1b2c3d postrouting oifname @bridges ct status dnat fib saddr type local masquerade
    add rule ip sampan_0a1b2c3d postrouting ip saddr . ip daddr @within ct status dnat masquerade
    add rule ip sampan_0a1b2c3d postrouting iifname @outward iifname . oifname != @same masquerade
    add rule ip sampan_0a1b2c3d forward jump sampan-user
    add rule ip sampan_0a1b2c3d forward iifname != @bridges oifname != @bridges accept
    add rule ip sampan_0a1b2c3d forward ct state established,related accept
    add rule ip sampan_0a1b2c3d forward iifname . oifname @icc accept
    add rule ip sampan_0a1b2c3d forward iifname @internal drop
    add rule ip sampan_0a1b2c3d forward oifname @internal drop
    add rule ip sampan_0a1b2c3d forward oifname @bridges ct status dnat accept
    add rule ip sampan_0a1b2c3d forward oifname @bridges drop
    add element ip sampan_0a1b2c3d bridges { "br-back", "br-front" }
    add element ip sampan_0a1b2c3d icc { "br-front" . "br-front" }
    add element ip sampan_0a1b2c3d internal { "br-back" }
    add element ip sampan_0a1b2c3d outward { "br-front" }
    add element ip sampan_0a1b2c3d ports_any { tcp . 8080 : 172.18.0.2 . 80 }
    add element ip sampan_0a1b2c3d ports_at { 127.0.0.1 . udp . 53 : 172.18.0.2 . 5353 }
    add element ip sampan_0a1b2c3d same { "br-back" . "br-back", "br-front" . "br-front" }
    add element ip sampan_0a1b2c3d within { 172.18.0.0/16 . 172.18.0.0/16, 172.19.0.0/16 . 172.19.0.0/16 }
    "#);
}

#[test]
fn one_change_touches_only_its_elements() {
    let before = plan(&table()).ruleset;
    let mut table = table();
    let web = table.sandboxes.get_mut("web").unwrap();
    web.ports[0].container_port = 81;
    web.ports.push(publish(Protocol::Tcp, [0, 0, 0, 0], 8443, 443));
    let (id, third) = network("third", 20);
    table.networks.insert(id, third);
    let after = plan(&table).ruleset;
    assert_snapshot!(after.text_since(&before), @r#"
    delete element ip sampan_0a1b2c3d ports_any { tcp . 8080 }
    add element ip sampan_0a1b2c3d bridges { "br-third" }
    add element ip sampan_0a1b2c3d icc { "br-third" . "br-third" }
    add element ip sampan_0a1b2c3d outward { "br-third" }
    add element ip sampan_0a1b2c3d ports_any { tcp . 8080 : 172.18.0.2 . 81, tcp . 8443 : 172.18.0.2 . 443 }
    add element ip sampan_0a1b2c3d same { "br-third" . "br-third" }
    add element ip sampan_0a1b2c3d within { 172.20.0.0/16 . 172.20.0.0/16 }
    "#);
    assert_eq!(after.text_since(&after), "");
}

#[test]
fn links_addresses_and_sysctls_follow_from_the_table() {
    let plan = plan(&table());
    let veths: Vec<_> = plan
        .veths
        .iter()
        .map(|(name, veth)| {
            format!(
                "{name} {} {} {} isolated={}",
                veth.bridge, veth.interface, veth.address, veth.isolated
            )
        })
        .collect();
    assert_snapshot!(veths.join("\n"), @r#"
    vethdbback01234 br-back eth0 172.19.0.3/16 isolated=true
    vethwebback0123 br-back eth1 172.19.0.2/16 isolated=true
    vethwebfront012 br-front eth0 172.18.0.2/16 isolated=false
    "#);
    let bridges: Vec<_> =
        plan.bridges.iter().map(|(name, bridge)| format!("{name} {}", bridge.address)).collect();
    assert_snapshot!(bridges.join("\n"), @r#"
    br-back 172.19.0.1/16
    br-front 172.18.0.1/16
    "#);
    assert_snapshot!(format!("{:?}", plan.sysctls), @r#"{"net/ipv4/conf/br-front/route_localnet": "1", "net/ipv4/ip_forward": "1"}"#);
}

#[test]
fn the_default_route_leads_over_the_highest_priority_then_the_first_name_never_an_internal_network()
{
    let mut table = table();
    let via =
        |table: &Table| plan(table).gateways.get("web").map(|gateway| gateway.via.to_string());
    assert_eq!(via(&table).as_deref(), Some("172.18.0.1"));
    assert!(!plan(&table).gateways.contains_key("db"));
    table.networks.get_mut("back").unwrap().internal = false;
    assert_eq!(via(&table).as_deref(), Some("172.19.0.1"));
    for endpoint in
        table.endpoints.values_mut().filter(|endpoint| endpoint.network.as_str() == "front")
    {
        endpoint.gw_priority = 1;
    }
    assert_eq!(via(&table).as_deref(), Some("172.18.0.1"));
    table.endpoints.retain(|_, endpoint| endpoint.network.as_str() == "back");
    assert_eq!(via(&table).as_deref(), Some("172.19.0.1"));
}

#[test]
fn a_port_follows_the_default_route_and_is_kept_by_the_first_who_has_it() {
    let mut table = table();
    let ports = vec![publish(Protocol::Tcp, [0, 0, 0, 0], 8080, 1)];
    table.networks.get_mut("back").unwrap().internal = false;
    table.sandboxes.insert(ContainerId::new("db"), Sandbox { ports, outside: None });
    let forwards: Vec<_> = plan(&table)
        .forwards
        .iter()
        .map(|f| format!("{}->{}:{}", f.host_port, f.to, f.to_port))
        .collect();
    assert_eq!(forwards, ["8080->172.19.0.3:1", "53->172.19.0.2:5353"]);
}

#[test]
fn interfaces_fill_the_gaps() {
    assert_eq!(crate::free_interface("eth", []), "eth0");
    assert_eq!(crate::free_interface("eth", ["eth0", "eth2"]), "eth1");
}
