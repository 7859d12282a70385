//! Two hosts with a firewall each that drops what it does not know, as ufw, dockerd, firewalld and administrators set it up:
//! the cluster's networks, published ports and containers go on working, and nothing of ours stays where nothing is dropped.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use testkit::{Hosts, Namespace, Options, eventually};

/// Answers each connection with its name.
const SERVE: &str = "while :; do hostname | nc -l -p 80; done";
const WAIT: &str = "trap 'exit 0' TERM; sleep 86400 & wait";
/// The hub's address: a machine outside of the cluster.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 213, 9, 254);
const OUTSIDE_PORT: u16 = 9090;

/// What ufw opens when it is told to: ssh, the cluster's ports, one published port. Forwarding is denied.
const UFW: &str = "*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-before-input - [0:0]
:ufw-user-input - [0:0]
:ufw-before-forward - [0:0]
:ufw-reject-forward - [0:0]
-A INPUT -j ufw-before-input
-A INPUT -j ufw-user-input
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-reject-forward
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-user-input -p tcp --dport 22 -j ACCEPT
-A ufw-user-input -p tcp --dport 2377 -j ACCEPT
-A ufw-user-input -p tcp --dport 7946 -j ACCEPT
-A ufw-user-input -p udp --dport 7946 -j ACCEPT
-A ufw-user-input -p udp --dport 4789 -j ACCEPT
-A ufw-user-input -p tcp --dport 8080 -j ACCEPT
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";
/// The same with `ufw default reject routed`.
const UFW_REJECTS: &str = "-A ufw-reject-forward -j REJECT --reject-with icmp-port-unreachable\n";
/// As many write it by hand.
const BY_HAND: &str = "*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
COMMIT
";
const OPEN: &str = "*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
";
/// The shape of firewalld's table with all in the zone `public`, and the cluster's ports opened.
const FIREWALLD: &str = "
table inet firewalld {
  chain filter_INPUT {
    type filter hook input priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname lo accept
    ct state invalid drop
    goto filter_IN_public
  }
  chain filter_IN_public {
    tcp dport { 22, 2377, 7946, 8080 } accept
    udp dport { 7946, 4789 } accept
    meta l4proto { icmp, ipv6-icmp } accept
    reject with icmpx admin-prohibited
  }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname lo accept
    ct state invalid drop
    jump filter_FORWARD_ZONES
    reject with icmpx admin-prohibited
  }
  chain filter_FORWARD_ZONES {
    goto filter_FWD_public
  }
  chain filter_FWD_public {
    reject with icmpx admin-prohibited
  }
}
";

struct Cluster(Hosts);

#[test]
fn hosts_whose_firewalls_drop_what_they_do_not_know() {
    let cluster = Cluster::start();
    cluster.everything_passes("no firewall");
    cluster.restore(UFW);
    cluster.everything_passes("ufw, routed denied");
    cluster.restore(&UFW.replace("COMMIT", &format!("{UFW_REJECTS}COMMIT")));
    cluster.everything_passes("ufw, routed rejected");
    cluster.restore(BY_HAND);
    cluster.everything_passes("a last rule that rejects");
    cluster.restore(OPEN);
    eventually("nothing of ours where nothing is dropped", || {
        let chain = |host| cluster.on(host, &["iptables-nft", "-S", "FORWARD"]);
        (0..2).all(|host| !chain(host).contains("SAMPAN")).then_some(())
    });
    cluster.load(FIREWALLD);
    cluster.everything_passes("firewalld");
    // A reload replaces its table.
    cluster.load(&format!("delete table inet firewalld\n{FIREWALLD}"));
    cluster.everything_passes("firewalld, reloaded");
}

impl Cluster {
    /// A service on the second host and containers on the first.
    fn start() -> Self {
        let hosts = Hosts::start(2, &Options::with_images(&["busybox"]));
        hosts.swarm(1);
        let cluster = Cluster(hosts);
        listen(cluster.0.hub().namespace());
        let docker = |words: &[&str]| cluster.0[0].docker(words).ok();
        docker(&["network", "create", "-d", "overlay", "--attachable", "front"]);
        let create = ["service", "create", "--name", "web", "--network", "front"];
        let options = ["--publish", "8080:80", "--constraint", "node.hostname==node2"];
        let command = ["--hostname", "web", "busybox", "sh", "-c", SERVE];
        docker(&[&create[..], &options, &command].concat());
        let run = ["run", "-d", "--name", "one", "--hostname", "one", "-p", "8081:80"];
        docker(&[&run[..], &["busybox", "sh", "-c", SERVE]].concat());
        docker(&["run", "-d", "--name", "app", "--network", "front", "busybox", "sh", "-c", WAIT]);
        cluster
    }

    fn everything_passes(&self, firewall: &str) {
        let (first, second) = (self.0[0].address(), self.0[1].address());
        let hub = self.0.hub().namespace();
        let outside = OUTSIDE.to_string();
        let one = self.0[0].docker(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "one"]);
        let one: Ipv4Addr = one.ok().trim().parse().unwrap();
        let ways: [(&str, &str, &dyn Fn() -> String); 8] = [
            ("the mesh, by the task's host", "web", &|| said(hub, (second, 8080))),
            ("the mesh, by another host", "web", &|| said(hub, (first, 8080))),
            ("a published port", "one", &|| said(hub, (first, 8081))),
            ("a host to its container", "one", &|| said(self.0[0].namespace(), (one, 80))),
            ("a service by its VIP", "web", &|| self.nc("app", "web", 80)),
            ("a task by its address", "web", &|| self.nc("app", "tasks.web", 80)),
            ("a container to the outside", "outside", &|| self.nc("one", &outside, OUTSIDE_PORT)),
            ("a task's network to the outside", "outside", &|| {
                self.nc("app", &outside, OUTSIDE_PORT)
            }),
        ];
        for (way, answer, ask) in ways {
            eventually(&format!("{firewall}: {way}"), || (ask() == answer).then_some(()));
        }
    }

    /// What a server says to a container of the first host; nothing when it is not reached.
    fn nc(&self, container: &str, host: &str, port: u16) -> String {
        let script = format!("timeout 5 nc {host} {port} < /dev/null");
        let output = self.0[0].docker(&["exec", container, "sh", "-c", &script]);
        if output.status == 0 { output.stdout.trim().to_owned() } else { String::new() }
    }

    fn on(&self, host: usize, words: &[&str]) -> String {
        self.0[host].namespace().run(words).unwrap()
    }

    /// Sets up both hosts' tables of iptables.
    fn restore(&self, rules: &str) {
        self.feed("rules", rules, &["iptables-nft-restore"]);
    }

    fn load(&self, rules: &str) {
        self.feed("table", rules, &["nft", "-f"]);
    }

    fn feed(&self, name: &str, text: &str, words: &[&str]) {
        for host in 0..2 {
            let file = self.0[host].dir().join(name);
            std::fs::write(&file, text).unwrap();
            let file = file.display().to_string();
            self.on(host, &[words, &[file.as_str()]].concat());
        }
    }
}

/// A server outside that says so.
fn listen(hub: &Namespace) {
    let listener =
        hub.inside(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, OUTSIDE_PORT))?)).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Who has gone is not told.
            let _ = stream.write_all(b"outside\n");
        }
    });
}

/// What a server says to somebody in this namespace; nothing when it is not reached.
fn said(from: &Namespace, to: (Ipv4Addr, u16)) -> String {
    let talk = || -> anyhow::Result<String> {
        let mut stream = from.connect(SocketAddr::from(to))?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text.trim().to_owned())
    };
    talk().unwrap_or_default()
}
