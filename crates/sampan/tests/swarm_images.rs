//! Images of a swarm without a registry: built on one node, run on all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use testkit::{Daemon, Hosts, Options, eventually};

/// A command that ends at once on SIGTERM.
const WAIT: &str = "trap 'exit 0' TERM; sleep 86400 & wait";

/// Builds `name` on a host from busybox, with `version` in it.
fn build(hosts: &Hosts, on: usize, name: &str, version: &str) -> String {
    let context = tempfile::tempdir().unwrap();
    let dockerfile = format!("FROM busybox\nRUN echo {version} > /version\nCOPY file /file\n");
    fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    fs::write(context.path().join("file"), vec![b'x'; 3 << 20]).unwrap();
    let path = context.path().to_str().unwrap();
    hosts[on].docker(&["build", "--network", "none", "-t", name, path]).ok();
    hosts[on].docker(&["image", "inspect", "--format", "{{.Id}}", name]).ok()
}

/// What each host's container of the service has in `/version`, by the host's own word.
fn versions(hosts: &Hosts, service: &str) -> Vec<String> {
    hosts.iter().map(|host| versions_on(host, service)).collect()
}

fn versions_on(host: &Daemon, service: &str) -> String {
    let label = format!("label=com.docker.swarm.service.name={service}");
    let ids = host.docker(&["ps", "-q", "--filter", &label]).ok();
    let texts = ids.lines().map(|id| host.docker(&["exec", id, "cat", "/version"]).stdout);
    texts.collect::<String>().trim().replace('\n', " ")
}

fn options() -> Options {
    let listen = ["--registry-listen", "0.0.0.0:5000", "--registry-copies", "2"];
    Options { args: listen.map(str::to_owned).to_vec(), ..Options::default() }
}

/// Three hosts, the first a manager; busybox is on that one alone.
fn cluster() -> Hosts {
    let hosts = Hosts::start(3, &options());
    hosts[0].load(&testkit::images::archive("busybox").unwrap()).unwrap();
    hosts.swarm(1);
    hosts
}

/// Whether a host has the image.
fn has(hosts: &Hosts, on: usize, image: &str) -> bool {
    hosts[on].docker(&["image", "inspect", image]).status == 0
}

fn having(hosts: &Hosts, image: &str) -> usize {
    (0..hosts.iter().count()).filter(|on| has(hosts, *on, image)).count()
}

#[test]
fn what_is_built_on_one_node_runs_on_all() {
    let mut hosts = cluster();
    let id = build(&hosts, 0, "app:v1", "one");
    let create = ["service", "create", "--name", "app", "--mode", "global", "--update-delay", "0s"];
    let monitor = ["--update-monitor", "1s", "--restart-delay", "0s"];
    let command = ["app:v1", "sh", "-c", WAIT];
    hosts[0].docker(&[&create[..], &monitor, &command].concat()).ok();
    let all = ["node1", "node2", "node3"];
    eventually("a task runs on each node", || (hosts.running_on(0, "app") == all).then_some(()));
    assert_eq!(versions(&hosts, "app"), ["one", "one", "one"]);
    let image = ["service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}"];
    let image = hosts[0].docker(&[&image[..], &["app"]].concat()).ok();
    assert_eq!(image, format!("app:v1@{id}"), "all run the image that is meant by the tag now");
    assert_eq!(having(&hosts, &id), 3);

    // From a base image that only the first has, on a node that is no manager.
    let newer = build(&hosts, 1, "app:v2", "two");
    hosts[1].docker(&["service", "update", "--image", "app:v2", "app"]).ok();
    eventually("the second version runs everywhere", || {
        (versions(&hosts, "app") == ["two", "two", "two"]).then_some(())
    });

    // The node where it was built dies; the others have it.
    let fourth = hosts.add(&options()).unwrap();
    hosts[1].kill9();
    let token = hosts[0].docker(&["swarm", "join-token", "-q", "worker"]).ok();
    let manager = format!("{}:2377", hosts[0].address());
    hosts[fourth].docker(&["swarm", "join", "--token", &token, &manager]).ok();
    eventually("a node that came later runs it too", || {
        let running = versions_on(&hosts[fourth], "app");
        (running == "two" && has(&hosts, fourth, &newer)).then_some(())
    });
    hosts[1].again();
    hosts[0].docker(&["service", "rm", "app"]).ok();
}

#[test]
fn images_are_copied_and_kept_for_services() {
    let hosts = cluster();
    let id = build(&hosts, 0, "idle:v1", "one");
    let lone = build(&hosts, 0, "lone:v1", "lone");
    let said = hosts[0].sampan(&["push", "--to-cluster", "--copies", "2", "lone:v1"]).ok();
    assert!(said.contains("2 nodes have"), "{said}");
    assert_eq!(having(&hosts, "lone:v1"), 2);
    let said = hosts[0].sampan(&["push", "--to-cluster", "--copies", "0", "idle:v1"]).ok();
    assert!(said.contains("3 nodes have"), "{said}");
    let many = hosts[0].sampan(&["push", "--to-cluster", "--copies", "9", "lone:v1"]).err();
    assert!(many.contains("3 of 9 copies could be made"), "{many}");
    let ghost = hosts[0].sampan(&["push", "--to-cluster", "ghost"]).err();
    assert!(ghost.contains("No such image: ghost:latest"), "{ghost}");

    // A service that runs nowhere keeps its image on every node that has it; then it is like any other.
    let idle = ["service", "create", "--detach", "--name", "idle", "--replicas", "0", "idle:v1"];
    hosts[0].docker(&idle).ok();
    for on in 0..3 {
        hosts[on].docker(&["image", "prune", "-af"]).ok();
        assert!(has(&hosts, on, &id), "pruned on node{}", on + 1);
        assert!(!has(&hosts, on, &lone));
    }
    hosts[0].docker(&["service", "rm", "idle"]).ok();
    hosts[2].docker(&["image", "prune", "-af"]).ok();
    assert!(!has(&hosts, 2, &id));
    what_a_stack_builds_runs_on_all(&hosts);
}

