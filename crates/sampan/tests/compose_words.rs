//! The words of `sampan compose` against a real daemon, and projects that docker-compose 1.29 and we take over from each other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use testkit::{Daemon, Options, Output, eventually};

/// A command that ends on SIGTERM at once.
const WAIT: &str = "[sh, -c, \"trap 'exit 0' TERM; sleep 86400 & wait\"]";

struct Site {
    daemon: Daemon,
    project: PathBuf,
}

impl Site {
    fn open(file: &str) -> Self {
        let daemon = Daemon::start(Options::with_images(&["busybox"]));
        let project = daemon.dir().join("words");
        fs::create_dir_all(&project).unwrap();
        let site = Site { daemon, project };
        site.write(file);
        site
    }

    fn write(&self, file: &str) {
        fs::write(self.project.join("docker-compose.yml"), file.replace("WAIT", WAIT)).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        self.daemon.sampan_in(&self.project, &[&["compose"], args].concat())
    }

    /// Both outputs of a word that succeeds.
    #[track_caller]
    fn words(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = format!("{}{}", output.stdout, output.stderr);
        output.ok();
        said
    }

    #[track_caller]
    fn inspect(&self, name: &str, format: &str) -> String {
        self.daemon.docker(&["inspect", "--format", format, name]).ok()
    }
}

#[test]
fn scale_wait_exec_and_the_lists_speak_of_services() {
    let site = Site::open(
        "services:\n  web: {image: busybox, command: WAIT, volumes: ['data:/data'], expose: [7]}\n  job: {image: busybox, command: [sh, -c, 'exit 3'], profiles: [jobs]}\nvolumes: {data: }\n",
    );
    site.words(&["up", "-d", "--wait"]);
    site.words(&["scale", "web=3"]);
    assert_eq!(site.words(&["ps", "-q"]).lines().count(), 3);
    assert!(site.words(&["volumes", "-q"]).contains("words_data"));
    assert!(site.words(&["exec", "-T", "--index", "2", "web", "hostname"]).trim().len() >= 12);
    let none = site.run(&["exec", "-T", "--index", "9", "web", "true"]);
    assert_eq!(none.stderr.trim(), "service \"web\" is not running container #9");
    let listed = site.words(&["ps", "--format", "json"]);
    let row: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!(row["Publishers"][0]["TargetPort"], 7, "{listed}");
    let images = site.words(&["images", "--format", "json"]);
    let images: serde_json::Value = serde_json::from_str(&images).unwrap();
    assert!(images[0]["Size"].is_u64(), "{images}");
    let top = site.words(&["top", "web"]);
    assert!(top.starts_with("SERVICE") && top.contains("sleep 86400"), "{top}");
    site.words(&["cp", "docker-compose.yml", "web:/data/copy"]);
    assert!(site.words(&["exec", "-T", "web", "cat", "/data/copy"]).contains("services:"));
    site.words(&["scale", "web=1"]);
    assert_eq!(site.words(&["ps", "-q"]).lines().count(), 1);
    let said = site.run(&["--profile", "jobs", "up", "--exit-code-from", "job", "job"]);
    assert_eq!(said.status, 3, "{}{}", said.stdout, said.stderr);
    site.words(&["down", "-v", "-t", "1"]);
    assert_eq!(site.daemon.docker(&["ps", "-aq"]).ok(), "");
    assert_eq!(site.daemon.docker(&["volume", "ls", "-q"]).ok(), "");
}

#[test]
fn changed_network_settings_make_the_network_and_its_containers_anew() {
    let file = |subnet: &str| {
        format!(
            "services:\n  a: {{image: busybox, command: WAIT, volumes: [/kept]}}\nnetworks:\n  default: {{ipam: {{config: [{{subnet: {subnet}}}]}}}}\n"
        )
    };
    let site = Site::open(&file("10.251.1.0/24"));
    site.words(&["up", "-d"]);
    site.words(&["exec", "-T", "a", "sh", "-c", "echo yes > /kept/file"]);
    let before = site.inspect("words-a-1", "{{.Id}}");
    site.words(&["up", "-d"]);
    assert_eq!(site.inspect("words-a-1", "{{.Id}}"), before, "nothing changed");
    site.write(&file("10.251.2.0/24"));
    site.words(&["up", "-d"]);
    assert_ne!(site.inspect("words-a-1", "{{.Id}}"), before);
    let address =
        site.inspect("words-a-1", "{{.NetworkSettings.Networks.words_default.IPAddress}}");
    assert!(address.starts_with("10.251.2."), "{address}");
    assert_eq!(site.words(&["exec", "-T", "a", "cat", "/kept/file"]).trim(), "yes");
    site.words(&["down", "-t", "1"]);
}

