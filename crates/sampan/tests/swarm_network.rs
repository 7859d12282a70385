//! The cluster's networks on several hosts, as the real docker CLI makes them: names, VIPs, the mesh, isolation.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "swarm_network/cluster.rs"]
mod cluster;

use cluster::{Cluster, HOSTS, OUTSIDE, PYTHON, WAIT, WHO, ask};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;
use testkit::{Churn, eventually};

/// Of churn.
const STEPS: usize = 5;
/// Sends back every datagram.
const ECHO: &str = "import socket\n\
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
    s.bind(('', 5353))\n\
    while True: s.sendto(*s.recvfrom(99))";
/// Prints what comes back.
const SHOUT: &str = "import socket\n\
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
    s.settimeout(5)\n\
    s.sendto(b'hello', ('echo', 5353))\n\
    print(s.recv(99).decode())";

/// All on one cluster: what takes long is to start it.
#[test]
fn the_clusters_networks_on_five_hosts() {
    let mut cluster = Cluster::start();
    names_lead_to_the_service(&cluster);
    every_task_reaches_the_service(&cluster);
    the_mesh_keeps_the_clients_address(&cluster);
    round_robin_has_no_vip(&cluster);
    datagrams_reach_a_service(&cluster);
    networks_are_apart(&cluster);
    policies_keep_others_away(&cluster);
    containers_join(&cluster);
    hosts_publish_their_own_tasks(&cluster);
    tasks_run_on_the_hosts_network(&cluster);
    what_is_destroyed_is_mended(&mut cluster);
    everything_is_told_as_it_is(&cluster);
    nothing_stays_of_a_host_that_leaves(&cluster);
}

fn names_lead_to_the_service(cluster: &Cluster) {
    let tasks: Vec<String> = {
        let own = |host| cluster.address(host, &cluster.container(host, "web"), "front");
        let found: BTreeSet<Ipv4Addr> = (0..3).map(|host| own(host).parse().unwrap()).collect();
        found.iter().map(ToString::to_string).collect()
    };
    for host in 0..HOSTS {
        eventually("tasks.web are all of them", || {
            (cluster.resolve(host, "app", "tasks.web") == tasks).then_some(())
        });
        let vip = cluster.resolve(host, "app", "web");
        assert!(vip.len() == 1 && !tasks.contains(&vip[0]), "{vip:?} of {tasks:?}");
        assert_eq!(cluster.resolve(host, "app", "web.front"), vip);
        let first = cluster.resolve(host, "app", "1.web");
        assert!(first.len() == 1 && tasks.contains(&first[0]), "{first:?} of {tasks:?}");
        let pointer = cluster.inside(host, "app", &format!("nslookup {} 127.0.0.11", vip[0]));
        assert!(pointer.contains("web.front"), "{pointer}");
        let places = cluster.inside(host, "app", "nslookup -type=srv _80._tcp.web. 127.0.0.11");
        assert_eq!(places.matches("80 ").count(), 3, "{places}");
    }
}

fn every_task_reaches_the_service(cluster: &Cluster) {
    for host in 0..HOSTS {
        let own = cluster.address(host, &cluster.container(host, "app"), "front");
        let mut by_address = BTreeSet::new();
        for address in cluster.resolve(host, "app", "tasks.web") {
            let said = cluster.inside(host, "app", &ask(&address));
            let (client, server) = said.split_once(' ').unwrap_or_default();
            assert_eq!(client, own, "from host {host}: {said}");
            by_address.insert(server.to_owned());
        }
        assert_eq!(by_address, ["web-node1", "web-node2", "web-node3"].map(str::to_owned).into());
        let said = cluster.inside(host, "app", &ask("web"));
        assert!(said.starts_with(&format!("{own} web-")), "from host {host}: {said}");
    }
    // Sooner or later a task of the service gets itself.
    for _ in 0..8 {
        let said = cluster.inside(0, "web", &ask("web"));
        assert!(said.contains("web-node"), "{said}");
    }
}

fn the_mesh_keeps_the_clients_address(cluster: &Cluster) {
    for host in 0..HOSTS {
        eventually("the mesh answers", || {
            (!cluster.seen_from_outside(host, 8080).is_empty()).then_some(())
        });
        for _ in 0..4 {
            let said = cluster.seen_from_outside(host, 8080);
            let (client, server) = said.split_once(' ').unwrap_or_default();
            assert_eq!(client, OUTSIDE, "by host {host}: {said}");
            // A host's own task, if it has one.
            let expected = if host >= 3 { "web-node" } else { server };
            assert!(server.starts_with(expected), "by host {host}: {said}");
        }
    }
}

