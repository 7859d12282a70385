//! What clients that nobody here wrote rely on, beyond what the API's description says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};

use serde_json::json;
use testkit::{Daemon, Options, eventually};

fn started() -> Daemon {
    Daemon::start(Options::with_images(&["busybox"]))
}

fn exec_start(id: &str) -> String {
    let body = "{\"Detach\":false,\"Tty\":false}";
    format!(
        "POST /v1.41/exec/{id}/start HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Python's `http.client` reads a reply's head through a buffer; docker-py then reads from below it and loses what came
/// with the head.
#[test]
fn an_execs_output_never_comes_in_one_piece_with_the_replys_head() {
    let daemon = started();
    daemon.docker(&["run", "-d", "--name", "alpha", "busybox", "sleep", "600"]).ok();
    let config = json!({"Cmd": ["echo", "hello"], "AttachStdout": true});
    let made = daemon.post("/v1.41/containers/alpha/exec", &config).json();
    let id = made["Id"].as_str().unwrap();

    let mut slow = daemon.connect().unwrap();
    slow.write_all(exec_start(id).as_bytes()).unwrap();
    eventually("the exec has ended", || {
        let state = daemon.get(&format!("/v1.41/exec/{id}/json")).json();
        (state["ExitCode"] == json!(0)).then_some(())
    });
    let mut buffer = vec![0; 64 * 1024];
    let read = slow.read(&mut buffer).unwrap();
    let head = String::from_utf8_lossy(&buffer[..read]).into_owned();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.ends_with("\r\n\r\n"), "{head:?}");
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"\x01\0\0\0\0\0\0\x06hello\n");
}

/// Addresses, names' owners and published ports of a network with both families.
#[test]
fn a_network_with_ipv6_reaches_its_containers_and_publishes_their_ports_for_both_families() {
    let mut daemon = started();
    daemon.docker(&["network", "create", "--ipv6", "--subnet", "fd00:77::/64", "six"]).ok();
    let page = "while true; do echo page | nc -l -p 80; done";
    let words = ["run", "-d", "--name", "alpha", "--network", "six", "--ip6", "fd00:77::10"];
    daemon.docker(&[&words[..], &["-p", "8080:80", "busybox", "sh", "-c", page]].concat()).ok();
    let format = "{{.NetworkSettings.Networks.six.GlobalIPv6Address}} \
                  {{.NetworkSettings.Networks.six.GlobalIPv6PrefixLen}} \
                  {{.NetworkSettings.Networks.six.IPv6Gateway}}";
    let shown = daemon.docker(&["inspect", "--format", format, "alpha"]).ok();
    assert_eq!(shown, "fd00:77::10 64 fd00:77::1");
    let ports = daemon.docker(&["port", "alpha", "80"]).ok();
    assert_eq!(ports, "0.0.0.0:8080\n[::]:8080");

    let ping = ["ping", "-6", "-c", "1", "-W", "60", "fd00:77::10"];
    daemon.docker(&[&["run", "--rm", "--network", "six", "busybox"][..], &ping].concat()).ok();
    let page = |daemon: &Daemon| {
        eventually("the page is served to IPv6", || {
            let mut stream =
                daemon.namespace().connect("[fd00:77::1]:8080".parse().unwrap()).ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            (text == "page\n").then_some(())
        });
    };
    page(&daemon);
    daemon.kill9();
    daemon.again();
    page(&daemon);

    // A second one gets an address of its own, and the same address is refused.
    let words = ["run", "--rm", "--network", "six"];
    let taken = daemon.docker(&[&words[..], &["--ip6", "fd00:77::10", "busybox", "true"]].concat());
    assert!(taken.err().contains("Address already in use"));
    let address =
        daemon.docker(&[&words[..], &["busybox", "ip", "-6", "-o", "addr"]].concat()).ok();
    assert!(address.contains("fd00:77::"), "{address}");
    daemon.docker(&["rm", "-f", "alpha"]).ok();
    daemon.docker(&["network", "rm", "six"]).ok();
    let rules = daemon.namespace().run(&["nft", "list", "tables", "ip6"]).unwrap();
    assert_eq!(rules, "");
}

#[test]
fn a_configuration_network_gives_its_settings_to_others_and_takes_no_container() {
    let daemon = started();
    let words = ["network", "create", "--config-only", "--subnet", "10.196.0.0/24", "template"];
    daemon.docker(&words).ok();
    let refused = daemon.docker(&["run", "--rm", "--network", "template", "busybox", "true"]).err();
    assert!(refused.contains("cannot create endpoint on configuration-only network"), "{refused}");
    daemon.docker(&["network", "create", "--config-from", "template", "made"]).ok();
    let format =
        "{{(index .IPAM.Config 0).Subnet}} {{.ConfigFrom.Network}} {{.ConfigOnly}} {{.Driver}}";
    let shown = daemon.docker(&["network", "inspect", "--format", format, "made"]).ok();
    assert_eq!(shown, "10.196.0.0/24 template false bridge");
    let refused = daemon.docker(&["network", "rm", "template"]).err();
    assert!(refused.contains("configuration network \"template\" is in use"), "{refused}");
    let none = ["network", "create", "--config-from", "nope", "other"];
    assert!(daemon.docker(&none).err().contains("configuration network \"nope\" does not exist"));
    daemon.docker(&["network", "rm", "made", "template"]).ok();
}