#[test]
fn changed_volumes_are_made_anew_only_when_told_and_builds_have_secrets() {
    let file = |label: &str| {
        format!(
            "services:\n  a: {{image: busybox, command: WAIT, volumes: ['data:/data']}}\nvolumes: {{data: {{labels: {{l: {label}}}}}}}\n"
        )
    };
    let site = Site::open(&file("one"));
    site.words(&["up", "-d"]);
    site.words(&["exec", "-T", "a", "sh", "-c", "echo yes > /data/file"]);
    assert!(!site.words(&["up", "-d"]).contains("match"), "nothing changed");
    site.write(&file("two"));
    let said = site.words(&["up", "-d"]);
    assert!(said.contains("exists but doesn't match configuration"), "{said}");
    assert_eq!(site.words(&["exec", "-T", "a", "cat", "/data/file"]).trim(), "yes", "kept");
    site.words(&["up", "-d", "--yes"]);
    assert_eq!(site.words(&["exec", "-T", "a", "ls", "/data"]).trim(), "", "a new volume");
    assert_eq!(
        site.daemon.docker(&["volume", "inspect", "-f", "{{.Labels.l}}", "words_data"]).ok(),
        "two"
    );
    site.words(&["down", "-v", "-t", "1"]);

    let build = "services:\n  b:\n    build:\n      context: .\n      secrets: [key, {source: word, target: term}]\n      dockerfile_inline: |\n        FROM busybox\n        RUN --mount=type=secret,id=key --mount=type=secret,id=term,target=/w,mode=0444 cat /run/secrets/key /w > /seen; stat -c %a /run/secrets/key /w >> /seen\n        RUN ! test -s /run/secrets/key\nsecrets: {key: {file: ./key}, word: {environment: WORD}}\n";
    site.write(build);
    fs::write(site.project.join("key"), "of the file\n").unwrap();
    fs::write(site.project.join(".env"), "WORD=of the environment\n").unwrap();
    site.words(&["build"]);
    let seen = site.words(&["run", "--rm", "-T", "b", "cat", "/seen"]);
    assert!(
        seen.contains("of the file\nof the environment") && seen.contains("400\n444"),
        "{seen}"
    );
    fs::remove_file(site.project.join("key")).unwrap();
    assert!(site.run(&["build"]).stderr.contains("secret key"), "its file is gone");
    site.words(&["down", "-t", "1"]);
}

#[test]
fn projects_go_over_between_docker_compose_and_us_and_back() {
    let site = Site::open(
        "version: '3.7'\nservices:\n  a: {image: busybox, command: WAIT, volumes: ['data:/data', /anon]}\n  b: {image: busybox, command: WAIT, depends_on: [a]}\nvolumes: {data: }\n",
    );
    let theirs = |args: &[&str]| site.daemon.compose(&site.project, args).ok();
    theirs(&["-p", "words", "up", "-d"]);
    site.words(&["exec", "-T", "a", "sh", "-c", "echo 1 > /data/file; echo 2 > /anon/file"]);
    let said = site.words(&["up", "-d"]);
    assert!(said.contains("words-a-1"), "{said}");
    assert_eq!(
        site.daemon.docker(&["ps", "-aq"]).ok().lines().count(),
        2,
        "taken over, not doubled"
    );
    assert_eq!(site.words(&["exec", "-T", "a", "cat", "/data/file", "/anon/file"]).trim(), "1\n2");
    let kept = site.inspect("words-a-1", "{{.Id}}");
    site.words(&["up", "-d"]);
    assert_eq!(site.inspect("words-a-1", "{{.Id}}"), kept, "ours now");
    theirs(&["-p", "words", "up", "-d"]);
    assert_eq!(site.daemon.docker(&["ps", "-aq"]).ok().lines().count(), 2);
    theirs(&["-p", "words", "exec", "-T", "a", "cat", "/data/file", "/anon/file"]);
    theirs(&["-p", "words", "down", "-v", "-t", "1"]);
    assert_eq!(site.daemon.docker(&["ps", "-aq"]).ok(), "");
}

