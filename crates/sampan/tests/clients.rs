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