/// What the image has not: made for the container, in its layer, under a read-only root and in a volume.
#[test]
fn a_working_directory_that_is_not_there_is_made() {
    let daemon = started();
    let run = |words: &[&str]| daemon.docker(&[&["run", "--rm"][..], words].concat()).ok();
    assert_eq!(run(&["-w", "/made/new", "busybox", "pwd"]), "/made/new");
    assert_eq!(run(&["--read-only", "-w", "/made/new", "busybox", "pwd"]), "/made/new");
    let words = ["-u", "1000", "-v", "v:/data", "-w", "/data/sub/deep", "busybox"];
    let said = run(&[&words[..], &["stat", "-c", "%n %u %a", "/data/sub/deep", "."]].concat());
    assert_eq!(said, "/data/sub/deep 0 755\n. 0 755");
}

/// Asked for with `platform`: an archive that has none for it is refused, and a removal spares what is not for it.
#[test]
fn images_are_loaded_and_removed_for_a_platform() {
    let daemon = started();
    let shown = daemon.get("/v1.51/images/busybox/json").json();
    let ours = shown["Architecture"].as_str().unwrap();
    let other = if ours == "arm64" { "amd64" } else { "arm64" };
    let asked = |architecture: &str| {
        let platform = json!({"os": "linux", "architecture": architecture}).to_string();
        platform.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>()
    };
    let archive = std::fs::read(testkit::images::archive("busybox").unwrap()).unwrap();
    let load = |platform: &str| {
        let path = format!("/v1.51/images/load?platform={}", asked(platform));
        let length = archive.len() as u64;
        daemon.send("POST", &path, "application/x-tar", &mut &archive[..], length).unwrap().text()
    };
    assert!(load(other).contains("no image for this platform"));
    assert!(load(ours).contains("Loaded image"));
    let remove = |platform: &str| {
        daemon.delete(&format!("/v1.51/images/busybox?platforms={}", asked(platform)))
    };
    assert_eq!(remove(other).status, 404);
    assert_eq!(remove(ours).status, 200);
}

/// The host's own `::1` leads to a container of a network without IPv6, after the daemon was killed too.
#[test]
fn a_published_port_is_reached_by_ipv6_on_a_network_without_it() {
    let mut daemon = started();
    let page = "while true; do echo page | nc -l -p 80; done";
    let words = ["run", "-d", "--name", "alpha", "-p", "8080:80", "busybox", "sh", "-c", page];
    daemon.docker(&words).ok();
    let ports = daemon.docker(&["port", "alpha", "80"]).ok();
    assert_eq!(ports, "0.0.0.0:8080\n[::]:8080");
    let read = |daemon: &Daemon| {
        eventually("the page is served to IPv6", || {
            let mut stream = daemon.namespace().connect("[::1]:8080".parse().unwrap()).ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            (text == "page\n").then_some(())
        });
    };
    read(&daemon);
    daemon.kill9();
    daemon.again();
    read(&daemon);
    daemon.stop();
}

/// An archive ends before the request does; the client is not cut off while it writes the rest.
#[test]
fn what_follows_an_archive_is_read_before_the_connection_ends() {
    let daemon = started();
    daemon.docker(&["create", "--name", "alpha", "busybox"]).ok();
    let mut body = daemon.get("/v1.41/containers/alpha/archive?path=/etc/passwd").body;
    body.resize(16 << 20, 0);
    let head = format!(
        "PUT /v1.41/containers/alpha/archive?path=/tmp HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
         Content-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    for _ in 0..5 {
        let mut stream = daemon.connect().unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).expect("the connection ended too early");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    }
    let made = daemon.get("/v1.41/containers/alpha/archive?path=/tmp/passwd");
    assert_eq!(made.status, 200);
}

/// bollard sends every parameter of a log, with zero for no end.
#[test]
fn a_log_until_zero_is_the_whole_log() {
    let daemon = started();
    daemon.docker(&["run", "--name", "alpha", "busybox", "echo", "hello"]).ok();
    let log = daemon.get("/v1.41/containers/alpha/logs?stdout=1&since=0&until=0&tail=all");
    assert!(log.text().ends_with("hello\n"), "{:?}", log.text());
}