/// What Compose v2 leaves behind, label by label; it is not installed where the tests run.
#[test]
fn projects_of_compose_v2_are_taken_over() {
    let site = Site::open(
        "services:\n  a: {image: busybox, command: WAIT, volumes: ['data:/data', /anon]}\nvolumes: {data: }\n",
    );
    let docker = |args: &[&str]| site.daemon.docker(args).ok();
    let label = |key: &str, value: &str| format!("--label=com.docker.compose.{key}={value}");
    let common = [label("project", "words"), label("version", "2.26.1")];
    let common: Vec<&str> = common.iter().map(String::as_str).collect();
    let own = |kind: &str, args: &[&str], name: &str| {
        let words = [&[kind, "create"], common.as_slice(), args, &[name]].concat();
        docker(&words)
    };
    own("network", &[&label("network", "default")], "words_default");
    own("volume", &[&label("volume", "data")], "words_data");
    let image = docker(&["image", "inspect", "--format", "{{.Id}}", "busybox"]);
    let labels = [
        label("service", "a"),
        label("container-number", "1"),
        label("oneoff", "False"),
        label("depends_on", ""),
        label("image", image.trim()),
        label("config-hash", &"0".repeat(64)),
        label("project.working_dir", &site.project.to_string_lossy()),
        label("project.config_files", &site.project.join("docker-compose.yml").to_string_lossy()),
    ];
    let mut words = vec!["run", "-d", "--name=words-a-1", "--network=words_default"];
    words.extend(["--network-alias=a", "-v=words_data:/data", "-v=/anon"]);
    words.extend(common.iter().copied().chain(labels.iter().map(String::as_str)));
    words.extend(["busybox", "sh", "-c", "echo 1 > /data/f; echo 2 > /anon/f; sleep 86400"]);
    docker(&words);
    eventually("its data are written", || {
        let output = site.daemon.docker(&["exec", "words-a-1", "cat", "/data/f", "/anon/f"]);
        (output.stdout == "1\n2\n").then_some(())
    });
    assert_eq!(site.words(&["ps", "-q"]).lines().count(), 1, "it is ours to list");
    let said = site.words(&["up", "-d", "-t", "1"]);
    assert!(said.contains("words-a-1  Recreated"), "{said}");
    assert_eq!(docker(&["ps", "-aq"]).lines().count(), 1, "taken over, not doubled");
    assert_eq!(site.words(&["exec", "-T", "a", "cat", "/data/f", "/anon/f"]), "1\n2\n");
    let networks = docker(&["network", "ls", "-q", "--filter", "name=words"]);
    assert_eq!(networks.lines().count(), 1, "and on their network");
    site.words(&["down", "-v", "-t", "1"]);
    assert_eq!(docker(&["ps", "-aq"]), "");
    // what is anonymous stays, as with Docker: a container that was given it by name does not own it
    assert!(!docker(&["volume", "ls", "-q"]).contains("words_data"));
}

