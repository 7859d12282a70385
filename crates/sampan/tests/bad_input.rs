//! Bad input gets Docker's status and message, and changes nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use testkit::{Daemon, Options, eventually};

fn started() -> Daemon {
    Daemon::start(Options::with_images(&["busybox"]))
}

#[track_caller]
fn contains(text: &str, part: &str) {
    assert!(text.contains(part), "{part:?} is missing in {text:?}");
}

/// All that a refused request must leave alone.
fn world(daemon: &Daemon) -> [String; 4] {
    [["ps", "-aq"], ["images", "-aq"], ["volume", "ls"], ["network", "ls"]]
        .map(|words| daemon.docker(&words).ok())
}

#[test]
fn an_unknown_image_is_not_found() {
    let daemon = started();
    let before = world(&daemon);
    let reply = daemon
        .post("/v1.41/containers/create?name=alpha", &json!({"Image": "nope", "Cmd": ["true"]}));
    assert_eq!((reply.status, reply.message().as_str()), (404, "No such image: nope:latest"));
    assert_eq!(world(&daemon), before);
}

#[test]
fn a_name_in_use_is_a_conflict_that_names_its_holder() {
    let daemon = started();
    let id = daemon.docker(&["create", "--name", "alpha", "busybox"]).ok();
    let before = world(&daemon);
    let reply = daemon.post("/v1.41/containers/create?name=alpha", &json!({"Image": "busybox"}));
    let expected = format!(
        "Conflict. The container name \"/alpha\" is already in use by container \"{id}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    );
    assert_eq!((reply.status, reply.message()), (409, expected));
    assert_eq!(world(&daemon), before);
}

#[test]
fn what_no_namespace_or_limit_can_be_is_refused_before_anything_is_made() {
    let daemon = started();
    let before = world(&daemon);
    let refused = [
        (json!({"IpcMode": "bogus"}), "invalid IPC mode: bogus"),
        (json!({"PidMode": "bogus"}), "invalid PID mode: bogus"),
        (json!({"PidMode": "container:"}), "invalid PID mode: container:"),
        (json!({"UTSMode": "private"}), "invalid UTS mode: private"),
        (json!({"PidMode": "container:nope"}), "No such container: nope"),
        (json!({"IpcMode": "container:nope"}), "No such container: nope"),
        (
            json!({"Annotations": {"": "x"}}),
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ),
        (json!({"CpuShares": -1}), "invalid CPU shares (-1): value must be a positive integer"),
    ];
    for (host, message) in refused {
        let body = json!({"Image": "busybox", "HostConfig": host});
        let reply = daemon.post("/v1.51/containers/create", &body);
        assert_eq!((reply.status, reply.message().as_str()), (400, message));
    }
    assert_eq!(world(&daemon), before);
}

#[test]
fn a_namespace_of_a_container_that_does_not_run_is_not_joined() {
    let daemon = started();
    let id = daemon.docker(&["create", "--name", "alpha", "busybox"]).ok();
    daemon.docker(&["create", "--name", "beta", "--pid", "container:alpha", "busybox"]).ok();
    let shown = daemon.docker(&["inspect", "-f", "{{.HostConfig.PidMode}}", "beta"]).ok();
    assert_eq!(shown, format!("container:{id}"));
    let reply = daemon.post("/v1.51/containers/beta/start", &json!(null));
    let message = format!("failed to join PID namespace: container {id} is not running");
    assert_eq!((reply.status, reply.message()), (500, message));
}

#[test]
fn an_exec_of_a_user_whom_nobody_knows_is_refused_when_it_is_made() {
    let daemon = started();
    daemon.docker(&["run", "-d", "--name", "alpha", "busybox", "sleep", "600"]).ok();
    let body = json!({"Cmd": ["true"], "User": "nobody-knows"});
    let reply = daemon.post("/v1.51/containers/alpha/exec", &body);
    let message = "unable to find user nobody-knows: no matching entries in passwd file";
    assert_eq!((reply.status, reply.message().as_str()), (400, message));
}

#[test]
fn a_file_is_no_directory_to_copy_out_of_and_dots_are_the_directory_itself() {
    let daemon = started();
    daemon.docker(&["create", "--name", "alpha", "busybox"]).ok();
    for path in ["/etc/passwd/", "/etc/passwd/x"] {
        let reply = daemon.get(&format!("/v1.51/containers/alpha/archive?path={path}"));
        assert_eq!(reply.status, 500);
        contains(&reply.message(), "not a directory");
    }
    for path in ["/etc/.", "/etc/./", "etc/./"] {
        let reply = daemon.get(&format!("/v1.51/containers/alpha/archive?path={path}"));
        assert_eq!(reply.status, 200);
        contains(&reply.text(), "./passwd");
        assert!(!reply.text().contains("etc/passwd"), "{path}");
    }
}

#[test]
fn a_name_with_wrong_characters_is_refused() {
    let daemon = started();
    let reply = daemon.post("/v1.41/containers/create?name=a%20b", &json!({"Image": "busybox"}));
    assert_eq!(reply.status, 400);
    contains(
        &reply.message(),
        "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
    );
}

#[test]
fn a_port_that_another_container_has_is_refused_and_the_container_can_be_removed() {
    let mut daemon = started();
    daemon
        .docker(&["run", "-d", "--name", "alpha", "-p", "8080:80", "busybox", "sleep", "600"])
        .ok();
    daemon.rebase();

    let failed =
        daemon.docker(&["run", "-d", "--name", "beta", "-p", "8080:80", "busybox", "sleep", "600"]);
    assert_eq!(failed.status, 125);
    contains(&failed.err(), "Bind for 0.0.0.0:8080 failed: port is already allocated");
    assert_eq!(
        daemon.docker(&["inspect", "--format", "{{.State.Status}}", "beta"]).ok(),
        "created"
    );
    daemon.docker(&["rm", "beta"]).ok();
    assert_eq!(daemon.leaks(), Vec::<String>::new());
}

#[test]
fn a_port_that_a_process_of_the_host_has_is_refused() {
    let daemon = started();
    let listener = daemon
        .namespace()
        .inside(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080))?))
        .unwrap();
    let failed = daemon
        .docker(&["run", "-d", "--name", "alpha", "-p", "8080:80", "busybox", "sleep", "600"]);
    assert_eq!(failed.status, 125);
    contains(&failed.err(), "address already in use");

    drop(listener);
    daemon.docker(&["start", "alpha"]).ok();
}