fn round_robin_has_no_vip(cluster: &Cluster) {
    let options = ["--network", "front", "--replicas", "2", "--endpoint-mode", "dnsrr"];
    cluster.service("turns", &options, WHO);
    for host in 0..HOSTS {
        eventually("both tasks are named", || {
            (cluster.resolve(host, "app", "turns").len() == 2).then_some(())
        });
        let said = cluster.hear(host, "app", "turns");
        assert!(said.contains(" turns-node"), "from host {host}: {said}");
    }
    cluster.manager(&["service", "rm", "turns"]);
}

fn datagrams_reach_a_service(cluster: &Cluster) {
    let create = ["service", "create", "--name", "echo", "--mode", "global"];
    let options = ["--network", "front", "--publish", "5300:5353/udp"];
    cluster.manager(&[&create[..], &options, &[PYTHON, "python3", "-c", ECHO]].concat());
    for host in 0..HOSTS {
        let container = cluster.container(host, "echo");
        eventually("a datagram comes back by the VIP", || {
            let said = cluster.0[host].docker(&["exec", &container, "python3", "-c", SHOUT]);
            (said.stdout.trim() == "hello").then_some(())
        });
        eventually("a datagram comes back by the mesh", || {
            let to = SocketAddr::from((cluster.0[host].address(), 5300));
            let answered = cluster.0.hub().namespace().inside(|| {
                let socket = UdpSocket::bind(("0.0.0.0", 0))?;
                socket.set_read_timeout(Some(Duration::from_secs(2)))?;
                socket.send_to(b"hello", to)?;
                let mut got = [0; 8];
                let (len, from) = socket.recv_from(&mut got)?;
                Ok(from == to && &got[..len] == b"hello")
            });
            answered.unwrap_or(false).then_some(())
        });
    }
    cluster.manager(&["service", "rm", "echo"]);
}

fn networks_are_apart(cluster: &Cluster) {
    cluster.manager(&["network", "create", "-d", "overlay", "--internal", "back"]);
    cluster.service("db", &["--network", "back", "--mode", "global"], WHO);
    let outside = std::sync::Arc::new(
        cluster.0.hub().namespace().inside(|| Ok(TcpListener::bind(("0.0.0.0", 9000))?)).unwrap(),
    );
    let listener = outside.clone();
    // Whoever gets through is counted by being accepted; it ends with the listener's namespace.
    std::thread::spawn(move || while listener.accept().is_ok() {});
    let reach = |to: &str, port: u16| format!("nc -w 1 {to} {port} </dev/null && echo reached");
    let gets_out = |host: usize, service: &str| {
        eventually("a task reaches the outside", || {
            (cluster.inside(host, service, &reach(OUTSIDE, 9000)) == "reached").then_some(())
        });
    };
    for host in 0..HOSTS {
        let own = cluster.address(host, &cluster.container(host, "db"), "back");
        for address in cluster.resolve(host, "db", "tasks.db") {
            let said = cluster.hear(host, "db", &address);
            assert!(said.starts_with(&format!("{own} db-")), "from host {host}: {said}");
        }
        let other = cluster.address(
            (host + 1) % HOSTS,
            &cluster.container((host + 1) % HOSTS, "db"),
            "back",
        );
        for (case, address) in [("its own host's", &own), ("another host's", &other)] {
            let said = cluster.inside(host, "app", &reach(address, 80));
            assert_eq!(said, "", "app reached {case} task of another network");
        }
        assert_eq!(cluster.resolve(host, "app", "db"), [""; 0], "a name of another network");
        assert_eq!(cluster.inside(host, "db", &reach(OUTSIDE, 9000)), "", "an internal task left");
        let node = cluster.0[host].address().to_string();
        assert_eq!(cluster.inside(host, "db", &reach(&node, 2377)), "", "an internal task left");
        gets_out(host, "app");
    }
    cluster.service("both", &["--network", "front", "--network", "back"], WAIT);
    let host = (0..HOSTS).find(|host| cluster.runs(*host, "both")).unwrap();
    for name in ["web", "db"] {
        let said = cluster.hear(host, "both", name);
        assert!(said.contains(&format!(" {name}-node")), "{said}");
    }
    gets_out(host, "both");
    cluster.manager(&["service", "rm", "both", "db"]);
}

