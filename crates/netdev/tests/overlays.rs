//! Three hosts with tasks in the cluster's networks: who reaches whom, by which door, and what an audit mends.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/cluster.rs"]
#[expect(unreachable_pub, reason = "a module of the test, shared as a file")]
mod cluster;
#[path = "support/world.rs"]
#[expect(unreachable_pub, reason = "a module of the test, shared as a file")]
mod world;

use cluster::{
    BACK, CLIENT, Cluster, FRONT, INGRESS, PUBLISHED, VIP, ip, six, task_ip, task_six, underlay,
    underlay_six,
};
use netdev::{Note, Passes, probe_path};
use netplan::overlay::{TUNNEL_PORT, TUNNEL_VNI, tunnel_mac};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use types::ServiceId;
use types::port::Protocol;
use types::swarm::endpoint::{EndpointRow, EndpointState, PolicyRow};
use types::swarm::network::Mode;
use types::swarm::policy::PolicyPort;
use world::{command, inside, links, tcp, tcp_refused, tcp_server};

const WEB: &[(&str, u8)] = &[("front", FRONT), ("ingress", INGRESS)];

/// Two tasks of `web` on each of `hosts`, with servers.
fn web(cluster: &mut Cluster, hosts: &[u8]) -> Vec<(Ipv4Addr, PathBuf)> {
    let mut tasks = Vec::new();
    for host in hosts {
        for task in [1, 2] {
            let sandbox = cluster.task("web", *host, task, WEB);
            tcp_server(&sandbox, 80);
            tasks.push((task_ip(FRONT, *host, task), sandbox));
        }
    }
    cluster.apply();
    tasks
}

fn everybody_reaches_everybody(tasks: &[(Ipv4Addr, PathBuf)], case: &str) {
    for (from, sandbox) in tasks {
        for (to, _) in tasks {
            let seen = tcp(sandbox, *to, 80);
            assert_eq!(seen, Some(from.to_string()), "{from} to {to}, {case}");
        }
        // By chance any of them, itself too.
        for _ in 0..6 {
            assert!(tcp(sandbox, ip(FRONT, VIP), 80).is_some(), "{from} to the VIP, {case}");
        }
    }
}

fn the_client_is_seen(cluster: &Cluster, case: &str) {
    for host in 1..=3 {
        for _ in 0..4 {
            let seen = tcp(&cluster.client, underlay(host), PUBLISHED);
            assert_eq!(seen, Some(CLIENT.to_string()), "by host {host}, {case}");
        }
    }
}

#[test]
fn tasks_reach_each_other_by_address_and_vip_and_the_client_reaches_them_by_every_host() {
    let mut cluster = Cluster::new();
    let tasks = web(&mut cluster, &[1, 2, 3]);
    everybody_reaches_everybody(&tasks, "at first");
    the_client_is_seen(&cluster, "with tasks on every host");
    // What leaves has its host's address.
    tcp_server(&cluster.client, 90);
    for (position, (_, sandbox)) in tasks.iter().enumerate() {
        let host = u8::try_from(position / 2).unwrap() + 1;
        assert_eq!(tcp(sandbox, CLIENT, 90), Some(underlay(host).to_string()));
    }
}

#[test]
fn a_host_without_tasks_leads_to_those_of_others_and_keeps_the_clients_address() {
    let mut cluster = Cluster::new();
    // As some distributions have it.
    for host in 1..=3 {
        cluster.on_host(host, "sh", &["-c", "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter"]);
    }
    web(&mut cluster, &[2]);
    the_client_is_seen(&cluster, "with tasks on host 2 only");
    for host in 1..=3 {
        let path = cluster.hosts[host - 1].path.clone();
        assert!(tcp(&path, Ipv4Addr::LOCALHOST, PUBLISHED).is_some(), "127.0.0.1 of host {host}");
        let own = underlay(u8::try_from(host).unwrap());
        assert!(tcp(&path, own, PUBLISHED).is_some(), "host {host} by its own address");
        // Also to a task of its own.
        for other in 1..=3 {
            let seen = tcp(&path, underlay(other), PUBLISHED);
            assert!(seen.is_some(), "host {host} by the address of {other}");
        }
    }
    assert!(tcp_refused(&cluster.client, underlay(1), 80), "an unpublished port was reached");
}

