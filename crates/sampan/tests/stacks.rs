//! Stacks: the same files by the real docker CLI and by `sampan stack`, and the examples on three hosts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value, json};
use testkit::{Hosts, Options, eventually};

/// A command that ends at once on SIGTERM.
const WAIT: &str = "trap 'exit 0' TERM; sleep 86400 & wait";

/// How one of our commands ended.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }
    #[track_caller]
    fn failed(self) -> String {
        assert_eq!(self.code, 1, "{self:?}");
        self.err
    }
}

/// Hosts, and a folder for files.
struct Site {
    hosts: Hosts,
    dir: PathBuf,
}

impl Site {
    /// A swarm with one manager.
    fn open(count: u8, images: &[&'static str]) -> Self {
        let hosts = Hosts::start(count, &Options::with_images(images));
        hosts.swarm(1);
        let dir = hosts[0].dir().join("stacks");
        fs::create_dir(&dir).unwrap();
        Site { hosts, dir }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.join(name), text).unwrap();
    }

    fn docker(&self, args: &[&str]) -> String {
        let mut command = self.hosts[0].docker_command();
        let output = command.current_dir(&self.dir).args(args).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "docker {args:?}: {err}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn sampan(&self, args: &[&str]) -> Said {
        self.sampan_in(&self.dir, &[], args)
    }

