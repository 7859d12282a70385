//! What the cluster's networks refuse, on one host and by the real docker CLI: Docker's words, and nothing changed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;
use std::net::TcpListener;
use testkit::{Daemon, Hosts, Options, eventually};

/// Ends at once on SIGTERM.
const WAIT: &str = "trap 'exit 0' TERM; sleep 86400 & wait";

/// A swarm of one.
fn swarm(more: &[&str]) -> Hosts {
    let hosts = Hosts::start(1, &Options::with_images(&["busybox"]));
    let address = hosts[0].address().to_string();
    hosts[0].docker(&[&["swarm", "init", "--advertise-addr", &address][..], more].concat()).ok();
    hosts
}

fn create(host: &Daemon, more: &[&str]) -> String {
    let command = ["service", "create", "--detach", "--restart-delay", "0s"];
    host.docker(&[&command[..], more, &["busybox", "sh", "-c", WAIT]].concat()).ok()
}

fn overlay(host: &Daemon, more: &[&str]) -> String {
    host.docker(&[&["network", "create", "-d", "overlay"][..], more].concat()).ok()
}

/// All that a refusal may not change.
fn kept(host: &Daemon) -> Vec<String> {
    let lists: [&[&str]; 3] =
        [&["network", "ls", "-q", "--no-trunc"], &["service", "ls", "-q"], &["ps", "-aq"]];
    lists.iter().map(|list| host.docker(list).ok()).collect()
}

/// Each of the commands is refused with its words, and leaves everything as it is.
fn refused(host: &Daemon, cases: &[(&[&str], &str)]) {
    let before = kept(host);
    for (words, want) in cases {
        let told = host.docker(words).err();
        assert!(told.contains(want), "{words:?}: {told}");
    }
    assert_eq!(kept(host), before);
}

/// The errors of a service's tasks, a line for each task.
fn errors(host: &Daemon, service: &str) -> String {
    let format = "{{.CurrentState}} {{.Error}}";
    host.docker(&["service", "ps", "--no-trunc", "--format", format, service]).ok()
}

fn states(host: &Daemon, service: &str, state: &str) -> usize {
    errors(host, service).lines().filter(|line| line.starts_with(state)).count()
}

#[test]
fn networks_that_cannot_be_are_refused() {
    let hosts =
        swarm(&["--default-addr-pool", "10.90.0.0/23", "--default-addr-pool-mask-length", "24"]);
    let host = &hosts[0];
    // The ingress network has the pool's other half.
    overlay(host, &["one"]);
    overlay(host, &["--attachable", "--subnet", "10.50.0.0/24", "own"]);
    let new = |more: &[&'static str]| {
        [&["network", "create", "-d", "overlay"][..], more, &["new"]].concat()
    };
    let overlaps = "invalid pool request: Pool overlaps with other one on this address space";
    let exhausted = "all predefined address pools have been fully subnetted";
    refused(
        host,
        &[
            (&new(&["--subnet", "10.50.0.0/24"]), overlaps),
            (&new(&["--subnet", "10.50.0.128/25"]), overlaps),
            (&new(&["--subnet", "10.0.0.0/8"]), overlaps),
            (&new(&[]), exhausted),
            (&new(&["--subnet", "nowhere"]), "invalid subnet nowhere: invalid CIDR block notation"),
            (
                &new(&["--subnet", "10.51.0.9/24"]),
                "invalid subnet 10.51.0.9/24: it should be 10.51.0.0/24",
            ),
            (
                &new(&["--subnet", "10.51.0.0/24", "--ip-range", "10.51.0.0/16"]),
                "invalid ip-range 10.51.0.0/16: CIDR block is bigger than its parent subnet 10.51.0.0/24",
            ),
            (
                &new(&["--opt", "mode=pigeon"]),
                "invalid mode \"pigeon\": vxlan, direct and wireguard are there",
            ),
            (&new(&["--opt", "mode=vxlan", "--opt", "encrypted"]), "mode vxlan does not encrypt"),
            (
                &new(&["--subnet", "10.51.0.0/24", "--subnet", "10.52.0.0/24"]),
                "has one IPv4 subnet",
            ),
            (&new(&["--ingress"]), "is already present"),
            (
                &["network", "create", "-d", "overlay", "own"],
                "network with name own already exists",
            ),
            (&["network", "rm", "nowhere"], "network nowhere not found"),
        ],
    );
    // The CLI compares these by itself; other clients do not.
    let before = kept(host);
    for (entry, want) in [
        (
            json!({ "Subnet": "10.51.0.0/24", "Gateway": "10.52.0.1" }),
            "invalid gateway 10.52.0.1: parent subnet 10.51.0.0/24 doesn't contain this address",
        ),
        (
            json!({ "Subnet": "10.51.0.0/24", "Gateway": "10.51.0.0" }),
            "failed to allocate gateway (10.51.0.0): requested address is out of range",
        ),
        (
            json!({ "Subnet": "10.51.0.0/24", "IPRange": "10.52.0.0/25" }),
            "invalid ip-range 10.52.0.0/25: parent subnet 10.51.0.0/24 doesn't contain ip-range",
        ),
        (
            json!({ "Subnet": "10.51.0.0/24", "AuxiliaryAddresses": { "router": "10.52.0.9" } }),
            "invalid auxiliary address router: parent subnet 10.51.0.0/24 doesn't contain this address",
        ),
    ] {
        let request =
            json!({ "Name": "new", "Driver": "overlay", "IPAM": { "Config": [entry.clone()] } });
        let told = host.post("/v1.41/networks/create", &request);
        assert!(told.status == 400 && told.text().contains(want), "{entry}: {}", told.text());
    }
    assert_eq!(kept(host), before);

    // A stack that needs a network gets none of its services either.
    let file = host.dir().join("stack.yaml");
    let service = "services: {web: {image: busybox, networks: [n]}}\n";
    for (network, want) in [
        ("{}", exhausted),
        (
            "{external: true, name: nowhere}",
            "network \"nowhere\" is declared as external, but could not be found",
        ),
    ] {
        std::fs::write(&file, format!("{service}networks: {{n: {network}}}\n")).unwrap();
        let deploy = ["stack", "deploy", "-c", file.to_str().unwrap(), "shop"];
        refused(host, &[(&deploy, want)]);
        let told = host.sampan(&deploy).err();
        assert!(told.contains(want), "{told}");
        assert_eq!(kept(host), before);
    }
    // What was given back can be had again.
    host.docker(&["network", "rm", "one"]).ok();
    overlay(host, &["two"]);
}