#[test]
fn networks_do_not_reach_each_other() {
    let mut cluster = Cluster::new();
    let mut databases = Vec::new();
    for host in 1..=3 {
        let sandbox = cluster.task("db", host, 3, &[("back", BACK)]);
        tcp_server(&sandbox, 80);
        databases.push((task_ip(BACK, host, 3), sandbox));
    }
    let tasks = web(&mut cluster, &[1, 2, 3]);
    for (database, sandbox) in &databases {
        for (other, _) in &databases {
            assert_eq!(tcp(sandbox, *other, 80), Some(database.to_string()));
        }
        assert!(tcp_refused(&tasks[0].1, *database, 80), "web on host 1 reached {database}");
        assert!(tcp_refused(sandbox, tasks[3].0, 80), "{database} reached web on host 2");
    }
    assert!(tcp_refused(&tasks[0].1, ip(BACK, VIP), 80), "another network's VIP was reached");
    // Nor as somebody of the other network.
    let (_, sandbox) = &tasks[0];
    command(sandbox, "ip", &["addr", "add", "10.52.0.14/32", "dev", "eth0"]);
    command(
        sandbox,
        "ip",
        &[
            "route",
            "add",
            "10.52.0.0/24",
            "via",
            "169.254.1.1",
            "dev",
            "eth0",
            "onlink",
            "src",
            "10.52.0.14",
        ],
    );
    let liar = inside(sandbox, || UdpSocket::bind(("10.52.0.14", 0)).unwrap());
    let honest = inside(&databases[2].1, || UdpSocket::bind(("0.0.0.0", 0)).unwrap());
    for (database, inside_of) in &databases[..2] {
        let socket = inside(inside_of, || UdpSocket::bind(("0.0.0.0", 53)).unwrap());
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        for _ in 0..10 {
            liar.send_to(b"lie", (*database, 53)).unwrap();
        }
        honest.send_to(b"truth", (*database, 53)).unwrap();
        let mut got = [0; 8];
        let len = socket.recv(&mut got).unwrap();
        assert_eq!(&got[..len], b"truth", "{database} was reached with a false address");
    }
}

/// An IPv4 packet with a datagram.
fn datagram(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), text: &[u8]) -> Vec<u8> {
    let size = |more: usize| u16::try_from(text.len() + more).unwrap().to_be_bytes();
    let mut packet = [&[0x45, 0][..], &size(28), &[0, 0, 0, 0, 64, 17, 0, 0]].concat();
    packet.extend([from.0.octets(), to.0.octets()].concat());
    let words = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend([from.1.to_be_bytes(), to.1.to_be_bytes(), size(8), [0, 0]].concat());
    packet.extend(text);
    packet
}

/// `packet` as it goes from a host to another in the tunnel, without the outer headers.
fn wrapped(from: u8, to: u8, packet: &[u8]) -> Vec<u8> {
    let [vni @ .., _] = (TUNNEL_VNI << 8).to_be_bytes();
    let ethernet = [tunnel_mac(underlay(to)), tunnel_mac(underlay(from))].concat();
    [&[8, 0, 0, 0], &vni[..], &[0], &ethernet, &[8, 0], packet].concat()
}

/// Sends a packet with whatever source it names.
fn send_raw(sandbox: &Path, packet: &[u8]) {
    let to = Ipv4Addr::from(<[u8; 4]>::try_from(&packet[16..20]).unwrap());
    inside(sandbox, || {
        let (flags, all) = (SockFlag::empty(), SockProtocol::Raw);
        let raw = socket(AddressFamily::Inet, SockType::Raw, flags, all).unwrap();
        let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
        sendto(raw.as_raw_fd(), packet, &to, MsgFlags::empty()).unwrap();
    });
}

