//! What only our daemon answers: why, plan, doctor, and the cluster in a file.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use testkit::{Daemon, Hosts, Options, eventually};

/// A command that ends at once on SIGTERM.
const WAIT: &str = "trap 'exit 0' TERM; sleep 86400 & wait";

/// A swarm of one, and a host beside it that is in none.
fn hosts() -> Hosts {
    let hosts = Hosts::start(2, &Options::with_images(&["busybox"]));
    let address = hosts[0].address().to_string();
    hosts[0].docker(&["swarm", "init", "--advertise-addr", &address]).ok();
    hosts
}

fn create(host: &Daemon, more: &[&str]) {
    let command = ["service", "create", "--detach", "--update-monitor", "1s"];
    host.docker(&[&command[..], more, &["busybox", "sh", "-c", WAIT]].concat()).ok();
}

#[test]
fn what_waits_is_explained_and_what_would_change_is_told() {
    let hosts = hosts();
    let host = &hosts[0];
    create(host, &["--name", "web", "--replicas", "2"]);
    create(host, &["--name", "nowhere", "--constraint", "node.labels.zone==a"]);
    let running = ["service", "ls", "-f", "name=web", "--format", "{{.Replicas}}"];
    eventually("two tasks run", || (host.docker(&running).ok() == "2/2").then_some(()));
    let why = eventually("a task that no node takes is explained", || {
        let told = host.sampan(&["why", "nowhere.1"]).ok();
        told.contains("no suitable node").then_some(told)
    });
    assert!(why.contains("node node1: node.labels.zone == a does not hold for \"\""), "{why}");
    eventually("its events are in the history", || {
        host.sampan(&["why", "nowhere"]).ok().contains("service nowhere create").then_some(())
    });
    let none = host.sampan(&["why", "ghost"]).err();
    assert!(none.contains("no service, node or task ghost in the swarm"), "{none}");

    let plan = host.sampan(&["plan", "--env-add", "A=b", "web"]).ok();
    for word in ["TaskTemplate.ContainerSpec.Env: (none)", "2 tasks started, 2 stopped, 0 kept"] {
        assert!(plan.contains(word), "{plan}");
    }
    assert_eq!(host.sampan(&["plan", "web"]).ok(), "web: nothing would change");
    assert_eq!(host.docker(&running).ok(), "2/2", "a plan changed something");
    host.docker(&["service", "rm", "web", "nowhere"]).ok();
}

#[test]
fn a_cluster_is_saved_and_made_anew_on_another_machine() {
    let hosts = hosts();
    let (host, other) = (&hosts[0], &hosts[1]);
    create(host, &["--name", "nowhere", "--constraint", "node.labels.zone==a"]);
    host.docker_with(&["secret", "create", "one", "-"], b"text").ok();
    let file = host.dir().join("cluster.snapshot");
    let name = file.to_str().unwrap();
    host.sampan(&["cluster", "snapshot", "save", name]).ok();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let about = host.sampan(&["cluster", "snapshot", "inspect", name]).ok();
    assert!(about.contains("SERVICE") && about.contains("SECRET"), "{about}");

    let cut = host.dir().join("cut.snapshot");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let refused = other.sampan(&["cluster", "snapshot", "restore", cut.to_str().unwrap()]).err();
    assert!(refused.contains("it is cut or changed"), "{refused}");
    let member = host.sampan(&["cluster", "snapshot", "restore", name]).err();
    assert!(member.contains("already part of a swarm"), "{member}");

    let address = other.address().to_string();
    let restore = ["cluster", "snapshot", "restore", "--advertise-addr", &address, name];
    other.sampan(&restore).ok();
    assert_eq!(other.docker(&["service", "ls", "--format", "{{.Name}}"]).ok(), "nowhere");
    assert_eq!(other.docker(&["secret", "ls", "--format", "{{.Name}}"]).ok(), "one");
    // The node of before is down at once.
    assert!(other.docker(&["node", "ls", "--format", "{{.Status}}"]).ok().contains("Down"));
    eventually("the new one is ready", || {
        let nodes = other.docker(&["node", "ls", "--format", "{{.Status}}"]).ok();
        (nodes.contains("Ready") && nodes.contains("Down")).then_some(())
    });
    let doctor = other.sampan(&["doctor"]);
    assert!(doctor.stdout.contains("is down"), "{}", doctor.stdout);
    other.docker(&["swarm", "leave", "--force"]).ok();
}
