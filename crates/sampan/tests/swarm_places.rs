//! Who has which address on the cluster's networks, where five hosts are not needed: IPv6 by published ports and by wish,
//! addresses that are given again, hosts that take no tasks, and what policies refused, as it happens.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use testkit::{Daemon, Hosts, Namespace, Options, eventually};

/// Ends at once on SIGTERM.
const WAIT: &str = "trap 'exit 0' TERM; sleep 86400 & wait";
/// Answers clients of both families with their address.
const WHO: &str = "mkdir -p /www/cgi-bin; \
    printf '#!/bin/sh\\necho; echo seen $REMOTE_ADDR\\n' > /www/cgi-bin/who; \
    chmod +x /www/cgi-bin/who; exec httpd -f -p [::]:80 -h /www";
/// Of a program outside of containers.
const PORT: u16 = 7700;

fn swarm(hosts: u8) -> Hosts {
    let hosts = Hosts::start(hosts, &Options::with_images(&["busybox"]));
    hosts.swarm(1);
    hosts
}

fn create(host: &Daemon, more: &[&str], script: &str) {
    let command = ["service", "create", "--detach", "--restart-delay", "0s"];
    host.docker(&[&command[..], more, &["busybox", "sh", "-c", script]].concat()).ok();
}

/// The containers that run of a service here.
fn running(host: &Daemon, service: &str) -> Vec<String> {
    let label = format!("label=com.docker.swarm.service.name={service}");
    let ids = host.docker(&["ps", "-q", "--filter", &label]).ok();
    ids.lines().map(str::to_owned).collect()
}

fn runs(host: &Daemon, service: &str) -> String {
    eventually("it runs", || running(host, service).into_iter().next())
}

/// What a script prints in a container; nothing when it fails.
fn inside(host: &Daemon, container: &str, script: &str) -> String {
    let output = host.docker(&["exec", container, "sh", "-c", script]);
    if output.status == 0 { output.stdout.trim().to_owned() } else { String::new() }
}

/// A script that prints what [`WHO`] answers at `name`.
fn ask(name: &str) -> String {
    format!("printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | timeout 20 nc {name} 80 | tail -n 1")
}