#[test]
fn nobody_sends_as_another_whose_flow_is_open_nor_wraps_packets_as_nodes_do() {
    let mut cluster = Cluster::new();
    let liar = cluster.task("app", 1, 1, &[("front", FRONT)]);
    let honest = cluster.task("db", 3, 3, &[("back", BACK)]);
    let near = cluster.task("db", 1, 3, &[("back", BACK)]);
    let far = cluster.task("db", 2, 3, &[("back", BACK)]);
    cluster.apply();
    let bind =
        |sandbox: &Path, port| inside(sandbox, || UdpSocket::bind(("0.0.0.0", port)).unwrap());
    let honest = bind(&honest, 77);
    let honest_is = (task_ip(BACK, 3, 3), 77);
    for (host, sandbox) in [(1, &near), (2, &far)] {
        let (database, port) = (bind(sandbox, 53), (task_ip(BACK, host, 3), 53));
        for socket in [&honest, &database] {
            socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        }
        // The flow is open: asked, answered.
        let mut got = [0; 8];
        honest.send_to(b"open", port).unwrap();
        let (_, from) = database.recv_from(&mut got).unwrap();
        database.send_to(b"open", from).unwrap();
        honest.recv(&mut got).unwrap();
        let lie = datagram(honest_is, port, b"lie");
        let other = datagram((task_ip(BACK, 3, 4), 78), port, b"lie");
        for _ in 0..10 {
            send_raw(&liar, &lie);
            for inner in [&lie, &other] {
                // With the node's address, as it is translated on the way to another node; and with another node's.
                let own = datagram((task_ip(BACK, 1, 4), 78), port, b"lie");
                let plain = bind(&liar, 0);
                let to = (underlay(host), TUNNEL_PORT);
                plain.send_to(&wrapped(1, host, &own), to).unwrap();
                let wrapped = wrapped(3, host, inner);
                send_raw(&liar, &datagram((underlay(3), 4000), to, &wrapped));
            }
        }
        honest.send_to(b"truth", port).unwrap();
        let len = database.recv(&mut got).unwrap();
        assert_eq!(&got[..len], b"truth", "the database on host {host} was lied to");
    }
}

#[test]
fn a_node_may_be_the_way_between_two_others() {
    let mut cluster = Cluster::new();
    for host in 1..=3 {
        // Or the two would be told of the shorter way.
        let script = "for of in /proc/sys/net/ipv4/conf/*; do echo 0 > $of/send_redirects; echo 0 > $of/accept_redirects; done";
        cluster.on_host(host, "sh", &["-c", script]);
    }
    let tasks = web(&mut cluster, &[1, 3]);
    for (host, other) in [(1, 3), (3, 1)] {
        let to = format!("{}/32", underlay(other));
        cluster.on_host(host, "ip", &["route", "add", &to, "via", &underlay(2).to_string()]);
    }
    cluster.on_host(2, "sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    everybody_reaches_everybody(&tasks, "with host 2 between 1 and 3");
    let way = cluster.on_host(1, "ip", &["route", "get", &underlay(3).to_string()]);
    assert!(way.contains(&format!("via {}", underlay(2))), "{way}");
}

/// Answers each datagram with itself and `name`.
fn udp_server(sandbox: &Path, name: Ipv4Addr) {
    let socket = inside(sandbox, || UdpSocket::bind(("0.0.0.0", 53)).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let asked = String::from_utf8_lossy(&buffer[..len]).into_owned();
            let _gone = socket.send_to(format!("{asked} {name}").as_bytes(), from);
        }
    });
}