#[test]
fn watch_carries_files_into_containers_and_restarts_them() {
    let site = Site::open(
        "services:\n  a:\n    image: busybox\n    command: WAIT\n    develop:\n      watch:\n        - {action: sync, path: ./src, target: /src, ignore: ['*.log']}\n        - {action: sync+restart, path: ./conf, target: /conf}\n        - {action: sync, path: ./first, target: /first, initial_sync: true}\n        - {action: sync+exec, path: ./run, target: /run-it, exec: {command: [sh, -c, 'cat /run-it/x > /ran; echo it says so']}}\n        - {action: restart, path: ./code, include: ['*.go']}\n  b:\n    build: ctx\n    command: WAIT\n    develop: {watch: [{action: rebuild, path: ./ctx}]}\n",
    );
    fs::create_dir_all(site.project.join("first")).unwrap();
    fs::create_dir_all(site.project.join("ctx")).unwrap();
    fs::write(site.project.join("first/x"), "there").unwrap();
    fs::write(site.project.join("ctx/Dockerfile"), "FROM busybox\nCOPY f /f\n").unwrap();
    fs::write(site.project.join("ctx/f"), "old").unwrap();
    for dir in ["src/deep", "conf", "run", "code"] {
        fs::create_dir_all(site.project.join(dir)).unwrap();
    }
    fs::write(site.project.join("src/gone"), "x").unwrap();
    let mut command = site.daemon.sampan_command().unwrap();
    let log = fs::File::create(site.project.join("watch.log")).unwrap();
    let mut watch = command
        .current_dir(&site.project)
        .args(["compose", "watch"])
        .stdout(log.try_clone().unwrap())
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(site.project.join("watch.log")).unwrap();
    eventually("the watch begins", || said().contains("Watch enabled").then_some(()));
    let read = |path: &str| {
        let output = site.daemon.docker(&["exec", "words-a-1", "cat", path]);
        (output.status == 0).then_some(output.stdout)
    };
    fs::write(site.project.join("src/skip.log"), "no").unwrap();
    fs::write(site.project.join("src/deep/new"), "one").unwrap();
    eventually("a new file is there", || read("/src/deep/new").filter(|text| text == "one"));
    fs::write(site.project.join("src/deep/new"), "two").unwrap();
    eventually("a change is there", || read("/src/deep/new").filter(|text| text == "two"));
    assert_eq!(read("/src/skip.log"), None);
    fs::remove_file(site.project.join("src/deep/new")).unwrap();
    eventually("a removal is there", || read("/src/deep/new").is_none().then_some(()));
    fs::create_dir(site.project.join("src/empty")).unwrap();
    eventually("an empty directory is there", || {
        let output = site.daemon.docker(&["exec", "words-a-1", "test", "-d", "/src/empty"]);
        (output.status == 0).then_some(())
    });
    let began = site.inspect("words-a-1", "{{.State.StartedAt}}");
    fs::write(site.project.join("conf/x"), "1").unwrap();
    eventually("the container is restarted", || {
        (site.inspect("words-a-1", "{{.State.StartedAt}}") != began).then_some(())
    });
    eventually("and has the file", || read("/conf/x").filter(|text| text == "1"));
    assert_eq!(read("/first/x").as_deref(), Some("there"), "carried over at the start");
    fs::write(site.project.join("run/x"), "2").unwrap();
    eventually("the command ran", || read("/ran").filter(|text| text == "2"));
    eventually("and is heard", || said().contains("it says so").then_some(()));
    let began = site.inspect("words-a-1", "{{.State.StartedAt}}");
    // what the rule does not include is seen no later than what it includes
    fs::write(site.project.join("code/x.txt"), "1").unwrap();
    fs::write(site.project.join("code/x.go"), "1").unwrap();
    eventually("the container is restarted again", || {
        (site.inspect("words-a-1", "{{.State.StartedAt}}") != began).then_some(())
    });
    fs::write(site.project.join("ctx/f"), "new").unwrap();
    eventually("the image is built and the container made anew", || {
        let output = site.daemon.docker(&["exec", "words-b-1", "cat", "/f"]);
        (output.status == 0 && output.stdout == "new").then_some(())
    });
    eventually("which is said", || {
        said().contains("service(s) [\"b\"] successfully built").then_some(())
    });
    watch.kill().unwrap();
    watch.wait().unwrap();
    site.words(&["down", "-t", "1"]);
}

#[test]
fn bad_files_create_nothing_and_dry_runs_do_nothing() {
    let site = Site::open(
        "services:\n  a: {image: busybox, command: WAIT, depends_on: [b]}\n  b: {image: busybox, depends_on: [a]}\n",
    );
    for (file, words) in [
        (
            "services:\n  a: {image: busybox, depends_on: [b]}\n  b: {image: busybox, depends_on: [a]}\n",
            "dependency cycle",
        ),
        ("services:\n  a: {image: busybox, extends: a}\n", "circular reference"),
        ("include: [docker-compose.yml]\nservices:\n  a: {image: busybox}\n", "include cycle"),
        (
            "services:\n  a: {image: '${GONE:?set it}'}\n",
            "required variable GONE is missing a value: set it",
        ),
        ("services:\n  a: {imagee: busybox}\n", "did you mean `image`?"),
        ("services:\n  a: {image: [busybox]}\n", "must be a string"),
        (
            "include: ['https://example.com/x.yaml']\nservices:\n  a: {image: busybox}\n",
            "remote resource",
        ),
    ] {
        site.write(file);
        let output = site.run(&["up", "-d"]);
        assert_ne!(output.status, 0, "{file}");
        assert!(output.stderr.contains(words), "{words} is not in {}", output.stderr);
    }
    site.write("services:\n  a: {image: busybox, command: WAIT}\n");
    assert!(site.words(&["--dry-run", "up", "-d"]).contains("words-a-1"));
    assert_eq!(site.daemon.docker(&["ps", "-aq"]).ok(), "");
    assert_eq!(site.daemon.docker(&["network", "ls", "-q", "--filter", "name=words"]).ok(), "");
}