fn policies_keep_others_away(cluster: &Cluster) {
    let sampan = |words: &[&str]| cluster.0[1].sampan(&[&["network", "policy"], words].concat());
    cluster.service("guest", &["--network", "front", "--mode", "global"], WAIT);
    let asks = |host: usize, who: &str, target: &str| {
        let said = cluster.inside(host, who, &ask(target));
        said.contains(" web-node")
    };
    sampan(&["add", "--to", "web", "--from", "app", "--port", "80", "front"]).ok();
    let listed = sampan(&["ls", "front"]).ok();
    assert!(listed.contains("web") && listed.contains("app"), "{listed}");
    let wrong = sampan(&["add", "--to", "web", "--port", "x", "front"]).err();
    assert!(wrong.contains("invalid port"), "{wrong}");
    let local = sampan(&["add", "--to", "web", "bridge"]).err();
    assert!(local.contains("takes no policies"), "{local}");
    for host in 0..HOSTS {
        let reach = "nc -w 1 web 80 </dev/null && echo reached";
        eventually("the policy is in force", || {
            cluster.inside(host, "guest", reach).is_empty().then_some(())
        });
        for address in cluster.resolve(host, "app", "tasks.web") {
            eventually("who is let in comes in", || asks(host, "app", &address).then_some(()));
            let reach = format!("nc -w 1 {address} 80 </dev/null && echo reached");
            assert_eq!(cluster.inside(host, "guest", &reach), "", "from host {host}");
        }
        assert!(cluster.seen_from_outside(host, 8080).contains(" web-"), "the port stays open");
        let shown = cluster.0[host].docker(&["network", "inspect", "front"]).ok();
        let dropped = cluster.0[host].get("/networks/front").json()["PolicyDrops"]["web"].clone();
        assert!(dropped.as_u64() > Some(0), "host {host} counted {dropped}: {shown}");
    }
    sampan(&["rm", "front", "1"]).ok();
    eventually("all may come again", || asks(0, "guest", "web").then_some(()));
    cluster.manager(&["service", "rm", "guest"]);
}

fn containers_join(cluster: &Cluster) {
    let run = |host: usize, args: &[&str]| {
        cluster.0[host].docker(&[&["run", "--network", "front"], args].concat())
    };
    for host in 0..HOSTS {
        eventually("a container that joined is answered", || {
            let said = run(host, &["--rm", "busybox", "sh", "-c", &ask("web")]).ok();
            said.contains(" web-node").then_some(())
        });
    }
    let gateway = cluster.address(0, &cluster.container(0, "app"), "front");
    let subnet = gateway.rsplit_once('.').unwrap().0;
    let wanted = format!("{subnet}.200");
    let alias = ["--network-alias", "crate"];
    let args = ["-d", "--name", "box", "--hostname", "box", "--ip", &wanted];
    run(3, &[&args[..], &alias, &["busybox", "sh", "-c", WHO]].concat()).ok();
    assert_eq!(cluster.address(3, "box", "front"), wanted);
    for host in 0..HOSTS {
        for name in ["box", "crate"] {
            eventually("the container is named", || {
                (cluster.resolve(host, "app", name) == [wanted.clone()]).then_some(())
            });
            let said = cluster.hear(host, "app", name);
            assert!(said.ends_with(" box"), "{name} from host {host}: {said}");
        }
    }
    let taken = run(1, &["--rm", "--ip", &wanted, "busybox", "true"]).err();
    assert!(taken.contains("already in use"), "{taken}");
    let outside = run(1, &["--rm", "--ip", "192.0.2.7", "busybox", "true"]).err();
    assert!(outside.contains("no configured subnet"), "{outside}");
    cluster.manager(&["network", "create", "-d", "overlay", "closed"]);
    let closed =
        cluster.0[1].docker(&["run", "--rm", "--network", "closed", "busybox", "true"]).err();
    assert!(closed.contains("not manually attachable"), "{closed}");
    cluster.manager(&["network", "rm", "closed"]);

    cluster.0[2].docker(&["run", "-d", "--name", "late", "busybox", "sh", "-c", WAIT]).ok();
    assert_eq!(cluster.on(2, "late", &ask("box")), "");
    cluster.0[2].docker(&["network", "connect", "front", "late"]).ok();
    eventually("who was connected is answered", || {
        cluster.on(2, "late", &ask("box")).ends_with(" box").then_some(())
    });
    cluster.0[2].docker(&["network", "disconnect", "front", "late"]).ok();
    assert_eq!(cluster.on(2, "late", &ask(&wanted)), "");
    cluster.0[2].docker(&["rm", "-f", "late"]).ok();
    cluster.0[3].docker(&["rm", "-f", "box"]).ok();
    eventually("the name is gone", || cluster.resolve(0, "app", "box").is_empty().then_some(()));
}