#[test]
fn datagrams_from_one_port_go_to_another_endpoint_once_theirs_drains() {
    let mut cluster = Cluster::new();
    let client = cluster.task("app", 1, 1, &[("front", FRONT)]);
    for host in [2, 3] {
        let sandbox = cluster.task("web", host, 1, WEB);
        udp_server(&sandbox, task_ip(FRONT, host, 1));
    }
    cluster.apply();
    let socket = inside(&client, || UdpSocket::bind(("0.0.0.0", 0)).unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut number = 0;
    let mut ask = || -> String {
        for _ in 0..60 {
            number += 1;
            socket.send_to(number.to_string().as_bytes(), (ip(FRONT, VIP), 53)).unwrap();
            let mut buffer = [0; 64];
            // A late answer to an earlier question does not count.
            while let Ok(len) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
                if let Some(name) = text.strip_prefix(&format!("{number} ")) {
                    return name.to_owned();
                }
            }
        }
        String::new()
    };
    let first = ask();
    assert_ne!(first, "");
    for _ in 0..8 {
        assert_eq!(ask(), first, "a flow stays where it is");
    }
    let is_first = |row: &&mut EndpointRow| row.address.to_string() == first;
    cluster.table.endpoints.iter_mut().find(is_first).unwrap().state = EndpointState::Draining;
    cluster.apply();
    let second = ask();
    assert!(second != first && !second.is_empty(), "{second:?} after {first}");
}

/// How many of `asked` clients each endpoint answers at the VIP; every client has a port of its own.
fn shares(client: &Path, asked: u32) -> BTreeMap<String, u32> {
    let mut shares = BTreeMap::new();
    for _ in 0..asked {
        let socket = inside(client, || UdpSocket::bind(("0.0.0.0", 0)).unwrap());
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut buffer = [0; 64];
        let answer = (0..60).find_map(|_| {
            socket.send_to(b"", (ip(FRONT, VIP), 53)).unwrap();
            socket.recv(&mut buffer).ok()
        });
        let name = String::from_utf8_lossy(&buffer[..answer.unwrap()]).trim().to_owned();
        *shares.entry(name).or_default() += 1;
    }
    shares
}

/// Bounds are seven standard deviations and more from what is expected.
#[test]
fn new_flows_are_divided_evenly_by_weight_and_not_to_who_drains_also_after_changes() {
    let mut cluster = Cluster::new();
    let client = cluster.task("app", 1, 2, &[("front", FRONT)]);
    for host in [1, 2, 3] {
        let sandbox = cluster.task("web", host, 1, WEB);
        udp_server(&sandbox, task_ip(FRONT, host, 1));
    }
    cluster.apply();
    let first = task_ip(FRONT, 1, 1).to_string();
    let even = |case: &str| {
        let shares = shares(&client, 300);
        assert!(shares.len() == 3 && shares.values().all(|it| *it > 40), "{case}: {shares:?}");
    };
    let set = |cluster: &mut Cluster, change: &dyn Fn(&mut EndpointRow)| {
        let rows = cluster.table.endpoints.iter_mut();
        rows.filter(|row| row.address.to_string() == first).for_each(change);
        cluster.apply();
    };
    even("at first");
    set(&mut cluster, &|row| row.weight = 7);
    let weighted = shares(&client, 400);
    assert!(weighted[&first] > 250 && weighted.values().all(|it| *it > 0), "{weighted:?}");
    set(&mut cluster, &|row| row.state = EndpointState::Draining);
    let others = shares(&client, 200);
    assert!(others.len() == 2 && !others.contains_key(&first), "{others:?}");
    assert!(others.values().all(|it| *it > 50), "{others:?}");
    set(&mut cluster, &|row| (row.weight, row.state) = (1, EndpointState::Healthy));
    even("after changes");
}

#[test]
fn who_was_not_answered_by_an_endpoint_that_drains_is_led_to_another() {
    let mut cluster = Cluster::new();
    let silent = cluster.task("web", 1, 1, WEB);
    let rules = "add table ip silent; \
        add chain ip silent in { type filter hook input priority 0; }; \
        add rule ip silent in tcp dport 80 counter drop";
    command(&silent, "nft", &[rules]);
    cluster.apply();
    let from = cluster.client.clone();
    let client = std::thread::spawn(move || tcp(&from, underlay(1), PUBLISHED));
    let asked = || !command(&silent, "nft", &["list", "ruleset"]).contains("packets 0");
    while !asked() {
        assert!(!client.is_finished(), "nobody asked");
        std::thread::sleep(Duration::from_millis(20));
    }
    let other = cluster.task("web", 2, 1, WEB);
    tcp_server(&other, 80);
    let is_first = |row: &EndpointRow| row.task.as_str() == "web11";
    for row in cluster.table.endpoints.iter_mut().filter(|row| is_first(row)) {
        row.state = EndpointState::Draining;
    }
    cluster.apply();
    assert_eq!(client.join().unwrap(), Some(CLIENT.to_string()));
}