#[test]
fn hooks_before_the_start_run_once_and_dependents_restart() {
    let file = "services:\n  a: {image: busybox, command: WAIT, scale: 2, healthcheck: {test: 'true', interval: 1s}, volumes: ['data:/data'], pre_start: [{command: [sh, -c, 'echo one >> /data/log']}, {image: busybox, command: [sh, -c, 'echo two >> /data/log; exit CODE']}]}\n  b: {image: busybox, command: WAIT, depends_on: {a: {condition: service_healthy, restart: true}}}\nvolumes: {data: }\n";
    let site = Site::open(&file.replace("CODE", "17"));
    let failed = site.run(&["up", "-d"]);
    assert_eq!(failed.status, 1);
    assert!(failed.stderr.contains("pre_start[1] exited with code 17"), "{}", failed.stderr);
    assert_eq!(site.inspect("words-a-1", "{{.State.Status}}"), "created");
    site.write(&file.replace("CODE", "0"));
    site.words(&["up", "-d"]);
    site.words(&["up", "-d", "--scale", "a=3"]);
    let log = || site.words(&["exec", "-T", "--index", "2", "a", "cat", "/data/log"]);
    assert_eq!(log(), "one\ntwo\none\ntwo\n", "once, and once more after the failure");
    let label = "label=com.docker.compose.hook";
    assert_eq!(site.daemon.docker(&["ps", "-aq", "--filter", label]).ok(), "");

    let started = |name: &str| site.inspect(name, "{{.Id}} {{.State.StartedAt}}");
    let before = started("words-b-1");
    let said = site.words(&["restart", "-t", "1", "a"]);
    let place = |line: &str| said.find(line).unwrap_or_else(|| panic!("{line}: {said}"));
    assert!(place("  Healthy") < place("Container words-b-1  Restarting"), "{said}");
    let after = started("words-b-1");
    assert_ne!(after, before, "restarted with it");
    assert_eq!(after.split(' ').next(), before.split(' ').next(), "and not made anew");
    site.words(&["restart", "-t", "1", "--no-deps", "a"]);
    assert_eq!(started("words-b-1"), after, "left alone");
    site.words(&["up", "-d", "--force-recreate", "a"]);
    assert!(log().ends_with("one\ntwo\none\ntwo\none\ntwo\n"), "{}", log());
    site.words(&["down", "-v", "-t", "1"]);
}

#[test]
fn words_find_a_project_by_its_name_and_every_container_of_a_service() {
    let site = Site::open(
        "services:\n  a: {image: busybox, command: WAIT, scale: 2}\n  loud: {image: busybox, command: [sh, -c, 'echo to stdout; echo to stderr >&2']}\n",
    );
    site.words(&["up", "-d"]);
    // a file for each container
    site.words(&["cp", "docker-compose.yml", "a:/copy"]);
    for index in ["1", "2"] {
        let copy = site.words(&["exec", "-T", "--index", index, "a", "cat", "/copy"]);
        assert!(copy.contains("loud"), "{copy}");
    }
    let logs = site.run(&["logs", "loud"]);
    assert_eq!(logs.stdout.trim(), "loud-1  | to stdout");
    assert_eq!(logs.stderr.trim(), "loud-1  | to stderr");
    site.words(&["pause", "a"]);
    let again = site.run(&["pause", "a"]);
    assert!(again.status == 1 && again.stderr.contains("already paused"), "{}", again.stderr);
    site.words(&["unpause", "a"]);
    // `run -d` keeps standard input open, and what it leaves is an orphan that only `down` stops
    let short = site.words(&["run", "-d", "--rm", "loud"]).lines().next().unwrap().to_owned();
    site.daemon.docker(&["wait", &short]);
    eventually("its removal", || {
        let listed = site.daemon.docker(&["ps", "-aq", "--no-trunc"]).ok();
        (!listed.contains(&short)).then_some(())
    });
    let id = site.words(&["run", "-d", "a", "cat"]).lines().next().unwrap().to_owned();
    assert_eq!(site.inspect(&id, "{{.State.Running}}"), "true");
    site.words(&["stop", "-t", "1"]);
    assert_eq!(site.inspect(&id, "{{.State.Running}}"), "true");
    site.words(&["exec", "-T", "a", "true"]);

    // without the file, and beside one of another project
    let elsewhere = site.daemon.dir().join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    let named = |args: &[&str]| {
        let output =
            site.daemon.sampan_in(&elsewhere, &[&["compose", "-p", "words"], args].concat());
        let said = format!("{}{}", output.stdout, output.stderr);
        assert_eq!(output.status, 0, "{said}");
        said
    };
    assert!(named(&["ps", "-a"]).contains("words-loud-1"));
    fs::write(elsewhere.join("compose.yaml"), "services: {other: {image: busybox}}\n").unwrap();
    assert!(named(&["ps", "-a"]).contains("words-loud-1"));
    named(&["start", "a"]);
    assert_eq!(site.inspect("words-a-2", "{{.State.Running}}"), "true");
    assert!(site.run(&["events", "nobody"]).stderr.contains("no such service: nobody"));
    named(&["down", "-t", "1"]);
    assert_eq!(site.daemon.docker(&["ps", "-aq"]).ok(), "");
}

