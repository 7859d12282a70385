//! The cluster's objects on one host, by the real docker CLI and by `sampan`: what they print and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Daemon, Hosts, Options, eventually};

/// A command that ends at once on SIGTERM.
const WAIT: &str = "echo here; trap 'exit 0' TERM; sleep 86400 & wait";

/// A swarm of one.
fn swarm() -> Hosts {
    let hosts = Hosts::start(1, &Options::with_images(&["busybox"]));
    let address = hosts[0].address().to_string();
    hosts[0].docker(&["swarm", "init", "--advertise-addr", &address]).ok();
    hosts
}

fn create(host: &Daemon, more: &[&str]) -> String {
    let command = ["service", "create", "--detach", "--restart-delay", "0s"];
    let command = [&command[..], more, &["busybox", "sh", "-c", WAIT]].concat();
    host.docker(&command).ok()
}

#[test]
fn secrets_and_configs_are_kept_listed_and_guarded() {
    let hosts = swarm();
    let host = &hosts[0];
    for kind in ["secret", "config"] {
        let id = host.docker_with(&[kind, "create", "--label", "a=b", "one", "-"], b"text").ok();
        let list = [kind, "ls", "--format", "{{.ID}} {{.Name}} {{.Labels}}"];
        assert_eq!(host.docker(&list).ok(), format!("{id} one a=b"));
        assert_eq!(host.sampan(&list).ok(), format!("{id} one a=b"));
        let twice = host.docker_with(&[kind, "create", "one", "-"], b"text").err();
        let want = format!("rpc error: code = AlreadyExists desc = {kind} one already exists");
        assert!(twice.contains(&want), "{twice}");
        let missing = host.docker(&[kind, "rm", "nope"]).err();
        assert!(missing.contains(&format!("{kind} nope not found")), "{missing}");
    }
    let shown = host.docker(&["secret", "inspect", "one"]).ok();
    assert!(!shown.contains("Data"), "a secret's data are shown: {shown}");
    assert!(host.docker(&["config", "inspect", "--pretty", "one"]).ok().contains("text"));

    create(host, &["--name", "web", "--secret", "one", "--config", "one"]);
    for kind in ["secret", "config"] {
        let used = host.docker(&[kind, "rm", "one"]).err();
        let want = format!("{kind} 'one' is in use by the following service: web");
        assert!(used.contains(&want), "{used}");
    }
    host.docker(&["service", "rm", "web"]).ok();
    for kind in ["secret", "config"] {
        assert_eq!(host.sampan(&[kind, "rm", "one"]).ok(), "one");
        assert_eq!(host.docker(&[kind, "ls", "-q"]).ok(), "");
    }
    hosts.leave();
}

#[test]
fn a_services_life_as_docker_and_sampan_show_it() {
    let hosts = swarm();
    let host = &hosts[0];
    create(host, &["--name", "web", "--replicas", "2", "--label", "a=b", "--update-monitor", "1s"]);
    let taken = host.docker(&["service", "create", "--detach", "--name", "web", "busybox"]).err();
    let want = "name conflicts with an existing object: service web already exists";
    assert!(taken.contains(want), "{taken}");
    let list = ["service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}}"];
    eventually("two tasks run", || {
        (host.docker(&list).ok() == "web replicated 2/2 busybox:latest").then_some(())
    });
    assert_eq!(host.sampan(&list).ok(), host.docker(&list).ok());
    let tasks =
        ["service", "ps", "web", "--format", "{{.Name}} {{.Image}} {{.Node}} {{.DesiredState}}"];
    let want = "web.1 busybox:latest node1 Running\nweb.2 busybox:latest node1 Running";
    assert_eq!(host.docker(&tasks).ok(), want);
    assert_eq!(host.sampan(&tasks).ok(), want);
    for told in [
        host.docker(&["service", "inspect", "--pretty", "web"]).ok(),
        host.sampan(&["service", "inspect", "--pretty", "web"]).ok(),
    ] {
        for line in
            ["Name:\t\tweb", "Service Mode:\tReplicated", " Replicas:\t2", "Labels:", " a=b"]
        {
            assert!(told.contains(line), "{line:?} in {told}");
        }
    }

    let said = host.sampan(&["service", "scale", "web=1"]).ok();
    assert!(said.contains("web scaled to 1") && said.contains("converged"), "{said}");
    assert!(said.contains("overall progress: 1 out of 1 tasks"), "{said}");
    let said = host.docker(&["service", "update", "--env-add", "A=1", "web"]).ok();
    assert!(said.contains("converged"), "{said}");
    let env = ["service", "inspect", "web", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Env}}"];
    assert_eq!(host.docker(&env).ok(), "[A=1]");
    let said = host.sampan(&["service", "update", "--env-add", "B=2", "--env-rm", "A", "web"]).ok();
    assert!(said.contains("converged"), "{said}");
    assert_eq!(host.docker(&env).ok(), "[B=2]");
    host.docker(&["service", "rollback", "--detach", "web"]).ok();
    assert_eq!(host.docker(&env).ok(), "[A=1]");

    let logs = eventually("a line of the logs", || {
        let logs = host.docker(&["service", "logs", "web"]).ok();
        logs.contains("here").then_some(logs)
    });
    assert!(logs.contains("@node1    | here"), "{logs}");
    let logs = host.sampan(&["service", "logs", "web"]).ok();
    assert!(logs.contains("web.1.") && logs.contains("@node1    | here"), "{logs}");

    assert_eq!(host.sampan(&["service", "rm", "web"]).ok(), "web");
    assert_eq!(host.docker(&["service", "ls", "-q"]).ok(), "");
    let gone = host.docker(&["service", "ps", "web"]).err();
    assert!(gone.contains("no such service: web"), "{gone}");
    hosts.leave();
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let hosts = swarm();
    let host = &hosts[0];
    let refused = [
        (vec!["--name", "a.b"], "name must be valid as a DNS name component"),
        (vec!["--limit-memory", "1m"], "invalid memory value 1048576: Must be at least 4MiB"),
        (vec!["--constraint", "node.role=manager"], "constraint expected one operator from ==, !="),
        (vec!["--network", "nowhere"], "network nowhere not found"),
        (vec!["--secret", "nowhere"], "secret not found: nowhere"),
        (vec!["--mode", "global", "--replicas", "2"], "replicas can only be used with replicated"),
    ];
    for (flags, want) in refused {
        let args = [&["service", "create", "--detach"][..], &flags, &["busybox"]].concat();
        let told = host.docker(&args).err();
        assert!(told.contains(want), "{flags:?}: {told}");
        let told = host.sampan(&args).err();
        assert!(told.contains(want), "sampan {flags:?}: {told}");
    }
    assert_eq!(host.docker(&["service", "ls", "-q"]).ok(), "");
    let device = ["service", "create", "--detach", "--device", "/dev/null", "busybox"];
    let told = host.sampan(&device).err();
    assert!(told.contains("the cluster's policy does not allow services to use devices"), "{told}");
    assert_eq!(host.sampan(&["swarm", "update", "--allow", "devices"]).ok(), "Swarm updated.");
    host.sampan(&device).ok();
    hosts.leave();
}

