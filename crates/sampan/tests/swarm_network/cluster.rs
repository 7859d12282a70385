//! Five hosts with a service that all of the scenes ask, by the real docker CLI.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use testkit::{Hosts, Options, eventually};

/// Answers with the client's address and its own name.
pub(crate) const WHO: &str = "mkdir -p /www/cgi-bin; \
    printf '#!/bin/sh\\necho; echo $REMOTE_ADDR $(hostname)\\n' > /www/cgi-bin/who; \
    chmod +x /www/cgi-bin/who; exec httpd -f -p 0.0.0.0:80 -h /www";
/// Ends at once on SIGTERM.
pub(crate) const WAIT: &str = "trap 'exit 0' TERM; sleep 86400 & wait";
/// The hub's address: a machine outside of the cluster.
pub(crate) const OUTSIDE: &str = "10.213.9.254";
pub(crate) const HOSTS: usize = 5;
pub(crate) const PYTHON: &str = "python:3.7-alpine";

/// `app` runs on every host and waits, `web` on the first three and answers; both are on `front`.
pub(crate) struct Cluster(pub(crate) Hosts);

impl Cluster {
    pub(crate) fn start() -> Cluster {
        let hosts = Hosts::start(HOSTS as u8, &Options::with_images(&["busybox", PYTHON]));
        hosts.swarm(1);
        let cluster = Cluster(hosts);
        cluster.manager(&["network", "create", "-d", "overlay", "--attachable", "front"]);
        let front = ["--network", "front"];
        cluster.service("app", &[&front[..], &["--mode", "global"]].concat(), WAIT);
        let web = ["--replicas", "3", "--publish", "8080:80"];
        let on = ["--constraint", "node.hostname!=node4", "--constraint", "node.hostname!=node5"];
        cluster.service("web", &[&front[..], &web, &on].concat(), WHO);
        cluster
    }

    pub(crate) fn manager(&self, args: &[&str]) -> String {
        self.0[0].docker(args).ok()
    }

    /// A service that runs `script`, and waits until it does; of [`WHO`], until each task answers.
    pub(crate) fn service(&self, name: &str, options: &[&str], script: &str) {
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
        let hosts = (0..HOSTS).filter(|host| script == WHO && self.runs(*host, name));
        for host in hosts {
            eventually("the task listens", || {
                let said = self.inside(host, name, "nc 127.0.0.1 80 </dev/null && echo yes");
                (said == "yes").then_some(())
            });
        }
    }

    pub(crate) fn runs(&self, host: usize, service: &str) -> bool {
        let label = format!("label=com.docker.swarm.service.name={service}");
        !self.0[host].docker(&["ps", "-q", "--filter", &label]).ok().is_empty()
    }

    /// The running container of the service on a host.
    pub(crate) fn container(&self, host: usize, service: &str) -> String {
        let label = format!("label=com.docker.swarm.service.name={service}");
        let ids = self.0[host].docker(&["ps", "-q", "--filter", &label]).ok();
        ids.lines().next().unwrap_or_else(|| panic!("no task of {service} on {host}")).to_owned()
    }

    /// What a script prints in the service's container on a host; nothing when it fails.
    pub(crate) fn inside(&self, host: usize, service: &str, script: &str) -> String {
        self.on(host, &self.container(host, service), script)
    }

    pub(crate) fn on(&self, host: usize, container: &str, script: &str) -> String {
        let output = self.0[host].docker(&["exec", container, "sh", "-c", script]);
        if output.status == 0 { output.stdout.trim().to_owned() } else { String::new() }
    }

    /// What [`WHO`] answers a task of the service at `name`, as soon as it does: names are known before the way is there.
    pub(crate) fn hear(&self, host: usize, service: &str, name: &str) -> String {
        let container = self.container(host, service);
        eventually("somebody answers", || {
            Some(self.on(host, &container, &ask(name))).filter(|said| !said.is_empty())
        })
    }

    /// The answers of a name's addresses, sorted.
    pub(crate) fn resolve(&self, host: usize, service: &str, name: &str) -> Vec<String> {
        let container = self.container(host, service);
        let script = format!("nslookup -type=a {name}. 127.0.0.11");
        let said = eventually("the resolver says something", || {
            let output = self.0[host].docker(&["exec", &container, "sh", "-c", &script]);
            let text = format!("{}{}", output.stdout, output.stderr);
            let silent = ["timed out", "no servers", "No such container", "is not running"];
            (!silent.iter().any(|words| text.contains(words))).then_some(output)
        });
        if said.status == 0 { addresses(&said.stdout) } else { Vec::new() }
    }

    pub(crate) fn address(&self, host: usize, container: &str, network: &str) -> String {
        let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        self.0[host].docker(&["inspect", "--format", &format, container]).ok()
    }

    /// What the port of a host answers to a machine outside; nothing if it does not.
    pub(crate) fn seen_from_outside(&self, host: usize, port: u16) -> String {
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
pub(crate) fn ask(name: &str) -> String {
    format!("printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | timeout 20 nc {name} 80 | tail -n 1")
}