    fn sampan_in(&self, dir: &Path, env: &[(&str, &str)], args: &[&str]) -> Said {
        let mut command = self.hosts[0].sampan_command().unwrap();
        let command = command.current_dir(dir).envs(env.iter().copied()).args(args);
        let output = command.output().unwrap();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn spec(&self, service: &str) -> Value {
        let text = self.docker(&["service", "inspect", service, "--format", "{{json .Spec}}"]);
        serde_json::from_str(&text).unwrap()
    }

    /// `name replicas` of the stack's services.
    fn replicas(&self, stack: &str) -> Vec<String> {
        let args = ["stack", "services", stack, "--format", "{{.Name}} {{.Replicas}}"];
        let mut lines: Vec<String> = self.docker(&args).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// The ids of a service's running tasks.
    fn tasks(&self, service: &str) -> BTreeSet<String> {
        let args = ["service", "ps", "-q", "--no-trunc", "-f", "desired-state=running", service];
        self.docker(&args).lines().map(str::to_owned).collect()
    }

    /// A page of a published port, once it is there.
    #[track_caller]
    fn page(&self, port: u16, path: &str) -> String {
        eventually(&format!("port {port} answers"), || {
            let page = self.hosts[0].fetch(port, path).ok().filter(|page| page.status == 200);
            page.map(|page| page.text())
        })
    }
}

fn example(name: &str) -> PathBuf {
    testkit::workspace().join("examples").join(name)
}

/// Names and times differ between two stacks of one file; nothing else may.
fn without_names(spec: &Value, stack: &str) -> Value {
    let text = spec.to_string().replace(&format!("{stack}_"), "STACK_");
    let mut spec: Value = serde_json::from_str(&text).unwrap();
    let labels = spec["Labels"].as_object_mut().unwrap();
    assert_eq!(labels["com.docker.stack.namespace"], stack);
    labels.remove("com.docker.stack.namespace");
    // which deployment it was is what docker does not keep
    labels.remove("sampan.stack.deployment");
    let container = &mut spec["TaskTemplate"]["ContainerSpec"];
    assert_eq!(container["Labels"]["com.docker.stack.namespace"], stack);
    container["Labels"].as_object_mut().unwrap().remove("com.docker.stack.namespace");
    spec["TaskTemplate"]["Networks"] = json!(spec["TaskTemplate"]["Networks"][0]["Aliases"]);
    spec
}

#[test]
fn one_file_by_docker_and_by_sampan() {
    let site = Site::open(1, &["busybox"]);
    let file = format!(
        r#"
version: "3.8"
services:
  nginx:
    image: busybox:latest
    command: ["sh", "-c", "{WAIT}"]
    environment: {{B: "2", A: "${{GREETING}}"}}
    labels: {{in: container}}
    ulimits: {{nofile: 1024}}
    stop_grace_period: 3s
    extra_hosts: ["db:10.9.8.7"]
    healthcheck: {{test: ["CMD", "true"], interval: 1s}}
    ports: ["8080:80"]
    logging: {{driver: json-file, options: {{max-size: 1m}}}}
    deploy:
      mode: replicated
      replicas: 3
      labels: {{on: service}}
      update_config: {{parallelism: 2, order: start-first, failure_action: rollback}}
      restart_policy: {{condition: on-failure, delay: 1s}}
      resources: {{limits: {{memory: 64M}}}}
      placement: {{constraints: [node.role == manager], max_replicas_per_node: 5}}
"#
    );
    site.write("docker-compose.yml", &file);
    site.write(".env", "GREETING=hello\n");
    let env = [("GREETING", "hello")];
    let mut docker = site.hosts[0].docker_command();
    let docker = docker.current_dir(&site.dir).envs(env);
    let said =
        docker.args(["stack", "deploy", "-c", "docker-compose.yml", "one"]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said, "Creating network one_default\nCreating service one_nginx\n");

    // ours takes the other port, and else says and sends the same
    site.write("two.yml", &file.replace("8080:80", "8081:80"));
    let said = site.sampan(&["stack", "deploy", "-c", "two.yml", "two"]).ok();
    assert_eq!(said, "Creating network two_default\nCreating service two_nginx\n");
    let (mut one, mut two) = (site.spec("one_nginx"), site.spec("two_nginx"));
    for spec in [&mut one, &mut two] {
        spec["EndpointSpec"]["Ports"][0]["PublishedPort"] = Value::Null;
        // docker's client writes down what it learnt of the image
        spec["TaskTemplate"]["Placement"]["Platforms"] = Value::Null;
    }
    assert_eq!(without_names(&one, "one"), without_names(&two, "two"));

    // each sees the other's
    for said in [site.docker(&["stack", "ls"]), site.sampan(&["stack", "ls"]).ok()] {
        assert_eq!(said, "NAME      SERVICES\none       1\ntwo       1\n");
    }
    let waited = site.sampan(&["stack", "wait", "one"]).ok();
    assert!(waited.contains("verify: Stack one converged"), "{waited}");
    for words in [["stack", "services", "two"], ["stack", "ps", "two"]] {
        let format = if words[1] == "ps" { "{{.Name}} {{.Node}}" } else { "{{.Name}} {{.Image}}" };
        let words = [&words[..], &["--format", format]].concat();
        assert_eq!(site.docker(&words), site.sampan(&words).ok());
    }
    // what docker made ours finds as it should be, and the other way round nothing rolls
    let diff = site.sampan(&["stack", "diff", "-c", "docker-compose.yml", "one"]).ok();
    assert!(!diff.contains("Image") && !diff.contains("Env"), "{diff}");
    let before = site.tasks("two_nginx");
    let said = site.sampan(&["stack", "deploy", "-d=false", "-c", "two.yml", "two"]).ok();
    assert!(!said.contains("Updating") && said.contains("Stack two converged"), "{said}");
    assert_eq!(site.tasks("two_nginx"), before);

    let gone = site.docker(&["stack", "rm", "two"]);
    assert_eq!(gone, "Removing service two_nginx\nRemoving network two_default\n");
    let gone = site.sampan(&["stack", "down", "one"]).ok();
    assert_eq!(gone, "Removing service one_nginx\nRemoving network one_default\n");
    let none = site.sampan(&["stack", "rm", "one"]);
    assert_eq!((none.code, none.err.as_str()), (0, "Nothing found in stack: one\n"));
    assert_eq!(site.docker(&["stack", "ls", "--format", "{{.Name}}"]), "");
}

#[test]
fn a_change_rolls_what_it_names_and_mistakes_change_nothing() {
    let site = Site::open(1, &["busybox"]);
    let service = format!(
        "image: busybox\n    command: [sh, -c, \"{WAIT}\"]\n    deploy: &deploy\n      restart_policy: {{delay: 0s}}\n      update_config: {{monitor: 1s, failure_action: rollback}}"
    );
    let file = format!(
        "services:
  reader:
    {service}
    secrets: [token]
    configs: [{{source: page, target: /page}}]
  other:
    {service}
secrets:
  token: {{environment: TOKEN}}
configs:
  page: {{file: ./page.txt}}
"
    );
    site.write("stack.yml", &file);
    site.write("page.txt", "one");
    let env = [("TOKEN", "s3cret")];
    let deploy = |more: &[&str]| {
        let words = [&["stack", "deploy", "-d=false", "-c", "stack.yml"], more, &["app"]].concat();
        site.sampan_in(&site.dir, &env, &words)
    };
    let said = deploy(&[]).ok();
    for line in ["Creating secret app_token_", "Creating config app_page_", "Stack app converged"] {
        assert!(said.contains(line), "{line} in {said}");
    }
    let read = |path: &str| {
        let filter = "label=com.docker.swarm.service.name=app_reader";
        let id = site.docker(&["ps", "-q", "--filter", filter]);
        site.docker(&["exec", id.lines().next().unwrap_or_default(), "cat", path])
    };
    assert_eq!(
        (read("/page"), read("/run/secrets/token")),
        ("one".to_owned(), "s3cret".to_owned())
    );

    // a changed file is another config: its reader rolls, the other service does not
    let (reader, other) = (site.tasks("app_reader"), site.tasks("app_other"));
    site.write("page.txt", "two");
    let diff = site.sampan_in(
        &site.dir,
        &env,
        &["stack", "diff", "-c", "stack.yml", "--exit-code", "app"],
    );
    assert_eq!(diff.code, 1, "{diff:?}");
    assert!(
        diff.out.contains("+ config app_page_") && diff.out.contains("~ service app_reader"),
        "{diff:?}"
    );
    assert!(!diff.out.contains("app_other"), "{diff:?}");
    let said = deploy(&[]).ok();
    assert!(
        said.contains("Updating service app_reader") && !said.contains("app_other (id"),
        "{said}"
    );
    assert_eq!(read("/page"), "two");
    assert!(site.tasks("app_reader").is_disjoint(&reader));
    assert_eq!(site.tasks("app_other"), other);
    let said = site.sampan(&["stack", "rollback", "-d=false", "app"]).ok();
    assert!(said.contains("Rolling back service app_reader"), "{said}");
    assert_eq!(read("/page"), "one");

    // what is wrong is told, and nothing is done
    let wrong = |text: &str, more: &[&str], want: &str| {
        site.write("stack.yml", text);
        let told = deploy(more).failed();
        assert!(told.contains(want), "{want:?} in {told}");
    };
    let secretless = file.replace("secrets: [token]", "secrets: [tokem]");
    wrong(&secretless, &[], "did you mean `token`?");
    let foreign = format!("{file}networks: {{default: {{external: true, name: nowhere}}}}\n");
    wrong(&foreign, &[], "network \"nowhere\" is declared as external, but could not be found.");
    let external = file.replace("{environment: TOKEN}", "{external: true}");
    wrong(&external, &[], "secret not found: token");
    wrong(&file.replace("TOKEN", "TOKEM"), &[], "the environment variable TOKEM is not set");
    let job = file.replace("restart_policy: {delay: 0s}", "mode: global\n      replicas: 2");
    wrong(&job, &[], "replicas can only be used with replicated or replicated-job mode");
    assert_eq!(site.tasks("app_other"), other);

    // a placement that no node meets pends, until one's patience ends
    let nowhere =
        "restart_policy: {delay: 0s}\n      placement: {constraints: [node.labels.disk == ssd]}";
    let nowhere = file.replace("restart_policy: {delay: 0s}", nowhere);
    let want = "no suitable node (scheduling constraints not satisfied on 1 node)";
    wrong(&nowhere, &["--timeout", "2s"], want);
    let alone = format!("services:\n  other:\n    {service}\n");
    site.write("stack.yml", &alone);
    let said = deploy(&["--prune"]).ok();
    assert!(said.contains("Removing service app_reader"), "{said}");
    assert_eq!(site.replicas("app"), ["app_other 1/1"]);
    let words = ["service", "update", "-q", "--detach=false", "--args", "no-such-program"];
    let told = site.sampan(&[&words[..], &["app_other"]].concat()).failed();
    assert!(told.contains("service update rolled back: "), "{told}");
    assert!(told.contains("no-such-program") || told.contains("non-zero exit"), "{told}");
    what_came_of_an_earlier_deployment_is_this_ones(&site, &service);
    // a first deployment that cannot work has nothing to go back to, and ends all the same
    site.write("stack.yml", &alone.replace("image: busybox", "image: nowhere.invalid/none"));
    let words = ["stack", "deploy", "-d=false", "-c", "stack.yml", "first"];
    let told = site.sampan(&words).failed();
    assert!(told.contains("deployment of stack first failed:\nfirst_other: "), "{told}");
}

/// A paused update is tried again by whoever deploys again; one that somebody else ended has not come to be.
fn what_came_of_an_earlier_deployment_is_this_ones(site: &Site, service: &str) {
    let mut file = format!("services:\n  web:\n    {service}\n");
    file = file.replace("failure_action: rollback", "failure_action: pause");
    let words = ["stack", "deploy", "-d=false", "-c", "again.yml", "again"];
    site.write("again.yml", &file);
    site.sampan(&words).ok();
    site.write("again.yml", &file.replace(WAIT, "exit 3"));
    for _ in 0..2 {
        let told = site.sampan(&words);
        assert!(told.out.contains("Updating service again_web"), "{told:?}");
        let told = told.failed();
        assert!(told.contains("again_web: ") && told.contains("non-zero exit (3)"), "{told}");
    }

    let pending = |env: &str| {
        let nowhere = "placement: {constraints: [node.labels.disk == ssd]}\n      update_config";
        let text = file.replace("update_config", nowhere);
        site.write("pending.yml", &format!("{text}    environment: [A={env}]\n"));
        let mut command = site.hosts[0].sampan_command().unwrap();
        let command = command.current_dir(&site.dir).stderr(Stdio::piped()).stdout(Stdio::null());
        let words =
            ["stack", "deploy", "-d=false", "--timeout", "10m", "-c", "pending.yml", "late"];
        let client = command.args(words).spawn().unwrap();
        let format = "{{.Spec.TaskTemplate.ContainerSpec.Env}}";
        eventually("it is asked for", || {
            let words = ["service", "inspect", "late_web", "--format", format];
            (site.hosts[0].docker(&words).stdout.trim() == format!("[A={env}]")).then_some(())
        });
        client
    };
    let ends = |client: Child, want: &str| {
        let output = client.wait_with_output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(want), "{want} in {told}");
    };
    let first = pending("one");
    let second = pending("two");
    ends(first, "late_web: superseded by another deployment");
    site.docker(&["stack", "rm", "late"]);
    ends(second, "late_web: removed meanwhile");
}

/// The tutorials' stacks, side by side on three hosts: all are on their way before the first is looked at.
#[test]
fn the_examples_on_three_hosts() {
    let site = Site::open(3, &["busybox", "redis:alpine", "python:3.7-alpine"]);
    let socket = site.hosts[0].socket().to_string_lossy().into_owned();
    let deploy = |name: &str, env: &[(&str, &str)]| {
        site.sampan_in(&example(name), env, &["stack", "deploy", "-c", "stack.yml", name]).ok();
    };
    let mut docker = site.hosts[0].docker_command();
    let docker = docker.current_dir(example("openfaas")).env("SOCKET", &socket);
    let made = docker.args(["stack", "deploy", "-c", "stack.yml", "func"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    deploy("redis-cluster", &[]);
    deploy("fibonacci", &[]);
    deploy("rolling-update", &[]);
    // the image is built on the node that is asked
    let env = [("WHERE", "node.role == manager")];
    let words = ["stack", "deploy", "-c", "stack.yml", "counter"];
    let said = site.sampan_in(&example("page-counter"), &env, &words);
    let stays = said.err.lines().find(|line| line.starts_with("counter_redis stays on "));
    let stays = stays.map(str::to_owned);
    said.ok();
    functions(&site);
    fibonacci(&site);
    page_counter(&site, &stays.unwrap());
    redis_cluster(&site);
    rolling_update(&site);
    for stack in ["func", "counter", "redis-cluster", "fibonacci", "rolling-update"] {
        site.sampan(&["stack", "rm", stack]).ok();
    }
    assert_eq!(site.docker(&["stack", "ls", "--format", "{{.Name}}"]), "");
}

fn functions(site: &Site) {
    eventually("every service of the functions runs", || {
        let lines = site.replicas("func");
        let whole = |line: &String| line.ends_with(" 1/1") || line.ends_with("wordcount 2/2");
        (lines.len() == 10 && lines.iter().all(whole)).then_some(())
    });
    let nodes = site.docker(&["stack", "ps", "func", "--format", "{{.Node}}"]);
    let nodes: BTreeSet<&str> = nodes.lines().collect();
    assert_eq!(nodes, BTreeSet::from(["node1", "node2", "node3"]));
    eventually("every node tells what its tasks use", || {
        let format = "{{.Hostname}} {{.MemoryUsed}}";
        let told = site.sampan(&["node", "top", "--format", format]).ok();
        let uses = |line: &&str| !line.contains(" -") && !line.contains(" 0B");
        (told.lines().filter(uses).count() == 3).then_some(())
    });
    let listed = site.page(8080, "/system/functions");
    assert_eq!(listed.trim(), r#"["echo", "nodeinfo", "upper", "wordcount"]"#);
    for (name, body, want) in [("wordcount", "three short words", "3"), ("upper", "abc", "ABC")] {
        eventually(&format!("{name} answers"), || {
            let said = post(site, &format!("/function/{name}"), body).unwrap_or_default();
            (said.trim() == want).then_some(())
        });
    }
    let node = post(site, "/function/nodeinfo", "").unwrap_or_default();
    assert!(["node2", "node3"].contains(&node.trim()), "{node}");
}

/// The body of the answer of the gateway.
fn post(site: &Site, path: &str, body: &str) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let mut stream = site.hosts[0].namespace().connect(address).ok()?;
    let length = body.len();
    let request = format!("POST {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
}

fn fibonacci(site: &Site) {
    let said = site.sampan(&["stack", "wait", "fibonacci"]).ok();
    assert!(said.contains("Stack fibonacci converged"), "{said}");
    let answer = eventually("the instances find each other", || {
        let page = site.hosts[0].fetch(8000, "/6").ok().filter(|page| page.status == 200)?;
        serde_json::from_str::<Value>(&page.text()).ok()
    });
    assert_eq!(answer["fibonacci"], 8);
    let hosts = answer["hosts"].as_array().map_or(0, Vec::len);
    assert!(hosts > 1, "one instance did it all: {answer}");
}

/// Its data are where `stays` says, and a new task finds them there.
fn page_counter(site: &Site, stays: &str) {
    site.sampan(&["stack", "wait", "counter"]).ok();
    let count = || -> u32 {
        let text = site.page(5000, "/");
        text.split(' ').find_map(|word| word.parse().ok()).unwrap_or_default()
    };
    assert_eq!((count(), count()), (1, 2));
    site.docker(&["service", "update", "--detach", "--force", "counter_redis"]);
    eventually("another task of redis runs where the first one did", || {
        let ps = ["service", "ps", "counter_redis", "--format", "{{.Node}} {{.CurrentState}}"];
        let told = site.docker(&ps);
        let nodes: BTreeSet<&str> =
            told.lines().filter_map(|line| line.split(' ').next()).collect();
        let runs = told.lines().next().is_some_and(|line| line.contains(" Running "));
        assert!(nodes.iter().all(|node| stays.contains(node)), "{told}: {stays}");
        (runs && told.lines().count() == 2).then_some(())
    });
    assert_eq!(count(), 3);
}

fn redis_cluster(site: &Site) {
    let said = site.sampan(&["stack", "wait", "redis-cluster"]).ok();
    assert!(said.contains("Stack redis-cluster converged"), "{said}");
    let run = |host: usize, script: &str| {
        let words = ["run", "--rm", "--net", "mynet", "redis:alpine", "sh", "-c", script];
        site.hosts[host].docker(&words)
    };
    let create = "redis-cli --cluster create --cluster-replicas 1 --cluster-yes \
        $(nslookup -type=a tasks.redis. 127.0.0.11 | awk '/^Address: /{print $2 \":6379\"}')";
    let said = run(1, create).ok();
    assert!(said.contains("[OK] All 16384 slots covered."), "{said}");
    // the keys are spread over three masters: the client follows them to their own addresses
    let words = "for n in 1 2 3 4 5 6; do redis-cli -c -h redis set key$n value$n; done; \
        for n in 1 2 3 4 5 6; do redis-cli -c -h redis get key$n; done";
    eventually("the cluster takes and gives keys", || {
        let said = run(2, words).stdout;
        let values: Vec<&str> = said.lines().filter(|line| line.starts_with("value")).collect();
        (values == ["value1", "value2", "value3", "value4", "value5", "value6"]).then_some(())
    });
}

/// How requests failed while `work` was done, and how many there were.
fn visited(site: &Site, work: impl FnOnce()) -> (Vec<String>, u32) {
    let (over, all) = (AtomicBool::new(false), AtomicU32::new(0));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let page = site.hosts[0].fetch(8081, "/");
                all.fetch_add(1, Ordering::Relaxed);
                let why = match page {
                    Ok(page) if page.status == 200 => continue,
                    Ok(page) => page.status.to_string(),
                    Err(err) => format!("{err:#}"),
                };
                failed.lock().unwrap().push(why);
            }
        });
        // a panic must end the visitor, too
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    });
    (failed.into_inner().unwrap(), all.into_inner())
}