#[test]
fn what_leads_to_an_endpoint_that_is_gone_is_forgotten_at_the_next_look() {
    let mut cluster = Cluster::new();
    let tasks = web(&mut cluster, &[1]);
    let (gone, _) = tasks[0];
    // By a host without a task, which remembers where it led whom.
    let host = cluster.hosts[2].path.clone();
    let flows = || {
        let all = command(&host, "cat", &["/proc/net/nf_conntrack"]);
        let address = task_ip(INGRESS, 1, 1).to_string();
        all.lines().filter(|line| line.contains(&format!("src={address} "))).count()
            + all.lines().filter(|line| line.contains(&format!("src={gone} "))).count()
    };
    for _ in 0..32 {
        assert!(tcp(&cluster.client, underlay(3), PUBLISHED).is_some());
    }
    assert!(flows() > 0, "nobody was led to {gone}");
    let is_first = |row: &EndpointRow| row.task.as_str() == "web11";
    for row in cluster.table.endpoints.iter_mut().filter(|row| is_first(row)) {
        row.state = EndpointState::Draining;
    }
    cluster.apply();
    cluster.table.endpoints.retain(|row| !is_first(row));
    cluster.apply();
    // The engine looks each second.
    cluster.apply();
    assert_eq!(flows(), 0);
}

#[test]
fn a_policy_keeps_others_away_on_both_ends_and_counts_them() {
    let mut cluster = Cluster::new();
    let tasks = web(&mut cluster, &[1, 2]);
    let app = cluster.task("app", 1, 4, &[("front", FRONT)]);
    let other = cluster.task("other", 1, 5, &[("front", FRONT)]);
    let rule = |from: &str, port: u16| PolicyRow {
        to: vec![ServiceId::new("web")],
        from: Some(vec![ServiceId::new(from)]),
        ports: vec![PolicyPort { protocol: Protocol::Tcp, port }],
        ..PolicyRow::default()
    };
    let front = cluster.table.networks.iter_mut().find(|row| row.id.as_str() == "front").unwrap();
    front.policy = vec![rule("app", 80), rule("other", 81)];
    cluster.apply();
    for (address, _) in &tasks {
        assert!(tcp(&app, *address, 80).is_some(), "app did not reach {address}");
        assert!(tcp_refused(&other, *address, 80), "other reached {address}");
    }
    assert!(tcp(&app, ip(FRONT, VIP), 80).is_some());
    assert!(tcp_refused(&other, ip(FRONT, VIP), 80), "other reached the VIP");
    assert!(tcp_refused(&tasks[0].1, tasks[2].0, 80), "web reached itself");
    the_client_is_seen(&cluster, "with policies");
    let drops = cluster.policy_drops(1);
    assert!(drops.contains_key(&tasks[0].0) && drops.contains_key(&tasks[2].0), "{drops:?}");
    // A node that has not heard of it yet does not undo it: the other end drops.
    let before = cluster.policy_drops(2);
    let policy = std::mem::take(
        &mut cluster
            .table
            .networks
            .iter_mut()
            .find(|row| row.id.as_str() == "front")
            .unwrap()
            .policy,
    );
    cluster.apply_on(1);
    assert!(tcp_refused(&other, tasks[2].0, 80), "other reached host 2");
    assert!(tcp(&other, tasks[0].0, 80).is_some(), "its own host knows of no policy");
    assert_ne!(cluster.policy_drops(2), before);
    drop(policy);
    cluster.apply();
    assert!(tcp(&other, tasks[2].0, 80).is_some(), "what is not said any more keeps nobody away");
}