fn hosts_publish_their_own_tasks(cluster: &Cluster) {
    let publish = "mode=host,published=9090,target=80";
    let options = ["--network", "front", "--mode", "global", "--publish", publish];
    cluster.service("own", &options, WHO);
    for host in 0..HOSTS {
        let expected = format!("{OUTSIDE} own-node{}", host + 1);
        eventually("the host's own task answers", || {
            (cluster.seen_from_outside(host, 9090) == expected).then_some(())
        });
    }
    cluster.manager(&["service", "rm", "own"]);
}

fn tasks_run_on_the_hosts_network(cluster: &Cluster) {
    cluster.service("bare", &["--network", "host", "--mode", "global"], WAIT);
    for host in 0..HOSTS {
        let seen = cluster.inside(host, "bare", "ip -4 -o addr show dev eth0");
        assert!(seen.contains(&cluster.0[host].address().to_string()), "{seen}");
    }
    cluster.manager(&["service", "rm", "bare"]);
}

/// Whoever destroyed it: the next look puts it back, and a daemon that is killed disturbs nobody.
fn what_is_destroyed_is_mended(cluster: &mut Cluster) {
    let damages: [&[&str]; 4] = [
        &["nft", "flush", "ruleset"],
        &["ip", "route", "flush", "table", "main", "proto", "83"],
        &["sh", "-c", "ip link del $(ip -o link | grep -o 'smx[0-9a-f]*' | head -n 1)"],
        &["sh", "-c", "ip -o link | grep -o 'smt[0-9a-f]*' | xargs -n 1 ip link del; true"],
    ];
    for damage in damages {
        cluster.0[2].namespace().run(damage).unwrap();
        eventually("all is as before", || {
            let outwards = cluster.inside(2, "app", &ask("1.web"));
            let mesh = cluster.seen_from_outside(2, 8080);
            (outwards.contains(" web-") && mesh.contains(" web-")).then_some(())
        });
    }
    cluster.0[1].kill9();
    for host in 0..HOSTS {
        eventually("the mesh answers while a daemon is away", || {
            cluster
                .seen_from_outside(host, 8080)
                .starts_with(&format!("{OUTSIDE} web-"))
                .then_some(())
        });
    }
    cluster.0[1].again();
    for host in 0..HOSTS {
        eventually("all is as before", || {
            let is_there = cluster.runs(host, "app");
            (is_there && cluster.inside(host, "app", &ask("web")).contains(" web-")).then_some(())
        });
    }
}

/// `cargo xtask mesh --churn 1000` is the long one.
fn everything_is_told_as_it_is(cluster: &Cluster) {
    let within = Duration::from_secs(120);
    let mut churn = Churn::begin(&cluster.0, 1, 7).unwrap();
    for _ in 0..STEPS {
        let step = churn.step(&cluster.0, within).unwrap();
        assert!(step.questions > 0, "{} asked nothing", step.what);
    }
}

fn nothing_stays_of_a_host_that_leaves(cluster: &Cluster) {
    cluster.0[3].docker(&["swarm", "leave"]).ok();
    let look = |words: &[&str]| cluster.0[3].namespace().run(words).unwrap();
    eventually("nothing of the cluster's stays", || {
        let links = look(&["ip", "-o", "link"]);
        let none = !links.contains("smx") && !links.contains("smt");
        let rules = look(&["nft", "list", "tables"]).contains("sampan_overlay");
        let routes = look(&["ip", "route", "show", "table", "all", "proto", "83"]);
        let choices = look(&["ip", "rule"]).contains("fwmark");
        (none && !rules && routes.trim().is_empty() && !choices).then_some(())
    });
    eventually("the others reach the service without it", || {
        cluster.seen_from_outside(0, 8080).contains(" web-").then_some(())
    });
}