#[test]
fn malformed_json_and_missing_bodies_are_bad_requests() {
    let daemon = started();
    let before = world(&daemon);
    for (path, body) in [
        ("/v1.41/containers/create", "{\"Image\":"),
        ("/v1.41/containers/create", "[]"),
        ("/v1.41/containers/create", "{\"Image\": 7}"),
        ("/v1.41/containers/create", ""),
        ("/v1.41/networks/create", "{"),
        ("/v1.41/volumes/create", "{\"Name\": []}"),
    ] {
        let reply = daemon.request("POST", path, body.as_bytes()).unwrap();
        assert_eq!(reply.status, 400, "{path} with {body:?}: {}", reply.text());
        assert!(!reply.message().is_empty(), "{path} with {body:?} says nothing");
    }
    assert_eq!(world(&daemon), before);
}

#[test]
fn unknown_objects_are_not_found_in_dockers_words() {
    let daemon = started();
    for (method, path, message) in [
        ("GET", "/v1.41/containers/nope/json", "No such container: nope"),
        ("POST", "/v1.41/containers/nope/start", "No such container: nope"),
        ("DELETE", "/v1.41/containers/nope", "No such container: nope"),
        ("GET", "/v1.41/images/nope/json", "No such image: nope:latest"),
        ("GET", "/v1.41/networks/nope", "network nope not found"),
        ("GET", "/v1.41/exec/nope/json", "No such exec instance: nope"),
        ("GET", "/v1.41/nope", "page not found"),
        ("GET", "/v1.41/volumes/nope", "get nope: no such volume"),
    ] {
        let reply = daemon.request(method, path, b"").unwrap();
        assert_eq!(reply.status, 404, "{method} {path}: {}", reply.text());
        assert!(reply.message().ends_with(message), "{method} {path}: {}", reply.text());
    }
}

#[test]
fn a_client_that_is_too_new_or_too_old_is_told_so() {
    let daemon = started();
    let reply = daemon.get("/v1.999/info");
    assert_eq!(reply.status, 400);
    contains(
        &reply.message(),
        "client version 1.999 is too new. Maximum supported API version is ",
    );
    let reply = daemon.get("/v1.10/info");
    assert_eq!(reply.status, 400);
    contains(&reply.text(), "client version 1.10 is too old. Minimum supported API version is ");
}

#[test]
fn programs_that_cannot_start_give_dockers_exit_codes() {
    let daemon = started();
    let missing = daemon.docker(&["run", "--rm", "busybox", "nope"]);
    assert_eq!(missing.status, 127);
    contains(&missing.err(), "exec: \"nope\": executable file not found in $PATH");
    let refused = daemon.docker(&["run", "--rm", "busybox", "/etc/passwd"]);
    assert_eq!(refused.status, 126);
    contains(&refused.err(), "permission denied");
    assert_eq!(daemon.docker(&["ps", "-aq"]).ok(), "");

    daemon.docker(&["run", "-d", "--name", "alpha", "busybox", "sleep", "600"]).ok();
    let missing = daemon.docker(&["exec", "alpha", "nope"]);
    assert_eq!(missing.status, 127);
    daemon.docker(&["exec", "alpha", "true"]).ok();
}