#[test]
fn how_large_packets_pass_to_another_host_is_found_out() {
    let cluster = Cluster::new();
    let probe = |peer: Ipv4Addr| inside(&cluster.hosts[0].path, || probe_path(peer, 1500).unwrap());
    assert_eq!(probe(underlay(2)), Passes::All);
    // As a tunnel of a provider: what is larger is dropped without a word.
    let rules = "add table ip narrow; \
        add chain ip narrow in { type filter hook prerouting priority -400; }; \
        add rule ip narrow in ip length > 1400 drop";
    cluster.on_host(2, "nft", &[rules]);
    let found = probe(underlay(2));
    assert!(matches!(found, Passes::UpTo(1396..=1400)), "{found:?}");
    cluster.on_host(3, "ip", &["link", "set", "up0", "down"]);
    assert_eq!(probe(underlay(3)), Passes::Silent);
}

#[test]
fn another_firewall_that_drops_lets_the_clusters_networks_through() {
    let mut cluster = Cluster::new();
    let chain = "{ type filter hook forward priority 0; policy drop; }";
    for host in 1..=3 {
        cluster.on_host(host, "nft", &["add", "table", "ip", "filter"]);
        cluster.on_host(host, "nft", &["add", "chain", "ip", "filter", "FORWARD", chain]);
    }
    let theirs = cluster.on_host(1, "nft", &["list", "table", "ip", "filter"]);
    let tasks = web(&mut cluster, &[1, 2]);
    everybody_reaches_everybody(&tasks, "beside another firewall");
    the_client_is_seen(&cluster, "beside another firewall");
    cluster.empty(1);
    assert_eq!(cluster.on_host(1, "nft", &["list", "table", "ip", "filter"]), theirs);
}

#[test]
fn one_audit_mends_what_somebody_destroyed() {
    let mut cluster = Cluster::new();
    let tasks = web(&mut cluster, &[1, 2]);
    assert_eq!(cluster.audit(1), [], "nobody changed anything");
    let mark = underlay(2).to_bits().to_string();
    let damages: [&[&str]; 11] = [
        &["nft", "flush", "ruleset"],
        &["nft", "flush", "chain", "ip", "sampan_overlay_0badcafe", "forward"],
        &["ip", "route", "flush", "root", "10.48.0.0/12"],
        &["ip", "route", "flush", "table", &mark],
        &["ip", "rule", "del", "table", &mark],
        &["ip", "rule", "del", "pref", "29069"],
        &["ip", "rule", "del", "pref", "29071"],
        &["ip", "neigh", "del", "192.0.2.2", "dev", "smx0badcafe"],
        &["bridge", "fdb", "del", "02:53:c0:00:02:02", "dev", "smx0badcafe", "dst", "192.0.2.2"],
        &["ip", "link", "del", "smx0badcafe"],
        &["ip", "link", "del", "smt0a320009"],
    ];
    for damage in damages {
        cluster.on_host(1, damage[0], &damage[1..]);
        let notes = cluster.audit(1);
        assert_ne!(notes, [], "{damage:?} went unseen");
        assert_eq!(cluster.audit(1), [], "after {damage:?} and {notes:?}");
    }
    cluster.on_host(1, "ip", &["link", "set", "smx0badcafe", "down"]);
    let notes = cluster.audit(1);
    assert!(notes.contains(&Note::LinkMended("smx0badcafe".to_owned())), "{notes:?}");
    command(&tasks[0].1, "ip", &["route", "flush", "table", "main"]);
    command(&tasks[0].1, "ip", &["link", "set", "eth1", "down"]);
    cluster.audit(1);
    everybody_reaches_everybody(&tasks, "after the audits");
    the_client_is_seen(&cluster, "after the audits");
}

