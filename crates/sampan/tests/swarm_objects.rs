//! The cluster's objects on one host, by the real docker CLI and by `sampan`: what they print and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;
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
}

#[test]
fn a_config_changes_in_place_and_its_containers_are_told() {
    let hosts = swarm();
    let host = &hosts[0];
    // Three bytes each: 16 MiB are too much, and two are more than Swarm takes.
    let large = format!("{}eA==", "eHh4".repeat((16 << 20) / 3));
    let refused = host.post("/v1.41/configs/create", &json!({ "Name": "large", "Data": large }));
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("less than 16777216 bytes"), "{}", refused.text());
    let usual = "eHh4".repeat((2 << 20) / 3);
    let taken = host.post("/v1.41/configs/create", &json!({ "Name": "large", "Data": usual }));
    assert_eq!(taken.status, 201, "{}", taken.text());

    let labels = ["--label", "sampan.signal=SIGHUP"];
    let create = [&["config", "create"][..], &labels, &["page", "-"]].concat();
    let id = host.docker_with(&create, b"one").ok();
    let shown = "trap 'cat /etc/page; echo' HUP; trap 'exit 0' TERM; cat /etc/page; echo; while :; do sleep 86400 & wait; done";
    let config = "source=page,target=/etc/page";
    let service = ["service", "create", "--detach", "--name", "web", "--config", config, "busybox"];
    host.docker(&[&service[..], &["sh", "-c", shown]].concat()).ok();
    let logs = || host.docker(&["service", "logs", "--raw", "web"]).stdout;
    eventually("the first version is shown", || (logs() == "one\n").then_some(()));
    let page = host.get(&format!("/v1.41/configs/{id}")).json();
    let version = &page["Version"]["Index"];
    let spec = json!({ "Name": "page", "Labels": page["Spec"]["Labels"], "Data": "dHdv" });
    let path = format!("/v1.41/configs/{id}/update?version={version}");
    assert_eq!(host.post(&path, &spec).status, 200);
    eventually("the next version is shown", || (logs() == "one\ntwo\n").then_some(()));
    assert_eq!(host.docker(&["service", "ps", "-q", "web"]).ok().lines().count(), 1);
    let again = host.post(&path, &spec);
    assert!(again.text().contains("update out of sequence"), "{}", again.text());
}

#[test]
fn a_machine_becomes_a_node_by_one_command() {
    let mut hosts = Hosts::start(2, &Options::default());
    for host in hosts.iter_mut() {
        host.stop();
    }
    let by = |host: &Daemon, args: &[&str]| {
        let (dir, token) = (host.dir(), host.token());
        let settings = format!(
            "data-root = {:?}\nexec-root = {:?}\npidfile = {:?}\ncgroup-parent = \"/{token}\"\n",
            host.data_root(),
            host.exec_root(),
            dir.join("pid")
        );
        let file = dir.join("daemon.toml");
        std::fs::write(&file, settings).unwrap();
        let mut command = host.namespace().command(testkit::sampan_binary().unwrap());
        command.args(args).env("SAMPAN_HOST", host.host()).env("SAMPAN_CONFIG_FILE", file);
        // What ends with the test is known by this.
        command.env("SAMPAN_LOG_FILE", dir.join("own-log")).env("SMP_TESTKIT", token);
        let output = command.output().unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), told)
    };
    let address = hosts[0].address().to_string();
    let (done, told) = by(&hosts[0], &["init", "--advertise-addr", &address]);
    assert!(done && told.contains("Started the daemon (pid "), "{told}");
    assert!(told.contains("is now a manager."), "{told}");
    let token = hosts[0].docker(&["swarm", "join-token", "-q", "worker"]).ok();
    let smaller = ["link", "set", "eth0", "mtu", "1400"];
    assert!(hosts[1].namespace().command("ip").args(smaller).status().unwrap().success());
    let (done, told) = by(&hosts[1], &["join", "--token", &token, &format!("{address}:2377")]);
    assert!(done && told.contains("This node joined a swarm as a worker."), "{told}");
    eventually("two nodes are ready", || {
        let nodes = hosts[0].docker(&["node", "ls", "--format", "{{.Status}}"]).ok();
        (nodes == "Ready\nReady").then_some(())
    });
    // The daemon that runs is asked, and no other started.
    let (done, told) = by(&hosts[0], &["init", "--advertise-addr", &address]);
    assert!(!done && told.contains("already part of a swarm"), "{told}");
    assert!(!told.contains("Started"), "{told}");

    // How large packets pass is asked though there is no network that both are on.
    let told = hosts[1].sampan(&["doctor"]).stdout;
    assert!(told.contains("1400 on the interface that the swarm uses"), "{told}");
    eventually("the smaller interface is found", || {
        let told = hosts[0].sampan(&["doctor"]).stdout;
        let found = told.contains("1500 on the interface") && told.contains("do not pass to node");
        found.then_some(())
    });

    // Who leaves is down at once.
    assert_eq!(hosts[1].docker(&["swarm", "leave"]).ok(), "Node left the swarm.");
    let nodes = hosts[0].docker(&["node", "ls", "--format", "{{.Status}}"]).ok();
    assert!(nodes.contains("Down"), "{nodes}");
}

#[test]
fn a_manager_that_locks_itself_opens_with_its_key_alone() {
    let mut hosts = swarm();
    hosts[0].docker_with(&["secret", "create", "one", "-"], b"text").ok();
    let file = hosts[0].data_root().join("swarm/certificates/key.pem");
    let on_disk = || std::fs::read_to_string(&file).unwrap_or_default();
    let said = hosts[0].docker(&["swarm", "update", "--autolock=true"]).ok();
    assert!(said.contains("SWMKEY-1-"), "{said}");
    eventually("the key lies locked", || on_disk().contains("LOCKED").then_some(()));
    let first = hosts[0].docker(&["swarm", "unlock-key", "-q"]).ok();
    let before = on_disk();
    let key = hosts[0].docker(&["swarm", "unlock-key", "-q", "--rotate"]).ok();
    assert!(key.starts_with("SWMKEY-1-") && key != first, "{key}");
    eventually("it lies under the new key", || (on_disk() != before).then_some(()));

    hosts[0].restart();
    let state = |hosts: &Hosts| hosts[0].docker(&["info", "-f", "{{.Swarm.LocalNodeState}}"]).ok();
    assert_eq!(state(&hosts), "locked");
    let locked = hosts[0].docker(&["node", "ls"]).err();
    assert!(locked.contains("Swarm is encrypted and needs to be unlocked"), "{locked}");
    let named = hosts[0].sampan(&["doctor"]).stdout;
    assert!(named.contains("this manager is locked"), "{named}");
    let unlock =
        |key: &str| hosts[0].docker_with(&["swarm", "unlock"], format!("{key}\n").as_bytes());
    let wrong = unlock(&first).err();
    assert!(wrong.contains("invalid key provided"), "{wrong}");
    assert_eq!(state(&hosts), "locked");
    unlock(&key).ok();
    let secrets =
        |hosts: &Hosts| hosts[0].docker(&["secret", "ls", "--format", "{{.Name}}"]).stdout;
    eventually("it leads", || (secrets(&hosts) == "one\n").then_some(()));

    hosts[0].docker(&["swarm", "update", "--autolock=false"]).ok();
    eventually("the key lies open", || (!on_disk().contains("LOCKED")).then_some(()));
    hosts[0].restart();
    eventually("it leads by itself", || (secrets(&hosts) == "one\n").then_some(()));
}
