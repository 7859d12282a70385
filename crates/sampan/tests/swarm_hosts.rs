//! A swarm of several hosts, driven by the real docker CLI as the tutorials drive it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Hosts, Options, eventually};

/// A command that ends at once on SIGTERM.
const WAIT: &str = "trap 'exit 0' TERM; sleep 86400 & wait";

fn hosts(count: u8) -> Hosts {
    Hosts::start(count, &Options::with_images(&["busybox"]))
}

/// The lines that `docker` prints with this template, sorted.
#[track_caller]
fn lines(hosts: &Hosts, on: usize, args: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = hosts[on].docker(args).ok().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Waits until the service's tasks run on these nodes.
#[track_caller]
fn settles_on(hosts: &Hosts, on: usize, service: &str, nodes: &[&str]) {
    eventually(&format!("{service} runs on {nodes:?}"), || {
        (hosts.running_on(on, service) == nodes).then_some(())
    });
}

/// Waits until so many tasks of the service run, none of them on `without`.
#[track_caller]
fn settles_without(hosts: &Hosts, on: usize, service: &str, count: usize, without: &str) {
    eventually(&format!("{count} tasks of {service} run, none on {without}"), || {
        let nodes = hosts.running_on(on, service);
        (nodes.len() == count && !nodes.iter().any(|node| node == without)).then_some(())
    });
}

/// How many containers of the service run on a host, by its own word.
#[track_caller]
fn containers(hosts: &Hosts, on: usize, service: &str) -> usize {
    let label = format!("label=com.docker.swarm.service.name={service}");
    hosts[on].docker(&["ps", "-q", "--filter", &label]).ok().lines().count()
}

fn create(hosts: &Hosts, name: &str, replicas: &str) {
    let args = [
        "service",
        "create",
        "--name",
        name,
        "--replicas",
        replicas,
        "--restart-delay",
        "0s",
        "busybox",
        "sh",
        "-c",
        WAIT,
    ];
    hosts[0].docker(&args).ok();
}

#[test]
fn the_tutorial_on_three_hosts() {
    let hosts = hosts(3);
    let second = ["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "far1"];
    hosts[0].namespace().run(&second).unwrap();
    hosts[0].namespace().run(&["ip", "addr", "add", "192.168.99.100/24", "dev", "eth1"]).unwrap();
    hosts[0].namespace().run(&["ip", "link", "set", "eth1", "up"]).unwrap();
    let refused = hosts[0].docker(&["swarm", "init"]).err();
    assert!(
        refused.contains(
            "could not choose an IP address to advertise since this system has multiple addresses"
        ),
        "{refused}"
    );
    assert!(refused.contains("specify one with --advertise-addr"), "{refused}");
    let ours = hosts[0].sampan_command().unwrap().args(["swarm", "init"]).output().unwrap();
    let ours = String::from_utf8(ours.stderr).unwrap();
    assert!(ours.contains(") - specify one with --advertise-addr"), "{ours}");

    let first = hosts[0].address().to_string();
    let said = hosts[0].docker(&["swarm", "init", "--advertise-addr", &first]).ok();
    assert!(said.contains("is now a manager."), "{said}");
    let join =
        said.lines().find(|line| line.contains("docker swarm join --token SWMTKN-1-")).unwrap();
    assert!(join.ends_with(&format!("{first}:2377")), "{join}");
    let token = hosts[0].docker(&["swarm", "join-token", "-q", "worker"]).ok();
    for host in hosts.iter().skip(1) {
        let said =
            host.docker(&["swarm", "join", "--token", &token, &format!("{first}:2377")]).ok();
        assert_eq!(said, "This node joined a swarm as a worker.");
    }
    eventually("three nodes are ready", || {
        let nodes = lines(
            &hosts,
            0,
            &[
                "node",
                "ls",
                "--format",
                "{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}} {{.Self}}",
            ],
        );
        (nodes
            == [
                "node1 Ready Active Leader true",
                "node2 Ready Active  false",
                "node3 Ready Active  false",
            ])
        .then_some(())
    });

    let args =
        ["service", "create", "--name", "web", "--replicas", "3", "busybox", "sh", "-c", WAIT];
    let said = hosts[0].docker(&args).ok();
    assert!(said.contains("converged"), "{said}");
    assert_eq!(
        lines(
            &hosts,
            0,
            &["service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}}"]
        ),
        ["web replicated 3/3 busybox:latest"]
    );
    settles_on(&hosts, 0, "web", &["node1", "node2", "node3"]);
    for (place, _) in hosts.iter().enumerate() {
        assert_eq!(containers(&hosts, place, "web"), 1);
    }

    hosts[0].docker(&["service", "scale", "web=2"]).ok();
    settles_without(&hosts, 0, "web", 2, "nowhere");
    hosts[0].docker(&["service", "scale", "web=3"]).ok();
    settles_on(&hosts, 0, "web", &["node1", "node2", "node3"]);

    hosts[0].docker(&["service", "update", "--env-add", "A=b", "web"]).ok();
    let env = hosts[0]
        .docker(&[
            "service",
            "inspect",
            "web",
            "--format",
            "{{json .Spec.TaskTemplate.ContainerSpec.Env}}",
        ])
        .ok();
    assert_eq!(env, "[\"A=b\"]");
    hosts[0].docker(&["service", "update", "--rollback", "web"]).ok();
    hosts[0].docker(&["service", "update", "--force", "web"]).ok();

    hosts[0].docker(&["node", "update", "--availability", "drain", "node3"]).ok();
    eventually("node3 is empty", || (containers(&hosts, 2, "web") == 0).then_some(()));
    settles_without(&hosts, 0, "web", 3, "node3");
    hosts[0]
        .docker(&["node", "update", "--availability", "active", "--label-add", "disk=ssd", "node3"])
        .ok();
    let pinned = [
        "service",
        "create",
        "--name",
        "pinned",
        "--constraint",
        "node.labels.disk==ssd",
        "busybox",
        "sh",
        "-c",
        WAIT,
    ];
    hosts[0].docker(&pinned).ok();
    settles_on(&hosts, 0, "pinned", &["node3"]);
    hosts[0]
        .docker(&[
            "service", "create", "--mode", "global", "--name", "each", "busybox", "sh", "-c", WAIT,
        ])
        .ok();
    settles_on(&hosts, 0, "each", &["node1", "node2", "node3"]);

    hosts[0].docker(&["service", "rm", "web", "pinned", "each"]).ok();
    assert_eq!(lines(&hosts, 0, &["service", "ls", "-q"]), Vec::<String>::new());
    for (place, _) in hosts.iter().enumerate() {
        eventually("no container is left", || {
            hosts[place].docker(&["ps", "-aq"]).ok().is_empty().then_some(())
        });
    }
    assert_eq!(hosts[2].docker(&["swarm", "leave"]).ok(), "Node left the swarm.");
    let left = hosts[2].docker(&["service", "ls"]).err();
    assert!(left.contains("This node is not a swarm manager"), "{left}");
}

#[test]
fn another_manager_leads_when_the_leader_dies() {
    let mut hosts = hosts(3);
    hosts.swarm(3);
    create(&hosts, "web", "3");
    settles_on(&hosts, 0, "web", &["node1", "node2", "node3"]);

    hosts[0].power_off();
    eventually("an update is accepted by another manager", || {
        let update = hosts[1].docker(&[
            "service",
            "update",
            "--detach",
            "--label-add",
            "after=death",
            "web",
        ]);
        (update.status == 0).then_some(())
    });
    settles_without(&hosts, 1, "web", 3, "node1");

    hosts[0].again();
    eventually("the old leader is a manager again", || {
        let nodes = lines(
            &hosts,
            0,
            &["node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}"],
        );
        let ready = nodes
            .iter()
            .filter(|line| line.ends_with("Ready Leader") || line.ends_with("Ready Reachable"))
            .count();
        (ready == 3).then_some(())
    });
    eventually("no duplicate remains", || {
        let running: usize = (0..3).map(|place| containers(&hosts, place, "web")).sum();
        (running == 3).then_some(())
    });
}

#[test]
fn a_lost_worker_is_replaced_and_comes_back_without_duplicates() {
    let mut hosts = hosts(3);
    hosts.swarm(1);
    create(&hosts, "web", "3");
    settles_on(&hosts, 0, "web", &["node1", "node2", "node3"]);

    hosts.isolate(2);
    settles_without(&hosts, 0, "web", 3, "node3");
    assert_eq!(containers(&hosts, 2, "web"), 1, "a node without managers keeps what runs");
    hosts.heal();
    eventually("the superseded task is stopped", || {
        (containers(&hosts, 2, "web") == 0).then_some(())
    });
    eventually("it is ready", || {
        let state =
            hosts[0].docker(&["node", "inspect", "node3", "--format", "{{.Status.State}}"]).ok();
        (state == "ready").then_some(())
    });

    let before = lines(&hosts, 1, &["ps", "-q", "--no-trunc"]);
    hosts[1].kill9();
    hosts[1].again();
    assert_eq!(
        lines(&hosts, 1, &["ps", "-q", "--no-trunc"]),
        before,
        "containers outlive their daemon"
    );
    eventually("it is ready again", || {
        let state =
            hosts[0].docker(&["node", "inspect", "node2", "--format", "{{.Status.State}}"]).ok();
        (state == "ready").then_some(())
    });
    joins_again_as_another_node(&hosts);
}

/// A machine that left by force is another node when it is back. What it was stays on the list, with its place in the
/// networks, until somebody removes it.
fn joins_again_as_another_node(hosts: &Hosts) {
    hosts[0].docker(&["network", "create", "-d", "overlay", "net"]).ok();
    let words = ["service", "create", "--mode", "global", "--name", "each", "--network", "net"];
    let program = ["--restart-delay", "0s", "busybox", "sh", "-c", WAIT];
    hosts[0].docker(&[&words[..], &program].concat()).ok();
    settles_on(hosts, 0, "each", &["node1", "node2", "node3"]);
    let token = hosts[0].docker(&["swarm", "join-token", "-q", "worker"]).ok();
    hosts[2].docker(&["swarm", "leave", "--force"]).ok();
    let manager = format!("{}:2377", hosts[0].address());
    hosts[2].docker(&["swarm", "join", "--token", &token, &manager]).ok();
    eventually("a task runs on the machine again", || {
        (containers(hosts, 2, "each") == 1).then_some(())
    });
    assert_eq!(lines(hosts, 0, &["node", "ls", "-q"]).len(), 4);
}

#[test]
fn a_cluster_that_lost_its_majority_is_made_anew_by_force() {
    let mut hosts = hosts(3);
    hosts.swarm(3);
    create(&hosts, "web", "2");
    settles_without(&hosts, 0, "web", 2, "nowhere");
    hosts[1].power_off();
    hosts[2].power_off();
    let first = hosts[0].address().to_string();
    hosts[0].docker(&["swarm", "init", "--force-new-cluster", "--advertise-addr", &first]).ok();
    settles_on(&hosts, 0, "web", &["node1", "node1"]);
    hosts[0].docker(&["service", "scale", "--detach", "web=1"]).ok();
    settles_on(&hosts, 0, "web", &["node1"]);
}

#[test]
fn wrong_tokens_and_addresses_change_nothing() {
    let hosts = hosts(2);
    let first = hosts[0].address().to_string();
    hosts[0].docker(&["swarm", "init", "--advertise-addr", &first]).ok();
    let token = hosts[0].docker(&["swarm", "join-token", "-q", "worker"]).ok();
    let at = format!("{first}:2377");
    let join = |token: &str| hosts[1].docker(&["swarm", "join", "--token", token, &at]).err();
    assert!(join("nonsense").contains("invalid join token"), "{}", join("nonsense"));
    let (head, _) = token.rsplit_once('-').unwrap();
    let wrong_secret = join(&format!("{head}-{}", "0".repeat(25)));
    assert!(wrong_secret.contains("valid join token"), "{wrong_secret}");
    let (_, secret) = token.rsplit_once('-').unwrap();
    let wrong_root = join(&format!("SWMTKN-1-{}-{secret}", "1".repeat(50)));
    assert!(wrong_root.contains("fingerprint"), "{wrong_root}");
    assert_eq!(
        hosts[1].docker(&["info", "--format", "{{.Swarm.LocalNodeState}}"]).ok(),
        "inactive"
    );
    assert_eq!(lines(&hosts, 0, &["node", "ls", "-q"]).len(), 1);

    hosts[0].docker(&["swarm", "join-token", "--rotate", "-q", "worker"]).ok();
    assert!(join(&token).contains("valid join token"));
    let again = hosts[0].docker(&["swarm", "init", "--advertise-addr", &first]).err();
    assert!(again.contains("This node is already part of a swarm."), "{again}");
    let leave = hosts[0].docker(&["swarm", "leave"]).err();
    assert!(
        leave.contains("Removing the last manager erases all current state of the swarm."),
        "{leave}"
    );
    hosts[0].docker(&["swarm", "leave", "--force"]).ok();
    assert_eq!(
        hosts[0].docker(&["info", "--format", "{{.Swarm.LocalNodeState}}"]).ok(),
        "inactive"
    );
}

#[test]
fn a_container_is_reached_from_any_node() {
    let mut hosts = hosts(3);
    hosts.swarm(1);
    let args = ["service", "create", "--detach", "--name", "web", "--replicas", "3"];
    hosts[0]
        .docker(&[&args[..], &["busybox", "sh", "-c", "echo up; exec sleep 86400"]].concat())
        .ok();
    settles_on(&hosts, 0, "web", &["node1", "node2", "node3"]);
    let third = hosts[2].docker(&["ps", "-q", "--no-trunc"]).ok();
    let name = hosts[2].docker(&["ps", "--format", "{{.Names}}"]).ok();
    for on in 0..3 {
        let from = |args: &[&str]| hosts[on].docker(args).ok();
        assert_eq!(from(&["exec", &third, "echo", "hello"]), "hello", "from node{}", on + 1);
        assert_eq!(hosts[on].docker_with(&["exec", "-i", &name, "cat"], b"typed").ok(), "typed");
        assert_eq!(from(&["inspect", "--format", "{{.Id}}", &name]), third);
        assert_eq!(from(&["logs", &third[..12]]), "up");
        assert!(from(&["top", &third]).contains("sleep 86400"));
        let shown = from(&["stats", "--no-stream", "--format", "{{.ID}} {{.PIDs}}", &third]);
        assert_eq!(shown, format!("{} 1", &third[..12]));
        let copy = hosts[on].dir().join("copy");
        from(&["cp", &format!("{name}:/etc/hostname"), copy.to_str().unwrap()]);
        assert_eq!(std::fs::read_to_string(copy).unwrap().trim(), &third[..12]);
    }
    // What happened is told anywhere, whoever wrote it down.
    for on in 0..3 {
        eventually("the past is told", || {
            let format = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}";
            let past = ["events", "--since", "1h", "--until", "0s", "--format", format];
            let told = lines(&hosts, on, &past);
            let has = |line: &str| told.iter().any(|have| have.starts_with(line));
            (has("service create web") && has("task update web.3.")).then_some(())
        });
    }
    // Cluster calls on a worker are sent on to a manager.
    assert_eq!(
        lines(&hosts, 1, &["service", "ls", "--format", "{{.Name}} {{.Replicas}}"]),
        ["web 3/3"]
    );
    hosts[1].docker(&["service", "scale", "--detach", "web=1"]).ok();
    settles_without(&hosts, 0, "web", 1, "nowhere");
    let absent = hosts[1].docker(&["exec", "nobody", "true"]).err();
    assert!(absent.contains("No such container: nobody"), "{absent}");

    // A node that is gone is named, and the others' lines go on.
    hosts[0].docker(&["service", "scale", "--detach", "web=3"]).ok();
    settles_on(&hosts, 0, "web", &["node1", "node2", "node3"]);
    let gone = hosts[2].docker(&["info", "--format", "{{.Swarm.NodeID}}"]).ok();
    hosts[2].kill9();
    let output = hosts[0].docker(&["service", "logs", "--raw", "web"]);
    assert!(output.stdout.lines().filter(|line| *line == "up").count() >= 2, "{output:?}");
    let missing = output.stderr.lines().find(|line| line.contains("are missing"));
    assert!(missing.is_some_and(|line| line.contains(&gone)), "{output:?}");
}

#[test]
fn roles_change_without_a_restart() {
    let hosts = hosts(3);
    hosts.swarm(1);
    hosts[0].docker(&["node", "promote", "node2", "node3"]).ok();
    let managers = || {
        let format = ["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"];
        lines(&hosts, 0, &format)
    };
    eventually("three managers", || {
        (managers() == ["node1 Leader", "node2 Reachable", "node3 Reachable"]).then_some(())
    });
    hosts[1].docker(&["service", "ls"]).ok();
    hosts[0].docker(&["node", "demote", "node3"]).ok();
    eventually("two managers", || {
        (managers() == ["node1 Leader", "node2 Reachable", "node3 "]).then_some(())
    });
    eventually("the demoted node knows", || {
        let role = hosts[2].docker(&["info", "--format", "{{.Swarm.ControlAvailable}}"]).ok();
        (role == "false").then_some(())
    });
    let last = |args: &[&str]| hosts[0].docker(args);
    last(&["node", "demote", "node2"]).ok();
    eventually("one manager", || {
        (managers() == ["node1 Leader", "node2 ", "node3 "]).then_some(())
    });
    let refused = last(&["node", "demote", "node1"]).err();
    assert!(refused.contains("last manager"), "{refused}");
}