/// As people type it with `curl -g`: Go's server takes quotes and braces in a target.
#[test]
fn a_filter_may_be_typed_with_bare_quotes() {
    let daemon = started();
    daemon.docker(&["create", "--name", "alpha", "busybox"]).ok();
    daemon.docker(&["create", "--name", "beta", "busybox"]).ok();
    let mut stream = daemon.connect().unwrap();
    let target = "/v1.41/containers/json?all=1&filters={\"name\":[\"alpha\"]}";
    let head = format!("GET {target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    assert!(reply.contains("/alpha") && !reply.contains("/beta"), "{reply}");
}

/// testcontainers and others send whole paths, which lead through the container's links; `cp -a` keeps owners.
#[test]
fn an_archive_is_unpacked_where_links_lead_with_its_owners() {
    let daemon = started();
    daemon.docker(&["run", "-d", "--name", "alpha", "busybox", "sleep", "600"]).ok();
    daemon.docker(&["exec", "alpha", "ln", "-s", "/tmp", "/links"]).ok();
    let dir = daemon.dir().join("packed");
    std::fs::create_dir_all(dir.join("links")).unwrap();
    std::fs::write(dir.join("links/hello"), "text").unwrap();
    std::os::unix::fs::chown(dir.join("links/hello"), Some(1234), Some(5678)).unwrap();
    let put = |name: &str, query: &str| {
        let packed =
            std::process::Command::new("tar").arg("-C").arg(&dir).args(["-c", name]).output();
        let tar = packed.unwrap().stdout;
        let path = format!("/v1.41/containers/alpha/archive?path=/{query}");
        let length = tar.len() as u64;
        daemon.send("PUT", &path, "application/x-tar", &mut &tar[..], length).unwrap()
    };
    let said = |words: &[&str]| daemon.docker(&[&["exec", "alpha"], words].concat()).ok();
    assert_eq!(put("links/hello", "&noOverwriteDirNonDir=true").status, 200);
    assert_eq!(said(&["stat", "-c", "%u:%g %s", "/tmp/hello"]), "1234:5678 4");

    let file = dir.join("links/hello").display().to_string();
    daemon.docker(&["cp", "-a", &file, "alpha:/kept"]).ok();
    assert_eq!(said(&["stat", "-c", "%u:%g", "/kept"]), "1234:5678");

    std::fs::create_dir(dir.join("kept")).unwrap();
    let refused = put("kept", "&noOverwriteDirNonDir=true");
    assert!(refused.text().contains("cannot overwrite non-directory"), "{}", refused.text());
    assert_eq!(said(&["stat", "-c", "%F", "/kept"]), "regular file");
    assert_eq!(put("kept", "").status, 200);
    assert_eq!(said(&["stat", "-c", "%F", "/kept"]), "directory");
}

/// The client renames the first `.` of each name that it gets for `dir/.`.
#[test]
fn the_content_of_a_directory_is_copied_under_a_new_name() {
    let daemon = started();
    let long = "n".repeat(120);
    let make = format!(
        "mkdir -p /from/sub; ln -s a.txt /from/link; cd /from; echo one >a.txt; echo two >sub/{long}"
    );
    daemon.docker(&["run", "--name", "alpha", "busybox", "sh", "-c", &make]).ok();
    let copied = daemon.dir().join("copied");
    for (from, to) in [("/from/.", "a"), ("/from/", "b"), ("/from", "c")] {
        let to = copied.join(to);
        std::fs::create_dir_all(&copied).unwrap();
        daemon.docker(&["cp", &format!("alpha:{from}"), &to.display().to_string()]).ok();
        let read = |name: &str| std::fs::read_to_string(to.join(name)).unwrap();
        assert_eq!(
            (read("link"), read(&format!("sub/{long}"))),
            ("one\n".to_owned(), "two\n".to_owned())
        );
    }
}

/// Its own mounts with it, and nothing of the kernel's.
#[test]
fn the_root_of_a_running_container_is_copied() {
    let daemon = started();
    let make =
        "mkdir /kept; echo text >/kept/file; ln -s /kept /link; echo data >/data/file; sleep 600";
    let words = ["run", "-d", "--name", "alpha", "-v", "/data", "busybox", "sh", "-c", make];
    daemon.docker(&words).ok();
    eventually("the files are there", || {
        let tried = daemon.docker(&["exec", "alpha", "test", "-s", "/data/file"]);
        (tried.status == 0).then_some(())
    });
    let copied = daemon.dir().join("copied");
    daemon.docker(&["cp", "alpha:/", &copied.display().to_string()]).ok();
    let read = |name: &str| std::fs::read_to_string(copied.join(name)).unwrap();
    assert_eq!((read("kept/file").as_str(), read("data/file").as_str()), ("text\n", "data\n"));
    assert_eq!(std::fs::read_link(copied.join("link")).unwrap().to_str(), Some("/kept"));
    for name in ["proc", "sys", "dev"] {
        assert_eq!(std::fs::read_dir(copied.join(name)).unwrap().count(), 0, "{name}");
    }
}