#[test]
fn an_up_tells_hooks_and_restarts_and_when_interrupted_leaves_dependencies() {
    let site = Site::open(
        "services:\n  app: {image: busybox, command: WAIT, depends_on: [db], post_start: [{command: [echo, hook of the start]}], pre_stop: [{command: [echo, hook of the end]}]}\n  db: {image: busybox, command: WAIT}\n",
    );
    let path = site.project.join("up.out");
    let up = |service: &str| {
        let mut command = site.daemon.sampan_command().unwrap();
        command.args(["compose", "up", service]).current_dir(&site.project);
        command.stdout(Stdio::from(fs::File::create(&path).unwrap())).spawn().unwrap()
    };
    let said = || fs::read_to_string(&path).unwrap();
    let mut app = up("app");
    eventually("its attachment", || said().contains("Attaching to app-1").then_some(()));
    let killed = std::process::Command::new("kill").args(["-INT", &app.id().to_string()]).status();
    assert!(killed.unwrap().success());
    assert_eq!(app.wait().unwrap().code(), Some(130));
    for line in ["app-1 ->  | hook of the start\n", "app-1 ->  | hook of the end\n"] {
        assert!(said().contains(line), "{}", said());
    }
    assert_eq!(site.inspect("words-app-1", "{{.State.Running}}"), "false");
    assert_eq!(site.inspect("words-db-1", "{{.State.Running}}"), "true");
    site.words(&["down", "-t", "1"]);

    // each of its two runs ends when told to
    let wait = "d=one; [ -e /seen ] && d=two; touch /seen; until [ -e /go/$$d ]; do sleep 0.1; done; exit 3";
    site.write(&format!(
        "services:\n  fails: {{image: busybox, restart: 'on-failure:1', volumes: ['./go:/go'], command: [sh, -c, '{wait}']}}\n"
    ));
    fs::create_dir_all(site.project.join("go")).unwrap();
    let mut fails = up("fails");
    eventually("its attachment", || said().contains("Attaching to fails-1").then_some(()));
    fs::write(site.project.join("go/one"), "").unwrap();
    eventually("its restart", || {
        said().contains("fails-1 exited with code 3 (restarting)\n").then_some(())
    });
    fs::write(site.project.join("go/two"), "").unwrap();
    fails.wait().unwrap();
    assert!(said().ends_with("fails-1 exited with code 3\n"), "{}", said());
    site.words(&["down", "-t", "1"]);
}

#[test]
fn logs_follow_containers_that_start_later() {
    let site = Site::open(
        "services:\n  first: {image: busybox, command: WAIT}\n  later: {image: busybox, command: [sh, -c, \"echo here; trap 'exit 0' TERM; sleep 86400 & wait\"]}\n",
    );
    site.words(&["up", "-d", "first"]);
    let path = site.project.join("logs.out");
    let mut follow = site
        .daemon
        .sampan_command()
        .unwrap()
        .args(["compose", "logs", "-f"])
        .current_dir(&site.project)
        .stdout(Stdio::from(fs::File::create(&path).unwrap()))
        .spawn()
        .unwrap();
    let seen = |times: usize| {
        eventually("its line in the log", || {
            (fs::read_to_string(&path).unwrap().matches("| here").count() >= times).then_some(())
        });
    };
    site.words(&["up", "-d", "later"]);
    seen(1);
    site.words(&["restart", "-t", "1", "later"]);
    seen(2);
    site.words(&["down", "-t", "1"]);
    assert!(follow.wait().unwrap().success(), "it ends with the last container");
}