fn rolling_update(site: &Site) {
    let deploy = |env: &[(&str, &str)]| {
        let words = ["stack", "deploy", "-d=false", "-c", "stack.yml", "rolling-update"];
        site.sampan_in(&example("rolling-update"), env, &words)
    };
    site.sampan(&["stack", "wait", "rolling-update"]).ok();
    assert_eq!(site.page(8081, "/"), "version 1\n");
    let (failed, all) = visited(site, || {
        let said = deploy(&[("VERSION", "2")]).ok();
        assert!(said.contains("Stack rolling-update converged"), "{said}");
        for broken in [
            ("PROGRAM", "no-such-program", "non-zero exit"),
            ("HEALTH_PORT", "81", "unhealthy"),
            ("IMAGE", "nowhere.invalid/none:1", "nowhere.invalid/none"),
        ] {
            let (variable, value, reason) = broken;
            let told = deploy(&[("VERSION", "3"), (variable, value)]).failed();
            let want = "deployment of stack rolling-update failed:\nrolling-update_web: update rolled back: ";
            assert!(told.contains(want), "{variable}: {told}");
            assert!(told.contains(reason), "{variable}: {reason:?} in {told}");
        }
    });
    assert_eq!(site.page(8081, "/"), "version 2\n");
    // what came of each deployment, and why, can be read long after its tasks are gone
    let format = "{{.Number}} {{.State}}: {{.Reason}}";
    let told = site.sampan(&["stack", "deployments", "--format", format, "rolling-update"]).ok();
    let lines: Vec<&str> = told.lines().collect();
    let reasons = ["No such image: nowhere.invalid/none:1", "unhealthy", "non-zero exit"];
    for (line, (number, reason)) in lines.iter().zip([5, 4, 3].into_iter().zip(reasons)) {
        let want = format!("{number} rolled back: rolling-update_web: ");
        assert!(line.starts_with(&want) && line.contains(reason), "{want}{reason} in {told}");
    }
    assert_eq!(lines.get(3), Some(&"2 completed: "), "{told}");
    assert!(failed.is_empty() && all > 0, "of {all} requests failed: {failed:?}");
}
