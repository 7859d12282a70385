//! The cluster's networks on several hosts, as the real docker CLI makes them: names, VIPs, the mesh, isolation.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use testkit::{Hosts, Options, eventually};

/// Answers with the client's address and its own name.
const WHO: &str = "mkdir -p /www/cgi-bin; \
    printf '#!/bin/sh\\necho; echo $REMOTE_ADDR $(hostname)\\n' > /www/cgi-bin/who; \
    chmod +x /www/cgi-bin/who; exec httpd -f -p 80 -h /www";
/// Ends at once on SIGTERM.
const WAIT: &str = "trap 'exit 0' TERM; sleep 86400 & wait";
/// The hub's address: a machine outside of the cluster.
const OUTSIDE: &str = "10.213.9.254";
const HOSTS: usize = 4;

struct Cluster(Hosts);

impl Cluster {
    fn start() -> Cluster {
        let hosts = Hosts::start(HOSTS as u8, &Options::with_images(&["busybox"]));
        hosts.swarm(1);
        Cluster(hosts)
    }

    fn manager(&self, args: &[&str]) -> String {
        self.0[0].docker(args).ok()
    }

    /// A service that runs `script`, and waits until it does.
    fn service(&self, name: &str, options: &[&str], script: &str) {
        let create = [
            "service",
            "create",
            "--name",
            name,
            "--hostname",
            "{{.Service.Name}}-{{.Node.Hostname}}",
        ];
        let command = ["busybox", "sh", "-c", script];
        self.manager(&[&create[..], options, &command[..]].concat());
    }

    /// The running container of the service on a host.
    fn container(&self, host: usize, service: &str) -> String {
        let label = format!("label=com.docker.swarm.service.name={service}");
        let ids = self.0[host].docker(&["ps", "-q", "--filter", &label]).ok();
        ids.lines().next().unwrap_or_else(|| panic!("no task of {service} on {host}")).to_owned()
    }

    /// What a script prints in the service's container on a host; nothing when it fails.
    fn inside(&self, host: usize, service: &str, script: &str) -> String {
        self.on(host, &self.container(host, service), script)
    }

    fn on(&self, host: usize, container: &str, script: &str) -> String {
        let output = self.0[host].docker(&["exec", container, "sh", "-c", script]);
        if output.status == 0 { output.stdout.trim().to_owned() } else { String::new() }
    }

    /// The answers of a name's addresses, sorted.
    fn resolve(&self, host: usize, service: &str, name: &str) -> Vec<String> {
        addresses(&self.inside(host, service, &format!("nslookup -type=a {name}. 127.0.0.11")))
    }

    fn address(&self, host: usize, container: &str, network: &str) -> String {
        let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        self.0[host].docker(&["inspect", "--format", &format, container]).ok()
    }

    /// What the port of a host answers to a machine outside; nothing if it does not.
    fn from_outside(&self, host: usize, port: u16) -> String {
        self.fetch(host, port).unwrap_or_default()
    }

    fn fetch(&self, host: usize, port: u16) -> Option<String> {
        let to = SocketAddr::from((self.0[host].address(), port));
        let mut stream = self.0.hub().namespace().connect(to).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        stream.write_all(b"GET /cgi-bin/who HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (_, body) = text.split_once("\n\n").or_else(|| text.split_once("\r\n\r\n"))?;
        Some(body.trim().to_owned())
    }
}

/// All but the resolver's own.
fn addresses(text: &str) -> Vec<String> {
    let words = text.split_whitespace().filter(|word| *word != "127.0.0.11");
    let found: BTreeSet<Ipv4Addr> = words.filter_map(|word| word.parse().ok()).collect();
    found.iter().map(ToString::to_string).collect()
}

/// A script that prints what `WHO` answers at `name`.
fn ask(name: &str) -> String {
    format!("wget -T 30 -qO- http://{name}/cgi-bin/who")
}

#[test]
fn services_reach_each_other_and_the_mesh_leads_to_them() {
    let cluster = Cluster::start();
    cluster.manager(&["network", "create", "-d", "overlay", "--attachable", "front"]);
    let front = ["--network", "front"];
    cluster.service("app", &[&front[..], &["--mode", "global"]].concat(), WAIT);
    let web = ["--replicas", "3", "--constraint", "node.hostname!=node4", "--publish", "8080:80"];
    cluster.service("web", &[&front[..], &web[..]].concat(), WHO);
    names_lead_to_the_service(&cluster);
    every_task_reaches_the_service(&cluster);
    the_mesh_keeps_the_clients_address(&cluster);
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
            (!cluster.from_outside(host, 8080).is_empty()).then_some(())
        });
        for _ in 0..4 {
            let said = cluster.from_outside(host, 8080);
            let (client, server) = said.split_once(' ').unwrap_or_default();
            assert_eq!(client, OUTSIDE, "by host {host}: {said}");
            // A host's own task, if it has one.
            let expected = if host == 3 { "web-node" } else { server };
            assert!(server.starts_with(expected), "by host {host}: {said}");
        }
    }
}