/// What [`WHO`] answers; nothing if nobody does.
fn fetch(from: &Namespace, to: SocketAddr) -> String {
    let said = from.inside(|| {
        let mut stream = std::net::TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(b"GET /cgi-bin/who HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    said.unwrap_or_default()
}

#[test]
fn published_ports_answer_by_ipv6_on_every_host() {
    let hosts = Hosts::start(2, &Options::with_images(&["busybox"]));
    let give = |namespace: &Namespace, interface: &str, address: &str| {
        let on = format!("echo 0 > /proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
        let add = format!("ip addr add {address}/64 dev {interface} nodad");
        namespace.run(&["sh", "-c", &format!("{on}; {add}")]).unwrap();
    };
    give(hosts.hub().namespace(), "br0", "fd99::fe");
    for (number, host) in hosts.iter().enumerate() {
        give(host.namespace(), "eth0", &format!("fd99::{}", number + 1));
    }
    let forwards = || -> Vec<String> {
        let all = ["cat", "/proc/sys/net/ipv6/conf/all/forwarding"];
        hosts.iter().map(|host| host.namespace().run(&all).unwrap()).collect()
    };
    let before = forwards();
    hosts.swarm(1);
    assert_eq!(forwards(), before, "a host routes IPv6 before a port is published");

    // One has no other network than the ingress network, the other one that has IPv4 alone.
    hosts[0].docker(&["network", "create", "-d", "overlay", "four"]).ok();
    let here = ["--constraint", "node.hostname==node1"];
    create(&hosts[0], &[&["--name", "web", "--publish", "8080:80"], &here[..]].concat(), WHO);
    let both = ["--name", "app", "--publish", "8081:80", "--network", "four"];
    create(&hosts[0], &[&both, &here[..]].concat(), WHO);
    for (number, host) in hosts.iter().enumerate() {
        let six: Ipv6Addr = format!("fd99::{}", number + 1).parse().unwrap();
        for port in [8080, 8081] {
            for (to, client) in [
                (SocketAddr::from((six, port)), "fd99::fe"),
                (SocketAddr::from((host.address(), port)), "10.213.9.254"),
            ] {
                eventually("the port answers, and the client is seen as it is", || {
                    fetch(hosts.hub().namespace(), to).contains(client).then_some(())
                });
            }
        }
    }
    // Names of an IPv4 network stay IPv4.
    let app = runs(&hosts[0], "app");
    let names = inside(&hosts[0], &app, "nslookup -type=aaaa app. 127.0.0.11; true");
    assert!(!names.contains("fd"), "{names}");

    hosts[0].docker(&["service", "rm", "web", "app"]).ok();
    for host in hosts.iter() {
        eventually("with the last port the rules go", || {
            let tables = host.namespace().run(&["nft", "list", "tables"]).unwrap();
            (!tables.contains("ip6 sampan_overlay")).then_some(())
        });
    }
}

#[test]
fn an_ipv6_address_can_be_wished_for() {
    let hosts = swarm(1);
    let host = &hosts[0];
    let subnets = ["--subnet", "10.66.0.0/24", "--subnet", "fd66::/64"];
    let create = ["network", "create", "-d", "overlay", "--attachable", "--ipv6"];
    host.docker(&[&create[..], &subnets, &["dual"]].concat()).ok();
    let run = ["run", "-d", "--network", "dual", "--name"];
    let wish = ["box", "--ip6", "fd66::42", "busybox", "sh", "-c", WHO];
    host.docker(&[&run[..], &wish].concat()).ok();
    host.docker(&[&run[..], &["other", "busybox", "sh", "-c", WAIT]].concat()).ok();
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}";
    // Each IPv4 address has its place in the other subnet.
    assert_eq!(host.docker(&["inspect", "-f", format, "box"]).ok(), "10.66.0.66 fd66::42");
    eventually("it is reached there", || {
        inside(host, "other", &ask("fd66::42")).contains("seen").then_some(())
    });
    eventually("its name has it", || {
        let names = inside(host, "other", "nslookup -type=aaaa box. 127.0.0.11");
        names.contains("fd66::42").then_some(())
    });
    let place = "no configured subnet contains IP address";
    for (wish, want) in [
        (vec!["--ip6", "fd66::42"], "address 10.66.0.66 of network dual is already in use"),
        (vec!["--ip6", "fd67::7"], place),
        (vec!["--ip6", "fd66::1:7"], place),
        (vec!["--ip", "10.66.0.9", "--ip6", "fd66::7"], place),
    ] {
        let words = [&["run", "--rm", "--network", "dual"][..], &wish, &["busybox", "true"]];
        let told = host.docker(&words.concat()).err();
        assert!(told.contains(want), "{wish:?}: {told}");
    }
}

#[test]
fn addresses_of_a_removed_network_are_given_again_when_its_containers_have_ended() {
    let hosts = swarm(1);
    let host = &hosts[0];
    let overlay = ["network", "create", "-d", "overlay", "--subnet", "10.70.0.0/24"];
    host.docker(&[&overlay[..], &["old"]].concat()).ok();
    // Does not end before it is killed.
    let stubborn = "trap '' TERM; while :; do sleep 1; done";
    let grace = ["--name", "old", "--network", "old", "--stop-grace-period", "10s"];
    create(host, &grace, stubborn);
    runs(host, "old");
    host.docker(&["service", "rm", "old"]).ok();
    eventually("the network goes while its last container ends", || {
        (host.docker(&["network", "rm", "old"]).status == 0).then_some(())
    });
    host.docker(&[&overlay[..], &["new"]].concat()).ok();
    create(host, &["--name", "new", "--network", "new"], WAIT);
    runs(host, "new");
    assert_eq!(running(host, "old"), [""; 0], "two networks have the same addresses");
    // It waited, and was not tried again and again.
    assert_eq!(host.docker(&["service", "ps", "-q", "new"]).ok().lines().count(), 1);
}

#[test]
fn a_host_that_takes_no_tasks_is_in_a_network_all_the_same() {
    let mut hosts = swarm(2);
    hosts[0].docker(&["network", "create", "-d", "overlay", "--attachable", "front"]).ok();
    hosts[0].docker(&["node", "update", "--availability", "drain", "node2"]).ok();
    create(&hosts[0], &["--name", "web", "--network", "front", "--replicas", "2"], WHO);
    let attach = ["network", "attach-host", "--name", "legacy", "front"];
    let own: Ipv4Addr = hosts[1].sampan(&attach).ok().trim().parse().unwrap();
    eventually("both tasks run elsewhere", || (running(&hosts[0], "web").len() == 2).then_some(()));
    let format = "{{(index .Endpoint.VirtualIPs 0).Addr}}";
    let vip = hosts[0].docker(&["service", "inspect", "-f", format, "web"]).ok();
    let vip: Ipv4Addr = vip.split('/').next().unwrap().parse().unwrap();
    let reach = |hosts: &Hosts| {
        eventually("the host reaches the service with its address there", || {
            let seen = fetch(hosts[1].namespace(), SocketAddr::from((vip, 80)));
            seen.contains(&own.to_string()).then_some(())
        });
    };
    reach(&hosts);
    let listener =
        hosts[1].namespace().inside(|| Ok(TcpListener::bind(("0.0.0.0", PORT))?)).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    let program = thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            if over.load(Ordering::SeqCst) {
                return;
            }
            // A client that went away is no failure of the server.
            let _ = writeln!(stream, "welcome");
        }
    });
    let task = runs(&hosts[0], "web");
    let hear = format!("timeout 10 nc legacy {PORT} </dev/null");
    let heard = |hosts: &Hosts| {
        eventually("a task reaches the host by its name", || {
            inside(&hosts[0], &task, &hear).contains("welcome").then_some(())
        });
    };
    heard(&hosts);
    // Nor does it matter when it becomes so.
    for availability in ["active", "pause", "drain"] {
        hosts[0].docker(&["node", "update", "--availability", availability, "node2"]).ok();
        reach(&hosts);
        heard(&hosts);
    }
    hosts[1].restart();
    reach(&hosts);
    heard(&hosts);
    hosts[1].sampan(&["network", "detach-host", "front"]).ok();
    eventually("its name is gone", || inside(&hosts[0], &task, &hear).is_empty().then_some(()));
    is_over.store(true, Ordering::SeqCst);
    // The last client only wakes it.
    hosts[1].namespace().connect(SocketAddr::from((hosts[1].address(), PORT))).unwrap();
    program.join().unwrap();
}