#[test]
fn a_wrong_dockerfile_is_refused_with_its_line() {
    let daemon = started();
    let before = world(&daemon);
    let context = daemon.dir().join("context");
    fs::create_dir(&context).unwrap();
    for (text, part) in [
        ("FROM busybox\nFOO bar\n", "line 2: unknown instruction: FOO"),
        ("FROM busybox\n\nCOPY one\n", "line 3: COPY requires at least two arguments"),
        ("RUN true\n", "no build stage in current context"),
        ("", "cannot be empty"),
    ] {
        fs::write(context.join("Dockerfile"), text).unwrap();
        let failed = daemon.docker(&["build", "-t", "bad", context.to_str().unwrap()]);
        contains(&failed.err(), part);
    }
    assert_eq!(world(&daemon), before);
}

#[test]
fn a_failing_step_names_its_command_and_code_and_leaves_no_container() {
    let mut daemon = started();
    daemon.docker(&["run", "--rm", "busybox", "true"]).ok();
    daemon.rebase();
    let context = daemon.dir().join("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("Dockerfile"), "FROM busybox\nRUN exit 9\n").unwrap();
    let failed = daemon.docker(&["build", "--rm", "--force-rm", context.to_str().unwrap()]);
    contains(&failed.err(), "The command '/bin/sh -c exit 9' returned a non-zero code: 9");
    assert_eq!(daemon.docker(&["ps", "-aq"]).ok(), "");
    assert_eq!(daemon.leaks(), Vec::<String>::new());
}

#[test]
fn a_registry_that_cannot_be_reached_is_named() {
    let daemon = started();
    let before = world(&daemon);
    let failed = daemon.docker(&["pull", "127.0.0.1:1/nope"]).err();
    contains(&failed, "127.0.0.1:1");
    contains(&failed, "connection refused");
    assert_eq!(world(&daemon), before);
}

#[test]
fn a_full_disk_fails_the_load_and_leaves_room_for_the_next() {
    let disk_bytes = Some(12 << 20);
    let daemon = Daemon::start(Options { disk_bytes, ..Options::with_images(&["busybox"]) });
    let before = world(&daemon);
    let archive = testkit::images::archive("nginx:latest").unwrap();
    let failed = daemon.docker(&["load", "-i", archive.to_str().unwrap()]).err();
    contains(&failed, "no space left on device");
    assert_eq!(world(&daemon), before);
    assert_eq!(daemon.docker(&["run", "--rm", "busybox", "echo", "goes on"]).ok(), "goes on");
}

/// Debian's registry on the daemon's loopback, its storage where a test can reach it.
struct Registry {
    child: Child,
    storage: std::path::PathBuf,
}

impl Registry {
    fn start(daemon: &Daemon) -> Self {
        let storage = daemon.dir().join("registry");
        let config = daemon.dir().join("registry.yml");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:5555'}}\n",
            storage.display()
        );
        fs::write(&config, text).unwrap();
        let mut command = daemon.namespace().command("docker-registry");
        command
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().unwrap();
        eventually("the registry answers", || daemon.fetch(5555, "/v2/").ok());
        Registry { child, storage }
    }

    /// Changes one byte in the middle of the largest blob, and returns its digest.
    fn corrupt(&self) -> String {
        let find =
            format!("find {} -name data -path '*blobs*' -size +100k", self.storage.display());
        let found = Command::new("sh").args(["-c", &find]).output().unwrap();
        let path = String::from_utf8(found.stdout).unwrap().trim().to_owned();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, bytes).unwrap();
        path.rsplit('/').nth(1).unwrap().to_owned()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_layer_that_does_not_match_its_digest_is_refused_and_not_kept() {
    let daemon = started();
    let registry = Registry::start(&daemon);
    let name = "127.0.0.1:5555/busybox";
    daemon.docker(&["tag", "busybox", name]).ok();
    daemon.docker(&["push", name]).ok();
    registry.corrupt();
    daemon.docker(&["rmi", name, "busybox"]).ok();

    let failed = daemon.docker(&["pull", name]).err();
    contains(&failed, "filesystem layer verification failed for digest sha256:");
    assert_eq!(daemon.docker(&["images", "-aq"]).ok(), "");
}

#[test]
fn a_wrong_compose_file_is_refused_with_file_line_and_column() {
    let daemon = started();
    let before = world(&daemon);
    let project = daemon.dir().join("project");
    fs::create_dir(&project).unwrap();
    let file = "services:\n  web:\n    image: busybox\n    ports: 80\n";
    fs::write(project.join("docker-compose.yml"), file).unwrap();
    let failed = daemon.sampan_in(&project, &["up", "-d"]).err();
    contains(&failed, "docker-compose.yml:4:12");
    contains(&failed, "ports");
    assert_eq!(world(&daemon), before);
}