#[test]
fn nothing_is_left_of_an_empty_plan_and_what_is_foreign_stays() {
    let mut cluster = Cluster::new();
    cluster.on_host(1, "ip", &["link", "add", "foreign", "type", "bridge"]);
    cluster.on_host(1, "ip", &["link", "set", "foreign", "up"]);
    cluster.on_host(1, "ip", &["route", "add", "10.60.0.0/24", "dev", "foreign"]);
    cluster.on_host(1, "ip", &["rule", "add", "from", "10.60.0.0/24", "lookup", "77"]);
    cluster.on_host(1, "nft", &["add", "table", "ip", "foreign"]);
    let state = |cluster: &Cluster| {
        // A carrier comes when it comes.
        let ask = |program, arguments: &[&str]| {
            cluster.on_host(1, program, arguments).replace(" linkdown", "")
        };
        [
            links(&cluster.hosts[0].path).join(" "),
            ask("ip", &["route", "show", "table", "all", "type", "unicast"]),
            ask("ip", &["route", "show", "table", "all", "type", "unreachable"]),
            ask("ip", &["rule"]),
            ask("nft", &["list", "ruleset"]),
        ]
    };
    let before = state(&cluster);
    let tasks = web(&mut cluster, &[1, 2]);
    assert_ne!(state(&cluster), before);
    // A daemon that knows nothing of the last one's links.
    let host = cluster.hosts[0].path.clone();
    let sandboxes = cluster.hosts[0].sandboxes.clone();
    let mut other = inside(&host, || netdev::Overlay::open("0badcafe", sandboxes).unwrap());
    inside(&host, || other.remove_all()).unwrap();
    assert_eq!(state(&cluster), before);
    // The same by the one that made them, whatever happened meanwhile.
    cluster.apply();
    everybody_reaches_everybody(&tasks, "made again");
    cluster.empty(1);
    cluster.empty(1);
    assert_eq!(state(&cluster), before);
}

#[test]
fn a_task_that_ends_leaves_no_link_and_its_address_goes_to_another() {
    let mut cluster = Cluster::new();
    let tasks = web(&mut cluster, &[1, 2]);
    let (address, _) = tasks[0];
    cluster.table.endpoints.retain(|row| row.task.as_str() != "web11");
    cluster.hosts[0].places.retain(|place| place.container.as_str() != "web11");
    cluster.apply();
    assert!(tcp_refused(&tasks[3].1, address, 80), "an ended task was reached");
    let links = links(&cluster.hosts[0].path).join(" ");
    assert!(!links.contains("smt0a320009") && links.contains("smt0a32000a"), "{links}");
    let heir = cluster.task("db", 1, 1, WEB);
    tcp_server(&heir, 80);
    cluster.apply();
    assert_eq!(tcp(&tasks[3].1, address, 80), Some(tasks[3].0.to_string()));
}

#[test]
fn a_failure_names_what_could_not_be_done() {
    let mut cluster = Cluster::new();
    let sandbox = cluster.task("web", 1, 1, WEB);
    cluster.hosts[0].places[1].container = types::ContainerId::new("gone");
    let text = cluster.refused(1);
    assert_eq!(
        text,
        "failed to plug gone into 10.51.0.0/24: No such file or directory (os error 2)"
    );
    // The rest is done.
    assert!(command(&sandbox, "ip", &["-o", "addr"]).contains("10.50.0.9/32"));
}

const LAN_SIX: &str = "fd09::";

/// What a name in `front` leads to: the machines know each other, nobody routes.
fn reaches_six(sandbox: &Path, to: Ipv6Addr) -> Option<String> {
    tcp(sandbox, to, 80)
}