/// Built where it is deployed, run everywhere, again and again; and a service of ours is pinned as docker pins it.
fn what_a_stack_builds_runs_on_all(hosts: &Hosts) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("Dockerfile", "FROM busybox\nCOPY version /version\n");
    let file = format!(
        "services:
  app:
    build: .
    image: made/here:v1
    command: [sh, -c, \"{WAIT}\"]
    deploy: {{mode: global, restart_policy: {{delay: 0s}}, update_config: {{monitor: 1s}}}}
"
    );
    write("stack.yml", &file);
    for version in ["one", "two"] {
        write("version", version);
        let words = ["stack", "deploy", "--detach=false", "-c", "stack.yml", "built"];
        hosts[0].sampan_in(dir.path(), &words).ok();
        assert_eq!(versions(hosts, "built_app"), [version; 3]);
    }
    hosts[0].sampan(&["stack", "rm", "built"]).ok();

    let create = ["service", "create", "-d", "--name", "pinned", "--replicas", "0", "made/here:v1"];
    hosts[0].sampan(&create).ok();
    let image = ["service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}"];
    let image = hosts[0].docker(&[&image[..], &["pinned"]].concat()).ok();
    let id = hosts[0].docker(&["image", "inspect", "--format", "{{.Id}}", "made/here:v1"]).ok();
    assert_eq!(image, format!("made/here:v1@{id}"));
    hosts[0].docker(&["service", "rm", "pinned"]).ok();
}

/// A client outside of the cluster, which knows the certificate and the token of its registry.
struct Outside<'a> {
    hosts: &'a Hosts,
    certificates: tempfile::TempDir,
    token: String,
}

impl Outside<'_> {
    /// `skopeo` with the words that its side of a copy takes.
    fn skopeo(&self, side: &str, token: &str, args: &[&str]) -> (bool, String) {
        let dir = self.certificates.path().to_str().unwrap();
        let side = if side.is_empty() { String::new() } else { format!("{side}-") };
        let (verb, rest) = args.split_first().unwrap();
        let mut command = self.hosts.hub().namespace().command("skopeo");
        command.args(["--insecure-policy", verb]);
        command.args([format!("--{side}cert-dir={dir}"), format!("--{side}creds=ci:{token}")]);
        let done = command.args(rest).output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
    #[track_caller]
    fn ok(&self, side: &str, args: &[&str]) -> String {
        let (ok, said) = self.skopeo(side, &self.token, args);
        assert!(ok, "{args:?}: {said}");
        said
    }
}

#[test]
fn what_is_pushed_from_outside_runs_in_the_cluster() {
    let hosts = cluster();
    let registry = format!("{}:5000", hosts[0].address());
    let certificates = tempfile::tempdir().unwrap();
    let root = hosts[0].sampan(&["cluster", "registry", "--ca"]).ok();
    fs::write(certificates.path().join("ca.crt"), root).unwrap();
    let token = hosts[0].sampan(&["cluster", "registry"]).ok();
    let outside = Outside { hosts: &hosts, certificates, token };
    let archive = testkit::images::archive("busybox").unwrap();
    let archive = format!("docker-archive:{}", archive.display());
    let pushed = format!("docker://{registry}/team/base:v1");

    let (ok, said) = outside.skopeo("dest", "SMPREG-1-wrong", &["copy", &archive, &pushed]);
    assert!(!ok && said.contains("authentication required"), "{said}");
    outside.ok("dest", &["copy", &archive, &pushed]);
    assert_eq!(having(&hosts, &format!("{registry}/team/base:v1")), 2, "as many as were asked for");
    let tags = outside.ok("", &["list-tags", &format!("docker://{registry}/team/base")]);
    assert!(tags.contains("\"v1\""), "{tags}");
    let described = outside.ok("", &["inspect", "--format", "{{.Digest}}", &pushed]);
    let digest = described.trim();

    // By the name under which it was pushed, on all nodes, from each other.
    let image = format!("{registry}/team/base:v1");
    let create =
        ["service", "create", "--name", "base", "--mode", "global", "--restart-delay", "0s"];
    hosts[0].docker(&[&create[..], &[&image, "sh", "-c", WAIT]].concat()).ok();
    let all = ["node1", "node2", "node3"];
    eventually("it runs on each node", || (hosts.running_on(0, "base") == all).then_some(()));
    let pinned = ["service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}"];
    let pinned = hosts[0].docker(&[&pinned[..], &["base"]].concat()).ok();
    assert_eq!(pinned, format!("{image}@{digest}"));

    // And back out again, as it was pushed, and what was built in the cluster too.
    let out = tempfile::tempdir().unwrap();
    let dir = |name: &str| format!("dir:{}", out.path().join(name).display());
    outside.ok("src", &["copy", &pushed, &dir("base")]);
    build(&hosts, 0, &format!("{registry}/built:v1"), "built");
    outside.ok("src", &["copy", &format!("docker://{registry}/built:v1"), &dir("built")]);
    let (ok, said) = outside.skopeo(
        "src",
        &outside.token,
        &["copy", &format!("docker://{registry}/ghost:v1"), &dir("ghost")],
    );
    assert!(!ok && said.contains("manifest unknown"), "{said}");
    hosts[0].docker(&["service", "rm", "base"]).ok();
}