#[test]
fn addresses_that_cannot_be_had_are_refused() {
    let hosts = swarm(&[]);
    let host = &hosts[0];
    overlay(host, &["--attachable", "--subnet", "10.60.0.0/24", "net"]);
    overlay(host, &["--subnet", "10.61.0.0/24", "closed"]);
    overlay(host, &["--attachable", "--subnet", "10.62.0.0/29", "tiny"]);
    let run = ["run", "-d", "--name", "box", "--network", "net", "--ip", "10.60.0.7"];
    host.docker(&[&run[..], &["busybox", "sh", "-c", WAIT]].concat()).ok();
    host.docker(&["run", "-d", "--name", "plain", "busybox", "sh", "-c", WAIT]).ok();

    let outside = "no configured subnet contains IP address 10.99.0.7";
    let taken = "rpc error: code = FailedPrecondition desc = address 10.60.0.7 of network net is already in use";
    let not = "Could not attach to network closed: rpc error: code = PermissionDenied desc = network closed not manually attachable";
    let connect = |more: &[&'static str]| [&["network", "connect"][..], more, &["plain"]].concat();
    let create =
        |network: &'static str| ["service", "create", "--detach", "--network", network, "busybox"];
    refused(
        host,
        &[
            (&connect(&["nowhere"]), "network nowhere not found"),
            (&connect(&["closed"]), not),
            (&connect(&["--ip", "10.99.0.7", "net"]), outside),
            (&connect(&["--ip", "10.60.0.7", "net"]), taken),
            (&connect(&["--ip", "10.60.0.1", "net"]), "is already in use"),
            (&["network", "connect", "net", "nobody"], "No such container: nobody"),
            (&["network", "connect", "net", "box"], "already exists in network net"),
            (&["network", "disconnect", "net", "plain"], "is not connected to the network net"),
            (&create("nowhere"), "network nowhere not found"),
            (
                &create("ingress"),
                "Service cannot be explicitly attached to the ingress network \"ingress\"",
            ),
            (&["network", "rm", "net"], "is in use by task"),
        ],
    );
    let joined = ["inspect", "--format", "{{len .NetworkSettings.Networks}}", "plain"];
    assert_eq!(host.docker(&joined).ok(), "1");
    // A container is made before its place is asked for, and stays as with dockerd.
    for (flags, want) in [
        (vec!["--network", "nowhere"], "network nowhere not found"),
        (vec!["--network", "closed"], not),
        (vec!["--network", "net", "--ip", "10.99.0.7"], outside),
        (vec!["--network", "net", "--ip", "10.60.0.7"], taken),
    ] {
        let words = [&["run", "--name", "new"][..], &flags, &["busybox", "true"]].concat();
        let told = host.docker(&words).err();
        assert!(told.contains(want), "{words:?}: {told}");
        let state = host.docker(&["inspect", "--format", "{{.State.Status}}", "new"]);
        assert!(
            state.status != 0 || state.stdout.trim() == "created",
            "{words:?}: {}",
            state.stdout
        );
        host.docker(&["rm", "-f", "new"]);
    }
    // A name goes before the beginning of an id, the cluster's and the node's.
    let id = |network| host.docker(&["network", "inspect", "--format", "{{.Id}}", network]).ok();
    for (name, subnet, networks) in
        [(&id("ingress")[..1], "10.63.0.0/24", "2"), (&id("bridge")[..2], "10.64.0.0/24", "3")]
    {
        overlay(host, &["--attachable", "--subnet", subnet, name]);
        host.docker(&["network", "connect", name, "plain"]).ok();
        assert_eq!(host.docker(&joined).ok(), networks, "{name}");
    }

    // More tasks than addresses: some run, the others say why they do not.
    let full = "network tiny has no free block for a node in 10.62.0.0/29";
    self::create(host, &["--name", "full", "--network", "tiny", "--replicas", "9"]);
    eventually("the network is full", || {
        let (runs, waits) = (states(host, "full", "Running"), states(host, "full", "Pending"));
        let told = errors(host, "full").matches(full).count();
        (runs > 0 && runs + waits == 9 && told == waits).then_some(())
    });
    let told = host.docker(&["run", "--rm", "--network", "tiny", "busybox", "true"]).err();
    assert!(told.contains("Could not attach to network tiny") && told.contains(full), "{told}");
    host.docker(&["service", "rm", "full"]).ok();
    eventually("addresses that were given back are had again", || {
        let run = ["run", "--rm", "--network", "tiny", "busybox", "true"];
        (host.docker(&run).status == 0).then_some(())
    });
}

#[test]
fn ports_that_are_taken_are_refused() {
    let hosts = swarm(&[]);
    let host = &hosts[0];
    let web = create(host, &["--name", "web", "--publish", "8080:80"]);
    create(host, &["--name", "own", "--publish", "mode=host,published=8090,target=80"]);
    eventually("both run", || {
        (states(host, "web", "Running") + states(host, "own", "Running") == 2).then_some(())
    });
    let by_web = format!(
        "rpc error: code = InvalidArgument desc = port '8080' is already in use by service 'web' ({web}) as an ingress port"
    );
    let publish = |port: &'static str| {
        ["service", "create", "--detach", "--name", "new", "--publish", port, "busybox"]
    };
    refused(
        host,
        &[
            (&publish("8080:81"), &by_web),
            (&publish("mode=host,published=8080,target=80"), &by_web),
            (&["service", "update", "--detach", "--publish-add", "8080:80", "own"], &by_web),
            (&publish("8090:80"), "as a host-published port"),
        ],
    );
    let ports = ["service", "inspect", "--format", "{{len .Endpoint.Ports}}", "own"];
    assert_eq!(host.docker(&ports).ok(), "1");

    // A port of hosts may be wanted twice: by two tasks on two hosts.
    create(host, &["--name", "next", "--publish", "mode=host,published=8090,target=80"]);
    let want = "no suitable node (host-mode port already in use on 1 node)";
    eventually("the other task says why it waits", || {
        errors(host, "next").contains(want).then_some(())
    });
    host.docker(&["service", "rm", "own"]).ok();
    eventually("it has the port next", || (states(host, "next", "Running") == 1).then_some(()));

    // A program outside of containers has it: no manager knows that, the task says so and is tried again.
    let listener = host.namespace().inside(|| Ok(TcpListener::bind(("0.0.0.0", 9999))?)).unwrap();
    create(host, &["--name", "late", "--publish", "mode=host,published=9999,target=80"]);
    let want = "failed to bind host port 0.0.0.0:9999/tcp: address already in use";
    eventually("a task says why it failed", || errors(host, "late").contains(want).then_some(()));
    assert_eq!(states(host, "late", "Running"), 0);
    drop(listener);
    eventually("it runs with the port", || (states(host, "late", "Running") == 1).then_some(()));
}