#[test]
fn what_policies_refuse_is_told_as_it_happens() {
    let hosts = swarm(1);
    let host = &hosts[0];
    host.docker(&["network", "create", "-d", "overlay", "--attachable", "net"]).ok();
    for (name, script) in [("db", WHO), ("guest", WAIT), ("other", WAIT)] {
        let run = ["run", "-d", "--network", "net", "--name", name, "busybox", "sh", "-c", script];
        host.docker(&run).ok();
    }
    eventually("all may come", || inside(host, "guest", &ask("db")).contains("seen").then_some(()));
    host.sampan(&["network", "policy", "add", "--to", "db", "--from", "other", "net"]).ok();

    let log = ["network", "policy", "log", "-f", "--format", "{{.From}} {{.To}} {{.Port}}", "net"];
    let mut command = host.sampan_command().unwrap();
    let mut follower = command.args(log).stdout(Stdio::piped()).spawn().unwrap();
    let (tell, told) = mpsc::channel();
    let output = follower.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    let knock = |who: &str, port: u16| {
        inside(host, who, &format!("nc -w 1 db {port} </dev/null && echo reached"))
    };
    for (who, port) in [("guest", 80), ("guest", 81)] {
        let want = format!("{who} db {port}/tcp");
        eventually("who was refused is told", || {
            knock(who, port);
            told.try_iter().any(|line| line == want).then_some(())
        });
    }
    assert!(inside(host, "other", &ask("db")).contains("seen"), "who is let in comes in");
    // From now on the other one is the one who is not.
    host.sampan(&["network", "policy", "rm", "--all", "net"]).ok();
    host.sampan(&["network", "policy", "add", "--to", "db", "--from", "guest", "net"]).ok();
    eventually("the follower goes on", || {
        knock("other", 80);
        told.try_iter().any(|line| line == "other db 80/tcp").then_some(())
    });
    follower.kill().unwrap();
    follower.wait().unwrap();
    reader.join().unwrap();
}