#[test]
fn nodes_and_the_swarm_itself() {
    let hosts = swarm();
    let host = &hosts[0];
    let list = "{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}} {{.Self}}";
    let list = ["node", "ls", "--format", list];
    eventually("the node is ready", || {
        (host.docker(&list).ok() == "node1 Ready Active Leader true").then_some(())
    });
    assert_eq!(host.sampan(&list).ok(), host.docker(&list).ok());
    assert_eq!(host.docker(&["node", "update", "--label-add", "rack=1", "node1"]).ok(), "node1");
    let labels = ["node", "inspect", "self", "--format", "{{.Spec.Labels}}"];
    assert_eq!(host.docker(&labels).ok(), "map[rack:1]");
    assert_eq!(host.sampan(&["node", "update", "--label-rm", "rack", "node1"]).ok(), "node1");
    assert_eq!(host.docker(&labels).ok(), "map[]");
    let last = host.docker(&["node", "demote", "node1"]).err();
    assert!(last.contains("attempting to demote the last manager of the swarm"), "{last}");
    let up = host.docker(&["node", "rm", "node1"]).err();
    assert!(up.contains("is a cluster manager and is a member of the raft cluster"), "{up}");

    let token = host.docker(&["swarm", "join-token", "-q", "worker"]).ok();
    assert!(token.starts_with("SWMTKN-1-"), "{token}");
    assert_eq!(host.sampan(&["swarm", "join-token", "-q", "worker"]).ok(), token);
    let rotated = host.docker(&["swarm", "join-token", "-q", "--rotate", "worker"]).ok();
    assert_ne!(rotated, token);
    let again = host.docker(&["swarm", "init"]).err();
    assert!(again.contains("This node is already part of a swarm."), "{again}");
    let info =
        host.docker(&["info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.Nodes}}"]).ok();
    assert_eq!(info, "active 1");

    assert!(host.docker(&["swarm", "leave"]).err().contains("participating as a manager"));
    assert_eq!(host.sampan(&["swarm", "leave", "--force"]).ok(), "Node left the swarm.");
    let out = host.docker(&["node", "ls"]).err();
    assert!(out.contains("This node is not a swarm manager."), "{out}");
    hosts.leave();
}

#[test]
fn networks_of_the_cluster_stand_beside_those_of_the_node() {
    let hosts = swarm();
    let host = &hosts[0];
    let id = host.docker(&["network", "create", "-d", "overlay", "--attachable", "net"]).ok();
    let list =
        ["network", "ls", "--filter", "name=net", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"];
    assert_eq!(host.docker(&list).ok(), "net overlay swarm");
    let seen = ["network", "inspect", "net", "--format", "{{.Id}} {{.Scope}} {{.Attachable}}"];
    assert_eq!(host.docker(&seen).ok(), format!("{id} swarm true"));
    for driver in ["overlay", "bridge"] {
        let taken = host.docker(&["network", "create", "-d", driver, "net"]).err();
        assert!(taken.contains("network with name net already exists"), "{driver}: {taken}");
    }
    create(host, &["--name", "web", "--network", "net"]);
    let used = host.docker(&["network", "rm", "net"]).err();
    assert!(used.contains("is in use by service"), "{used}");
    host.docker(&["service", "rm", "web"]).ok();
    eventually("the network is free", || {
        (host.docker(&["network", "rm", "net"]).status == 0).then_some(())
    });
    assert_eq!(host.docker(&list).ok(), "");
    hosts.leave();
}