#[test]
fn a_network_with_ipv6_is_reached_by_address_vip_and_every_host_and_others_are_kept_away() {
    let mut cluster = Cluster::new();
    cluster.with_six();
    let tasks = web(&mut cluster, &[1, 2]);
    let db = cluster.task("db", 1, 5, &[("back", BACK)]);
    cluster.apply();
    everybody_reaches_everybody(&tasks, "with IPv6 beside it");
    for (host, task, sandbox) in [(1, 1, &tasks[0].1), (2, 2, &tasks[3].1)] {
        let own = task_six(host, task).to_string();
        for to in [task_six(1, 1), task_six(1, 2), task_six(2, 1), task_six(2, 2)] {
            assert_eq!(reaches_six(sandbox, to), Some(own.clone()), "{own} to {to}");
        }
        for _ in 0..6 {
            assert!(reaches_six(sandbox, six(VIP)).is_some(), "{own} to the VIP");
        }
    }
    // By a published port of every host, the third has no task; the client is seen as it is.
    let client = format!("{LAN_SIX}9");
    for host in 1..=3 {
        for _ in 0..4 {
            let seen = tcp(&cluster.client, underlay_six(host), PUBLISHED);
            assert_eq!(seen, Some(client.clone()), "by host {host}");
        }
    }
    // What leaves has its host's address.
    tcp_server(&cluster.client, 90);
    let seen = tcp(&tasks[0].1, format!("{LAN_SIX}9").parse::<Ipv6Addr>().unwrap(), 90);
    assert_eq!(seen, Some(underlay_six(1).to_string()));
    // Who is on another network, and who is on none, does not come in.
    command(&db, "sh", &["-c", "echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6"]);
    assert!(tcp_refused(&db, task_six(1, 1), 80));
    let by_host = underlay_six(1).to_string();
    command(&cluster.client, "ip", &["-6", "route", "add", "fd50::/64", "via", &by_host]);
    assert!(tcp_refused(&cluster.client, task_six(1, 1), 80));
    // Somebody destroys it; one look later it is as it was.
    cluster.on_host(1, "nft", &["flush", "ruleset"]);
    cluster.on_host(1, "sh", &["-c", "ip -6 route flush proto 83"]);
    assert!(!cluster.audit(1).is_empty());
    assert_eq!(reaches_six(&tasks[0].1, task_six(2, 1)), Some(task_six(1, 1).to_string()));
    assert!(tcp_refused(&cluster.client, task_six(1, 1), 80));
    cluster.empty(1);
    assert!(!cluster.on_host(1, "nft", &["list", "tables"]).contains("ip6"));
    assert!(!cluster.on_host(1, "ip", &["-6", "route", "show", "table", "all"]).contains("fd50"));
}

#[test]
fn without_encapsulation_packets_and_the_outside_go_as_they_are_and_the_mesh_keeps_the_client() {
    let mut cluster = Cluster::new();
    cluster.mode("front", Mode::Direct);
    let tasks = web(&mut cluster, &[1, 2]);
    let db = cluster.task("db", 1, 5, &[("back", BACK)]);
    cluster.apply();
    everybody_reaches_everybody(&tasks, "without encapsulation");
    the_client_is_seen(&cluster, "by the mesh of a network without encapsulation");
    let routes = cluster.on_host(1, "ip", &["route"]);
    assert!(routes.contains("10.50.0.16/29 via 192.0.2.2 dev up0"), "{routes}");
    let link = command(&tasks[0].1, "ip", &["-o", "link", "show", "eth0"]);
    assert!(link.contains("mtu 1500"), "{link}");
    // A machine outside that has the routes reaches the tasks, and is reached, by their own addresses.
    for host in 1..=2 {
        let block = format!("10.50.0.{}/29", 8 * host);
        let by = underlay(host).to_string();
        command(&cluster.client, "ip", &["route", "add", &block, "via", &by]);
    }
    tcp_server(&cluster.client, 90);
    for (own, sandbox) in &tasks {
        assert_eq!(tcp(&cluster.client, *own, 80), Some(CLIENT.to_string()), "to {own}");
        assert_eq!(tcp(sandbox, CLIENT, 90), Some(own.to_string()), "from {own}");
    }
    // Other networks stay apart from it, on the same host and across, and theirs cannot be sent as.
    for (own, _) in &tasks {
        assert!(tcp_refused(&db, *own, 80), "{own}");
    }
    let by = underlay(1).to_string();
    command(&cluster.client, "ip", &["addr", "add", "10.52.0.77/32", "dev", "lo"]);
    let back = format!("{}/32", task_ip(BACK, 1, 5));
    command(&cluster.client, "ip", &["route", "add", &back, "via", &by, "src", "10.52.0.77"]);
    cluster.on_host(1, "ip", &["route", "add", "10.52.0.77/32", "via", &CLIENT.to_string()]);
    tcp_server(&db, 80);
    assert!(tcp_refused(&cluster.client, task_ip(BACK, 1, 5), 80));
}
